//! The rooms of this device: where each acts.

use std::{path::Path, sync::Arc};

use catenoid_containers::Containers;
use catenoid_core::chain;
use catenoid_guests::{Generation, Guests};
use catenoid_house::Doors;
use catenoid_kernel_base::wait::Notify;
use catenoid_kernel_storage::disk::disk_of;
use catenoid_limits::Limits;
use catenoid_zones::Zones;

use crate::paths::{CGROUP, DATA, NAMESPACES, RUN};

/// Why the rooms cannot be entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Limits.
    #[error(transparent)]
    Limits(#[from] catenoid_limits::Error),
    /// Zones.
    #[error(transparent)]
    Zones(#[from] catenoid_zones::Error),
}

/// Enters the rooms; `notify` wakes the pass. To be called on a thread whose network namespace is the root one.
///
/// # Errors
/// The first room that cannot be entered.
pub(crate) fn open(containers: Arc<Containers>, generation: Generation, notify: Notify) -> Result<Doors, OpenError> {
    let paths = catenoid_guests::GuestPaths { data: DATA.into(), run: RUN.into() };
    let disk = disk_of(Path::new(DATA)).unwrap_or_else(|error| {
        tracing::warn!(error = chain(&error), "no disk of the data is found, and none is limited");
        None
    });
    Ok(Doors {
        guests: Box::new(Guests::new(&paths, generation, notify)),
        limits: Box::new(Limits::open(Path::new(CGROUP), disk)?),
        zones: Box::new(Zones::open(Path::new(NAMESPACES))?),
        containers: Box::new(containers),
    })
}

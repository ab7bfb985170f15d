//! What the manifest asks of this room.

use std::collections::{BTreeMap, BTreeSet};

use catenoid_schema::{manifest::Manifest, name::Name};
use serde::{Deserialize, Serialize};

/// What each container is to have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Desired {
    /// By container.
    pub containers: BTreeMap<Name, BTreeSet<Name>>,
}

/// What `manifest` asks of this room.
#[must_use]
pub fn desired(manifest: &Manifest) -> Desired {
    let containers = manifest.containers.iter().filter(|(_, container)| !container.devices.is_empty());
    Desired { containers: containers.map(|(name, container)| (name.clone(), container.devices.clone())).collect() }
}

//! The manifest: the whole desired state of one device, or of a signed selection of devices.
//!
//! One set of types serves the author and the device. What the author leaves out is a default here. What is signed has
//! every field of the first version written out, and a later field only where it is used ([`crate::document`]): a default
//! means the same for ever.
//! [`check`] holds the rules that span fields.

mod capability;
pub mod check;
mod container;
mod guests;
mod health;
mod io;
mod limits;
mod metadata;
mod stop;
mod target;
mod zone;

pub use capability::Capability;
pub use container::{Container, ContainerRole, ROOT, Restart};
pub use guests::{GuestReference, GuestVersion, GuestVersionError};
pub use health::{HealthCheck, HttpCheck};
pub use io::IoLimits;
pub use limits::ResourceLimits;
pub use metadata::Metadata;
pub use stop::{Stop, StopSignal};
pub use target::Target;
pub use zone::{Addressing, CORE, Flow, Interface, MacAddress, MacAddressError, Port, Zone};

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    cbor::InputLimits,
    document::{ApiVersion, Document, Role},
    name::Name,
    units,
};

/// The desired state of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Catenoid manifest")]
pub struct Manifest {
    /// The version of this format.
    #[serde(deserialize_with = "units::word")]
    pub api_version: ApiVersion,
    /// Always `Manifest`.
    #[serde(deserialize_with = "units::word")]
    pub kind: ManifestKind,
    /// What an agent must be able to do to apply it, by the names that `catenoid version` lists. `catenoid-sign sign` adds what
    /// the manifest makes use of.
    #[serde(default, deserialize_with = "units::set", skip_serializing_if = "BTreeSet::is_empty")]
    pub requires: BTreeSet<Name>,
    /// Name, order and validity.
    pub metadata: Metadata,
    /// Which devices may apply it.
    pub target: Target,
    /// The guests that containers are run from, by a name that is local to this manifest.
    #[serde(default)]
    pub guests: BTreeMap<Name, GuestReference>,
    /// The network segments. Nothing passes between two of them that no flow permits.
    #[serde(default)]
    pub zones: BTreeMap<Name, Zone>,
    /// What runs.
    pub containers: BTreeMap<Name, Container>,
}

/// The kind of this document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ManifestKind {
    /// A manifest.
    Manifest,
}

impl Document for Manifest {
    const ROLE: Role = Role::Operator;
    const CONTENT_TYPE: &'static str = "application/vnd.catenoid.manifest.v1+cbor";
    /// 500 containers with all their fields take about 400 KiB.
    const LIMITS: InputLimits = InputLimits { bytes: 1024 * 1024, depth: 12, items: 200_000 };
}

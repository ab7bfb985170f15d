//! What the manifest asks of this room.

use std::collections::BTreeMap;

use catenoid_schema::{
    manifest::{Container, Manifest},
    name::Name,
};
use serde::{Deserialize, Serialize};

use crate::Bounds;

/// The limits of each container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Desired {
    /// By container.
    pub containers: BTreeMap<Name, Bounds>,
}

impl Desired {
    /// Whether the group of this name belongs to a container; one that no container can be called by does not.
    pub(crate) fn holds(&self, group: &str) -> bool {
        group.parse::<Name>().is_ok_and(|name| self.containers.contains_key(&name))
    }
}

/// What `manifest` asks of this room.
#[must_use]
pub fn desired(manifest: &Manifest) -> Desired {
    let of = |(name, container): (&Name, &Container)| (name.clone(), Bounds::of(container));
    Desired { containers: manifest.containers.iter().map(of).collect() }
}

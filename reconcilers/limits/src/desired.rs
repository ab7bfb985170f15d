//! What the manifest asks of this room.

use std::collections::BTreeMap;

use catenoid_schema::{
    manifest::{Limits, Manifest},
    name::Name,
};
use serde::{Deserialize, Serialize};

use crate::{Control, Value};

/// The limits of each container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Desired {
    /// By container.
    pub containers: BTreeMap<Name, Limits>,
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
    Desired { containers: manifest.containers.iter().map(|(name, c)| (name.clone(), c.limits)).collect() }
}

/// The value of `control` under `limits`. Swap is none, so that the memory limit says all of it; the out-of-memory
/// killer ends a container as a whole, so that none lives on by halves.
pub(crate) fn value(limits: &Limits, control: Control) -> Value {
    match control {
        Control::Cpu => Value::At(limits.cpu.thousandths().into()),
        Control::Memory => Value::At(limits.memory.bytes()),
        Control::OomGroup => Value::At(1),
        Control::Pids => Value::At(limits.pids.into()),
        Control::Swap => Value::At(0),
    }
}

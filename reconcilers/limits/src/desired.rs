//! What the manifest asks of this room.

use std::collections::BTreeMap;

use catenoid_schema::{
    manifest::{Container, ContainerRole, Manifest},
    name::Name,
    units::{ByteSize, Cpu},
};
use serde::{Deserialize, Serialize};

use crate::{Control, Value};

/// The kernel keeps what it is told in whole pages.
const PAGE: u64 = 4096;
/// The most that the core container has in reserve: what its programs, a shell and the connections to it work with.
const RESERVE: ByteSize = ByteSize::from_mebibytes(64);

/// The limits of each container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Desired {
    /// By container.
    pub containers: BTreeMap<Name, Bounds>,
}

/// What one container can use up, and what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Memory.
    pub memory: ByteSize,
    /// Processors.
    pub cpu: Cpu,
    /// Processes and threads.
    pub pids: u32,
    /// Memory that is not taken away for anybody.
    #[serde(default = "none")]
    pub reserve: ByteSize,
}

const fn none() -> ByteSize {
    ByteSize::from_bytes(0)
}

impl Bounds {
    /// Of `container`. Half of the core container's memory, `RESERVE` at most, stays its own, so that the device can be
    /// spoken to whatever the others take.
    #[must_use]
    pub fn of(container: &Container) -> Self {
        let catenoid_schema::manifest::ResourceLimits { memory, cpu, pids } = container.limits;
        let half = ByteSize::from_bytes(memory.bytes() / 2 / PAGE * PAGE);
        let reserve = if container.role == ContainerRole::Core { half.min(RESERVE) } else { none() };
        Self { memory, cpu, pids, reserve }
    }
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

/// The value of `control` under `limits`. Swap is none, so that the memory limit says all of it; the out-of-memory
/// killer ends a container as a whole, so that none lives on by halves.
pub(crate) fn value(limits: &Bounds, control: Control) -> Value {
    match control {
        Control::Cpu => Value::At(limits.cpu.thousandths().into()),
        Control::Memory => Value::At(limits.memory.bytes()),
        Control::OomGroup => Value::At(1),
        Control::Pids => Value::At(limits.pids.into()),
        Control::Reserve => Value::At(limits.reserve.bytes()),
        Control::Swap => Value::At(0),
    }
}

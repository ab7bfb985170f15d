//! What a container can use up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::io::IoLimits;
use crate::{
    limits::PIDS_MOST,
    units::{self, ByteSize, Cpu},
};

/// What a container can use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub struct ResourceLimits {
    /// Memory, including what it writes to memory file systems (cgroup v2 `memory.max`).
    #[serde(default = "default_memory")]
    pub memory: ByteSize,
    /// Processors (cgroup v2 `cpu.max`).
    #[serde(default = "default_cpu")]
    pub cpu: Cpu,
    /// Processes and threads (cgroup v2 `pids.max`).
    #[serde(default = "default_pids", deserialize_with = "units::number")]
    #[schemars(range(min = 1, max = PIDS_MOST))]
    pub pids: u32,
    /// The disk. Without this it takes what there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<IoLimits>,
}

const fn default_memory() -> ByteSize {
    ByteSize::from_mebibytes(128)
}

const fn default_cpu() -> Cpu {
    Cpu::from_thousandths(1000)
}

const fn default_pids() -> u32 {
    128
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self { memory: default_memory(), cpu: default_cpu(), pids: default_pids(), io: None }
    }
}

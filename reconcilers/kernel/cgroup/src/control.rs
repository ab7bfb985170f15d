//! The files of a group that limit it.

use std::fmt;

/// A control file of a container's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// `cpu.max`: microseconds of quota and period, `50000 100000`, or `max 100000`.
    CpuMax,
    /// `memory.max`: bytes, or `max`.
    MemoryMax,
    /// `memory.min`: bytes that are not taken from the group for anybody.
    MemoryMin,
    /// `memory.oom.group`: `1` when the out-of-memory killer ends all processes of the group together.
    MemoryOomGroup,
    /// `memory.swap.max`: bytes, or `max`.
    MemorySwapMax,
    /// `pids.max`: tasks, or `max`.
    PidsMax,
}

impl Control {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::CpuMax, Self::MemoryMax, Self::MemoryMin, Self::MemoryOomGroup, Self::MemorySwapMax, Self::PidsMax];

    /// The file's name.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::CpuMax => "cpu.max",
            Self::MemoryMax => "memory.max",
            Self::MemoryMin => "memory.min",
            Self::MemoryOomGroup => "memory.oom.group",
            Self::MemorySwapMax => "memory.swap.max",
            Self::PidsMax => "pids.max",
        }
    }

    /// The controller that brings it.
    #[must_use]
    pub fn controller(self) -> &'static str {
        match self {
            Self::CpuMax => "cpu",
            Self::MemoryMax | Self::MemoryMin | Self::MemoryOomGroup | Self::MemorySwapMax => "memory",
            Self::PidsMax => "pids",
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file())
    }
}

/// The time of a thousand processors: no limit, but one that the kernel keeps books of.
pub(super) const ALL_PROCESSORS: &str = "100000000 100000";

/// The controllers that containers are limited by.
pub const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

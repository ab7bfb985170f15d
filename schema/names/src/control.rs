//! The files by which a controller of control groups is set: pure, so that planners hold them and the door opens them.

use std::fmt;

/// A file of a control group, and the controller that brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ControlFile {
    /// The controller, as `cgroup.controllers` names it: `pids`.
    pub controller: &'static str,
    /// The file's name: `pids.max`.
    pub file: &'static str,
}

impl fmt::Display for ControlFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file)
    }
}

/// A disk, as the files of control groups and `/sys/dev/block` name it: `254:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// The number of its kind.
    pub major: u32,
    /// The number among its kind.
    pub minor: u32,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

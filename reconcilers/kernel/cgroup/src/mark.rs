//! What is written down with a group or a leaf.

/// What is written down with a leaf, in an attribute that only root of the device can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// By which launcher it was started.
    Launcher,
    /// How it is asked to end.
    Stop,
    /// How often in a row the runs before it failed.
    Ends,
    /// That it was asked to end, and when it is killed.
    Deadline,
    /// When it was killed first.
    Killed,
    /// What its health checks have come to.
    Checked,
}

impl Mark {
    pub(super) fn attribute(self) -> &'static str {
        match self {
            Self::Launcher => "trusted.catenoid.launcher",
            Self::Stop => "trusted.catenoid.stop",
            Self::Ends => "trusted.catenoid.ends",
            Self::Deadline => "trusted.catenoid.deadline",
            Self::Killed => "trusted.catenoid.killed",
            Self::Checked => "trusted.catenoid.checked",
        }
    }
}

/// The attribute of a container's group that says whether it is held still.
pub(super) const STILL: &str = "trusted.catenoid.still";
/// The most bytes of a mark.
pub const MARK_BYTES: usize = 512;

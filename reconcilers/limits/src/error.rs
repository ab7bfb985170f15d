//! What can go wrong in this room, and who must act.

use std::io;

use catenoid_core::RoomError;
use catenoid_kernel_cgroup as cgroup;
use catenoid_kernel_storage::disk;
use catenoid_schema::status::Blame;

use crate::Control;

/// What went wrong with control groups.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hierarchy could not be set up.
    #[error("failed to set up the hierarchy of control groups")]
    Prepare(#[source] cgroup::Error),
    /// Nothing reports changes.
    #[error("failed to listen to control groups")]
    Listen(#[source] io::Error),
    /// The groups could not be read.
    #[error("failed to read the control groups")]
    Observe(#[source] cgroup::Error),
    /// The disk could not be looked at.
    #[error("failed to look at the disk of the device's data")]
    ObserveDisk(#[source] disk::Error),
    /// The group could not be made.
    #[error("failed to make the control group of `{container}`")]
    MakeGroup {
        /// The container that was to have the group.
        container: String,
        /// What the kernel answered.
        source: cgroup::Error,
    },
    /// The limit could not be set.
    #[error("failed to set {control} of `{container}`")]
    SetLimit {
        /// The container that was to be limited.
        container: String,
        /// The control that could not be set.
        control: Control,
        /// What the kernel answered.
        source: cgroup::Error,
    },
    /// The limit is one of a disk.
    #[error("failed to set {control} of `{container}`: the device's data lie on no disk")]
    NoDisk {
        /// The container that was to be limited.
        container: String,
        /// The control that could not be set.
        control: Control,
    },
    /// The limit is one of a disk with a certain scheduler.
    #[error("failed to set {control} of `{container}`")]
    Scheduler {
        /// The container that was to be limited.
        container: String,
        /// The control that could not be set.
        control: Control,
        /// What could not be done with the disk.
        source: disk::Error,
    },
    /// The group could not be removed.
    #[error("failed to remove the control group of `{container}`")]
    RemoveGroup {
        /// The container that the group belongs to.
        container: String,
        /// What the kernel answered.
        source: cgroup::Error,
    },
    /// The group holds processes that have not ended yet.
    #[error("the control group of `{container}` is still in use")]
    InUse {
        /// The container that the group belongs to.
        container: String,
    },
}

impl RoomError for Error {
    fn blame(&self) -> Blame {
        match self {
            Self::Prepare(_) | Self::NoDisk { .. } => Blame::Administrator,
            Self::SetLimit { source: cgroup::Error::Controller { .. }, .. }
            | Self::Scheduler { source: disk::Error::NoScheduler { .. }, .. } => Blame::Administrator,
            // The kernel refuses a value that the rules of the manifest let pass.
            Self::SetLimit { source: cgroup::Error::Write { source, .. }, .. }
                if source.kind() == io::ErrorKind::InvalidInput =>
            {
                Blame::Us
            }
            Self::Listen(_)
            | Self::Observe(_)
            | Self::ObserveDisk(_)
            | Self::MakeGroup { .. }
            | Self::SetLimit { .. }
            | Self::Scheduler { .. }
            | Self::RemoveGroup { .. }
            | Self::InUse { .. } => Blame::Nobody,
        }
    }
}

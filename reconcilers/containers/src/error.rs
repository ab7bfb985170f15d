//! What can go wrong in this room, and who must act.

use catenoid_core::RoomError;
use catenoid_kernel_base::{Errno, process};
use catenoid_kernel_cgroup as cgroup;
use catenoid_kernel_net::namespace;
use catenoid_schema::{name::Name, status::Blame};

use crate::order::{LaunchFailure, LaunchStage};

/// What went wrong with containers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hierarchy of control groups could not be opened.
    #[error("failed to open the control groups")]
    Open(#[source] cgroup::Error),
    /// The control groups could not be read.
    #[error("failed to read the control groups of containers")]
    ObserveGroups(#[source] cgroup::Error),
    /// The processes could not be read.
    #[error("failed to read the processes of containers")]
    ObserveProcesses(#[source] process::Error),
    /// The namespaces could not be read.
    #[error("failed to read the namespaces of containers")]
    ObserveNamespaces(#[source] namespace::Error),
    /// Frozen processes could not be let go on.
    #[error("failed to let container `{container}` go on")]
    Thaw {
        /// The container whose processes are frozen.
        container: Name,
        /// What the kernel answered.
        source: cgroup::Error,
    },
    /// The first process could not be asked to end.
    #[error("failed to ask container `{container}` to end")]
    Ask {
        /// The container that was to end.
        container: Name,
        /// What the kernel answered.
        source: process::Error,
    },
    /// The processes could not be ended, or the leaf not be removed.
    #[error("failed to end container `{container}`")]
    End {
        /// The container that was to end.
        container: Name,
        /// What the kernel answered.
        source: cgroup::Error,
    },
    /// Something lives on after SIGKILL.
    #[error("container `{container}` still has processes after they were killed")]
    StillAlive {
        /// The container that was to end.
        container: Name,
    },
    /// It could not be written down how the container is asked to end.
    #[error("failed to write down how container `{container}` is asked to end")]
    Agree {
        /// The container that runs.
        container: Name,
        /// What the kernel answered.
        source: cgroup::Error,
    },
    /// What the container needs on the device could not be made.
    #[error("failed to make the control group of container `{container}`")]
    MakeLeaf {
        /// The container that was to start.
        container: Name,
        /// What the kernel answered.
        source: cgroup::Error,
    },
    /// The fifo for the container's output could not be made.
    #[error("failed to make the output of container `{container}`")]
    MakeOutput {
        /// The container that was to start.
        container: Name,
        /// What the kernel answered.
        source: process::Error,
    },
    /// The launcher could not be run.
    #[error("failed to run the launcher for container `{container}`")]
    Launcher {
        /// The container that was to start.
        container: Name,
        /// What the kernel answered.
        source: process::Error,
    },
    /// The launcher gave no answer (our fault).
    #[error("the launcher gave no answer for container `{container}`")]
    NoAnswer {
        /// The container that was to start.
        container: Name,
    },
    /// The container could not be started.
    #[error("failed to start container `{container}` (stage {}): {}", failure.stage, failure.message)]
    Start {
        /// The container that was to start.
        container: Name,
        /// Where and why.
        failure: LaunchFailure,
    },
    /// Work was cut short as the agent ends.
    #[error("the agent ends")]
    Stopped,
}

/// Who must act after a launch that failed.
fn blame_for_launch(failure: &LaunchFailure) -> Blame {
    let errno = failure.errno.map(Errno::from_raw);
    match failure.stage {
        LaunchStage::Order => Blame::Us,
        // The program, or the folder it starts in, is not in the guest as it should be.
        LaunchStage::Confine | LaunchStage::Execute => match errno {
            Some(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ENOEXEC) => Blame::ManifestAuthor,
            _ => Blame::Nobody,
        },
        // A guest without the folders that file systems are mounted on, or with links there.
        LaunchStage::Mount => match errno {
            Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Blame::ManifestAuthor,
            _ => Blame::Nobody,
        },
        LaunchStage::Prepare | LaunchStage::Clone | LaunchStage::Join => Blame::Nobody,
    }
}

impl RoomError for Error {
    fn blame(&self) -> Blame {
        match self {
            Self::Start { failure, .. } => blame_for_launch(failure),
            Self::NoAnswer { .. } => Blame::Us,
            Self::Open(_) | Self::StillAlive { .. } => Blame::Administrator,
            Self::ObserveGroups(_)
            | Self::ObserveProcesses(_)
            | Self::ObserveNamespaces(_)
            | Self::Thaw { .. }
            | Self::Ask { .. }
            | Self::End { .. }
            | Self::Agree { .. }
            | Self::MakeLeaf { .. }
            | Self::MakeOutput { .. }
            | Self::Launcher { .. }
            | Self::Stopped => Blame::Nobody,
        }
    }
}

/// What went wrong while reading.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObserveError {
    #[error(transparent)]
    Groups(#[from] cgroup::Error),
    #[error(transparent)]
    Processes(#[from] process::Error),
    #[error(transparent)]
    Namespaces(#[from] namespace::Error),
}

/// What went wrong with the end of a process.
#[derive(Debug, thiserror::Error)]
pub enum ReapError {
    /// Ended children could not be asked for or let go.
    #[error("failed to reap children")]
    Reap(#[source] process::Error),
    /// The end of a container could not be recorded. It is reaped all the same.
    #[error("failed to record the end of container `{container}`")]
    Record {
        /// The container that ended.
        container: Name,
        /// What the kernel answered.
        source: process::Error,
    },
    /// The namespaces of a container that used up its memory outlive it. Its end is recorded and it is reaped all the same.
    #[error("failed to let go of the namespaces of container `{container}`")]
    Namespaces {
        /// The container that ended.
        container: Name,
        /// What the kernel answered.
        source: namespace::Error,
    },
}

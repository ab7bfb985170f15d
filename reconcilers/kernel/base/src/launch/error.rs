//! What can go wrong in a launch.

use std::{io, path::PathBuf};

use crate::{files, seccomp};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that the launch needs could not be opened.
    #[error("failed to open `{}`", path.display())]
    Open {
        /// The path that could not be opened.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The container's output could not be opened.
    #[error(transparent)]
    Output(#[from] files::Error),
    /// A mount could not be cloned.
    #[error("failed to clone the mount of `{}`", path.display())]
    CloneMount {
        /// The path whose mount was to be cloned.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The attributes of a mount could not be set.
    #[error("failed to restrict the mount of `{}`", path.display())]
    Restrict {
        /// The path whose mount was to be restricted.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The ids of a mount could not be mapped.
    #[error("failed to map the ids of the mount of `{}`", path.display())]
    MapIds {
        /// The path whose mount was to have its ids mapped.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file system could not be made.
    #[error("failed to make a `{kind}` file system")]
    FileSystem {
        /// Its type.
        kind: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A mount could not be attached.
    #[error("failed to mount at `{}`", path.display())]
    Attach {
        /// The path that was to be mounted at.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A folder, file or link could not be made.
    #[error("failed to make `{}`", path.display())]
    Make {
        /// The path that could not be made.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A namespace could not be entered.
    #[error("failed to enter namespace `{}`", path.display())]
    Enter {
        /// The file that the namespace is kept by.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The namespaces of a process could not be entered.
    #[error("failed to enter the namespaces of process {pid}")]
    Join {
        /// The process whose namespaces were to be entered.
        pid: u32,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A namespace could not be left for a new one.
    #[error("failed to make a new {kind} namespace")]
    Unshare {
        /// The kind of namespace that was to be made.
        kind: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A process with several threads cannot be cloned safely (our fault).
    #[error("a process with several threads cannot launch")]
    Threads,
    /// The container's first process could not be made.
    #[error("failed to clone into cgroup `{}`", path.display())]
    Clone {
        /// The leaf.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The root could not be changed.
    #[error("failed to make `{}` the root", path.display())]
    Pivot {
        /// The new root.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A property of the process could not be set.
    #[error("failed to set {what}")]
    Set {
        /// The property that could not be set.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A set of capabilities could not be set.
    #[error("failed to set the {set} capabilities")]
    Capabilities {
        /// Which set.
        set: &'static str,
        /// What the kernel answered, as `caps` says it.
        source: caps::errors::CapsError,
    },
    /// A number that is no capability.
    #[error("{number} is not the number of a capability")]
    NoCapability {
        /// What was given.
        number: u8,
    },
    /// The system call filter was not taken.
    #[error(transparent)]
    Filter(#[from] seccomp::Error),
    /// A text with a NUL.
    #[error("`{text}` has a NUL")]
    Nul {
        /// What was given.
        text: String,
    },
    /// The program could not be executed.
    #[error("failed to execute `{program}`")]
    Execute {
        /// The program that could not be executed.
        program: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl Error {
    /// The kernel's error number, where a system call failed.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        let source = std::error::Error::source(self)?;
        source.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
    }
}

/// A property of the process, `what`, could not be set.
pub(super) fn set(what: &'static str, source: impl Into<io::Error>) -> Error {
    Error::Set { what, source: source.into() }
}

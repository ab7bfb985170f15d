//! What can go wrong with control groups.

use std::{io, path::PathBuf};

use catenoid_names::ControlFile;

/// What went wrong. The path is that of the group or control file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base folder could not be opened.
    #[error("failed to open cgroup hierarchy `{}`", path.display())]
    Open {
        /// Where it should be.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A name that is not a single path component.
    #[error("`{name}` cannot name a cgroup or a file of one")]
    Name {
        /// What was given.
        name: String,
    },
    /// The kernel does not offer the controller, or it is not enabled for this group.
    #[error("cgroup `{}` has no `{control}`: the kernel lacks the controller `{}`", path.display(), control.controller)]
    Controller {
        /// The group.
        path: PathBuf,
        /// What it lacks.
        control: ControlFile,
    },
    /// A group could not be made.
    #[error("failed to make cgroup `{}`", path.display())]
    Make {
        /// The group.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A group could not be removed; `EBUSY` when there is a process or a group in it.
    #[error("failed to remove cgroup `{}`", path.display())]
    Remove {
        /// The group.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A control file or the list of groups could not be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The control file or group that could not be read.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A control file could not be written.
    #[error("failed to write `{value}` to `{}`", path.display())]
    Write {
        /// The control file that could not be written.
        path: PathBuf,
        /// The text that was to be written.
        value: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A control file holds what the kernel's documentation does not describe.
    #[error("`{}` holds `{text}`, which is not its format", path.display())]
    Format {
        /// The control file that has another format.
        path: PathBuf,
        /// The line at fault.
        text: String,
    },
}

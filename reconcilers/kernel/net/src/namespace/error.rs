//! What can go wrong with namespaces.

use std::{io, path::PathBuf};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespaces could not be made.
    #[error("failed to make a user and a network namespace")]
    Make(#[source] io::Error),
    /// The ids could not be mapped.
    #[error("failed to map ids to {count} from {base} on")]
    Map {
        /// The first of the range.
        base: u32,
        /// How many ids were to be mapped.
        count: u32,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A namespace could not be kept.
    #[error("failed to keep a namespace at `{}`", path.display())]
    Keep {
        /// The file that was to keep it.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A namespace could not be let go.
    #[error("failed to let go of the namespace at `{}`", path.display())]
    LetGo {
        /// The file or folder that still keeps it.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The folder could not be read.
    #[error("failed to read the namespaces at `{}`", path.display())]
    Read {
        /// The file or folder that could not be read.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A thread could not enter a network namespace.
    #[error("failed to enter a network namespace")]
    Enter(#[source] io::Error),
    /// A setting of the network namespace could not be read or written.
    #[error("failed to set `{key}`")]
    Setting {
        /// Below `/proc/sys/net`.
        key: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

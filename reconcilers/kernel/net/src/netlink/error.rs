//! What can go wrong with links, addresses and routes.

use std::io;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no socket to the kernel.
    #[error("failed to open a netlink socket")]
    Open(#[source] io::Error),
    /// The list could not be read.
    #[error("failed to list {what}")]
    List {
        /// What was to be listed, in the plural.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The change was refused.
    #[error("failed to {what} interface `{interface}`")]
    Change {
        /// A verb: `make`, `remove`, `move`.
        what: &'static str,
        /// The interface that was to be changed.
        interface: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// No interface has this name.
    #[error("there is no interface `{interface}`")]
    Missing {
        /// The name that no interface has.
        interface: String,
    },
}

impl Error {
    /// Whether a listing broke off at an entry that is longer than what the kernel lists.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::List { source, .. } if source.raw_os_error() == Some(libc::EMSGSIZE))
    }
}

//! Why a recipe cannot be followed.

use catenoid_schema::guest::RootError;

use super::super::path::GuestPath;

/// Why a recipe cannot be followed. Its author must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// A list is over its limit.
    #[error("{count} items are more than the limit of {limit}")]
    TooMany {
        /// Where the list is.
        field: &'static str,
        /// How many items it has.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The default command, its environment or directory cannot be one.
    #[error("{problem}")]
    Defaults {
        /// Where the field is.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// Something that no container would see.
    #[error("`{dest}` would not be seen: each container mounts a `{mounted}` of its own there")]
    Hidden {
        /// Where the path is written.
        field: String,
        /// The path in the image.
        dest: GuestPath,
        /// What is mounted.
        mounted: &'static str,
    },
    /// What it names lies elsewhere than it may.
    #[error("`{path}` {problem}")]
    Elsewhere {
        /// Where the path is written.
        field: String,
        /// What it names.
        path: String,
        /// What is wrong with that.
        problem: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// The root cannot be as large as that.
    #[error(transparent)]
    Root(RootError),
}

impl Error {
    pub(super) fn field(&self) -> &str {
        match self {
            Self::TooMany { field, .. } | Self::Defaults { field, .. } => field,
            Self::Hidden { field, .. } | Self::Elsewhere { field, .. } => field,
            Self::Root(_) => "root.tmpfs.size",
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Hidden { .. } => {
                "put it elsewhere, such as below `/var/lib`, or let the command of the container make it"
            }
            Self::Elsewhere { hint, .. } => hint,
            Self::TooMany { .. } | Self::Defaults { .. } | Self::Root(_) => return None,
        };
        Some(hint.to_owned())
    }
}

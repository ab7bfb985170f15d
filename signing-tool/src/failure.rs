//! What ends a command, and with which exit code.

use std::error::Error as StdError;

/// Why a command did not do what it was asked to. The numbers are the exit codes, which are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The input was read and is refused.
    Refused = 1,
    /// The command line makes no sense (clap's own code).
    Usage = 2,
    /// A file, tool or the system failed.
    System = 3,
}

/// An error with what a person needs beside it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the program ends with.
    pub(crate) exit: Exit,
    /// What went wrong.
    pub(crate) error: Box<dyn StdError + Send + Sync>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Whether everything to be said is on the screen already.
    pub(crate) shown: bool,
}

impl Failure {
    /// The input is refused because of `error`.
    pub(crate) fn refused(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { exit: Exit::Refused, error: error.into(), hint: None, shown: false }
    }

    /// The command line makes no sense because of `error`.
    pub(crate) fn usage(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { exit: Exit::Usage, ..Self::refused(error) }
    }

    /// The system failed with `error`.
    pub(crate) fn system(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { exit: Exit::System, ..Self::refused(error) }
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// Everything to be said is on the screen already.
    pub(crate) fn shown(mut self) -> Self {
        self.shown = true;
        self
    }
}

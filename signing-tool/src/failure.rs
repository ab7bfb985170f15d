//! What ends a command, and with which exit code.

use std::error::Error as StdError;
use std::process::ExitCode;

use crate::terminal::{note, set_in};

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
    exit: Exit,
    error: Box<dyn StdError + Send + Sync>,
    hint: Option<String>,
    shown: bool,
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

    /// Prints `error: ...`, one `because: ...` for each cause and `hint: ...` to standard error.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.shown {
            note(&format!("error: {}", set_in(&self.error.to_string())));
            let mut cause = self.error.source();
            while let Some(error) = cause {
                note(&format!("  because: {}", set_in(&error.to_string())));
                cause = error.source();
            }
            if let Some(hint) = &self.hint {
                note(&format!("hint: {}", set_in(hint)));
            }
        }
        ExitCode::from(self.exit as u8)
    }
}

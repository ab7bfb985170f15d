//! What can go wrong with processes.

use std::{io, path::PathBuf};

use crate::files;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record or a fifo could not be made, read or written.
    #[error(transparent)]
    Record(#[from] files::Error),
    /// A tool could not be started.
    #[error("failed to run `{}`", program.display())]
    Spawn {
        /// The program that could not be started.
        program: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A tool could not be spoken to.
    #[error("failed to speak to `{}`", program.display())]
    Speak {
        /// The program that was spoken to.
        program: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file about a process could not be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file that could not be read.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file of `/proc` has not the format of proc(5).
    #[error("`{}` has not its format", path.display())]
    Format {
        /// The file that has another format.
        path: PathBuf,
    },
    /// A process could not be signalled.
    #[error("failed to send {signal} to process {pid}")]
    Signal {
        /// The process that was to get the signal.
        pid: u32,
        /// The signal's number.
        signal: i32,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Ended children could not be asked for.
    #[error("failed to wait for children")]
    Wait(#[source] io::Error),
    /// A folder could not be watched.
    #[error("failed to watch `{}`", path.display())]
    Watch {
        /// The folder that could not be watched.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

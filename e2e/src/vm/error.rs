//! What can go wrong with a machine.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::firmware::FirmwareError;
use crate::qmp::QmpError;
use crate::root_shell::RootShellError;

/// What went wrong with a VM; the tail of its console is in the message where it explains.
#[derive(Debug, Error)]
pub enum VmError {
    /// A file of the VM's directory.
    #[error("failed to {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that should be there.
    #[error("failed to run `{program}` (hint: `cargo xtask setup` installs what is needed)")]
    Program {
        /// Its name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program that ran and failed.
    #[error("`{program}` failed: {output}")]
    Failed {
        /// Its name.
        program: String,
        /// What it printed.
        output: String,
    },
    /// The firmware's variables could not be prepared.
    #[error("failed to enrol the platform keys")]
    Firmware(#[from] FirmwareError),
    /// The machine protocol.
    #[error("failed to steer QEMU")]
    Qmp(#[from] QmpError),
    /// The console did not say what was waited for.
    #[error("no `{pattern}` on the console within {seconds} s; its end:\n{tail}")]
    Console {
        /// What was waited for.
        pattern: String,
        /// How long.
        seconds: u64,
        /// The last lines.
        tail: String,
    },
    /// QEMU ended while something was waited for.
    #[error("the machine went off before `{pattern}` stood on the console; its end:\n{tail}")]
    Ended {
        /// What was waited for.
        pattern: String,
        /// The last lines.
        tail: String,
    },
    /// QEMU did not get to its sockets.
    #[error("QEMU did not start: {log}")]
    Start {
        /// What it printed.
        log: String,
    },
    /// Root in the device, test image only.
    #[error("failed to reach root in the device; the console's end:\n{tail}")]
    Root {
        /// Which part.
        source: RootShellError,
        /// The last lines.
        tail: String,
    },
}

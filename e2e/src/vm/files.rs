//! Files, sockets and programs on the host.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::VmError;

/// Copies a disk image and keeps its holes.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<(), VmError> {
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto", "--"]).arg(from).arg(to)).map(drop)
}

/// A path to `name` in an open directory: short enough for a socket address whatever the checkout's path is.
pub fn through(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

pub(super) fn free_port() -> Result<u16, VmError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| VmError::File { action: "find a free port on", path: PathBuf::from("127.0.0.1"), source })
}

/// Runs a program that must succeed; what it printed.
pub(super) fn run(command: &mut Command) -> Result<String, VmError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| VmError::Program { program: program.clone(), source })?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(VmError::Failed { program, output: text })
}

pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VmError {
    let path = path.to_owned();
    move |source| VmError::File { action, path, source }
}

//! Who a process is, by `/proc`, and signals to it.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{Error, FILE_LIMIT};
use crate::fault::{at, look};

/// What distinguishes a process, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its pid in our namespace, and in each one further in.
    pub pids: Vec<u32>,
    /// When it started, in clock ticks (1/100 s) after boot. With the pid this names one process for good.
    pub started: u64,
    /// Its cgroup, as `/proc/<pid>/cgroup` shows it: from our cgroup namespace's root.
    pub cgroup: String,
    /// Signals that it catches or blocks; bit 0 is signal 1. The first process of a pid namespace is never ended by
    /// another one (pid_namespaces(7)), but by SIGKILL.
    pub handled: u64,
}

/// What `/proc` reports of `pid`; `None` if there is no such process. A zombie still has all of it.
///
/// # Errors
/// [`Error::Read`], [`Error::Format`].
pub fn identity(pid: u32) -> Result<Option<Identity>, Error> {
    let (Some(status), Some((stat_path, stat)), Some((_, cgroups))) =
        (Status::read(pid)?, read_of(pid, "stat")?, read_of(pid, "cgroup")?)
    else {
        return Ok(None);
    };
    let pids = status.line("NSpid:")?.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    let pids = pids.map_err(|_| status.format())?;
    // The second field is the program's name in parentheses, which may hold anything; 20 fields on is the start time.
    let started = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok());
    let started = started.ok_or(Error::Format { path: stat_path })?;
    // Hierarchy 0 is version 2 (cgroups(7)).
    let cgroup = cgroups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned();
    Ok(Some(Identity { pids, started, cgroup, handled: status.mask("SigCgt:")? | status.mask("SigBlk:")? }))
}

/// Whether `pid` is gone, or was killed and is to end as soon as the kernel lets it: SIGKILL waits for it.
///
/// # Errors
/// [`Error::Read`], [`Error::Format`].
pub fn is_killed(pid: u32) -> Result<bool, Error> {
    let Some(status) = Status::read(pid)? else { return Ok(true) };
    Ok((status.mask("SigPnd:")? | status.mask("ShdPnd:")?) >> (libc::SIGKILL - 1) & 1 == 1)
}

/// The file `status` of a process.
struct Status {
    path: PathBuf,
    text: String,
}

impl Status {
    fn read(pid: u32) -> Result<Option<Self>, Error> {
        Ok(read_of(pid, "status")?.map(|(path, text)| Self { path, text }))
    }

    fn line(&self, key: &str) -> Result<&str, Error> {
        self.text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).ok_or_else(|| self.format())
    }

    /// Signals; bit 0 is signal 1.
    fn mask(&self, key: &str) -> Result<u64, Error> {
        u64::from_str_radix(self.line(key)?, 16).map_err(|_| self.format())
    }

    fn format(&self) -> Error {
        Error::Format { path: self.path.clone() }
    }
}

/// A file of `/proc/<pid>`, and where it is; `None` if there is no such process.
fn read_of(pid: u32, name: &str) -> Result<Option<(PathBuf, String)>, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/{name}"));
    match look("process.look", || read_bounded(&path)) {
        Err(source) if gone(&source) => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
        Ok(text) => Ok(Some((path, text))),
    }
}

fn gone(error: &io::Error) -> bool {
    // ESRCH: the process went away between open and read.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// A program's name, which is any bytes that it likes, is in some of these files: what is not UTF-8 is replaced.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The unit of [`Identity::started`] in milliseconds: `USER_HZ` is 100 on every architecture that we run on (time(7)).
pub const TICK_MILLISECONDS: u64 = 10;

/// The time since boot, including sleep, in the unit of [`Identity::started`].
#[must_use]
pub fn ticks_since_boot() -> u64 {
    let now = nix::time::ClockId::CLOCK_BOOTTIME.now().map_or(std::time::Duration::ZERO, Into::into);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / TICK_MILLISECONDS
}

/// The inode of a folder; of a cgroup, the id by which no later cgroup of this boot is called. `None` if it is not there.
///
/// # Errors
/// [`Error::Read`].
pub fn folder_id(path: &Path) -> Result<Option<u64>, Error> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(std::os::unix::fs::MetadataExt::ino(&metadata))),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// Sends `signal` to the process `pid` that started at `started`. Another process that has the pid by now is left alone;
/// one that is gone needs no signal.
///
/// # Errors
/// [`Error::Signal`], [`Error::Read`], [`Error::Format`].
pub fn signal(pid: u32, started: u64, signal: i32) -> Result<(), Error> {
    let error = |source: Errno| Error::Signal { pid, signal, source: source.into() };
    let (Some(raw), Some(named)) = (Pid::from_raw(pid.cast_signed()), Signal::from_named_raw(signal)) else {
        return Err(error(Errno::INVAL));
    };
    let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(()),
        Err(source) => return Err(error(source)),
    };
    // Looked at once the pidfd holds it: what it says is of the process that gets the signal.
    if identity(pid)?.is_none_or(|found| found.started != started) {
        return Ok(());
    }
    match at("process.signal", || pidfd_send_signal(&pidfd, named)) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(source) => Err(error(source)),
    }
}

/// What distinguishes a program from every other one: 16 hex digits of the SHA-256 of its file; nothing where there is none.
#[must_use]
pub fn program(path: &Path) -> String {
    use sha2::Digest as _;
    let digest =
        |bytes: Vec<u8>| sha2::Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    look("process.program", || std::fs::read(path)).map(digest).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn another_process_with_the_same_pid_is_left_alone() {
        let mut child = Command::new("/bin/sleep").arg("100").spawn().unwrap();
        let started = identity(child.id()).unwrap().unwrap().started;
        signal(child.id(), started + 1, libc::SIGKILL).unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        signal(child.id(), started, libc::SIGKILL).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(libc::SIGKILL));
    }
}

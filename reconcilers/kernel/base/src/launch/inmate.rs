//! Into a container that runs: a process in its namespaces, and what became of it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use nix::sched::CloneFlags;

use super::{Error, set};
use crate::{
    fault::look,
    process::{self, End},
    wait::{For, wait},
};

/// A process that runs in a container, whose namespaces can be entered.
#[derive(Debug)]
pub struct Inmate {
    process: OwnedFd,
    pid: u32,
}

impl Inmate {
    /// Opens the process `pid` that started at the tick `started`. None if it is gone.
    ///
    /// # Errors
    /// [`Error::Join`].
    pub fn open(pid: u32, started: u64) -> Result<Option<Self>, Error> {
        let failed = |source: io::Error| Error::Join { pid, source };
        let Some(raw) = rustix::process::Pid::from_raw(pid.cast_signed()) else { return Ok(None) };
        let process = match rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            opened => opened.map_err(|errno| failed(errno.into()))?,
        };
        // Looked at once it is held: what it says is of that process.
        let identity = process::identity(pid).map_err(|error| failed(io::Error::other(error)))?;
        Ok(identity.filter(|identity| identity.started == started).map(|_| Self { process, pid }))
    }

    /// Enters all its namespaces but that of control groups; only children are in that of processes. So a child, which the
    /// container can see, never sees more than it. The clocks are the container's from then on.
    ///
    /// # Errors
    /// [`Error::Join`].
    pub fn approach(&self) -> Result<(), Error> {
        // `nix` has no name for it.
        let time = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
        let (user, mounts) = (CloneFlags::CLONE_NEWUSER, CloneFlags::CLONE_NEWNS);
        let others = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        self.enter(user | mounts | others | CloneFlags::CLONE_NEWPID | time)
    }

    /// Enters that of control groups: for a child that is in its group.
    ///
    /// # Errors
    /// [`Error::Join`].
    pub fn join(&self) -> Result<(), Error> {
        self.enter(CloneFlags::CLONE_NEWCGROUP)
    }

    fn enter(&self, namespaces: CloneFlags) -> Result<(), Error> {
        let entered = look("launch.join", || nix::sched::setns(&self.process, namespaces));
        entered.map_err(|errno| Error::Join { pid: self.pid, source: errno.into() })
    }
}

/// Nobody may look into this process from now on, nor trace it: until it executes a program.
///
/// # Errors
/// [`Error::Set`].
pub fn hide() -> Result<(), Error> {
    nix::sys::prctl::set_dumpable(false).map_err(|e| set("that it cannot be looked into", e))
}

/// This process is killed once its parent is gone.
///
/// # Errors
/// [`Error::Set`].
pub fn end_with_parent() -> Result<(), Error> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|e| set("the signal of its parent's end", e))
}

/// What a child did.
#[derive(Debug)]
pub struct Deed {
    /// How it ended; nothing if it did not in time, and was killed.
    pub end: Option<End>,
    /// The last part of what it wrote.
    pub output: Vec<u8>,
}

/// Waits for the end of the child `pid`, which leads a session, and reads `output`, of which the last `most` bytes are kept. At
/// `until` it is killed, with what it started and did not send away.
///
/// # Errors
/// [`Error::Set`].
pub fn observe_child(pid: u32, output: OwnedFd, most: usize, until: Instant) -> Result<Deed, Error> {
    let failed = |source: io::Error| Error::Set { what: "the child's end", source };
    let raw =
        rustix::process::Pid::from_raw(pid.cast_signed()).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let child = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()).map_err(|e| failed(e.into()))?;
    rustix::io::ioctl_fionbio(&output, true).map_err(|e| failed(e.into()))?;
    let (mut kept, mut open) = (Vec::new(), true);
    let mut ended = false;
    while !ended && Instant::now() < until {
        let sources = [(child.as_fd(), For::Input), (output.as_fd(), For::Input)];
        let woke = wait(&sources[..1 + usize::from(open)], until).map_err(failed)?;
        ended = woke[0];
        open = open && read_last(&output, most, &mut kept).map_err(failed)?;
    }
    if !ended {
        // Itself, as it may be no leader yet, and whoever is of its session's group.
        let _ = rustix::process::kill_process(raw, rustix::process::Signal::KILL);
    }
    let _ = rustix::process::kill_process_group(raw, rustix::process::Signal::KILL);
    let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid.cast_signed()), None);
    let end = match status.map_err(|errno| failed(errno.into()))? {
        _ if !ended => None,
        nix::sys::wait::WaitStatus::Exited(_, code) => Some(End::Code(code)),
        nix::sys::wait::WaitStatus::Signaled(_, signal, _) => Some(End::Signal(signal as i32)),
        _ => None,
    };
    Ok(Deed { end, output: kept })
}

/// Reads what is there now, a pipe's worth at most; whether more may come.
fn read_last(from: &OwnedFd, most: usize, kept: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    for _ in 0..16 {
        match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                kept.extend_from_slice(&buffer[..count]);
                kept.drain(..kept.len().saturating_sub(most));
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}

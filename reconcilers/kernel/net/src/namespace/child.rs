//! The process that a pair is made by.

#![allow(unsafe_code, reason = "fork, and a system call that no crate has")]

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read as _},
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

use nix::{
    fcntl::OFlag,
    sched::{CloneFlags, unshare},
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, pipe2},
};

/// What every user of a container may have of inotify: half of what root has of instances by default, and as many watches
/// as it takes to follow a large tree of files (1 KiB each, of the container's memory).
const COUNTS: [(&CStr, &[u8]); 2] =
    [(c"/proc/sys/user/max_inotify_instances", b"64"), (c"/proc/sys/user/max_inotify_watches", b"16384")];

/// A process in a new user and a new network namespace, that does nothing until it is dropped, or until its `hold` is closed
/// by the end of ours.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    _hold: OwnedFd,
}

impl Child {
    /// `owner` is who makes the namespaces.
    pub(super) fn start(owner: u32) -> io::Result<Self> {
        let (hold, held) = pipe2(OFlag::O_CLOEXEC).map(|(read, write)| (write, read))?;
        let (answer, writer) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: the child calls setresuid, unshare, open, write, close, read and _exit only, all of them
        // async-signal-safe system calls; it allocates nothing and takes no lock.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let errno = match unshare_as(owner) {
                    Ok(()) => 0,
                    Err(errno) => errno as i32,
                };
                let _ = nix::unistd::write(&writer, &errno.to_ne_bytes());
                // Its own copy of the other end would keep it from ever reading the end of the pipe.
                let _ = nix::unistd::close(hold.as_raw_fd());
                let _ = nix::unistd::read(&held, &mut [0]);
                // SAFETY: _exit ends the process without running anything of ours.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                drop((held, writer));
                let child = Self { pid: child, _hold: hold };
                let mut errno = [0; 4];
                File::from(answer).read_exact(&mut errno)?;
                match i32::from_ne_bytes(errno) {
                    0 => Ok(child),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                }
            }
        }
    }

    /// One of its files in `/proc`. The process is there until we wait for it, so nobody else has its number.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }
}

/// Makes the namespaces of the calling process, as `owner`, and sets [`COUNTS`].
fn unshare_as(owner: u32) -> nix::Result<()> {
    const UNCHANGED: libc::uid_t = libc::uid_t::MAX;
    // The system call itself: that of a libc changes all threads, of which the parent's are not here.
    // SAFETY: it takes numbers only.
    nix::errno::Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, UNCHANGED, owner, UNCHANGED) })?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    for (path, value) in COUNTS {
        let file = nix::fcntl::open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
        nix::unistd::write(&file, value)?;
    }
    Ok(())
}

impl Drop for Child {
    fn drop(&mut self) {
        // Another child that was forked since has a copy of `hold`, so that closing ours need not end this one.
        let _ = kill(self.pid, Signal::SIGKILL);
        // It cannot fail: the child is ours and nobody else waits for it.
        while waitpid(self.pid, None) == Err(nix::Error::EINTR) {}
    }
}

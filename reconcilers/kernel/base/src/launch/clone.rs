//! The container's first process, and those that come beside it: clones of this process, made into a cgroup.

#![allow(unsafe_code, reason = "`clone3`, which `rustix` and `nix` lack")]

use std::{io, os::fd::AsRawFd};

use super::{Error, MountTarget};
use crate::fault::at;

/// On which side of the clone we are.
#[derive(Debug)]
pub enum Side {
    /// The launcher, which has a child now.
    Launcher {
        /// The child, in the launcher's pid namespace.
        pid: u32,
    },
    /// The first process of the container.
    Container,
}

/// Clones this process into `leaf` (a cgroup opened with `O_PATH`), with mount, pid, ipc and uts namespaces of its own
/// that belong to the user namespace it is in.
///
/// # Errors
/// [`Error::Threads`], [`Error::Clone`].
pub fn clone_into(leaf: &MountTarget) -> Result<Side, Error> {
    let error = |source: io::Error| Error::Clone { path: leaf.path.clone(), source };
    if at("launch.clone", threads).map_err(error)? != 1 {
        return Err(Error::Threads);
    }
    clone(leaf, libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS)
}

/// Clones this process into `leaf`, beside what runs there. It has one thread: the kernel lets no other one approach.
///
/// # Errors
/// [`Error::Clone`].
pub fn clone_beside(leaf: &MountTarget) -> Result<Side, Error> {
    clone(leaf, 0)
}

fn clone(leaf: &MountTarget, namespaces: libc::c_int) -> Result<Side, Error> {
    let error = |source: io::Error| Error::Clone { path: leaf.path.clone(), source };
    // SAFETY: all zeros is a valid `clone_args`: no stack, no tid pointers, no pidfd.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from(namespaces.cast_unsigned()) | CLONE_INTO_CGROUP;
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    arguments.cgroup = u64::from(leaf.fd.as_raw_fd().cast_unsigned());
    // SAFETY: without CLONE_VM this is a fork; with a single thread no lock is held by a thread that is not in the child.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match result {
        0 => Ok(Side::Container),
        pid if pid > 0 => Ok(Side::Launcher { pid: u32::try_from(pid).expect("a pid is below 2^22") }),
        _ => Err(error(io::Error::last_os_error())),
    }
}

/// linux/sched.h; `libc` has it as a signed number that does not fit.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn threads() -> io::Result<usize> {
    std::fs::read_dir("/proc/self/task").map(Iterator::count)
}

/// Waits for the end of the child.
///
/// # Errors
/// [`Error::Set`].
pub fn wait_for(pid: u32) -> Result<(), Error> {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::wait::waitpid(pid, None).map(drop).map_err(|e| Error::Set { what: "the child's end", source: e.into() })
}

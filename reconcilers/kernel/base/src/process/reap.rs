//! Children that ended.

#![allow(unsafe_code, reason = "`waitid` as `rustix` does not offer it")]

use std::io;

use rustix::{
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, waitid},
};

use super::Error;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By a signal of this number.
    Signal(i32),
}

/// A child that ended and waits to be reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zombie {
    /// Its pid.
    pub pid: u32,
    /// How it ended.
    pub end: End,
}

/// The next child that ended, if one did; it stays until [`reap`]. Orphans are PID 1's children.
///
/// # Errors
/// [`Error::Wait`].
pub fn ended_child() -> Result<Option<Zombie>, Error> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // By `libc`: `rustix` does not report the pid of who ended.
    // SAFETY: all zeros is a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = i32::try_from(options.bits()).expect("flags of waitid are small");
    loop {
        // SAFETY: `info` lives over the call; P_ALL takes no id.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
        if result == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(Error::Wait(error)),
        }
    }
    // SAFETY: waitid filled in the fields of SIGCHLD, or left the pid zero when nobody ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let end = if info.si_code == libc::CLD_EXITED { End::Code(status) } else { End::Signal(status) };
    Ok(u32::try_from(pid).ok().filter(|pid| *pid != 0).map(|pid| Zombie { pid, end }))
}

/// Lets go of an ended child.
///
/// # Errors
/// [`Error::Wait`].
pub fn reap(zombie: Zombie) -> Result<(), Error> {
    let Some(pid) = Pid::from_raw(zombie.pid.cast_signed()) else { return Ok(()) };
    match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(_) | Err(Errno::CHILD) => Ok(()),
        Err(source) => Err(Error::Wait(source.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process::{Identity, identity};

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is reaped by the door under test")]
    fn a_zombie_keeps_its_identity_until_it_is_reaped() {
        let child = Command::new("/bin/false").spawn().unwrap();
        let zombie = loop {
            if let Some(zombie) = ended_child().unwrap() {
                break zombie;
            }
        };
        assert_eq!(zombie, Zombie { pid: child.id(), end: End::Code(1) });
        let identity = identity_of(zombie.pid).expect("a zombie is in /proc");
        assert_eq!(identity.pids.first(), Some(&zombie.pid));
        let own = identity_of(std::process::id()).expect("we are there");
        assert_eq!(identity.cgroup, own.cgroup);
        assert!(identity.started >= own.started);
        reap(zombie).unwrap();
        assert_eq!(identity_of(zombie.pid), None);
    }

    fn identity_of(pid: u32) -> Option<Identity> {
        identity(pid).unwrap()
    }
}

//! What this process is and has: what it inherited, its session, ids and descriptors; and the program that takes its place.

#![allow(unsafe_code, reason = "system calls that `rustix` and `nix` lack")]

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{Error, set};
use crate::{fault::at, files, process::OPEN_FILES};

/// Opens the fifo at `path`, which outlives both ends: reading and writing, so that no reader's death ends a writer, and
/// without blocking, so that a missing reader holds nobody up. Its owner becomes `uid`:`gid` (of the host), who may open
/// `/dev/stdout` then.
///
/// # Errors
/// [`Error::Output`], [`Error::Open`].
pub fn open_log(path: &Path, uid: u32, gid: u32) -> Result<OwnedFd, Error> {
    let error = |source: rustix::io::Errno| Error::Open { path: path.to_owned(), source: source.into() };
    let fd = files::open_pipe(path)?.ok_or_else(|| error(rustix::io::Errno::NOENT))?;
    give(&fd, uid, gid)?;
    Ok(fd)
}

/// The owner of an output becomes `uid`:`gid` (of the host), who may open `/dev/stdout` then.
///
/// # Errors
/// [`Error::Set`].
pub fn give(output: &impl AsFd, uid: u32, gid: u32) -> Result<(), Error> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::fchown(output, Some(uid), Some(gid)).map_err(|e| set("the owner of the output", e))
}

/// The kernel adds thousandths of the memory to what a process uses when it looks for one to end (proc(5)).
const SCORE: &str = "/proc/self/oom_score_adj";
/// Of who is ended after others.
const SPARED: i32 = -500;

/// Whether the kernel ends a process before others when memory runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomScore {
    /// It is as likely to be ended as others are.
    Usual,
    /// It is ended after others.
    Spared,
}

/// Undoes what a process inherits from the agent: its score when memory runs out, for which there is `score`; no core dump
/// through the host's pattern, no ignored or blocked signal, no foreign session, terminal or keys, the usual file mode mask.
///
/// # Errors
/// [`Error::Set`].
pub fn forget_parent(score: OomScore) -> Result<(), Error> {
    let failed = |source| Error::Set { what: "the out-of-memory score", source };
    // Of one that is spared it is raised at most: whoever starts it may be no more likely to be spared than others.
    let inherited = std::fs::read_to_string(SCORE).map_err(failed)?.trim().parse().unwrap_or_default();
    let score = match score {
        OomScore::Usual => 0,
        OomScore::Spared => SPARED.max(inherited),
    };
    std::fs::write(SCORE, score.to_string()).map_err(failed)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)
        .map_err(|e| set("the core dump limit", e))?;
    // The agent has more.
    let files = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, hard) = nix::sys::resource::getrlimit(files).map_err(|e| set("the limit on open files", e))?;
    nix::sys::resource::setrlimit(files, OPEN_FILES.0.min(hard), hard)
        .map_err(|e| set("the limit on open files", e))?;
    for number in 1..=libc::SIGRTMAX() {
        // Not by `libc::sigaction`: glibc keeps two signals for itself, which may be ignored all the same.
        // A `struct kernel_sigaction` (handler, flags, restorer, mask of 64 bits) of zeros is the default action.
        let default = [0u64; 4];
        // SAFETY: `default` lives over the call and is as long as the structure; no old action is asked for. Signals
        // that cannot be set answer EINVAL.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), std::ptr::null_mut::<u64>(), 8) };
    }
    nix::sys::signal::SigSet::empty().thread_set_mask().map_err(|e| set("the signal mask", e))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// A new session, without terminal, and a new session keyring, without keys.
///
/// # Errors
/// [`Error::Set`].
pub fn own_session() -> Result<(), Error> {
    at("launch.own_session", rustix::process::setsid).map_err(|e| set("the session", e))?;
    // SAFETY: joins a new anonymous keyring; the null pointer asks for one without a name (keyctl(2)).
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    let error = io::Error::last_os_error();
    // A kernel without keyrings has none to share.
    if joined < 0 && error.raw_os_error() != Some(libc::ENOSYS) {
        return Err(Error::Set { what: "the session keyring", source: error });
    }
    Ok(())
}

/// The host name of the own uts namespace.
///
/// # Errors
/// [`Error::Set`].
pub fn set_host_name(name: &str) -> Result<(), Error> {
    at("launch.host_name", || nix::unistd::sethostname(name)).map_err(|e| set("the host name", e))
}

/// Becomes `uid`:`gid` of the own user namespace, in no other group.
///
/// # Errors
/// [`Error::Set`].
pub fn set_ids(uid: u32, gid: u32) -> Result<(), Error> {
    let (uid, gid) = (nix::unistd::Uid::from_raw(uid), nix::unistd::Gid::from_raw(gid));
    at("launch.set_ids", || nix::unistd::setgroups(&[])).map_err(|e| set("the groups", e))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(|e| set("the group", e))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(|e| set("the user", e))
}

/// The working directory, in the new root. No link to a descriptor (`/proc/self/fd/3`) leads there: ours are still open, and
/// some of them are of the device.
///
/// # Errors
/// [`Error::Open`].
pub fn set_working_directory(path: &str) -> Result<(), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .and_then(rustix::process::fchdir)
        .map_err(|e| Error::Open { path: path.into(), source: e.into() })
}

/// Neither this process nor what it executes can gain a privilege by executing.
///
/// # Errors
/// [`Error::Set`].
pub fn no_new_privileges() -> Result<(), Error> {
    at("launch.no_new_privileges", nix::sys::prctl::set_no_new_privs).map_err(|e| set("no_new_privs", e))
}

/// Standard input from `/dev/null` of the own root, output to `log`; every other descriptor is closed when a program is
/// executed.
///
/// # Errors
/// [`Error::Open`], [`Error::Set`].
pub fn redirect(log: &OwnedFd) -> Result<(), Error> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| Error::Open { path: "/dev/null".into(), source: source.into() })?;
    nix::unistd::dup2_stdin(&null).map_err(|e| set("standard input", e))?;
    nix::unistd::dup2_stdout(log).map_err(|e| set("standard output", e))?;
    nix::unistd::dup2_stderr(log).map_err(|e| set("standard error", e))?;
    // Only marked: none is closed before the program is executed.
    close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Executes `command`, whose first entry is the path of the program. Returns only if that fails. For a child that has nothing
/// to do then but to say so by `report`: every other descriptor is closed before, so that no path of the program leads to one.
#[must_use]
pub fn execute(command: &[String], environment: &[String], report: BorrowedFd<'_>) -> Error {
    match try_execute(command, environment, report) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_execute(
    command: &[String],
    environment: &[String],
    report: BorrowedFd<'_>,
) -> Result<std::convert::Infallible, Error> {
    let kept = report.as_raw_fd().cast_unsigned();
    close_range(3, kept.saturating_sub(1), 0)?;
    close_range(kept + 1, libc::c_uint::MAX, 0)?;
    let text = |text: &String| CString::new(text.as_str()).map_err(|_| Error::Nul { text: text.clone() });
    let program = command.first().cloned().unwrap_or_default();
    let command = command.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let environment = environment.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let path = command.first().cloned().unwrap_or_default();
    at("launch.execute", || nix::unistd::execve(&path, &command, &environment))
        .map_err(|e| Error::Execute { program, source: e.into() })
}

fn close_range(first: libc::c_uint, last: libc::c_uint, flags: libc::c_uint) -> Result<(), Error> {
    if first > last {
        return Ok(());
    }
    // SAFETY: descriptors are marked only, or who had them executes another program or ends, and uses none of them any more.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if closed == 0 { Ok(()) } else { Err(set("the descriptors", io::Error::last_os_error())) }
}

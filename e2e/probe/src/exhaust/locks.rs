//! Locks of files, for which the kernel takes memory that no control group counts (fs/locks.c, `filelock_cache`).

use std::ffi::CString;
use std::time::Duration;
use std::{fs, thread};

use super::memory::memory_file;
use super::taking::{Stop, Taking};
use crate::sys::{Arg, Refusal, call};

/// The locks of one file: the kernel looks at all of them for each new one.
const PER_FILE: u64 = 200;
/// asm-generic/fcntl.h.
const SET_LOCK: i32 = 6;
const SET_OPEN_FILE_LOCK: i32 = 37;
const WRITE_LOCK: i16 = 1;
/// More than what is short (`agent/src/pass/guard/mod.rs`), in thousandths of the device's memory.
const MUCH: u64 = 130;
/// Between two files.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn posix(taking: &mut Taking) -> Stop {
    ranges(taking, SET_LOCK)
}

pub(super) fn ofd(taking: &mut Taking) -> Stop {
    ranges(taking, SET_OPEN_FILE_LOCK)
}

/// So that nobody sees it at a glance: fast while the device has much, then about 2 MiB a second.
pub(super) fn ofd_slowly(taking: &mut Taking) -> Stop {
    taking.each(|taking| {
        if available_thousandths().is_none_or(|available| available < MUCH) {
            #[expect(clippy::disallowed_methods, reason = "it waits for nothing: it is slow on purpose")]
            thread::sleep(PAUSE);
        }
        in_one_file(taking, SET_OPEN_FILE_LOCK)
    })
}

/// What is available of the device's memory.
fn available_thousandths() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok();
    let (all, available): (u64, u64) = (of("MemTotal:")?, of("MemAvailable:")?);
    Some(available * 1000 / all.max(1))
}

fn ranges(taking: &mut Taking, command: i32) -> Stop {
    taking.each(|taking| in_one_file(taking, command))
}

/// Every other byte, so that no two locks become one.
fn in_one_file(taking: &mut Taking, command: i32) -> Result<u64, Refusal> {
    let fd = memory_file()?;
    // The last byte first: the kernel puts a lock before those after it, and finds the place at once.
    let mut start = i64::try_from(2 * PER_FILE).unwrap_or_default();
    taking.fill(PER_FILE, || {
        start -= 2;
        // `struct flock`: kind and whence in 4 bytes each with what aligns them, start, length, nobody's pid.
        let mut lock =
            [&WRITE_LOCK.to_ne_bytes()[..], &[0; 6], &start.to_ne_bytes(), &1_i64.to_ne_bytes(), &[0; 8]].concat();
        call(libc::SYS_fcntl, [fd.into(), command.into(), Arg::Bytes(&mut lock)])
    })
}

/// One for each time that a file was opened.
pub(super) fn flock(taking: &mut Taking) -> Stop {
    let mut path = None;
    taking.each(|taking| {
        if path.is_none() || taking.count.is_multiple_of(PER_FILE) {
            path = CString::new(format!("/proc/self/fd/{}", memory_file()?)).ok();
        }
        let Some(path) = path.as_deref() else { return Err(Refusal { errno: libc::EINVAL, filter: false }) };
        let opened = call(libc::SYS_openat, [libc::AT_FDCWD.into(), path.into(), libc::O_RDONLY.into(), 0.into()])?;
        call(libc::SYS_flock, [opened.into(), libc::LOCK_SH.into()]).map(|_| 1)
    })
}

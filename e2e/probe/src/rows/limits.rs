//! What can be used up, of its own and of everybody's.

use std::fs::File;

use super::apart;
use crate::sys::{self, Arg, call};
use crate::table::{Outcome, Row};

/// More processes than any container of these tests may have.
const PROCESSES: usize = 1024;
/// More memory than any container of these tests may have, and a piece of it.
const MEMORY: usize = 512 << 20;
const PIECE: usize = 1 << 20;
/// More instances of inotify than a container may have: root has 128 by default.
const INSTANCES: usize = 128;
/// More terminals than a container may have; the kernel has 4096 for everybody.
const TERMINALS: usize = 1024;
/// More open files than the device's table has by default (a tenth of its memory in KiB: file-max in proc(5)).
const FILES: usize = 150_000;
const DAMAGE: &str = "it would take it from the device";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("have processes without end", processes).not_by_root(DAMAGE),
        Row::new("use up inotify for everybody", || {
            apart(|| use_up(INSTANCES, || call(libc::SYS_inotify_init1, [0.into()]).map_err(|refusal| refusal.errno)))
        })
        .not_by_root(DAMAGE),
        Row::new("use up terminals for everybody", || {
            apart(|| {
                raise_open_files();
                let mut held = Vec::new();
                use_up(TERMINALS, || {
                    File::options().read(true).write(true).open("/dev/ptmx").map(|file| held.push(file)).map_err(errno)
                })
            })
        })
        .not_by_root(DAMAGE),
        Row::new("use up the table of open files for everybody", || apart(open_files)).not_by_root(DAMAGE),
        Row::new("see shared memory of others (System V)", || {
            Outcome::of(call(libc::SYS_shmget, [crate::neighbour::KEY.into(), 0.into(), 0.into()]))
        }),
        Row::new("see message queues of others (POSIX)", || {
            Outcome::of(call(
                libc::SYS_mq_open,
                [crate::neighbour::QUEUE.into(), i64::from(libc::O_RDWR).into(), 0.into(), 0.into()],
            ))
        }),
    ]
}

fn errno(error: std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or_default()
}

/// Takes one after the other until it is refused; `most` are too many.
fn use_up<T>(most: usize, mut take: impl FnMut() -> Result<T, i32>) -> Outcome {
    for taken in 0..most {
        if let Err(errno) = take() {
            return Outcome::Stopped(format!("{} after {taken}", sys::errno_name(errno)));
        }
    }
    Outcome::Reached(format!("{most} without an end"))
}

/// As many descriptors as the hard limit allows.
pub(crate) fn raise_open_files() {
    let mut limits = [0_u8; 16];
    if call(libc::SYS_prlimit64, [0.into(), 7.into(), 0.into(), Arg::Bytes(&mut limits)]).is_ok() {
        let (soft, hard) = limits.split_at_mut(8);
        soft.copy_from_slice(hard);
        let _ = call(libc::SYS_prlimit64, [0.into(), 7.into(), Arg::Bytes(&mut limits), 0.into()]);
    }
}

/// Children until there can be no more; each waits to be ended.
fn processes() -> Outcome {
    let mut children = Vec::new();
    let outcome = use_up(PROCESSES, || sys::spawn(sys::pause).map(|pid| children.push(pid)));
    for pid in children {
        let _ = call(libc::SYS_kill, [pid.into(), i64::from(libc::SIGKILL).into()]);
        sys::wait_for(pid);
    }
    outcome
}

/// A full table (ENFILE) is full for all but the device's root; anything else is its own end.
fn open_files() -> Outcome {
    raise_open_files();
    let mut held = Vec::new();
    while held.len() < FILES {
        match File::open("/dev/null") {
            Ok(file) => held.push(file),
            Err(error) if error.raw_os_error() == Some(libc::ENFILE) => {
                return Outcome::Reached(format!("nobody can open a file after {}", held.len()));
            }
            Err(error) => return Outcome::Stopped(format!("{} after {}", sys::Refusal::from(error), held.len())),
        }
    }
    Outcome::Stopped(format!("{FILES} of its own leave room for others"))
}

/// Takes memory until the kernel ends the whole container for it.
pub(crate) fn hog() -> String {
    let mut held: Vec<Vec<u8>> = Vec::new();
    while held.len() * PIECE < MEMORY {
        held.push(vec![1; PIECE]);
    }
    format!("{} MiB were to be had", held.len())
}

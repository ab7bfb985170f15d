//! The one who is attacked: holds what others must not reach, and opens files all the time.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use crate::sys::{self, call};

/// Its socket without a file.
pub(crate) const SOCKET: &[u8] = b"catenoid-neighbour";
/// Its shared memory (System V) and its message queue (POSIX).
pub(crate) const KEY: i32 = 0x6361_7465;
pub(crate) const QUEUE: &std::ffi::CStr = c"catenoid-neighbour";
/// A file of its guest that it holds a lock on, and one that it has a lease on.
pub(crate) const LOCKED: &str = "/etc/locked";
pub(crate) const LEASED: &str = "/etc/leased";
/// How often it opens files and, as root of the device, makes the kernel announce a device.
const BEAT: Duration = Duration::from_millis(100);

/// Holds all of it until it is ended.
pub(crate) fn run() -> std::io::Result<()> {
    let _socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(SOCKET)?)?;
    let report = |what: &str, done: Result<i64, sys::Refusal>| match done {
        Ok(_) => crate::say(&format!("{what}: held")),
        Err(refusal) => crate::say(&format!("{what}: {refusal}")),
    };
    report(
        "shared memory",
        call(libc::SYS_shmget, [KEY.into(), 4096.into(), i64::from(libc::IPC_CREAT | 0o666).into()]),
    );
    let queue =
        call(libc::SYS_mq_open, [QUEUE.into(), i64::from(libc::O_CREAT | libc::O_RDWR).into(), 0o666.into(), 0.into()]);
    report("message queue", queue);
    let (locked, leased) = (open_or_make(LOCKED)?, open_or_make(LEASED)?);
    report("lock", call(libc::SYS_flock, [locked.as_raw_fd().into(), i64::from(libc::LOCK_EX).into()]));
    report(
        "lease",
        call(
            libc::SYS_fcntl,
            [leased.as_raw_fd().into(), i64::from(libc::F_SETLEASE).into(), i64::from(libc::F_WRLCK).into()],
        ),
    );
    // Whoever opens the leased file makes the kernel send it, which would end us.
    ignore_lease_breaks();
    crate::say("neighbour: ready");
    loop {
        for path in ["/dev/full", "/usr/bin/catenoid-probe"] {
            let _ = File::open(path);
        }
        let _ = fs::write("/sys/class/mem/null/uevent", "change");
        sys::readable(None, BEAT);
    }
}

/// In a guest both are part of the image; the root namespace has none.
fn open_or_make(path: &str) -> std::io::Result<File> {
    File::open(path)
        .or_else(|_| File::options().create(true).read(true).append(true).open(path).and_then(|_| File::open(path)))
}

fn ignore_lease_breaks() {
    // A `struct kernel_sigaction` of handler SIG_IGN (1), no flags, no restorer, an empty mask.
    let mut ignore: Vec<u8> = [1_u64, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let _ = call(libc::SYS_rt_sigaction, [libc::SIGIO.into(), ignore.as_mut_slice().into(), 0.into(), 8.into()]);
}

//! The table, by area.

mod devices;
mod files;
mod identity;
mod kernel;
pub(crate) mod limits;
mod mounts;
mod namespaces;
mod network;
mod processes;

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use crate::sys::{self, Ended};
use crate::table::{Outcome, Row};

/// Every attempt, by area. `victim` is the number of a process of the root namespace.
pub(crate) fn table(victim: i32) -> Vec<(&'static str, Vec<Row>)> {
    vec![
        ("processes", processes::rows(victim)),
        ("namespaces", namespaces::rows(victim)),
        ("mounts", mounts::rows()),
        ("devices", devices::rows()),
        ("kernel", kernel::rows()),
        ("network", network::rows()),
        ("identity", identity::rows()),
        ("files", files::rows()),
        ("limits", limits::rows()),
    ]
}

/// Opens a file for writing without writing to it or making it.
fn open_for_writing(path: impl AsRef<Path>) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Opens a file and reads something out of it.
fn read_some(path: impl AsRef<Path>) -> Outcome {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut some = [0; 64];
    let open = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    match open.and_then(|mut file| file.read(&mut some)) {
        Ok(0) => Outcome::Stopped("masked: it is empty".to_owned()),
        Ok(_) => Outcome::Reached("read".to_owned()),
        Err(error) => Outcome::Stopped(sys::Refusal::from(error).to_string()),
    }
}

/// Makes an attempt in a child with mounts of its own, if it can have them, and `/tmp` empty and without restrictions: what
/// it does to mounts and files is gone with it.
fn in_own_mounts(attempt: impl FnOnce() -> Outcome) -> Outcome {
    apart(|| {
        let private = sys::call(libc::SYS_unshare, [libc::CLONE_NEWNS.into()]).is_ok();
        if private {
            let _ = mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"");
            let _ = mount(c"none", c"/tmp", c"tmpfs", 0, c"");
        }
        attempt()
    })
}

/// Makes an attempt in a child: what it becomes, and what it opens, is gone with it.
fn apart(attempt: impl FnOnce() -> Outcome) -> Outcome {
    let ended = sys::in_child(|| match attempt() {
        Outcome::Reached(what) => format!("+{what}"),
        Outcome::Stopped(by) => format!("-{by}"),
        Outcome::Broken(how) => format!("?{how}"),
    });
    match ended {
        Ended::Returned(text) => match text.split_at_checked(1) {
            Some(("+", what)) => Outcome::Reached(what.to_owned()),
            Some(("-", by)) => Outcome::Stopped(by.to_owned()),
            Some(("?", how)) => Outcome::Broken(how.to_owned()),
            _ => Outcome::Broken("the child reported nothing".to_owned()),
        },
        Ended::Signal(signal) => Outcome::Broken(format!("the child was ended by signal {signal}")),
        Ended::Unborn(errno) => Outcome::Broken(format!("no child: {}", sys::errno_name(errno))),
    }
}

fn mount(
    source: &std::ffi::CStr,
    target: &std::ffi::CStr,
    kind: &std::ffi::CStr,
    flags: libc::c_ulong,
    data: &std::ffi::CStr,
) -> Result<i64, sys::Refusal> {
    let flags = i64::try_from(flags).expect("mount flags have 32 bits");
    sys::call(libc::SYS_mount, [source.into(), target.into(), kind.into(), flags.into(), data.into()])
}

/// The line of `/proc/<who>/status` that begins with `key`.
pub(crate) fn status(who: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{who}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn fd(file: &File) -> sys::Arg<'_> {
    file.as_raw_fd().into()
}

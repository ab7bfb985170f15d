//! Ways out of the namespaces: new ones, those of others, and the root of the device.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;

use super::{apart, fd, in_own_mounts};
use crate::sys::{Ended, call, errno_name, in_child};
use crate::table::{Outcome, Row};

const KINDS: [(&str, i64); 8] = [
    ("user", 0x1000_0000),
    ("mount", 0x0002_0000),
    ("cgroup", 0x0200_0000),
    ("uts", 0x0400_0000),
    ("ipc", 0x0800_0000),
    ("pid", 0x2000_0000),
    ("network", 0x4000_0000),
    ("time", 0x80),
];

/// What only the root of the device has.
const MARKS: [&str; 5] =
    ["init", "data/blobs", "etc/catenoid/anchors.cbor", "usr/lib/catenoid/catenoid-launcher", "run/catenoid/guests"];

pub(super) fn rows(victim: i32) -> Vec<Row> {
    let mut rows: Vec<Row> = KINDS
        .into_iter()
        .map(|(kind, flag)| {
            Row::new(format!("unshare into a new {kind} namespace"), move || {
                apart(|| Outcome::of(call(libc::SYS_unshare, [flag.into()])))
            })
        })
        .collect();
    rows.extend([
        Row::new("clone into a new user namespace", || clone_with(KINDS[0].1)),
        Row::new("clone into a new network namespace", || clone_with(KINDS[6].1)),
        Row::new("clone3 into a new user namespace", clone3),
        Row::new("enter the namespaces of another (setns)", move || {
            let nearest = File::open(format!("/proc/{victim}/ns/net")).or_else(|_| File::open("/proc/1/ns/net"));
            let Ok(namespace) = nearest else { return Outcome::Broken("no namespace in sight".to_owned()) };
            apart(|| Outcome::of(call(libc::SYS_setns, [fd(&namespace), 0.into()])))
        }),
        Row::new("enter the namespaces of another by pidfd", move || {
            let pidfd = call(libc::SYS_pidfd_open, [victim.into(), 0.into()]);
            let pidfd = pidfd.or_else(|_| call(libc::SYS_pidfd_open, [1.into(), 0.into()]));
            let Ok(pidfd) = pidfd else { return Outcome::Broken("no process in sight".to_owned()) };
            apart(|| Outcome::of(call(libc::SYS_setns, [pidfd.into(), KINDS[6].1.into()])))
        }),
        Row::new("ask for the parent of the user namespace", || parent("user")).nobody("the first has none"),
        Row::new("ask for the parent of the pid namespace", || parent("pid")).nobody("the first has none"),
        Row::new("write its own map of ids", || Outcome::of(fs::write("/proc/self/uid_map", "0 0 4294967295")))
            .nobody("a map is written once"),
        Row::new("see the root of the device", || {
            Outcome::found(&marks(&["/", "/proc/1/root", "/proc/self/root/../.."]))
        }),
        Row::new("leave its root by chroot", || apart(chroot)).nobody("its root is the root of its mounts"),
        Row::new("leave its root by pivot_root", || {
            in_own_mounts(|| {
                let pivoted = call(libc::SYS_pivot_root, [c"/tmp".into(), c"/tmp".into()]);
                Outcome::past(pivoted, &[libc::EINVAL, libc::EBUSY])
            })
        }),
    ]);
    rows
}

fn clone_with(flag: i64) -> Outcome {
    let cloned = in_child(|| {
        match call(libc::SYS_clone, [(flag | i64::from(libc::SIGCHLD)).into(), 0.into(), 0.into(), 0.into(), 0.into()])
        {
            Ok(0) => String::new(),
            Ok(_) => "+".to_owned(),
            Err(refusal) => refusal.to_string(),
        }
    });
    match cloned {
        Ended::Returned(text) if text.starts_with('+') => Outcome::Reached("done".to_owned()),
        Ended::Returned(by) => Outcome::Stopped(by),
        Ended::Signal(signal) => Outcome::Broken(format!("the child was ended by signal {signal}")),
        Ended::Unborn(errno) => Outcome::Broken(format!("no child: {}", errno_name(errno))),
    }
}

fn clone3() -> Outcome {
    apart(|| {
        // `struct clone_args`: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
        let mut arguments = [0_u64; 8];
        arguments[0] = KINDS[0].1.cast_unsigned();
        arguments[4] = u64::from(libc::SIGCHLD.cast_unsigned());
        let mut bytes: Vec<u8> = arguments.iter().flat_map(|word| word.to_ne_bytes()).collect();
        match call(libc::SYS_clone3, [bytes.as_mut_slice().into(), 64.into()]) {
            // The child's child: its parent reports what it would report.
            Ok(0) => std::process::exit(0),
            cloned => Outcome::of(cloned),
        }
    })
}

fn parent(kind: &str) -> Outcome {
    /// `NS_GET_PARENT` of linux/nsfs.h.
    const PARENT: i64 = 0xb702;
    match File::open(format!("/proc/self/ns/{kind}")) {
        Ok(namespace) => Outcome::of(call(libc::SYS_ioctl, [fd(&namespace), PARENT.into()])),
        Err(error) => Outcome::of::<()>(Err(error)),
    }
}

fn marks(roots: &[&str]) -> Vec<String> {
    let places = roots.iter().flat_map(|root| MARKS.iter().map(move |mark| format!("{root}/{mark}")));
    places.filter(|place| fs::symlink_metadata(place).is_ok()).collect()
}

/// The way out of a chroot that is as old as the call: a second one below the working directory.
fn chroot() -> Outcome {
    let before = identity("/");
    let _ = fs::create_dir("/tmp/below");
    if let Err(refusal) = call(libc::SYS_chroot, [c"/tmp/below".into()]) {
        return Outcome::Stopped(refusal.to_string());
    }
    for _ in 0..32 {
        let _ = std::env::set_current_dir("..");
    }
    if let Err(refusal) = call(libc::SYS_chroot, [c".".into()]) {
        return Outcome::Stopped(refusal.to_string());
    }
    let _ = std::env::set_current_dir("/");
    match (before, identity("/")) {
        (before, after) if before == after => Outcome::Stopped("its root is the root of its mounts".to_owned()),
        _ => Outcome::Reached("another root".to_owned()),
    }
}

fn identity(path: &str) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|root| (root.dev(), root.ino()))
}

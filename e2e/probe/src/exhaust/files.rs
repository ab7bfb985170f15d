//! Names, files and folders.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;

use super::memory::memory_file;
use super::taking::{Stop, Taking};
use crate::sys::{Arg, call};

/// Entries of an access list of almost 64 KiB (`XATTR_SIZE_MAX`).
const ENTRIES: usize = 8180;
/// What the kernel calls them: for the owner, for a user, for the group, at most, for others (linux/posix_acl.h).
const OWNER: u16 = 1;
const USER: u16 = 2;
const GROUP: u16 = 4;
const MASK: u16 = 16;
const OTHER: u16 = 32;
/// Files whose names a listing holds, and how long these names are.
const LISTED: usize = 2000;
const LONG: usize = 200;
/// Folders that the image has too: the kernel lists them together with what was added.
const MERGED: [&str; 3] = ["/etc", "/usr", "/"];

/// Each name that is looked for is kept, in case somebody looks again.
pub(super) fn names(taking: &mut Taking) -> Stop {
    let mut next = 0_u64;
    taking.each(|_| {
        next += 1;
        let name = format!("/usr/{next:0>200}");
        match fs::metadata(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(1),
        }
    })
}

pub(super) fn empty(taking: &mut Taking) -> Stop {
    taking.each(|taking| {
        File::create_new(format!("/tmp/exhaust-{}", taking.count))?;
        Ok(1)
    })
}

/// The owner of a file in memory gives it a long access list, which no size of a file system and no control group counts.
pub(super) fn access_lists(taking: &mut Taking) -> Stop {
    let entry = |kind: u16, id: u32| [&kind.to_ne_bytes()[..], &7_u16.to_ne_bytes(), &id.to_ne_bytes()].concat();
    let mut list = 2_u32.to_ne_bytes().to_vec();
    list.extend(entry(OWNER, u32::MAX));
    list.extend(entry(USER, 0).repeat(ENTRIES));
    list.extend([GROUP, MASK, OTHER].map(|kind| entry(kind, u32::MAX)).concat());
    let size = super::sockets::length(&list);
    taking.each(|_| {
        let (fd, name) = (memory_file()?, c"system.posix_acl_access");
        call(libc::SYS_fsetxattr, [fd.into(), name.into(), Arg::Bytes(&mut list), size.into(), 0.into()]).map(|_| 1)
    })
}

/// An open folder keeps the listing that it was read with, when the folder has changed since.
pub(super) fn listings(taking: &mut Taking) -> Stop {
    let Some(folder) = MERGED.into_iter().find(|folder| File::create_new(format!("{folder}/exhaust")).is_ok()) else {
        taking.error = crate::sys::errno_name(libc::EROFS);
        return Stop::Refused;
    };
    for number in 0..LISTED {
        let _ = File::create_new(format!("{folder}/exhaust-{number:0>LONG$}"));
    }
    let changing = format!("{folder}/exhaust-changes");
    taking.each(|_| {
        File::create(&changing)?;
        fs::remove_file(&changing)?;
        let opened = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(folder)?;
        let fd = std::os::fd::IntoRawFd::into_raw_fd(opened);
        let mut some = [0; 4096];
        call(libc::SYS_getdents64, [fd.into(), Arg::Bytes(&mut some), 4096.into()]).map(|_| 1)
    })
}

pub(super) fn mounts(taking: &mut Taking) -> Stop {
    taking.each(|_| {
        let call = call(libc::SYS_mount, [c"tmpfs".into(), c"/tmp".into(), c"tmpfs".into(), 0.into(), 0.into()]);
        call.map(|_| 1)
    })
}

//! What takes time of everybody.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use super::inet::sink;
use super::sockets::{length, send, socket};
use super::taking::{Stop, Taking};
use crate::sys::{self, Arg, call};

/// Files that are read, from the largest.
const FILES: usize = 16;
/// What is read at once.
const PIECE: usize = 64 << 10;
const MANY: u64 = 256;
const ROUND: u64 = 1 << 16;
/// `POSIX_FADV_DONTNEED` (linux/fadvise.h).
const FORGET: i64 = 4;

/// Children whose own code is taken away from them: the kernel may report each in its log.
pub(super) fn crashes(taking: &mut Taking) -> Stop {
    taking.each(|_| match sys::in_child(crash) {
        sys::Ended::Unborn(errno) => Err(sys::Refusal { errno, filter: false }),
        sys::Ended::Signal(_) | sys::Ended::Returned(_) => Ok(1),
    })
}

fn crash() -> String {
    // A `struct kernel_sigaction` of zeros is the default: the kernel reports no crash that a program wants to handle.
    let mut default = [0; 32];
    let _ = call(libc::SYS_rt_sigaction, [libc::SIGSEGV.into(), Arg::Bytes(&mut default), 0.into(), 8.into()]);
    let here = crash as *const () as i64 & !0xfff;
    let around = 16 << 20;
    for size in [around, 64 << 10, 4096] {
        let _ = call(libc::SYS_mprotect, [here.into(), i64::from(size).into(), libc::PROT_NONE.into()]);
    }
    String::new()
}

pub(super) fn sync(taking: &mut Taking) -> Stop {
    taking.each(|_| call::<0>(libc::SYS_sync, []).map(|_| 1))
}

/// The image's files over and over, each time from the disk: the kernel checks what it reads, in threads of its own.
pub(super) fn image(taking: &mut Taking) -> Stop {
    let mut found = Vec::new();
    files(Path::new("/usr"), &mut found);
    found.sort_unstable_by(|one, other| other.cmp(one));
    let files: Vec<File> = found.iter().take(FILES).filter_map(|(_, path)| File::open(path).ok()).collect();
    let mut piece = vec![0; PIECE];
    let mut next = files.iter().cycle();
    taking.each(|_| {
        let Some(file) = next.next() else { return Err(sys::Refusal { errno: libc::ENOENT, filter: false }) };
        let fd = i64::from(file.as_raw_fd());
        call(libc::SYS_fadvise64, [fd.into(), 0.into(), 0.into(), FORGET.into()])?;
        let (mut at, size) = (0, length(&piece));
        while let got @ 1.. = call(libc::SYS_pread64, [fd.into(), piece.as_mut_slice().into(), size.into(), at.into()])?
        {
            at += got;
        }
        Ok(at.cast_unsigned() >> 10)
    })
}

/// Every regular file below a folder, with its size.
fn files(folder: &Path, found: &mut Vec<(u64, PathBuf)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => files(&entry.path(), found),
            Ok(meta) if meta.is_file() => found.push((meta.len(), entry.path())),
            _ => {}
        }
    }
}

/// Nobody reads them: the work is the kernel's.
pub(super) fn flood(taking: &mut Taking) -> Stop {
    let mut bytes = [0; 64];
    let opened = sink().and_then(|(_, to)| Ok((socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?, to)));
    taking.each(|taking| {
        let (fd, mut to) = opened.clone()?;
        taking.fill(MANY, || send(fd, &mut bytes, &mut to))
    })
}

pub(super) fn busy(taking: &mut Taking) -> Stop {
    taking.each(|_| {
        black_box((0..ROUND).fold(0_u64, |sum, one| black_box(sum.wrapping_mul(31).wrapping_add(one))));
        Ok(1)
    })
}

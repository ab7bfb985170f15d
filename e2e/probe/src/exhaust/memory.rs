//! Memory that is mapped, and what the kernel keeps about it.

use super::taking::{Stop, Taking};
use crate::sys::{Arg, Refusal, call};

const PAGE: i64 = 4096;
/// Pages that are mapped at once: fewer than a process may have mappings (`vm.max_map_count`).
const WINDOW: i64 = 1024;
/// Every other page: neighbours with the same policy would become one.
const STRIDE: i64 = 2 * PAGE;
/// A file as large as it may be: it has no memory but the policies of its pages.
const FILE: i64 = 1 << 40;
/// `MPOL_BIND` (linux/mempolicy.h) to node 0.
const BIND: i64 = 2;
const PIECE: usize = 64 << 10;
/// Pieces of one file.
const PIECES: u64 = 256;

/// A file of memory without a name.
pub(super) fn memory_file() -> Result<i64, Refusal> {
    call(libc::SYS_memfd_create, [c"exhaust".into(), i64::from(libc::MFD_CLOEXEC).into()])
}

pub(super) fn memfd(taking: &mut Taking) -> Stop {
    let mut piece = vec![1; PIECE];
    let (mut fd, mut pieces) = (-1, PIECES);
    taking.each(|_| {
        if pieces == PIECES {
            (fd, pieces) = (memory_file()?, 0);
        }
        pieces += 1;
        let size = super::sockets::length(&piece);
        call(libc::SYS_write, [fd.into(), piece.as_mut_slice().into(), size.into()]).map(|_| 64)
    })
}

/// The kernel keeps the policy of a page of a shared file with the file, also when nothing of it is mapped any more
/// (mm/mempolicy.c, `sp_alloc`), and no control group counts it.
pub(super) fn policies(taking: &mut Taking) -> Stop {
    let mut at = FILE;
    let mut fd = -1;
    taking.each(|taking| {
        if at + WINDOW * PAGE > FILE {
            (fd, at) = (memory_file()?, 0);
            call(libc::SYS_ftruncate, [fd.into(), FILE.into()])?;
        }
        let (none, shared) = (i64::from(libc::PROT_NONE), i64::from(libc::MAP_SHARED));
        let size = WINDOW * PAGE;
        let mapped = call(libc::SYS_mmap, [0.into(), size.into(), none.into(), shared.into(), fd.into(), at.into()])?;
        at += size;
        let mut page = mapped - STRIDE;
        let made = taking.fill(WINDOW.cast_unsigned() / 2, || {
            page += STRIDE;
            let mut nodes = 1_u64.to_ne_bytes();
            call(libc::SYS_mbind, [page.into(), PAGE.into(), BIND.into(), Arg::Bytes(&mut nodes), 64.into(), 0.into()])
        });
        call(libc::SYS_munmap, [mapped.into(), size.into()])?;
        made
    })
}

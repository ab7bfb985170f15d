//! Shared memory, semaphores and messages, of System V and POSIX, in the own ipc namespace.

use std::ffi::CString;

use super::sockets::length;
use super::taking::{Stop, Taking};
use crate::sys::{Arg, call};

const SEGMENT: i64 = 64 << 10;
const SEMAPHORES: i32 = 500;
const MESSAGE: usize = 4 << 10;
const POSIX_MESSAGE: usize = 8 << 10;
/// More than fit into a queue.
const ENOUGH: u64 = 4096;
const PRIVATE: i64 = 0;

pub(super) fn segments(taking: &mut Taking) -> Stop {
    taking.each(|_| call(libc::SYS_shmget, [PRIVATE.into(), SEGMENT.into(), create().into()]).map(|_| 1))
}

pub(super) fn semaphores(taking: &mut Taking) -> Stop {
    taking.each(|_| call(libc::SYS_semget, [PRIVATE.into(), SEMAPHORES.into(), create().into()]).map(|_| 1))
}

pub(super) fn messages(taking: &mut Taking) -> Stop {
    // `struct msgbuf`: what kind of message, and the message.
    let mut message = [&1_i64.to_ne_bytes()[..], &[0; MESSAGE]].concat();
    taking.each(|taking| {
        let queue = call(libc::SYS_msgget, [PRIVATE.into(), create().into()])?;
        let size = length(&message[8..]);
        taking.fill(ENOUGH, || {
            let words = [queue.into(), message.as_mut_slice().into(), size.into(), libc::IPC_NOWAIT.into()];
            call(libc::SYS_msgsnd, words)
        })
    })
}

pub(super) fn queue(taking: &mut Taking) -> Stop {
    let mut message = vec![0; POSIX_MESSAGE];
    let mut next = 0_u64;
    taking.each(|taking| {
        next += 1;
        let name = CString::new(format!("exhaust-{}-{next}", std::process::id())).expect("numbers have no zero byte");
        // `struct mq_attr`: flags, messages, their size, messages now.
        let mut shape = [0, 10, length(&message), 0, 0, 0, 0, 0].map(i64::to_ne_bytes).concat();
        let flags = i64::from(libc::O_CREAT | libc::O_RDWR | libc::O_NONBLOCK);
        let shape = Arg::Bytes(&mut shape);
        let fd = call(libc::SYS_mq_open, [name.as_c_str().into(), flags.into(), 0o600.into(), shape])?;
        let size = length(&message);
        taking.fill(ENOUGH, || {
            let words = [fd.into(), message.as_mut_slice().into(), size.into(), 0.into(), 0.into()];
            call(libc::SYS_mq_timedsend, words)
        })
    })
}

/// Makes what is not there, for its owner.
fn create() -> i64 {
    i64::from(libc::IPC_CREAT | 0o600)
}

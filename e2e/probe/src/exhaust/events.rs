//! Queues of events, pipes, terminals, timers and signals.

use std::fs::File;

use super::sockets::two;
use super::taking::{Stop, Taking};
use crate::sys::{Arg, call};

/// More events than a device has for all by default (`fs.aio-max-nr`).
const EVENTS: i64 = 1 << 17;
/// Descriptors that each queue of epoll watches.
const WATCHED: usize = 500;
const KIB: usize = 1024;
/// The default size of a pipe.
const PIPE_KIB: u64 = 64;
/// `EPOLL_CTL_ADD`, `EPOLLIN` (linux/eventpoll.h).
const ADD: i32 = 1;
const IN: u32 = 1;
/// The first signal that queues (asm/signal.h).
const QUEUED: i32 = 34;
/// Bytes of a set of signals.
const SET: i64 = 8;
/// Sent by a program, with a value (asm-generic/siginfo.h).
const SI_QUEUE: i32 = -1;

/// As many as there are, by halves.
pub(super) fn aio(taking: &mut Taking) -> Stop {
    let mut events = EVENTS;
    taking.each(|taking| {
        events = events.min(i64::try_from(taking.left()).unwrap_or(EVENTS));
        let mut context = [0; 8];
        match call(libc::SYS_io_setup, [events.into(), Arg::Bytes(&mut context)]) {
            Ok(_) => Ok(events.cast_unsigned()),
            Err(refusal) if refusal.filter || events == 1 => Err(refusal),
            Err(refusal) => {
                taking.error = refusal.to_string();
                events /= 2;
                Ok(0)
            }
        }
    })
}

pub(super) fn inotify(taking: &mut Taking) -> Stop {
    taking.each(|_| call(libc::SYS_inotify_init1, [0.into()]).map(|_| 1))
}

pub(super) fn epoll(taking: &mut Taking) -> Stop {
    let watched: Vec<i64> = (0..WATCHED).map_while(|_| call(libc::SYS_eventfd2, [0.into(), 0.into()]).ok()).collect();
    taking.each(|taking| {
        let queue = call(libc::SYS_epoll_create1, [0.into()])?;
        let mut watched = watched.iter();
        taking.fill(WATCHED as u64, || {
            let mut event = [&IN.to_ne_bytes()[..], &[0; 8]].concat();
            let fd = watched.next().copied().unwrap_or(-1);
            call(libc::SYS_epoll_ctl, [queue.into(), ADD.into(), fd.into(), event.as_mut_slice().into()])
        })
    })
}

pub(super) fn pipes(taking: &mut Taking) -> Stop {
    let mut bytes = vec![0; KIB];
    taking.each(|taking| {
        let mut made = [0; 8];
        call(libc::SYS_pipe2, [Arg::Bytes(&mut made), libc::O_NONBLOCK.into()])?;
        let [_, end] = two(made);
        let size = super::sockets::length(&bytes);
        taking.fill(PIPE_KIB, || call(libc::SYS_write, [end.into(), bytes.as_mut_slice().into(), size.into()]))
    })
}

pub(super) fn terminals(taking: &mut Taking) -> Stop {
    taking.each(|_| {
        std::mem::forget(File::options().read(true).write(true).open("/dev/ptmx")?);
        Ok(1)
    })
}

pub(super) fn timers(taking: &mut Taking) -> Stop {
    taking.each(|_| {
        let mut id = [0; 4];
        call(libc::SYS_timer_create, [libc::CLOCK_MONOTONIC.into(), 0.into(), Arg::Bytes(&mut id)]).map(|_| 1)
    })
}

/// A signal that is blocked waits.
pub(super) fn signals(taking: &mut Taking) -> Stop {
    let mut all = [0xff; 8];
    let blocked = call(libc::SYS_rt_sigprocmask, [libc::SIG_BLOCK.into(), Arg::Bytes(&mut all), 0.into(), SET.into()]);
    let own = i64::from(std::process::id());
    taking.each(|_| {
        blocked?;
        // `siginfo_t`: number, error, how it was sent.
        let mut info = [&QUEUED.to_ne_bytes()[..], &[0; 4], &SI_QUEUE.to_ne_bytes(), &[0; 116]].concat();
        call(libc::SYS_rt_sigqueueinfo, [own.into(), QUEUED.into(), info.as_mut_slice().into()]).map(|_| 1)
    })
}

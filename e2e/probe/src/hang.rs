//! A machine on which nothing runs any more: on every processor one that the scheduler never takes it from.

use std::process::ExitCode;
use std::thread;

use crate::sys::call;

/// `SCHED_FIFO` at its highest priority (linux/sched.h).
const POLICY: i64 = 1;
const PRIORITY: u32 = 99;
/// Without it the kernel leaves a twentieth of each second to others.
const THROTTLE: &str = "/proc/sys/kernel/sched_rt_runtime_us";

pub(crate) fn run() -> ExitCode {
    if let Err(error) = std::fs::write(THROTTLE, "-1") {
        eprintln!("error: `{THROTTLE}`: {error}");
        return ExitCode::FAILURE;
    }
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..processors).for_each(|_| drop(scope.spawn(spin))));
    ExitCode::FAILURE
}

fn spin() {
    let mut priority = PRIORITY.to_ne_bytes();
    if call(libc::SYS_sched_setscheduler, [0.into(), POLICY.into(), priority.as_mut_slice().into()]).is_ok() {
        loop {
            std::hint::spin_loop();
        }
    }
}

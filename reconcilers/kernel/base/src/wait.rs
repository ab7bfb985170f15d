//! Waiting for several things at once.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Instant,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
};

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Something to read.
    Input,
    /// Room to write.
    Room,
    /// An exceptional condition (`POLLPRI`), which procfs and kernfs raise after a change.
    Change,
}

/// Waits until one of `sources` is ready, or `until`. Returns in either case, and when a signal interrupts it: whoever is
/// woken looks. Says of each source whether it was ready.
///
/// # Errors
/// The kernel's.
pub fn wait(sources: &[(BorrowedFd<'_>, For)], until: Instant) -> io::Result<Vec<bool>> {
    let flags = |what: &For| match what {
        For::Input => PollFlags::POLLIN,
        For::Room => PollFlags::POLLOUT,
        For::Change => PollFlags::POLLPRI,
    };
    let mut fds: Vec<_> = sources.iter().map(|(fd, what)| PollFd::new(*fd, flags(what))).collect();
    // Rounded up: a millisecond early would be a turn for nothing.
    let left = until.saturating_duration_since(Instant::now()) + std::time::Duration::from_micros(999);
    match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(fds.iter().map(|fd| fd.any().unwrap_or(true)).collect()),
        Err(errno) => Err(errno.into()),
    }
}

/// Ready to be read once somebody set the wall clock: a timer that the kernel cancels then (`timerfd_create(2)`,
/// `TFD_TIMER_CANCEL_ON_SET`).
#[derive(Debug)]
pub struct ClockSet(TimerFd);

impl ClockSet {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the process is out of descriptors.
    pub fn listen() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        // The year 2255, near the end of the kernel's time: as good as never due.
        let never = Expiration::OneShot(TimeSpec::new(9_000_000_000, 0));
        timer.set(never, TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET)?;
        Ok(Self(timer))
    }

    /// Forgets what it heard; it listens on.
    pub fn drain(&self) {
        // `ECANCELED` is what it is for, `EAGAIN` that there was nothing.
        let _ = self.0.wait();
    }
}

impl AsFd for ClockSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Wakes a thread that waits. Clones notify the same one.
#[derive(Debug, Clone)]
pub struct Notify(Arc<EventFd>);

impl Notify {
    /// Nobody was notified by it yet.
    ///
    /// # Errors
    /// If the process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?)))
    }

    /// Wakes it.
    pub fn notify(&self) {
        // It fails only after 2^64 calls to which nobody listened: then it wakes already.
        let _ = self.0.write(1);
    }

    /// Forgets that it was notified.
    pub fn clear(&self) {
        // It fails only when it was not.
        let _ = self.0.read();
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_notified_wait_ends_and_a_cleared_one_does_not() {
        let notify = Notify::new().unwrap();
        notify.clone().notify();
        let start = Instant::now();
        wait(&[(notify.as_fd(), For::Input)], start + Duration::from_secs(60)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(30));
        notify.clear();
        let start = Instant::now();
        wait(&[(notify.as_fd(), For::Input)], start + Duration::from_millis(20)).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}

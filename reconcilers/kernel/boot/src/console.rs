//! The console, which may take nothing for ever: a terminal holds the line, nobody drains it. Then what is said is lost, and
//! nobody waits for it.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::{Errno, write},
};

use catenoid_kernel_base::wait::{For, wait};

/// From now on nobody waits who writes to `to`, in this process or in one that has the same: see [`Line::say`].
///
/// # Errors
/// The kernel's.
pub fn never_wait(to: impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfl(&to, fcntl_getfl(&to)? | OFlags::NONBLOCK)?)
}

/// A line out of the device.
#[derive(Debug)]
pub struct Line {
    patience: Duration,
    holds: AtomicBool,
}

impl Line {
    /// One that may take nothing for as long as `patience` before what is said is lost.
    #[must_use]
    pub const fn new(patience: Duration) -> Self {
        Self { patience, holds: AtomicBool::new(false) }
    }

    /// Writes `bytes` to `to`; what it does not take in time is lost, and from then on everything until it takes something
    /// again.
    pub fn say(&self, to: impl AsFd, mut bytes: &[u8]) {
        let patience = if self.holds.load(Ordering::Relaxed) { Duration::ZERO } else { self.patience };
        let until = Instant::now() + patience;
        while !bytes.is_empty() {
            match write(&to, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if Instant::now() < until => {
                    // The next write shows whether it is ready.
                    let _ = wait(&[(to.as_fd(), For::Room)], until);
                }
                Err(Errno::AGAIN) => return self.holds.store(true, Ordering::Relaxed),
                // Nobody is at its other end.
                Err(_) => return,
            }
        }
        self.holds.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_line_that_takes_nothing_holds_nobody_and_goes_on() {
        let (mut reader, writer) = io::pipe().unwrap();
        never_wait(&writer).unwrap();
        let line = Line::new(Duration::from_millis(300));
        let much = vec![b'x'; 1 << 20];
        let begun = Instant::now();
        line.say(&writer, &much);
        let first = begun.elapsed();
        assert!(first >= Duration::from_millis(300), "it was given time");
        (0..100).for_each(|_| line.say(&writer, b"lost\n"));
        assert!(begun.elapsed() - first < Duration::from_millis(250), "nobody waits any more");
        let mut taken = vec![0; 1 << 16];
        reader.read_exact(&mut taken).unwrap();
        line.say(&writer, b"said\n");
        drop(writer);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"said\n");
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        line.say(&writer, b"nobody hears it");
    }
}

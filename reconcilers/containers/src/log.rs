//! What containers write to their standard output and error: the last part of it, in memory.
//!
//! A container writes into a fifo that it holds open in both directions, so that the agent's death neither ends nor
//! blocks it. While nobody reads, or when it writes faster than is read, the fifo (64 KiB) fills up and further output
//! is lost: a write fails with `EAGAIN`. Nothing is written to disk.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use catenoid_kernel_base::{lock, process};
use tokio::{
    net::unix::pipe::Receiver,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

/// Bytes of output that are kept of each container.
pub(crate) const TAIL_LIMIT: usize = 64 * 1024;
/// A fifo is read once in this time, all of its 64 KiB at most: a flood of output costs the agent next to nothing.
const PACE: Duration = Duration::from_millis(100);

/// The last bytes of an output.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tail(VecDeque<u8>);

impl Tail {
    /// Adds `bytes`, and lets go of the oldest ones past 64 KiB.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_LIMIT)..];
        let over = (self.0.len() + bytes.len()).saturating_sub(TAIL_LIMIT);
        self.0.drain(..over);
        self.0.extend(bytes);
    }

    /// As text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let (first, second) = self.0.as_slices();
        String::from_utf8_lossy(&[first, second].concat()).into_owned()
    }
}

/// Reads a container's output for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Follower {
    tail: Arc<Mutex<Tail>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Follows the fifo at `path`; needs a tokio runtime. `None` if there is no fifo.
    ///
    /// # Errors
    /// If it cannot be opened or watched.
    pub(crate) fn follow(path: &Path) -> Result<Option<Self>, process::Error> {
        let Some(fd) = process::open_fifo(path)? else { return Ok(None) };
        let error = |source| process::Error::Read { path: path.to_owned(), source };
        let pipe = Receiver::from_owned_fd(fd).map_err(error)?;
        let tail = Arc::default();
        let task = tokio::spawn(read(pipe, Arc::clone(&tail)));
        Ok(Some(Self { tail, task }))
    }

    /// What came so far.
    #[must_use]
    pub(crate) fn tail(&self) -> Tail {
        lock(&self.tail).clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends only by an error, which a fifo does not give.
async fn read(pipe: Receiver, tail: Arc<Mutex<Tail>>) {
    #[expect(clippy::disallowed_methods, reason = "it only bounds how often is read what is there")]
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        if pipe.readable().await.is_err() {
            return;
        }
        // Held only while it is needed: of a hundred containers hardly one says something at a time.
        let mut buffer = vec![0; TAIL_LIMIT];
        match pipe.try_read(&mut buffer) {
            Ok(count) => lock(&tail).push(&buffer[..count]),
            // Somebody else was faster; we are woken again.
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_newest_bytes() {
        let mut tail = Tail::default();
        tail.push(b"old ");
        tail.push(b"new");
        assert_eq!(tail.text(), "old new");
        tail.push(&vec![b'x'; TAIL_LIMIT - 3]);
        assert_eq!(tail.text(), format!("new{}", "x".repeat(TAIL_LIMIT - 3)));
        tail.push(&vec![b'y'; TAIL_LIMIT + 1]);
        assert_eq!(tail.text(), "y".repeat(TAIL_LIMIT));
        tail.push(b"\xff");
        assert!(tail.text().ends_with("y\u{fffd}"));
    }
}

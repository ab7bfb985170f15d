//! The serial console: everything the firmware, the kernel and PID 1 print, kept and waited on.

use std::io::{self, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// What a failure shows of the console: enough for a panic with its trace.
const TAIL_LINES: usize = 40;
/// What PID 1 says first in each boot, and how many lines from there on say how it came to that boot. What stands before it is
/// the end of the boot before, or the beginning of this one.
const BOOTED: &str = "catenoid: booted";
const BOOTED_LINES: usize = 3;

/// A console being read by a thread of its own until the machine closes it.
#[derive(Debug, Clone)]
pub struct Console {
    shared: Arc<Shared>,
    keyboard: Arc<UnixStream>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    ended: bool,
}

/// How a wait for the console ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The pattern stands in the text; the offset behind it.
    At(usize),
    /// The deadline passed first.
    NotInTime,
    /// The machine closed its console first.
    Ended,
}

impl Console {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let console = Self { shared: Arc::clone(&shared), keyboard: Arc::new(stream.try_clone()?) };
        thread::spawn(move || read_all(stream, &shared));
        Ok(console)
    }

    /// Sends what somebody at the other end of the line would.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        (&*self.keyboard).write_all(bytes)
    }

    /// Waits until `pattern` stands in the text at or behind `from`.
    #[must_use]
    pub fn wait(&self, pattern: &str, from: usize, deadline: Instant) -> Seen {
        let mut state = self.lock();
        loop {
            if let Some(at) = state.text.get(from..).and_then(|text| text.find(pattern)) {
                return Seen::At(from + at + pattern.len());
            }
            if state.ended {
                return Seen::Ended;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Seen::NotInTime };
            state = self.shared.grown.wait_timeout(state, left).expect("the reader does not panic").0;
        }
    }

    /// Waits until the machine prints anything more, or `patience` is over: the pause between two tries of something
    /// that has no event of its own.
    pub fn wait_any(&self, patience: Duration) {
        let state = self.lock();
        drop(self.shared.grown.wait_timeout(state, patience).expect("the reader does not panic"));
    }

    /// Everything printed so far, without escape sequences.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// Bytes printed so far: a mark to wait from.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.lock().text.len()
    }

    /// The last lines, for an error, and those before the last start of the device.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = self.text();
        let Some((before, since)) = text.rfind(BOOTED).map(|at| text.split_at(at)) else { return last_lines(&text) };
        let first: Vec<_> = since.lines().take(BOOTED_LINES).collect();
        format!("{}\n{}\n[...]\n{}", last_lines(before), first.join("\n"), last_lines(since))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("the reader does not panic")
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn read_all(mut stream: UnixStream, shared: &Shared) {
    let mut plain = Plain::default();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        let mut state = shared.state.lock().expect("no holder of the lock panics");
        if read == 0 {
            state.ended = true;
            shared.grown.notify_all();
            return;
        }
        plain.push(&buffer[..read], &mut state.text);
        shared.grown.notify_all();
    }
}

/// Takes escape sequences and control characters out of a terminal stream that arrives in pieces.
#[derive(Debug, Default)]
enum Plain {
    #[default]
    Text,
    Escape,
    Sequence,
}

impl Plain {
    fn push(&mut self, bytes: &[u8], text: &mut String) {
        for &byte in bytes {
            *self = match (&self, byte) {
                (Self::Text, 0x1b) => Self::Escape,
                (Self::Text, _) => {
                    if byte == b'\n' || byte == b'\t' || (0x20..0x7f).contains(&byte) {
                        text.push(char::from(byte));
                    }
                    Self::Text
                }
                (Self::Escape, b'[') => Self::Sequence,
                (Self::Escape, _) => Self::Text,
                // A control sequence ends with a byte of 0x40 to 0x7e (ECMA-48, 5.4).
                (Self::Sequence, 0x40..=0x7e) => Self::Text,
                (Self::Sequence, _) => Self::Sequence,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn escape_sequences_are_dropped_across_pieces() {
        let (mut plain, mut text) = (Plain::default(), String::new());
        for piece in [b"a\x1b".as_slice(), b"[2", b"J\x1b[01;01Hb\r\nc\x1b=d"] {
            plain.push(piece, &mut text);
        }
        assert_eq!(text, "ab\ncd");
    }

    #[test]
    fn waiting_ends_by_pattern_mark_deadline_and_close() {
        let (mut writer, reader) = UnixStream::pair().expect("a socket pair");
        let console = Console::new(reader).expect("a second handle");
        let soon = || Instant::now() + Duration::from_secs(10);
        writer.write_all(b"booted\n").expect("the reader lives");
        assert_eq!(console.wait("boot", 0, soon()), Seen::At(4));
        assert_eq!(console.wait("boot", 4, Instant::now()), Seen::NotInTime);
        drop(writer);
        assert_eq!(console.wait("boot", 4, soon()), Seen::Ended);
        assert_eq!(console.tail(), "booted");
    }

    #[test]
    fn the_tail_shows_why_the_device_started_again() {
        let (mut writer, reader) = UnixStream::pair().expect("a socket pair");
        let console = Console::new(reader).expect("a second handle");
        let text =
            "panic\ncatenoid: booted\ncatenoid: the watchdog reset the machine\n".to_owned() + &"on\n".repeat(99);
        writer.write_all(text.as_bytes()).expect("the reader lives");
        drop(writer);
        assert_eq!(console.wait("never", 0, Instant::now() + Duration::from_secs(10)), Seen::Ended);
        let tail = console.tail();
        assert!(tail.starts_with("panic\ncatenoid: booted\ncatenoid: the watchdog reset"), "{tail}");
        assert!(tail.ends_with("on") && tail.lines().count() < 2 * TAIL_LINES, "{tail}");
    }
}

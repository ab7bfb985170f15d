//! The machine's watchdogs, and the sign of life of the agent that PID 1 feeds them for.
#![allow(unsafe_code, reason = "an ioctl that no crate here offers")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use nix::sys::stat::{SFlag, fstat};

/// The request of `linux/watchdog.h`.
mod request {
    #![allow(missing_docs, reason = "the macro makes a public function without documentation")]

    nix::ioctl_readwrite!(set_timeout, b'W', 6, libc::c_int);
    nix::ioctl_read!(get_timeout, b'W', 7, libc::c_int);
}

/// `WDIOF_CARDRESET` (`linux/watchdog.h`) of the boot status: it was this watchdog that reset the machine.
const HAS_RESET: u32 = 0x20;

/// Every watchdog of the machine, armed: it resets the machine once nobody has fed it for its time, and cannot be let go of.
#[derive(Debug)]
pub struct Watchdogs {
    armed: Vec<File>,
    /// How often they have to be fed: three times before the first of them resets.
    pub feed: Duration,
    /// Whether one of them reset the machine before this boot.
    pub has_reset: bool,
    /// For people: which there are, and what was wrong with others.
    pub findings: Vec<String>,
}

impl Watchdogs {
    /// Arms all that there are, each for `timeout`.
    #[must_use]
    pub fn arm(timeout: Duration) -> Self {
        let (mut armed, mut findings, mut has_reset, mut least) = (Vec::new(), Vec::new(), false, timeout);
        for entry in fs::read_dir("/sys/class/watchdog").into_iter().flatten().flatten() {
            let said = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default().trim().to_owned();
            has_reset |= said("bootstatus").parse().is_ok_and(|status: u32| status & HAS_RESET != 0);
            let name = entry.file_name().to_string_lossy().into_owned();
            match arm(&Path::new("/dev").join(&name), timeout) {
                Ok((file, seconds)) => {
                    findings.push(format!("{name} ({}) resets the machine after {seconds} s", said("identity")));
                    armed.push(file);
                    least = least.min(Duration::from_secs(u64::try_from(seconds).unwrap_or(1).max(1)));
                }
                Err(error) => findings.push(format!("{name} cannot be armed: {error}")),
            }
        }
        Self { armed, feed: least / 3, has_reset, findings }
    }

    /// Those that are armed, for somebody else to feed. Whoever hands them over feeds nobody any more, and keeps the pace.
    #[must_use]
    pub fn hand_over(&mut self) -> Self {
        let (armed, findings) = (std::mem::take(&mut self.armed), Vec::new());
        Self { armed, feed: self.feed, has_reset: self.has_reset, findings }
    }

    /// Lets each begin its time anew.
    pub fn feed_all(&mut self) {
        for dog in &mut self.armed {
            // Whatever it is that does not take it: it will reset the machine, which is all that can be done then.
            let _ = dog.write(b"\0");
        }
    }
}

/// The opened watchdog, with its time in seconds: what it can do of `timeout`, or its own. It runs from now on.
fn arm(path: &Path, timeout: Duration) -> io::Result<(File, libc::c_int)> {
    let file = OpenOptions::new().write(true).open(path)?;
    let mut seconds = libc::c_int::try_from(timeout.as_secs()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the requests read and write one int.
    unsafe {
        if request::set_timeout(file.as_raw_fd(), &raw mut seconds).is_err()
            && request::get_timeout(file.as_raw_fd(), &raw mut seconds).is_err()
        {
            // One that does not say: it is fed as often as any that there is may need it.
            seconds = 3;
        }
    }
    Ok((file, seconds))
}

/// PID 1's end of the line over which the agent shows that it lives.
#[derive(Debug)]
pub struct Signs(PipeReader);

/// A line: PID 1's end, and the agent's, which is to be its standard input.
///
/// # Errors
/// If the process is out of descriptors.
pub fn line() -> io::Result<(Signs, PipeWriter)> {
    let (signs, agent) = io::pipe()?;
    Ok((Signs(signs), agent))
}

impl Signs {
    /// Takes what came, once it is ready to be read; whether the other end is still there.
    #[must_use]
    pub fn take(&mut self) -> bool {
        self.0.read(&mut [0; 64]).is_ok_and(|count| count > 0)
    }
}

impl AsFd for Signs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The agent's end.
#[derive(Debug)]
pub struct Life(File);

impl Life {
    /// Takes it from the standard input, which then is `/dev/null`; none where nobody waits for signs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take() -> io::Result<Option<Self>> {
        let input = io::stdin();
        let kind = SFlag::from_bits_truncate(fstat(&input)?.st_mode) & SFlag::S_IFMT;
        if kind != SFlag::S_IFIFO {
            return Ok(None);
        }
        let line: OwnedFd = input.as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Some(Self(line.into())))
    }

    /// Shows that the agent lives.
    pub fn show(&mut self) {
        // PID 1 reads it, unless it hangs; then nobody is left who could hear it.
        let _ = self.0.write(b".");
    }
}

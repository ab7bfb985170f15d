//! What a TPM held at every moment of a log of writes, so that a power cut finds disk and TPM as they were together.
//!
//! A TPM answers a command when what it changed is safe, and whoever gave the command goes on with the answer. So [`TpmLog`]
//! stands between QEMU and swtpm: it keeps how long the disk's log was before a command went in, and before its answer comes
//! out it looks whether swtpm has written its state anew. A cut between the two finds the old state or the new one; no
//! write of the disk that needed the answer is in the log before it.
//!
//! QEMU hands the TPM's data channel over as a descriptor, by a message of the control channel (`swtpm_ioctls(3)`,
//! `CMD_SET_DATAFD`); swtpm gets one of ours in its place.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::chance::Chance;
use crate::write_log::WriteLog;

/// What swtpm keeps over a power cut, in its folder. It writes another file and renames it.
pub const STATE: &str = "tpm2-00.permall";
/// More than a message of either channel: commands, answers and pieces of state blobs have at most 4096 bytes.
const MESSAGE: usize = 8192;

/// The states that a TPM had, each with the part of the log in which it came.
#[derive(Debug, Clone)]
pub struct TpmLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: PathBuf,
    log: PathBuf,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    /// Bytes of the log when the command went in that is being answered.
    begun: u64,
    /// Which file was read last.
    last: Option<(u64, i64, i64)>,
    states: Vec<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes of the log before the command went in that made it, and before its answer came out.
    begun: u64,
    done: u64,
    bytes: Vec<u8>,
}

impl TpmLog {
    /// Begins with what is in swtpm's folder, and with the log as it is.
    pub(crate) fn new(folder: &Path, log: &Path) -> io::Result<Self> {
        let (state, log) = (folder.join(STATE), log.to_owned());
        let tpm = Self { shared: Arc::new(Shared { state, log, history: Mutex::default() }) };
        tpm.shared.answered()?;
        Ok(tpm)
    }

    /// Stands between the first that connects to `listener` and the swtpm behind `control`.
    pub(crate) fn stand_between(&self, listener: UnixListener, control: UnixStream) {
        let shared = Arc::clone(&self.shared);
        // Who listens no more has ended, and so has the machine.
        thread::spawn(move || listener.accept().and_then(|(qemu, _)| join(&qemu, control, &shared)));
    }

    /// The state that the TPM of a machine may have whose power was cut before entry `at` of its log.
    #[must_use]
    pub fn cut(&self, log: &WriteLog, at: usize, chance: &mut Chance) -> Vec<u8> {
        let history = self.shared.lock();
        let entries = |state: &State| (log.entries_at(state.begun), log.entries_at(state.done));
        history.states[choose(history.states.iter().map(entries), at, chance)].bytes.clone()
    }

    /// How many states there were.
    #[must_use]
    pub fn states(&self) -> usize {
        self.shared.lock().states.len()
    }
}

/// Which of states that came between two entries each (in order, the first before all) is found by a cut before entry `at`:
/// the last one that was there for sure, or by chance one of those that may have been on their way.
fn choose(states: impl Iterator<Item = (usize, usize)>, at: usize, chance: &mut Chance) -> usize {
    let (mut sure, mut on_the_way) = (0, 0);
    for (number, (begun, done)) in states.enumerate().skip(1) {
        match () {
            () if done < at => (sure, on_the_way) = (number, 0),
            () if begun <= at => on_the_way = number - sure,
            () => break,
        }
    }
    sure + usize::try_from(chance.below(on_the_way as u64 + 1)).unwrap_or(0)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("no holder of the lock panics")
    }

    fn logged(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.log)?.len())
    }

    /// A command goes in.
    fn asked(&self) -> io::Result<()> {
        self.lock().begun = self.logged()?;
        Ok(())
    }

    /// An answer comes out.
    fn answered(&self) -> io::Result<()> {
        let is = fs::metadata(&self.state)?;
        let last = Some((is.ino(), is.ctime(), is.ctime_nsec()));
        let mut history = self.lock();
        if history.last != last {
            let state = State { begun: history.begun, done: self.logged()?, bytes: fs::read(&self.state)? };
            history.states.push(state);
            history.last = last;
        }
        Ok(())
    }
}

/// Carries the control channel in both directions, and each data channel that is handed over on it.
fn join(qemu: &UnixStream, swtpm: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    carry_answers(swtpm.try_clone()?, qemu.try_clone()?, shared);
    let mut message = [0; MESSAGE];
    loop {
        let (length, handed) = receive(qemu, &mut message)?;
        if length == 0 {
            return swtpm.shutdown(Shutdown::Both);
        }
        shared.asked()?;
        let theirs = handed.map(|data| carry_data(data.into(), shared)).transpose()?;
        send(&swtpm, &message[..length], theirs)?;
    }
}

/// Carries a data channel; the end of it that swtpm is to have.
fn carry_data(qemu: UnixStream, shared: &Arc<Shared>) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    carry_answers(ours.try_clone()?, qemu.try_clone()?, shared);
    let asked = Arc::clone(shared);
    carry(qemu, ours, move || asked.asked());
    Ok(theirs)
}

fn carry_answers(swtpm: UnixStream, qemu: UnixStream, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    carry(swtpm, qemu, move || shared.answered());
}

/// Carries bytes until one side ends, and before each piece does `before`.
fn carry(mut from: UnixStream, mut to: UnixStream, before: impl Fn() -> io::Result<()> + Send + 'static) {
    thread::spawn(move || -> io::Result<()> {
        let mut piece = [0; MESSAGE];
        loop {
            let length = from.read(&mut piece)?;
            if length == 0 {
                return to.shutdown(Shutdown::Both);
            }
            before()?;
            to.write_all(&piece[..length])?;
        }
    });
}

/// A message, and the descriptor that came with it.
fn receive(from: &UnixStream, message: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(from, &mut [IoSliceMut::new(message)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let handed = control.drain().find_map(|held| match held {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((received.bytes, handed))
}

fn send(to: &UnixStream, message: &[u8], handed: Option<UnixStream>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = handed.as_ref().map(|stream| [stream.as_fd()]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let sent = sendmsg(to, &[IoSlice::new(message)], &mut control, SendFlags::empty())?;
    let mut to = to;
    to.write_all(&message[sent..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What cuts before entry `at` may find.
    fn found(states: &[(usize, usize)], at: usize) -> BTreeSet<usize> {
        (0..64).map(|seed| choose(states.iter().copied(), at, &mut Chance::of(seed))).collect()
    }

    #[test]
    fn a_cut_finds_the_state_that_was_safe_or_one_on_its_way() {
        // The first is there before all; the second comes between entries 3 and 5, two more while nothing is written.
        let states = [(0, 0), (3, 5), (8, 8), (8, 8)];
        let cases: [(usize, &[usize]); 8] =
            [(0, &[0]), (2, &[0]), (3, &[0, 1]), (5, &[0, 1]), (6, &[1]), (7, &[1]), (8, &[1, 2, 3]), (9, &[3])];
        for (at, expected) in cases {
            assert_eq!(found(&states, at), expected.iter().copied().collect(), "a cut before entry {at}");
        }
    }

    #[test]
    fn a_state_is_kept_with_the_log_before_its_command_and_before_its_answer() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, state) = (folder.path().join("writes.log"), folder.path().join(STATE));
        fs::write(&log, [0; 10]).expect("a log");
        fs::write(&state, b"new").expect("a state");
        let tpm = TpmLog::new(folder.path(), &log).expect("a state and a log");
        let listener = UnixListener::bind(folder.path().join("tpm.sock")).expect("a socket");
        let (control, mut swtpm) = UnixStream::pair().expect("a socket pair");
        tpm.stand_between(listener, control);
        let qemu = UnixStream::connect(folder.path().join("tpm.sock")).expect("it listens");

        // The data channel is handed over.
        let (mut data, theirs) = UnixStream::pair().expect("a socket pair");
        send(&qemu, b"here", Some(theirs)).expect("it is taken");
        let mut bytes = [0; 4];
        let (length, handed) = receive(&swtpm, &mut bytes).expect("it is carried");
        assert_eq!((length, &bytes), (4, b"here"));
        let mut channel = UnixStream::from(handed.expect("a descriptor is handed over"));
        swtpm.write_all(b"good").expect("it is taken");
        (&qemu).read_exact(&mut bytes).expect("it is carried");

        for round in 1..=3_u8 {
            data.write_all(b"NVWR").expect("it is taken");
            channel.read_exact(&mut bytes).expect("it is carried");
            fs::write(&log, vec![0; 10 + 20 * usize::from(round)]).expect("the log grows");
            // The second command changes nothing.
            if round != 2 {
                let next = folder.path().join("next");
                fs::write(&next, [round]).and_then(|()| fs::rename(&next, &state)).expect("another state");
            }
            channel.write_all(b"done").expect("it is taken");
            data.read_exact(&mut bytes).expect("it is carried");
        }
        let history = tpm.shared.lock();
        let seen: Vec<_> = history.states.iter().map(|held| (held.begun, held.done, held.bytes.as_slice())).collect();
        assert_eq!(seen, [(0, 10, b"new".as_slice()), (10, 30, &[1]), (50, 70, &[3])]);
    }
}

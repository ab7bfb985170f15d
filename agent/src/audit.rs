//! Everything that happened: an append-only log of events, and the line from which others watch them.
//!
//! `audit.jsonl` holds one JSON record a line. A record names the digest of the line before it, so that a cut, an edit
//! or a swap shows; who signs the head of that chain is a later step. At [`FILE_LIMIT`] the file becomes `audit.1.jsonl`
//! and the one before that is dropped: the log never fills the disk.
//!
//! What cannot be written (a full disk) waits in memory, is told all the same, and is written when it can be. A log that
//! was removed begins anew; its first record still names the last line of the old one.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read as _, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use catenoid_kernel::files::{self, Folder};
use catenoid_schema::{control::Event, digest::Digest, status::Subject};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{budget::Budget, intake::chain};

/// The file that is written.
const LOG: &str = "audit.jsonl";
/// The one before it.
const BEFORE: &str = "audit.1.jsonl";
/// One file's most bytes; two are kept.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;
/// Events kept in memory for who asks what happened before.
const BACKLOG: usize = 1000;
/// A message's most bytes; it is cut there.
const MESSAGE_LIMIT: usize = 4096;
/// No record is longer: a byte of a message takes six at most (`\u0000`), and the rest is names.
const RECORD_LIMIT: u64 = 32 * 1024;

/// The actor of what the device does by itself.
pub(crate) const DEVICE: &str = "device";

/// One line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<E = Event> {
    #[serde(flatten)]
    event: E,
    /// The kernel's random id of the boot.
    boot_id: String,
    /// Milliseconds since that boot, which no clock change moves.
    monotonic_ms: u64,
    /// The digest of the line before, without its line feed.
    previous: Digest,
}

/// The log, shared by everyone in the agent.
#[derive(Debug)]
pub(crate) struct Audit {
    state: Mutex<State>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug)]
struct State {
    folder: PathBuf,
    /// None while the file cannot be written (a full disk): events are still told, and writing is tried anew.
    file: Option<File>,
    /// Events that are not in the file yet, each with the milliseconds from boot to it.
    pending: VecDeque<(Arc<Event>, u64)>,
    /// Events that there was no room for in memory either.
    lost: u64,
    /// Why the file cannot be written.
    fault: Option<String>,
    /// Bytes of whole records.
    size: u64,
    /// Whether a write may have left half a record behind them.
    torn: bool,
    next: u64,
    previous: Digest,
    boot_id: String,
    /// Shared with everybody to whom they are being told.
    backlog: VecDeque<Arc<Event>>,
    budget: Budget,
}

/// What happened, before it has a number.
#[derive(Debug, Clone)]
pub(crate) struct Happening {
    /// As in [`Event::kind`].
    pub kind: &'static str,
    /// As in [`Event::subject`].
    pub subject: Option<Subject>,
    /// As in [`Event::actor`].
    pub actor: String,
    /// As in [`Event::message`].
    pub message: String,
}

impl Happening {
    /// Something the device did by itself.
    pub(crate) fn by_device(kind: &'static str, subject: Option<Subject>, message: impl Into<String>) -> Self {
        Self { kind, subject, actor: DEVICE.to_owned(), message: message.into() }
    }
}

impl Audit {
    /// Goes on with the log in `folder`, which is made if it is not there. What cannot be read or written is no reason not to
    /// begin: events wait until it can.
    pub(crate) fn open(folder: &Path, boot_id: &str) -> Self {
        let read = tail(folder, LOG).and_then(|tail| match tail {
            // Cut off between putting the full file aside and the first record of the next.
            Tail { events, whole, .. } if events.is_empty() => {
                self::tail(folder, BEFORE).map(|before| Tail { whole, ..before })
            }
            tail => Ok(tail),
        });
        let unreadable = read.as_ref().err().map(|error| format!("what happened before is not known: {error}"));
        // A torn last line is cut off; of a log that cannot be read nothing is.
        let torn = unreadable.is_none();
        let Tail { events: backlog, previous, whole: size } = read.unwrap_or_default();
        // Past the last number, which only somebody else's record can have, it stays: the device goes on.
        let next = backlog.back().map_or(1, |event| event.number.saturating_add(1));
        let (folder, boot_id) = (folder.to_owned(), boot_id.to_owned());
        let (pending, lost, fault, budget) = (VecDeque::new(), 0, None, Budget::default());
        let state =
            State { folder, file: None, pending, lost, fault, size, torn, next, previous, boot_id, backlog, budget };
        let audit = Self { state: Mutex::new(state), live: broadcast::channel(BACKLOG).0 };
        if let Some(message) = unreadable {
            audit.note(Happening::by_device("AuditLogUnreadable", None, message));
        }
        audit
    }

    /// Writes an event and tells everyone who watches. That it could not be written is itself an event, told and kept
    /// in memory; the device goes on.
    /// Of a source that causes more than its share ([`Budget`]), several are told as one.
    pub(crate) fn note(&self, happening: Happening) {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        if let Some(happening) = state.budget.admit(happening, crate::clock::since_boot_ms()) {
            self.tell(&mut state, happening);
            self.write(&mut state);
        }
    }

    /// Writes what waits for it or was only counted, and looks whether the log is still there; why it cannot be written, if so.
    pub(crate) fn look_after(&self) -> Option<String> {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        let counted = state.budget.settle(crate::clock::since_boot_ms());
        counted.into_iter().for_each(|happening| self.tell(&mut state, happening));
        self.write(&mut state);
        state.fault.clone()
    }

    /// Gives an event its number, and tells it.
    fn tell(&self, state: &mut State, happening: Happening) {
        let event = Arc::new(state.event(happening));
        tracing::info!(kind = event.kind, subject = event.subject.as_ref().map(Subject::as_str), "{}", event.message);
        state.backlog.push_back(event.clone());
        if state.backlog.len() > BACKLOG {
            state.backlog.pop_front();
        }
        state.pending.push_back((event.clone(), crate::clock::since_boot_ms()));
        if state.pending.len() > BACKLOG {
            state.pending.pop_front();
            state.lost += 1;
        }
        // Nobody may be watching.
        let _ = self.live.send(event);
    }

    /// Writes all that waits; that this begins to fail, or succeeds again, is an event too.
    fn write(&self, state: &mut State) {
        if state.is_removed() {
            state.file = None;
            (state.size, state.torn) = (0, false);
            let message = format!("the audit log was removed, with all before event {}", state.next);
            self.tell(state, Happening::by_device("AuditLogLost", None, message));
        }
        let (before, waiting) = (state.fault.clone(), state.pending.len());
        state.fault = state.write_pending().err().map(|error| error.to_string());
        match (before, state.fault.clone()) {
            (None, Some(fault)) => {
                let message = format!("events wait in memory until they can be written: {fault}");
                self.tell(state, Happening::by_device("AuditLogUnwritable", None, message));
            }
            (Some(_), None) => {
                let lost = std::mem::take(&mut state.lost);
                let message = format!("{waiting} events were written late, {lost} were lost");
                self.tell(state, Happening::by_device("AuditLogWritten", None, message));
                state.fault = state.write_pending().err().map(|error| error.to_string());
            }
            _ => {}
        }
    }

    /// The last event still in memory that is `wanted`.
    pub(crate) fn find_last(&self, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let state = self.state.lock().expect("nobody panics while holding it");
        state.backlog.iter().rfind(|event| wanted(event)).map(|event| Event::clone(event))
    }

    /// The number of the last event; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.state.lock().expect("nobody panics while holding it").next.saturating_sub(1)
    }

    /// The events after number `since` that are still in memory, and all that come.
    pub(crate) fn watch(&self, since: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let state = self.state.lock().expect("nobody panics while holding it");
        let past = state.backlog.iter().filter(|event| event.number > since).cloned().collect();
        (past, self.live.subscribe())
    }

    /// The last `count` events about `subject`, oldest first.
    pub(crate) fn about(&self, subject: &Subject, count: usize) -> Vec<Event> {
        let state = self.state.lock().expect("nobody panics while holding it");
        let about = state.backlog.iter().rev().filter(|event| event.subject.as_ref() == Some(subject));
        let mut events: Vec<_> = about.take(count).map(|event| Event::clone(event)).collect();
        events.reverse();
        events
    }
}

impl State {
    fn event(&mut self, happening: Happening) -> Event {
        let Happening { kind, subject, actor, mut message } = happening;
        if message.len() > MESSAGE_LIMIT {
            message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
            message.push_str(" ...");
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        Event { number, at: crate::clock::now(), kind: kind.to_owned(), subject, actor, message }
    }

    /// Whether what lies at our path is not what we write to any more.
    fn is_removed(&self) -> bool {
        let ours = self.file.as_ref().and_then(|file| file.metadata().ok());
        let there = || Folder::find(&self.folder).ok()??.entry(LOG).ok()?;
        ours.is_some_and(|ours| there().is_none_or(|there| there.inode != (ours.dev(), ours.ino())))
    }

    fn write_pending(&mut self) -> io::Result<()> {
        while let Some((event, since_boot)) = self.pending.front().cloned() {
            self.append(event, since_boot).inspect_err(|_| {
                self.file = None;
                self.torn = true;
            })?;
            self.pending.pop_front();
        }
        Ok(())
    }

    fn append(&mut self, event: Arc<Event>, monotonic_ms: u64) -> io::Result<()> {
        if self.file.is_none() || self.size > FILE_LIMIT {
            self.reopen()?;
        }
        let record = Record { event: &*event, boot_id: self.boot_id.clone(), monotonic_ms, previous: self.previous };
        let mut line = serde_json::to_vec(&record)?;
        let digest = Digest::of(&line);
        line.push(b'\n');
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotConnected.into()) };
        file.write_all(&line)?;
        file.sync_data()?;
        self.size += line.len() as u64;
        self.previous = digest;
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        let folder = Folder::open(&self.folder).map_err(told)?;
        if folder.entry(LOG).map_err(told)?.is_some_and(|held| held.size > FILE_LIMIT) {
            folder.rename(LOG, &folder, BEFORE).map_err(told)?;
            self.torn = false;
        }
        let mut file = folder.append(LOG).map_err(told)?;
        let held = file.seek(SeekFrom::End(0))?;
        if self.torn && held > self.size {
            // The half of a line that did not fit on a full disk: the next record must not be written behind it.
            file.set_len(self.size)?;
        } else {
            self.size = held;
        }
        self.torn = false;
        self.file = Some(file);
        Ok(())
    }
}

/// The end of a log.
struct Tail {
    /// The last events.
    events: VecDeque<Arc<Event>>,
    /// The digest of the last line.
    previous: Digest,
    /// Bytes of whole lines: what follows them is a line that a power cut tore.
    whole: u64,
}

impl Default for Tail {
    fn default() -> Self {
        Self { events: VecDeque::new(), previous: Digest::of(b""), whole: 0 }
    }
}

/// An error with its causes, for who writes the log.
#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn told(error: files::Error) -> io::Error {
    io::Error::other(chain(&error))
}

/// Reads the end of the log `name` in `folder`. A longer line than we write is read in pieces, and of a longer file than we write
/// the rest is not read: whoever wrote it, it takes no more memory than a record and no more time than a log.
fn tail(folder: &Path, name: &str) -> io::Result<Tail> {
    let Tail { mut events, mut previous, mut whole } = Tail::default();
    let file = Folder::find(folder).and_then(|folder| folder.map_or(Ok(None), |folder| folder.find_file(name)));
    let Some(file) = file.map_err(told)? else { return Ok(Tail::default()) };
    let (mut held, mut line) = (0, Vec::new());
    let mut reader = BufReader::new(file.take(FILE_LIMIT + RECORD_LIMIT));
    while reader.by_ref().take(RECORD_LIMIT).read_until(b'\n', &mut line)? > 0 {
        held += line.len() as u64;
        if let Some(record) = line.strip_suffix(b"\n") {
            if let Ok(Record { event, .. }) = serde_json::from_slice::<Record>(record) {
                events.push_back(Arc::new(event));
                if events.len() > BACKLOG {
                    events.pop_front();
                }
            }
            previous = Digest::of(record);
            whole = held;
        }
        line.clear();
    }
    Ok(Tail { events, previous, whole })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;

    fn note(audit: &Audit, message: &str) {
        audit.note(Happening::by_device("Test", Some(Subject::new("container", "web")), message));
    }

    #[test]
    fn each_record_names_the_line_before_it_across_a_reopening() {
        let folder = tempfile::tempdir().unwrap();
        note(&Audit::open(folder.path(), "boot-1"), "one");
        let audit = Audit::open(folder.path(), "boot-2");
        note(&audit, "two");
        let text = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let records: Vec<Record> = lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(records.iter().map(|r| r.event.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(records[1].previous, Digest::of(lines[0].as_bytes()));
        assert_eq!(audit.about(&Subject::new("container", "web"), 9).len(), 2);
        assert_eq!(audit.watch(1).0.len(), 1);
    }

    #[test]
    fn a_torn_last_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        note(&Audit::open(folder.path(), "boot-1"), "one");
        let path = folder.path().join("audit.jsonl");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"number\":2,\"at").unwrap();
        note(&Audit::open(folder.path(), "boot-1"), "two");
        let text = fs::read_to_string(&path).unwrap();
        let numbers: Vec<u64> = text.lines().map(|l| serde_json::from_str::<Record>(l).unwrap().event.number).collect();
        assert_eq!(numbers, [1, 2]);
    }

    #[test]
    fn a_line_that_is_too_long_is_no_record_and_hides_none() {
        let folder = tempfile::tempdir().unwrap();
        note(&Audit::open(folder.path(), "boot-1"), "one");
        let path = folder.path().join("audit.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        let long = vec![b'x'; usize::try_from(RECORD_LIMIT).unwrap() * 3];
        file.write_all(&long).unwrap();
        file.write_all(b"\n").unwrap();
        note(&Audit::open(folder.path(), "boot-2"), "two");
        // The same without its end is cut off as any torn line.
        file.write_all(&long).unwrap();
        note(&Audit::open(folder.path(), "boot-3"), "three");
        let events = tail(folder.path(), LOG).unwrap().events;
        let told: Vec<_> = events.iter().map(|event| (event.number, event.message.as_str())).collect();
        assert_eq!(told, [(1, "one"), (2, "two"), (3, "three")]);
    }

    #[test]
    fn a_file_that_is_too_long_is_put_aside_and_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        note(&Audit::open(folder.path(), "boot-1"), "one");
        for file in ["audit.jsonl", "audit.1.jsonl"] {
            let file = OpenOptions::new().append(true).create(true).open(folder.path().join(file)).unwrap();
            file.set_len(8 << 40).unwrap();
        }
        note(&Audit::open(folder.path(), "boot-2"), "two");
        let events = tail(folder.path(), LOG).unwrap().events;
        assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [2]);
        assert_eq!(tail(folder.path(), BEFORE).unwrap().events.len(), 1);
    }

    #[test]
    fn half_a_record_of_a_full_disk_is_cut_off_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path(), "boot-1");
        note(&audit, "one");
        let path = folder.path().join("audit.jsonl");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"number\":2,").unwrap();
        {
            let mut state = audit.state.lock().unwrap();
            state.file = None;
            state.torn = true;
        }
        note(&audit, "two");
        let text = fs::read_to_string(&path).unwrap();
        let numbers: Vec<u64> = text.lines().map(|l| serde_json::from_str::<Record>(l).unwrap().event.number).collect();
        assert_eq!(numbers, [1, 2]);
    }

    #[test]
    fn numbers_go_on_after_a_file_was_put_aside_and_nothing_was_written_since() {
        let folder = tempfile::tempdir().unwrap();
        note(&Audit::open(folder.path(), "boot-1"), "one");
        fs::rename(folder.path().join("audit.jsonl"), folder.path().join("audit.1.jsonl")).unwrap();
        let audit = Audit::open(folder.path(), "boot-2");
        note(&audit, "two");
        assert_eq!(audit.last(), 2);
    }

    #[test]
    fn a_full_file_is_put_aside_and_an_overlong_message_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path(), "boot-1");
        audit.state.lock().unwrap().size = FILE_LIMIT + 1;
        File::create(folder.path().join("audit.jsonl")).unwrap().set_len(FILE_LIMIT + 1).unwrap();
        note(&audit, &"ä".repeat(MESSAGE_LIMIT));
        let size = fs::metadata(folder.path().join("audit.jsonl")).unwrap().len();
        assert!(size < MESSAGE_LIMIT as u64 + 1024, "{size}");
        assert!(folder.path().join("audit.1.jsonl").exists());
    }

    #[test]
    fn a_log_that_cannot_be_read_or_written_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::create_dir(&path).unwrap();
        let audit = Audit::open(folder.path(), "boot-1");
        note(&audit, "one");
        assert!(audit.look_after().is_some());
        fs::remove_dir(&path).unwrap();
        assert_eq!(audit.look_after(), None);
        let events = tail(folder.path(), LOG).unwrap().events;
        let told: Vec<_> = events.iter().map(|event| (event.number, event.kind.as_str())).collect();
        let kinds = ["AuditLogUnreadable", "AuditLogUnwritable", "Test", "AuditLogWritten"];
        assert_eq!(told, (1..).zip(kinds).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_that_was_removed_begins_anew_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let audit = Audit::open(&path, "boot-1");
        note(&audit, "one");
        let last = fs::read_to_string(path.join("audit.jsonl")).unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(audit.look_after(), None);
        note(&audit, "two");
        let text = fs::read_to_string(path.join("audit.jsonl")).unwrap();
        let records: Vec<Record> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let told: Vec<_> = records.iter().map(|r| (r.event.number, r.event.kind.as_str())).collect();
        assert_eq!(told, [(2, "AuditLogLost"), (3, "Test")]);
        assert_eq!(records[0].previous, Digest::of(last.trim_end().as_bytes()));
    }

    #[test]
    fn what_cannot_be_written_is_written_later_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let audit = Audit::open(&path, "boot-1");
        note(&audit, "one");
        // Nothing can be made in the place of a file.
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, b"").unwrap();
        note(&audit, "two");
        note(&audit, "three");
        assert!(audit.look_after().is_some());
        fs::remove_file(&path).unwrap();
        assert_eq!(audit.look_after(), None);
        let text = fs::read_to_string(path.join("audit.jsonl")).unwrap();
        let records: Vec<Record> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let told: Vec<_> = records.iter().map(|r| (r.event.number, r.event.kind.as_str())).collect();
        let kinds = ["Test", "AuditLogLost", "AuditLogUnwritable", "Test", "AuditLogWritten"];
        assert_eq!(told, (2..).zip(kinds).collect::<Vec<_>>());
        assert_eq!(records[4].event.message, "4 events were written late, 0 were lost");
    }
}

//! Everything that happened: an append-only log of events, and the line from which others watch them.
//!
//! `audit.jsonl` holds one JSON record a line. A record names the digest of the line before it, so that a cut, an edit
//! or a swap shows; who signs the head of that chain is a later step. At [`FILE_LIMIT`] the file becomes `audit.1.jsonl`
//! and the one before that is dropped: the log never fills the disk.
//!
//! A thread of its own writes: whoever only tells or reads never waits for the disk, and several that wait are forced to it
//! together. What cannot be written (a full disk) waits in memory, is told all the same, and is written when it can be. A log
//! that was removed begins anew; its first record still names the last line of the old one.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io::{self, BufRead, BufReader, Read as _, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use catenoid_kernel::{
    files::{self, Folder},
    wait::Notify,
};
use catenoid_schema::{control::Event, digest::Digest, status::Subject};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{budget::Budget, intake::chain, rounds::Rounds};

/// The file that is written.
const LOG: &str = "audit.jsonl";
/// The one before it.
const BEFORE: &str = "audit.1.jsonl";
/// One file's most bytes; two are kept.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;
/// Events kept in memory for who asks what happened before.
const BACKLOG: usize = 1000;
/// Kinds of events of which the last one is kept besides: there are fewer, but for a log that somebody else wrote.
const KINDS: usize = 256;
/// A message's most bytes; it is cut there.
const MESSAGE_LIMIT: usize = 4096;
/// No record is longer: a byte of a message takes six at most (`\u0000`), and the rest is names.
const RECORD_LIMIT: u64 = 32 * 1024;
/// Bytes from which on records are not gathered any more, but forced to the disk.
const GATHERED: usize = 64 * 1024;

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

/// The log, shared by everyone in the agent. Once it is let go of, all that waits was tried to be written.
#[derive(Debug)]
pub(crate) struct Audit {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Held for moments, and never while somebody waits for the disk. In each round the writer tries to write all that waits.
    state: Rounds<State>,
    live: broadcast::Sender<Arc<Event>>,
    /// Wakes the pass when the log can no longer be written, or can be again.
    notify: Notify,
}

#[derive(Debug)]
struct State {
    /// Events that are not in the file yet, each with the milliseconds from boot to it.
    pending: VecDeque<Waiting>,
    /// Events that there was no room for in memory either.
    lost: u64,
    /// Why the file cannot be written.
    fault: Option<String>,
    next: u64,
    backlog: Past,
    budget: Budget,
}

type Waiting = (Arc<Event>, u64);

/// How a file is forced to the disk.
type Force = fn(&File) -> io::Result<()>;

/// The file, which only the writer has.
#[derive(Debug)]
struct Log {
    folder: PathBuf,
    boot_id: String,
    force: Force,
    /// None while it cannot be written (a full disk): writing is tried anew.
    file: Option<File>,
    /// Bytes of whole records.
    size: u64,
    /// Whether a write may have left something behind them.
    torn: bool,
    previous: Digest,
}

/// What happened, before it has a number.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    /// As in [`Event::kind`].
    pub kind: &'static str,
    /// As in [`Event::subject`].
    pub subject: Option<Subject>,
    /// As in [`Event::actor`].
    pub actor: String,
    /// As in [`Event::message`].
    pub message: String,
}

impl NewEvent {
    /// Something the device did by itself.
    pub(crate) fn by_device(kind: &'static str, subject: Option<Subject>, message: impl Into<String>) -> Self {
        Self { kind, subject, actor: DEVICE.to_owned(), message: message.into() }
    }
}

impl Audit {
    /// Goes on with the log in `folder`, which is made if it is not there. What cannot be read or written is no reason not to
    /// begin: events wait until it can. `notify` is notified when that begins or ends.
    ///
    /// # Errors
    /// If there is no thread for the writer.
    pub(crate) fn open(folder: &Path, boot_id: &str, notify: Notify) -> io::Result<Self> {
        Self::forced_by(File::sync_data, folder, boot_id, notify)
    }

    pub(crate) fn forced_by(force: Force, folder: &Path, boot_id: &str, notify: Notify) -> io::Result<Self> {
        let read = tail(folder, LOG).and_then(|tail| match tail {
            // Cut off between putting the full file aside and the first record of the next.
            Tail { past, whole, .. } if past.events.is_empty() => {
                self::tail(folder, BEFORE).map(|before| Tail { whole, ..before })
            }
            tail => Ok(tail),
        });
        let unreadable = read.as_ref().err().map(|error| format!("what happened before is not known: {error}"));
        // A torn last line is cut off; of a log that cannot be read nothing is.
        let torn = unreadable.is_none();
        let Tail { past: backlog, previous, whole: size } = read.unwrap_or_default();
        // Past the last number, which only somebody else's record can have, it stays: the device goes on.
        let next = backlog.events.back().map_or(1, |event| event.number.saturating_add(1));
        let (folder, boot_id) = (folder.to_owned(), boot_id.to_owned());
        let mut log = Log { folder, boot_id, force, file: None, size, torn, previous };
        let (pending, budget) = (VecDeque::new(), Budget::default());
        let state = State { pending, lost: 0, fault: None, next, backlog, budget };
        let (state, live) = (Rounds::new(state), broadcast::channel(BACKLOG).0);
        let shared = Arc::new(Shared { state, live, notify });
        let writer = thread::Builder::new().name("audit".to_owned()).spawn({
            let shared = shared.clone();
            move || shared.state.work(|| shared.write(&mut log))
        })?;
        let audit = Self { shared, writer: Some(writer) };
        if let Some(message) = unreadable {
            audit.note(NewEvent::by_device("AuditLogUnreadable", None, message));
        }
        Ok(audit)
    }

    /// Tells everyone who watches of an event, and has it written. That it could not be written is itself an event, told and
    /// kept in memory; the device goes on.
    /// Of a source that causes more than its share ([`Budget`]), several are told as one.
    pub(crate) fn note(&self, new_event: NewEvent) {
        let mut state = self.shared.state.hold();
        let Some(new_event) = state.budget.admit(new_event, crate::clock::since_boot_ms()) else { return };
        let event = self.shared.publish(&mut state, new_event);
        self.shared.state.ask(&mut state);
        drop(state);
        log(&event);
    }

    /// The same for what is answered as done: it is on the disk when this returns, or cannot be written for now. Waits for
    /// the disk.
    pub(crate) fn record(&self, new_event: NewEvent) {
        self.note(new_event);
        self.settle();
    }

    /// Waits until all that was noted is on the disk, or cannot be written for now; why not, if so.
    pub(crate) fn settle(&self) -> Option<String> {
        self.shared.state.settle().fault.clone()
    }

    /// Has written what waits for it or was only counted, and has looked whether the log is still there; why it could not be
    /// written when that was tried last, if so.
    pub(crate) fn look_after(&self) -> Option<String> {
        let mut state = self.shared.state.hold();
        let counted = state.budget.settle(crate::clock::since_boot_ms());
        let events: Vec<_> = counted.into_iter().map(|new_event| self.shared.publish(&mut state, new_event)).collect();
        self.shared.state.ask(&mut state);
        let fault = state.fault.clone();
        drop(state);
        events.iter().for_each(|event| log(event));
        fault
    }

    /// The last event still in memory that is `wanted`: one of the last, or the last of its kind.
    pub(crate) fn find_last(&self, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let state = self.shared.state.hold();
        let Past { events, of_kinds } = &state.backlog;
        let long_ago = || of_kinds.values().filter(|event| wanted(event)).max_by_key(|event| event.number);
        events.iter().rfind(|event| wanted(event)).or_else(long_ago).map(|event| Event::clone(event))
    }

    /// The number of the last event; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.shared.state.hold().next.saturating_sub(1)
    }

    /// The events after number `since` that are still in memory, and all that come.
    pub(crate) fn watch(&self, since: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let state = self.shared.state.hold();
        let past = state.backlog.events.iter().filter(|event| event.number > since).cloned().collect();
        (past, self.shared.live.subscribe())
    }

    /// The last `count` events about `subject`, oldest first.
    pub(crate) fn about(&self, subject: &Subject, count: usize) -> Vec<Event> {
        let state = self.shared.state.hold();
        let about = state.backlog.events.iter().rev().filter(|event| event.subject.as_ref() == Some(subject));
        let mut events: Vec<_> = about.take(count).map(|event| Event::clone(event)).collect();
        events.reverse();
        events
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.shared.state.close();
        // One that panicked has told so.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}

impl Shared {
    /// Gives an event its number, and tells it to all but the console, for which nobody else has to wait.
    #[must_use]
    fn publish(&self, state: &mut State, new_event: NewEvent) -> Arc<Event> {
        let event = Arc::new(state.event(new_event));
        state.backlog.push(event.clone());
        state.pending.push_back((event.clone(), crate::clock::since_boot_ms()));
        state.let_go_of_the_oldest();
        // Nobody may be watching.
        let _ = self.live.send(event.clone());
        event
    }

    /// Writes all that waits; that this begins to fail, or succeeds again, is an event too.
    fn write(&self, log: &mut Log) {
        if log.is_removed() {
            log.begin_anew();
            let mut state = self.state.hold();
            let message = format!("the audit log was removed, with all before event {}", state.next);
            let event = self.publish(&mut state, NewEvent::by_device("AuditLogLost", None, message));
            drop(state);
            self::log(&event);
        }
        let waiting = self.state.hold().pending.len();
        let fault = self.write_pending(log);
        let mut state = self.state.hold();
        let before = std::mem::replace(&mut state.fault, fault.clone());
        if before.is_some() == fault.is_some() {
            return;
        }
        let new_event = if let Some(fault) = &fault {
            let message = format!("events wait in memory until they can be written: {fault}");
            NewEvent::by_device("AuditLogUnwritable", None, message)
        } else {
            let lost = std::mem::take(&mut state.lost);
            let message = format!("{waiting} events were written late, {lost} were lost");
            NewEvent::by_device("AuditLogWritten", None, message)
        };
        let event = self.publish(&mut state, new_event);
        drop(state);
        self::log(&event);
        if fault.is_none() {
            let fault = self.write_pending(log);
            self.state.hold().fault = fault;
        }
        self.notify.notify();
    }

    /// Writes until nothing waits any more; why it cannot, if so.
    fn write_pending(&self, log: &mut Log) -> Option<String> {
        loop {
            let mut taken = std::mem::take(&mut self.state.hold().pending);
            if taken.is_empty() {
                return None;
            }
            let written = log.append_all(&mut taken);
            let Err(error) = written else { continue };
            let mut state = self.state.hold();
            taken.append(&mut state.pending);
            state.pending = taken;
            state.let_go_of_the_oldest();
            return Some(error.to_string());
        }
    }
}

/// Leaves so many bytes of `message`, and says so.
pub(crate) fn cut(message: &mut String, most: usize) {
    if message.len() > most {
        message.truncate(message.floor_char_boundary(most));
        message.push_str(" ...");
    }
}

/// The console may be slow, as the disk may.
fn log(event: &Event) {
    tracing::info!(kind = event.kind, subject = event.subject.as_ref().map(Subject::as_str), "{}", event.message);
}

impl State {
    fn event(&mut self, new_event: NewEvent) -> Event {
        let NewEvent { kind, subject, actor, mut message } = new_event;
        cut(&mut message, MESSAGE_LIMIT);
        let number = self.next;
        self.next = self.next.saturating_add(1);
        Event { number, at: crate::clock::now(), kind: kind.to_owned(), subject, actor, message }
    }

    /// What waits takes no more memory than what is told.
    fn let_go_of_the_oldest(&mut self) {
        while self.pending.len() > BACKLOG {
            self.pending.pop_front();
            self.lost += 1;
        }
    }
}

impl Log {
    /// Whether what lies at our path is not what we write to any more. Looks only, and opens nothing.
    fn is_removed(&self) -> bool {
        let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = self.file.as_ref().and_then(|file| file.metadata().ok()).map(inode);
        let there = || fs::symlink_metadata(self.folder.join(LOG)).ok().map(inode);
        ours.is_some() && ours != there()
    }

    fn begin_anew(&mut self) {
        self.file = None;
        (self.size, self.torn) = (0, false);
    }

    /// Takes out of `waiting` what is on the disk.
    fn append_all(&mut self, waiting: &mut VecDeque<Waiting>) -> io::Result<()> {
        while !waiting.is_empty() {
            let written = self.append(waiting).inspect_err(|_| {
                self.file = None;
                self.torn = true;
            })?;
            waiting.drain(..written);
        }
        Ok(())
    }

    /// Writes some of `waiting` and forces them to the disk together; how many.
    fn append(&mut self, waiting: &VecDeque<Waiting>) -> io::Result<usize> {
        if self.file.is_none() || self.size > FILE_LIMIT {
            self.reopen()?;
        }
        let (mut lines, mut previous, mut count) = (Vec::new(), self.previous, 0);
        for (event, monotonic_ms) in waiting {
            let (boot_id, monotonic_ms) = (self.boot_id.clone(), *monotonic_ms);
            let line = serde_json::to_vec(&Record { event: &**event, boot_id, monotonic_ms, previous })?;
            previous = Digest::of(&line);
            lines.extend_from_slice(&line);
            lines.push(b'\n');
            count += 1;
            // Not past the record that makes the file full: what is longer is not read.
            if lines.len() >= GATHERED || self.size + lines.len() as u64 > FILE_LIMIT {
                break;
            }
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotConnected.into()) };
        file.write_all(&lines)?;
        (self.force)(file)?;
        self.size += lines.len() as u64;
        self.previous = previous;
        Ok(count)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let folder = Folder::open(&self.folder).map_err(with_causes)?;
        if folder.entry(LOG).map_err(with_causes)?.is_some_and(|held| held.size > FILE_LIMIT) {
            folder.rename(LOG, &folder, BEFORE).map_err(with_causes)?;
            self.torn = false;
        }
        let mut file = folder.append(LOG).map_err(with_causes)?;
        let held = file.seek(SeekFrom::End(0))?;
        if self.torn && held > self.size {
            // What did not fit on a full disk: the next record must not be written behind it.
            file.set_len(self.size)?;
        } else {
            self.size = held;
        }
        self.torn = false;
        self.file = Some(file);
        Ok(())
    }
}

/// What is known of what happened.
#[derive(Debug, Default)]
struct Past {
    /// The last events, shared with everybody to whom they are being told.
    events: VecDeque<Arc<Event>>,
    /// The last one of each kind, of those that containers caused and of the others: however much comes after it.
    of_kinds: BTreeMap<(String, bool), Arc<Event>>,
}

impl Past {
    fn push(&mut self, event: Arc<Event>) {
        let kind = (event.kind.clone(), event.actor.starts_with("container/"));
        if self.of_kinds.len() < KINDS || self.of_kinds.contains_key(&kind) {
            self.of_kinds.insert(kind, event.clone());
        }
        self.events.push_back(event);
        if self.events.len() > BACKLOG {
            self.events.pop_front();
        }
    }
}

/// The end of a log.
struct Tail {
    past: Past,
    /// The digest of the last line.
    previous: Digest,
    /// Bytes of whole lines: what follows them is a line that a power cut tore.
    whole: u64,
}

impl Default for Tail {
    fn default() -> Self {
        Self { past: Past::default(), previous: Digest::of(b""), whole: 0 }
    }
}

/// An error with its causes, for who writes the log.
#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn with_causes(error: files::Error) -> io::Error {
    io::Error::other(chain(&error))
}

/// Reads the end of the log `name` in `folder`. A longer line than we write is read in pieces, and of a longer file than we write
/// the rest is not read: whoever wrote it, it takes no more memory than a record and no more time than a log.
fn tail(folder: &Path, name: &str) -> io::Result<Tail> {
    let Tail { mut past, mut previous, mut whole } = Tail::default();
    let file = Folder::find(folder).and_then(|folder| folder.map_or(Ok(None), |folder| folder.find_file(name)));
    let Some(file) = file.map_err(with_causes)? else { return Ok(Tail::default()) };
    let (mut held, mut line) = (0, Vec::new());
    let mut reader = BufReader::new(file.take(FILE_LIMIT + RECORD_LIMIT));
    while reader.by_ref().take(RECORD_LIMIT).read_until(b'\n', &mut line)? > 0 {
        held += line.len() as u64;
        if let Some(record) = line.strip_suffix(b"\n") {
            if let Ok(Record { event, .. }) = serde_json::from_slice::<Record>(record) {
                past.push(Arc::new(event));
            }
            previous = Digest::of(record);
            whole = held;
        }
        line.clear();
    }
    Ok(Tail { past, previous, whole })
}

/// A disk that is held in the middle of the first write, until it is let go.
#[cfg(all(test, feature = "testing"))]
pub(crate) mod held {
    use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

    use super::*;

    /// How often it was forced, and whether it is free.
    static AT: Mutex<(u32, bool)> = Mutex::new((0, false));
    static CHANGED: Condvar = Condvar::new();

    fn at() -> MutexGuard<'static, (u32, bool)> {
        AT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until(is_so: impl Fn(&(u32, bool)) -> bool) {
        drop(CHANGED.wait_while(at(), |at| !is_so(at)));
    }

    /// A [`Force`] for one test.
    pub(crate) fn force(file: &File) -> io::Result<()> {
        at().0 += 1;
        CHANGED.notify_all();
        wait_until(|(_, free)| *free);
        file.sync_data()
    }

    /// Waits until something is forced to it.
    pub(crate) fn reached() {
        wait_until(|(count, _)| *count > 0);
    }

    /// Lets it go.
    pub(crate) fn let_go() {
        at().1 = true;
        CHANGED.notify_all();
    }

    pub(crate) fn count() -> u32 {
        at().0
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, os::fd::AsFd as _, time::Instant};

    use catenoid_kernel::wait::{For, wait};
    use catenoid_schema::status::Kind;

    use super::*;

    fn open(folder: &Path, boot_id: &str) -> Audit {
        Audit::open(folder, boot_id, Notify::new().unwrap()).unwrap()
    }

    fn note(audit: &Audit, message: &str) {
        audit.record(NewEvent::by_device("Test", Some(Subject::new(Kind::Container, "web")), message));
    }

    fn look(audit: &Audit) -> Option<String> {
        audit.look_after();
        audit.settle()
    }

    fn log_of(folder: &Path) -> Log {
        let (folder, boot_id, previous) = (folder.to_owned(), "boot".to_owned(), Digest::of(b""));
        Log { folder, boot_id, force: File::sync_data, file: None, size: 0, torn: false, previous }
    }

    fn waiting(number: u64, message: &str) -> Waiting {
        let (subject, actor, message) = (None, DEVICE.to_owned(), message.to_owned());
        (Arc::new(Event { number, at: crate::clock::now(), kind: "Test".to_owned(), subject, actor, message }), 7)
    }

    #[test]
    fn each_record_names_the_line_before_it_across_a_reopening() {
        let folder = tempfile::tempdir().unwrap();
        note(&open(folder.path(), "boot-1"), "one");
        let audit = open(folder.path(), "boot-2");
        note(&audit, "two");
        let text = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let records: Vec<Record> = lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(records.iter().map(|r| r.event.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(records[1].previous, Digest::of(lines[0].as_bytes()));
        assert_eq!(audit.about(&Subject::new(Kind::Container, "web"), 9).len(), 2);
        assert_eq!(audit.watch(1).0.len(), 1);
    }

    #[test]
    fn the_last_of_its_kind_stays_known_whatever_comes_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let audit = open(folder.path(), "boot-1");
        let actor = || "container/core0 user 0".to_owned();
        let accepted = |actor, message: &str| NewEvent {
            kind: "ManifestAccepted",
            subject: None,
            actor,
            message: message.to_owned(),
        };
        audit.note(accepted(actor(), "by c0"));
        audit.note(accepted("factory bundle".to_owned(), "by the factory"));
        // On a slow disk the oldest of what waits in memory would be let go.
        audit.settle();
        for number in 0..=BACKLOG {
            audit.note(NewEvent { kind: "Test", subject: None, actor: format!("{number}"), message: String::new() });
        }
        assert!(audit.watch(0).0.iter().all(|event| event.kind == "Test"));
        let remembers = |audit: &Audit| {
            let last = |wanted: &dyn Fn(&Event) -> bool| audit.find_last(wanted).map(|event| event.message);
            assert_eq!(last(&|event| event.kind == "ManifestAccepted").as_deref(), Some("by the factory"));
            assert_eq!(last(&|event| event.actor == actor()).as_deref(), Some("by c0"));
        };
        remembers(&audit);
        drop(audit);
        remembers(&open(folder.path(), "boot-2"));
    }

    #[test]
    fn whoever_lets_go_of_the_log_has_all_of_it_written() {
        let folder = tempfile::tempdir().unwrap();
        let audit = open(folder.path(), "boot-1");
        (0..500).for_each(|number| audit.note(NewEvent::by_device("Test", None, format!("{number}"))));
        drop(audit);
        let events = tail(folder.path(), LOG).unwrap().past.events;
        let recorded: Vec<_> = events.iter().map(|event| (event.number, event.message.parse().unwrap())).collect();
        assert_eq!(recorded, (1..).zip(0..500).collect::<Vec<(u64, u64)>>());
    }

    #[test]
    fn a_torn_last_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        note(&open(folder.path(), "boot-1"), "one");
        let path = folder.path().join("audit.jsonl");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"number\":2,\"at").unwrap();
        note(&open(folder.path(), "boot-1"), "two");
        let text = fs::read_to_string(&path).unwrap();
        let numbers: Vec<u64> = text.lines().map(|l| serde_json::from_str::<Record>(l).unwrap().event.number).collect();
        assert_eq!(numbers, [1, 2]);
    }

    #[test]
    fn a_line_that_is_too_long_is_no_record_and_hides_none() {
        let folder = tempfile::tempdir().unwrap();
        note(&open(folder.path(), "boot-1"), "one");
        let path = folder.path().join("audit.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        let long = vec![b'x'; usize::try_from(RECORD_LIMIT).unwrap() * 3];
        file.write_all(&long).unwrap();
        file.write_all(b"\n").unwrap();
        note(&open(folder.path(), "boot-2"), "two");
        // The same without its end is cut off as any torn line.
        file.write_all(&long).unwrap();
        note(&open(folder.path(), "boot-3"), "three");
        let events = tail(folder.path(), LOG).unwrap().past.events;
        let recorded: Vec<_> = events.iter().map(|event| (event.number, event.message.as_str())).collect();
        assert_eq!(recorded, [(1, "one"), (2, "two"), (3, "three")]);
    }

    #[test]
    fn a_file_that_is_too_long_is_put_aside_and_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        note(&open(folder.path(), "boot-1"), "one");
        for file in ["audit.jsonl", "audit.1.jsonl"] {
            let file = OpenOptions::new().append(true).create(true).open(folder.path().join(file)).unwrap();
            file.set_len(8 << 40).unwrap();
        }
        note(&open(folder.path(), "boot-2"), "two");
        let events = tail(folder.path(), LOG).unwrap().past.events;
        assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [2]);
        assert_eq!(tail(folder.path(), BEFORE).unwrap().past.events.len(), 1);
    }

    #[test]
    fn half_a_record_of_a_full_disk_is_cut_off_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log_of(folder.path());
        log.append_all(&mut [waiting(1, "one")].into()).unwrap();
        let path = folder.path().join("audit.jsonl");
        // The disk takes the lines, or a part of them, and not that they are forced to it.
        log.force = |_| Err(io::ErrorKind::StorageFull.into());
        let mut rest = VecDeque::from([waiting(2, "two"), waiting(3, "three")]);
        log.append_all(&mut rest).unwrap_err();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"number\":2,").unwrap();
        log.force = File::sync_data;
        log.append_all(&mut rest).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let numbers: Vec<u64> = text.lines().map(|l| serde_json::from_str::<Record>(l).unwrap().event.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn numbers_go_on_after_a_file_was_put_aside_and_nothing_was_written_since() {
        let folder = tempfile::tempdir().unwrap();
        note(&open(folder.path(), "boot-1"), "one");
        fs::rename(folder.path().join("audit.jsonl"), folder.path().join("audit.1.jsonl")).unwrap();
        let audit = open(folder.path(), "boot-2");
        note(&audit, "two");
        assert_eq!(audit.last(), 2);
    }

    #[test]
    fn a_full_file_is_put_aside_and_an_overlong_message_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log_of(folder.path());
        // The second one is behind the limit, and the file is full with it: what is longer is not read.
        File::create(folder.path().join("audit.jsonl")).unwrap().set_len(FILE_LIMIT - 10).unwrap();
        log.append_all(&mut (1..=3).map(|number| waiting(number, "x")).collect()).unwrap();
        let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
        assert!((FILE_LIMIT..FILE_LIMIT + RECORD_LIMIT).contains(&size("audit.1.jsonl")), "{}", size("audit.1.jsonl"));
        let numbers: Vec<_> = tail(folder.path(), LOG).unwrap().past.events.iter().map(|event| event.number).collect();
        assert_eq!(numbers, [2, 3]);

        let folder = tempfile::tempdir().unwrap();
        note(&open(folder.path(), "boot"), &"ä".repeat(MESSAGE_LIMIT));
        let size = fs::metadata(folder.path().join("audit.jsonl")).unwrap().len();
        assert!(size < MESSAGE_LIMIT as u64 + 1024, "{size}");
    }

    #[test]
    fn a_log_that_cannot_be_read_or_written_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::create_dir(&path).unwrap();
        let notify = Notify::new().unwrap();
        let audit = Audit::open(folder.path(), "boot-1", notify.clone()).unwrap();
        assert!(audit.settle().is_some());
        let is_notified = || wait(&[(notify.as_fd(), For::Input)], Instant::now()).unwrap().contains(&true);
        assert!(is_notified(), "the pass is to tell of it");
        notify.clear();
        note(&audit, "one");
        assert!(look(&audit).is_some());
        fs::remove_dir(&path).unwrap();
        assert_eq!(look(&audit), None);
        assert!(is_notified(), "the pass is to tell that it is over");
        let events = tail(folder.path(), LOG).unwrap().past.events;
        let recorded: Vec<_> = events.iter().map(|event| (event.number, event.kind.as_str())).collect();
        let kinds = ["AuditLogUnreadable", "AuditLogUnwritable", "Test", "AuditLogWritten"];
        assert_eq!(recorded, (1..).zip(kinds).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_that_was_removed_begins_anew_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let audit = open(&path, "boot-1");
        note(&audit, "one");
        let last = fs::read_to_string(path.join("audit.jsonl")).unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(look(&audit), None);
        note(&audit, "two");
        let text = fs::read_to_string(path.join("audit.jsonl")).unwrap();
        let records: Vec<Record> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let recorded: Vec<_> = records.iter().map(|r| (r.event.number, r.event.kind.as_str())).collect();
        assert_eq!(recorded, [(2, "AuditLogLost"), (3, "Test")]);
        assert_eq!(records[0].previous, Digest::of(last.trim_end().as_bytes()));
    }

    #[test]
    fn what_cannot_be_written_is_written_later_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let audit = open(&path, "boot-1");
        note(&audit, "one");
        // Nothing can be made in the place of a file.
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, b"").unwrap();
        note(&audit, "two");
        note(&audit, "three");
        assert!(look(&audit).is_some());
        fs::remove_file(&path).unwrap();
        assert_eq!(look(&audit), None);
        let text = fs::read_to_string(path.join("audit.jsonl")).unwrap();
        let records: Vec<Record> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let recorded: Vec<_> = records.iter().map(|r| (r.event.number, r.event.kind.as_str())).collect();
        let kinds = ["Test", "AuditLogLost", "AuditLogUnwritable", "Test", "AuditLogWritten"];
        assert_eq!(recorded, (2..).zip(kinds).collect::<Vec<_>>());
        assert_eq!(records[4].event.message, "4 events were written late, 0 were lost");
    }
}

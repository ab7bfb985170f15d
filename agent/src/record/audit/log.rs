//! The files of the log.
//!
//! `audit.jsonl` holds one JSON record a line. A record names the digest of the line before it, so that a cut, an edit
//! or a swap shows; who signs the head of that chain is a later step. At [`FILE_LIMIT`] the file becomes `audit.1.jsonl`
//! and the one before that is dropped: the log never fills the disk.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use catenoid_core::chain;
use catenoid_kernel_base::files::{self, Folder};
use catenoid_schema::{control::Event, digest::Digest};
use serde::{Deserialize, Serialize};

/// The file that is written.
pub(super) const LOG: &str = "audit.jsonl";
/// The one before it.
pub(super) const BEFORE: &str = "audit.1.jsonl";
/// One file's most bytes; two are kept.
pub(super) const FILE_LIMIT: u64 = 16 * 1024 * 1024;
/// Events kept in memory for who asks what happened before.
pub(super) const BACKLOG: usize = 1000;
/// Kinds of events of which the last one is kept besides: there are fewer, but for a log that somebody else wrote.
const KINDS: usize = 256;
/// No record is longer: a byte of a message takes six at most (`\u0000`), and the rest is names.
pub(super) const RECORD_LIMIT: u64 = 32 * 1024;
/// Bytes from which on records are not gathered any more, but forced to the disk.
const GATHERED: usize = 64 * 1024;

/// One line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record<E = Event> {
    /// What happened.
    #[serde(flatten)]
    pub event: E,
    /// The kernel's random id of the boot.
    boot_id: String,
    /// Milliseconds since that boot, which no clock change moves.
    monotonic_ms: u64,
    /// The digest of the line before, without its line feed.
    pub previous: Digest,
}

/// An event that is not written yet, with the milliseconds from boot to it.
pub(super) type PendingEvent = (Arc<Event>, u64);

/// How a file is forced to the disk.
pub(super) type Force = fn(&File) -> io::Result<()>;

/// The file, which only the writer has.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    boot_id: String,
    /// Tests change it.
    pub force: Force,
    /// None while it cannot be written (a full disk): writing is tried anew.
    file: Option<File>,
    /// Bytes of whole records.
    size: u64,
    /// Whether a write may have left something behind them.
    torn: bool,
    previous: Digest,
}

impl Log {
    /// The log in `folder`, of which no record is known.
    pub(super) fn new(folder: &Path, boot_id: &str, force: Force) -> Self {
        let (folder, boot_id, previous) = (folder.to_owned(), boot_id.to_owned(), Digest::of(b""));
        Self { folder, boot_id, force, file: None, size: 0, torn: false, previous }
    }

    /// Reads the end of what is there already: what is known of what happened, or why that is not known. Opens nothing to
    /// write.
    pub(super) fn read(&mut self) -> io::Result<Past> {
        let read = tail(&self.folder, LOG)?;
        let LogTail { past, previous, whole } = match read {
            // Cut off between putting the full file aside and the first record of the next.
            LogTail { past, whole, .. } if past.events.is_empty() => LogTail { whole, ..tail(&self.folder, BEFORE)? },
            read => read,
        };
        // A torn last line is cut off; of a log that cannot be read nothing is.
        (self.previous, self.size, self.torn) = (previous, whole, true);
        Ok(past)
    }

    /// Whether what lies at our path is not what we write to any more. Looks only, and opens nothing.
    pub(super) fn is_removed(&self) -> bool {
        let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = self.file.as_ref().and_then(|file| file.metadata().ok()).map(inode);
        let there = || fs::symlink_metadata(self.folder.join(LOG)).ok().map(inode);
        ours.is_some() && ours != there()
    }

    /// Forgets the file: the next record goes to a new one.
    pub(super) fn begin_anew(&mut self) {
        self.file = None;
        (self.size, self.torn) = (0, false);
    }

    /// Takes out of `waiting` what is on the disk.
    pub(super) fn append_all(&mut self, waiting: &mut VecDeque<PendingEvent>) -> io::Result<()> {
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
    fn append(&mut self, waiting: &VecDeque<PendingEvent>) -> io::Result<usize> {
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
pub(super) struct Past {
    /// The last events, shared with everybody to whom they are being reported.
    pub events: VecDeque<Arc<Event>>,
    /// The last one of each kind, of those that containers caused and of the others: however much comes after it.
    pub of_kinds: BTreeMap<(String, bool), Arc<Event>>,
}

impl Past {
    /// Adds `event` as the last one.
    pub(super) fn push(&mut self, event: Arc<Event>) {
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
pub(super) struct LogTail {
    /// What it says.
    pub past: Past,
    /// The digest of the last line.
    previous: Digest,
    /// Bytes of whole lines: what follows them is a line that a power cut tore.
    whole: u64,
}

impl Default for LogTail {
    fn default() -> Self {
        Self { past: Past::default(), previous: Digest::of(b""), whole: 0 }
    }
}

/// An error with its causes, for who writes the log.
#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn with_causes(error: files::Error) -> io::Error {
    io::Error::other(chain(&error))
}

/// Reads the end of the log `name` in `folder`. A longer line than we write is read in pieces, and of a longer file than we
/// write the rest is not read: whoever wrote it, it takes no more memory than a record and no more time than a log.
pub(super) fn tail(folder: &Path, name: &str) -> io::Result<LogTail> {
    let LogTail { mut past, mut previous, mut whole } = LogTail::default();
    let file = Folder::find(folder).and_then(|folder| folder.map_or(Ok(None), |folder| folder.find_file(name)));
    let Some(file) = file.map_err(with_causes)? else { return Ok(LogTail::default()) };
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
    Ok(LogTail { past, previous, whole })
}

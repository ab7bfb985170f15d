//! The ledger: what the device accepted. The only state kept outside of the kernel and the volumes.
//!
//! Two slots, written in turn. A slot is one file: magic, the SHA-256 of the rest, the rest (deterministic CBOR of
//! [`Entry`]). A write goes to a temporary file, which is synced and renamed over the slot that holds the older entry,
//! and the folder is synced: at every moment at least one slot is whole. What is read is believed only as far as its
//! signatures go; the ledger adds order, not trust.
//!
//! What a later version added to an entry is kept as it is: an agent that the device fell back to reads the entry all the
//! same, and writes it again whole. Only the top of an entry may grow so; anything else is another magic.
//!
//! A copy of the accepted entry lies in memory (`/run`) as long as the machine is on. What is lost of the slots meanwhile
//! is written again from it, and an agent that starts anew does not fall back to what an older slot or the factory says.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use catenoid_core::chain;
use catenoid_kernel_base::files::{self, Durability};
use catenoid_schema::{cbor, control::MANIFEST_LIMIT, digest::Digest, units::Timestamp};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"CATLEDG1";
const SLOTS: [&str; 2] = ["a", "b"];
/// An envelope with room for what an entry adds to it.
const SLOT_LIMIT: u64 = MANIFEST_LIMIT.bytes() + 64 * 1024;
/// The four fields are far below; the rest is room for what a later version adds.
const ENTRY_LIMITS: cbor::InputLimits = cbor::InputLimits { bytes: 2 * 1024 * 1024 + 64 * 1024, depth: 8, items: 1024 };

/// The highest sequence and epoch that were ever accepted. Kept apart from the manifest, so that a manifest that cannot be
/// verified any more does not take them with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Floor {
    /// The highest epoch.
    pub epoch: u64,
    /// The highest sequence.
    pub sequence: u64,
}

impl Floor {
    /// No lower than both.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { epoch: self.epoch.max(other.epoch), sequence: self.sequence.max(other.sequence) }
    }
}

/// One accepted manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// Rises by one with every entry; the higher one is the accepted one.
    pub generation: u64,
    /// What no manifest may be below any more, once this was accepted.
    pub floor: Floor,
    /// When it was accepted. Its signatures are checked against this moment when it is read again, because expiry holds
    /// change and stops nothing.
    pub accepted_at: Timestamp,
    /// The envelope as it came.
    #[serde(with = "catenoid_schema::byte_string")]
    pub envelope: Vec<u8>,
    /// What a later version wrote beside that.
    #[serde(flatten)]
    pub later: BTreeMap<String, ciborium::Value>,
}

/// Why the ledger could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be written.
    #[error("failed to write the ledger")]
    Write(#[from] files::Error),
    /// Somebody else wrote an entry with so high a number.
    #[error("no generation is left in the ledger")]
    NoGeneration,
    /// What was accepted is nowhere any more.
    #[error("generation {generation} of the ledger is lost")]
    Lost {
        /// The generation that is lost.
        generation: u64,
    },
    /// An entry could not be encoded (our fault).
    #[error("failed to encode a ledger entry")]
    Encode(#[source] cbor::Error),
}

/// Why a slot that is there holds no entry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Corrupt {
    /// The disk does not give it back.
    #[error("ledger slot `{path}` cannot be read")]
    Unreadable {
        /// The slot, or the copy.
        path: PathBuf,
        /// The cause.
        source: files::Error,
    },
    /// Not a slot, a torn one, or one of another version.
    #[error("ledger slot `{0}` does not begin with its magic")]
    Magic(PathBuf),
    /// The bytes are not the ones that were written.
    #[error("ledger slot `{0}` does not have its checksum")]
    Checksum(PathBuf),
    /// The bytes are what was written, but not an entry.
    #[error("ledger slot `{path}` holds no entry")]
    Entry {
        /// The slot, or the copy.
        path: PathBuf,
        /// The cause.
        source: cbor::Error,
    },
    /// An entry after which no other could be numbered: somebody else wrote it, for the device would never take another.
    #[error("ledger slot `{0}` holds the last generation that there is")]
    LastGeneration(PathBuf),
}

/// What the two slots and the copy hold.
#[derive(Debug)]
pub(crate) struct LedgerContent {
    /// The entries, newest first, each once.
    pub entries: Vec<Entry>,
    /// The slots that are there and hold none.
    pub corrupt: Vec<Corrupt>,
    /// Whether there is a copy: the machine was not off since an entry was taken.
    pub copied: bool,
    /// The generations that the slots hold.
    stored: Vec<u64>,
}

impl LedgerContent {
    /// What no manifest may be below.
    pub(crate) fn floor(&self) -> Floor {
        self.entries.iter().map(|entry| entry.floor).fold(Floor::default(), Floor::max)
    }
}

/// The two slots in their folder, and the copy.
#[derive(Debug)]
pub(crate) struct Ledger {
    folder: PathBuf,
    copy: PathBuf,
}

impl Ledger {
    /// The ledger in `folder`, which is made with the first write, with its copy at `copy`.
    pub(crate) fn new(folder: &Path, copy: &Path) -> Self {
        Self { folder: folder.to_owned(), copy: copy.to_owned() }
    }

    /// Reads both slots and the copy. That a slot cannot be read or holds nonsense is part of the answer.
    pub(crate) fn read(&self) -> LedgerContent {
        let mut answer = LedgerContent { entries: Vec::new(), corrupt: Vec::new(), copied: false, stored: Vec::new() };
        for slot in SLOTS {
            match read(&self.folder.join(slot)) {
                None => {}
                Some(Ok(entry)) => {
                    answer.stored.push(entry.generation);
                    answer.entries.push(entry);
                }
                Some(Err(corrupt)) => answer.corrupt.push(corrupt),
            }
        }
        if let Some(Ok(entry)) = read(&self.copy) {
            answer.copied = true;
            answer.entries.push(entry);
        }
        // The copy comes last among equals: its floor may be higher than the one of the slot that it was made of.
        answer.entries.sort_by_key(|entry| std::cmp::Reverse((entry.generation, entry.floor)));
        answer.entries.dedup_by_key(|entry| entry.generation);
        answer
    }

    /// Takes note of `entry` as the accepted one, for as long as the machine is on.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub(crate) fn remember(&self, entry: &Entry) -> Result<(), Error> {
        Ok(files::replace(&self.copy, &encode(entry)?, Durability::InMemory)?)
    }

    /// Writes entry `generation` again if no slot holds it any more, and over slots that hold nonsense if `over_corrupt`;
    /// the copy too if that was lost. What was done, if anything, in words.
    ///
    /// # Errors
    /// [`Error::Write`]; [`Error::Lost`] if neither slot nor copy has the entry any more.
    pub(crate) fn restore(&self, generation: u64, over_corrupt: bool) -> Result<Option<String>, Error> {
        let held = self.read();
        let entry = held.entries.iter().find(|entry| entry.generation == generation);
        let entry = entry.ok_or(Error::Lost { generation })?;
        if !held.copied {
            self.remember(entry)?;
        }
        let mut done = Vec::new();
        if !held.stored.contains(&generation) {
            done.push("was in no slot any more".to_owned());
        }
        if over_corrupt {
            done.extend(held.corrupt.iter().map(|corrupt| chain(corrupt)));
        }
        if done.is_empty() {
            return Ok(None);
        }
        // The slot of nonsense is the older one until none is left.
        for _ in 0..held.corrupt.len().max(1) {
            self.put(entry)?;
        }
        Ok(Some(format!("generation {generation} was written again: {}", done.join("; "))))
    }

    /// Writes `envelope` as the newest entry. When this returns it survives a power cut.
    ///
    /// # Errors
    /// [`Error::Write`]; the newest entry that was there is untouched, and this one is taken back.
    pub(crate) fn write(&self, envelope: &[u8], accepted_at: Timestamp, floor: Floor) -> Result<Entry, Error> {
        let held = self.read();
        let newest = held.entries.first().map_or(0, |entry| entry.generation);
        let floor = floor.max(held.floor());
        // The last number is never written, for nothing could be numbered after it.
        let generation = newest.checked_add(1).filter(|next| *next != u64::MAX).ok_or(Error::NoGeneration)?;
        let (envelope, later) = (envelope.to_vec(), BTreeMap::new());
        let entry = Entry { generation, floor, accepted_at, envelope, later };
        self.put(&entry).inspect_err(|_| self.take_back(entry.generation))?;
        // It is accepted from here on: a copy that cannot be made is made by `restore`.
        if let Err(error) = self.remember(&entry) {
            tracing::warn!(error = chain(&error), "the ledger has no copy for now");
        }
        Ok(entry)
    }

    /// Puts `entry` into the slot that is to be written next.
    fn put(&self, entry: &Entry) -> Result<(), Error> {
        Ok(files::replace(&self.folder.join(self.older_slot()), &encode(entry)?, Durability::OnDisk)?)
    }

    /// Removes an entry that is in its slot, but maybe not for good: nobody heard that it is accepted, and whoever brings
    /// it again is not to hear that its sequence was used.
    fn take_back(&self, generation: u64) {
        for slot in SLOTS {
            if matches!(read(&self.folder.join(slot)), Some(Ok(entry)) if entry.generation == generation)
                && let Err(error) = files::remove(&self.folder.join(slot))
            {
                tracing::warn!(slot, error = chain(&error), "an entry that was not accepted stays");
            }
        }
    }

    /// The slot that holds nothing, nonsense, or the lower generation.
    fn older_slot(&self) -> &'static str {
        let mut oldest = (u64::MAX, SLOTS[0]);
        for slot in SLOTS {
            let generation = match read(&self.folder.join(slot)) {
                Some(Ok(entry)) => entry.generation,
                Some(Err(_)) | None => 0,
            };
            oldest = oldest.min((generation, slot));
        }
        oldest.1
    }
}

/// Reads a slot; none if there is no such file.
fn read(path: &Path) -> Option<Result<Entry, Corrupt>> {
    match files::read_bounded(path, SLOT_LIMIT) {
        Ok(bytes) => bytes.map(|bytes| parse(&bytes, path)),
        Err(source) => Some(Err(Corrupt::Unreadable { path: path.to_owned(), source })),
    }
}

fn encode(entry: &Entry) -> Result<Vec<u8>, Error> {
    Ok(slot_of(&cbor::encode(entry).map_err(Error::Encode)?))
}

/// The bytes of a slot that holds `body`.
pub(crate) fn slot_of(body: &[u8]) -> Vec<u8> {
    [MAGIC.as_slice(), Digest::of(body).as_bytes(), body].concat()
}

fn parse(bytes: &[u8], path: &Path) -> Result<Entry, Corrupt> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| Corrupt::Magic(path.to_owned()))?;
    let (digest, body) = rest.split_at_checked(32).ok_or_else(|| Corrupt::Magic(path.to_owned()))?;
    if Digest::of(body).as_bytes() != digest {
        return Err(Corrupt::Checksum(path.to_owned()));
    }
    let entry: Entry =
        cbor::decode(body, ENTRY_LIMITS).map_err(|source| Corrupt::Entry { path: path.to_owned(), source })?;
    if entry.generation == u64::MAX {
        return Err(Corrupt::LastGeneration(path.to_owned()));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(&folder.path().join("ledger"), &folder.path().join("copy"));
        (folder, ledger)
    }

    fn switch_off(folder: &tempfile::TempDir) {
        fs::remove_file(folder.path().join("copy")).unwrap();
    }

    #[test]
    fn the_newest_entry_comes_first_and_only_two_are_kept() {
        let (_folder, ledger) = ledger();
        for n in 1..=5u8 {
            ledger.write(&[n], at(n.into()), Floor { epoch: 0, sequence: n.into() }).unwrap();
        }
        let held = ledger.read();
        let seen: Vec<_> = held.entries.iter().map(|e| (e.generation, e.envelope.clone())).collect();
        assert_eq!(seen, [(5, vec![5]), (4, vec![4])]);
        assert!(held.corrupt.is_empty());
    }

    #[test]
    fn an_envelope_of_any_length_is_read_back() {
        for length in [0, 4095, 4096, 4097, 1 << 20] {
            let (_folder, ledger) = ledger();
            let envelope = vec![7; length];
            ledger.write(&envelope, at(1), Floor::default()).unwrap();
            let held = ledger.read();
            assert!(held.corrupt.is_empty(), "{length} bytes: {:?}", held.corrupt);
            assert_eq!(held.entries.first().map(|entry| entry.envelope.len()), Some(length));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_slot_is_found_and_the_other_slot_stands() {
        let (folder, ledger) = ledger();
        ledger.write(b"old", at(1), Floor { epoch: 0, sequence: 1 }).unwrap();
        ledger.write(b"new", at(2), Floor { epoch: 0, sequence: 2 }).unwrap();
        switch_off(&folder);
        let path = folder.path().join("ledger/b");
        let whole = fs::read(&path).unwrap();
        let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
        damaged.extend((0..whole.len() * 8).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        }));
        for bytes in damaged {
            fs::write(&path, bytes).unwrap();
            let held = ledger.read();
            assert_eq!((held.entries.len(), held.corrupt.len()), (1, 1));
            assert_eq!(held.entries[0].envelope, b"old");
        }
    }

    #[test]
    fn the_floor_never_sinks() {
        let (_folder, ledger) = ledger();
        let mut floors = Vec::new();
        for (epoch, sequence) in [(0, 1), (2, 7), (1, 3), (2, 8)] {
            ledger.write(b"any", at(1), Floor { epoch, sequence }).unwrap();
            floors.push(ledger.read().floor());
        }
        let floor = |epoch, sequence| Floor { epoch, sequence };
        assert_eq!(floors, [floor(0, 1), floor(2, 7), floor(2, 7), floor(2, 8)]);
    }

    #[test]
    fn a_corrupt_slot_is_the_next_one_written() {
        let (folder, ledger) = ledger();
        ledger.write(b"old", at(1), Floor { epoch: 0, sequence: 1 }).unwrap();
        ledger.write(b"new", at(2), Floor { epoch: 0, sequence: 2 }).unwrap();
        fs::write(folder.path().join("ledger/a"), b"nonsense").unwrap();
        ledger.write(b"newest", at(3), Floor { epoch: 0, sequence: 3 }).unwrap();
        let held = ledger.read();
        let seen: Vec<_> = held.entries.iter().map(|e| e.envelope.as_slice()).collect();
        assert_eq!(seen, [b"newest".as_slice(), b"new"]);
    }

    #[test]
    fn an_oversized_slot_is_corrupt_not_read_without_end() {
        let (folder, ledger) = ledger();
        fs::create_dir(folder.path().join("ledger")).unwrap();
        let file = File::create(folder.path().join("ledger/a")).unwrap();
        file.set_len(1 << 40).unwrap();
        assert_eq!(ledger.read().corrupt.len(), 1);
    }

    #[test]
    fn what_the_slots_lose_while_the_machine_is_on_is_written_again() {
        let (folder, ledger) = ledger();
        for n in 1..=3u8 {
            ledger.write(&[n], at(n.into()), Floor { epoch: 0, sequence: n.into() }).unwrap();
        }
        assert_eq!(ledger.restore(3, true).unwrap(), None);
        let slots = ["a", "b"].map(|slot| folder.path().join("ledger").join(slot));
        let held = || -> Vec<u64> { ledger.read().stored };
        assert_eq!(held(), [3, 2]);
        let disturbances: [(&dyn Fn(), &[u64]); 5] = [
            (&|| fs::write(&slots[0], b"nonsense").unwrap(), &[3, 2]),
            (&|| fs::write(&slots[1], b"nonsense").unwrap(), &[3, 3]),
            (&|| slots.iter().for_each(|slot| fs::write(slot, b"nonsense").unwrap()), &[3, 3]),
            (&|| fs::remove_dir_all(folder.path().join("ledger")).unwrap(), &[3]),
            (&|| fs::remove_file(&slots[0]).unwrap(), &[3]),
        ];
        for (number, (disturb, after)) in disturbances.into_iter().enumerate() {
            disturb();
            let done = ledger.restore(3, true).unwrap();
            assert!(done.is_some_and(|done| done.starts_with("generation 3 was written again: ")), "{number}");
            assert_eq!((held().as_slice(), ledger.read().corrupt.len()), (after, 0), "{number}");
            assert_eq!(ledger.restore(3, true).unwrap(), None, "{number}");
        }
        switch_off(&folder);
        assert_eq!(ledger.restore(3, true).unwrap(), None, "the copy is made of the slot");
        assert!(ledger.read().copied);
        fs::remove_dir_all(folder.path().join("ledger")).unwrap();
        switch_off(&folder);
        assert!(matches!(ledger.restore(3, true), Err(Error::Lost { generation: 3 })));
    }

    #[test]
    fn a_slot_that_was_found_corrupt_can_be_left_alone() {
        let (folder, ledger) = ledger();
        ledger.write(b"old", at(1), Floor { epoch: 0, sequence: 1 }).unwrap();
        fs::write(folder.path().join("ledger/b"), b"nonsense").unwrap();
        assert_eq!(ledger.restore(1, false).unwrap(), None);
        assert_eq!(ledger.read().corrupt.len(), 1);
    }

    #[test]
    fn what_is_taken_back_was_never_accepted() {
        let (folder, ledger) = ledger();
        let floor = |sequence| Floor { epoch: 0, sequence };
        for n in 1..=3 {
            ledger.write(b"any", at(1), floor(n)).unwrap();
        }
        switch_off(&folder);
        ledger.take_back(3);
        assert_eq!(ledger.read().floor(), floor(2));
        assert_eq!(ledger.write(b"any", at(1), floor(3)).unwrap().generation, 3);
        assert_eq!(ledger.read().entries.len(), 2);
    }

    #[test]
    fn what_does_not_fit_leaves_nothing_behind() {
        let (folder, ledger) = ledger();
        fs::create_dir_all(folder.path().join("ledger/a")).unwrap();
        let unwritable = ledger.write(b"any", at(1), Floor::default());
        assert!(matches!(unwritable, Err(Error::Write(_))), "{unwritable:?}");
        let names: Vec<_> =
            fs::read_dir(folder.path().join("ledger")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["a"]);
    }
}

//! The ledger: what the device accepted. The only state kept outside of the kernel and the volumes.
//!
//! Two slots, written in turn. A slot is one file: magic, the SHA-256 of the rest, the rest (deterministic CBOR of
//! [`Entry`]). A write goes to a temporary file, which is synced and renamed over the slot that holds the older entry,
//! and the folder is synced: at every moment at least one slot is whole. What is read is believed only as far as its
//! signatures go; the ledger adds order, not trust.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use catenoid_schema::{cbor, control::MANIFEST_LIMIT, digest::Digest, units::Timestamp};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"CATLEDG1";
const SLOTS: [&str; 2] = ["a", "b"];
/// An envelope with room for what an entry adds to it.
const SLOT_LIMIT: u64 = MANIFEST_LIMIT.bytes() + 4096;
const ENTRY_LIMITS: cbor::Limits = cbor::Limits { bytes: 2 * 1024 * 1024 + 4096, depth: 3, items: 32 };

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Entry {
    /// Rises by one with every entry; the higher one is the accepted one.
    pub generation: u64,
    /// What no manifest may be below any more, once this was accepted.
    pub floor: Floor,
    /// When it was accepted. Its signatures are checked against this moment when it is read again, because expiry holds
    /// change and stops nothing.
    pub accepted_at: Timestamp,
    /// The envelope as it came.
    #[serde(with = "bytes")]
    pub envelope: Vec<u8>,
}

mod bytes {
    use serde::{Deserializer, Serializer, de::Visitor};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read.
    #[error("failed to read ledger slot `{slot}`")]
    Read {
        /// Which file.
        slot: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("failed to write ledger slot `{slot}`")]
    Write {
        /// Which file.
        slot: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An entry could not be encoded (our fault).
    #[error("failed to encode a ledger entry")]
    Encode(#[source] cbor::Error),
}

/// Why a slot that is there holds no entry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Corrupt {
    /// Not a slot, a torn one, or one of another version.
    #[error("ledger slot `{0}` does not begin with its magic")]
    Magic(PathBuf),
    /// The bytes are not the ones that were written.
    #[error("ledger slot `{0}` does not have its checksum")]
    Checksum(PathBuf),
    /// The bytes are what was written, but not an entry.
    #[error("ledger slot `{path}` holds no entry")]
    Entry {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: cbor::Error,
    },
}

/// What the two slots hold.
#[derive(Debug)]
pub(crate) struct Held {
    /// The entries, newest first.
    pub entries: Vec<Entry>,
    /// The slots that are there and hold none.
    pub corrupt: Vec<Corrupt>,
}

impl Held {
    /// What no manifest may be below.
    pub(crate) fn floor(&self) -> Floor {
        self.entries.iter().map(|entry| entry.floor).fold(Floor::default(), Floor::max)
    }
}

/// The two slots in their folder.
#[derive(Debug)]
pub(crate) struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    /// The ledger in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|source| Error::Write { slot: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Reads both slots.
    ///
    /// # Errors
    /// [`Error::Read`] if a slot is there and cannot be read; that it holds nonsense is no error but part of the answer.
    pub(crate) fn read(&self) -> Result<Held, Error> {
        let mut answer = Held { entries: Vec::new(), corrupt: Vec::new() };
        for slot in SLOTS {
            match self.slot(slot)? {
                None => {}
                Some(Ok(entry)) => answer.entries.push(entry),
                Some(Err(corrupt)) => answer.corrupt.push(corrupt),
            }
        }
        answer.entries.sort_by_key(|entry| std::cmp::Reverse(entry.generation));
        Ok(answer)
    }

    /// Writes `envelope` as the newest entry. When this returns it survives a power cut.
    ///
    /// # Errors
    /// [`Error::Write`]; the entries that were there are untouched.
    pub(crate) fn write(&self, envelope: &[u8], accepted_at: Timestamp, floor: Floor) -> Result<Entry, Error> {
        let held = self.read()?;
        let newest = held.entries.first().map_or(0, |entry| entry.generation);
        let floor = floor.max(held.floor());
        let entry = Entry { generation: newest + 1, floor, accepted_at, envelope: envelope.to_vec() };
        let body = cbor::encode(&entry).map_err(Error::Encode)?;
        let slot = self.older_slot()?;
        let (path, temporary) = (self.folder.join(slot), self.folder.join(format!("{slot}.new")));
        let error = |source| Error::Write { slot: path.clone(), source };
        let mut file = File::create(&temporary).map_err(error)?;
        file.write_all(&slot_of(&body)).map_err(error)?;
        file.sync_all().map_err(error)?;
        fs::rename(&temporary, &path).map_err(error)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(error)?;
        Ok(entry)
    }

    /// The slot that holds nothing, nonsense, or the lower generation.
    fn older_slot(&self) -> Result<&'static str, Error> {
        let mut oldest = (u64::MAX, SLOTS[0]);
        for slot in SLOTS {
            let generation = match self.slot(slot)? {
                Some(Ok(entry)) => entry.generation,
                Some(Err(_)) | None => 0,
            };
            oldest = oldest.min((generation, slot));
        }
        Ok(oldest.1)
    }

    fn slot(&self, slot: &str) -> Result<Option<Result<Entry, Corrupt>>, Error> {
        let path = self.folder.join(slot);
        let error = |source| Error::Read { slot: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(error(e)),
        };
        let mut bytes = Vec::new();
        file.take(SLOT_LIMIT).read_to_end(&mut bytes).map_err(error)?;
        Ok(Some(parse(&bytes, &path)))
    }
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
    cbor::decode(body, ENTRY_LIMITS).map_err(|source| Corrupt::Entry { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger")).unwrap();
        (folder, ledger)
    }

    #[test]
    fn the_newest_entry_comes_first_and_only_two_are_kept() {
        let (_folder, ledger) = ledger();
        for n in 1..=5u8 {
            ledger.write(&[n], at(n.into()), Floor { epoch: 0, sequence: n.into() }).unwrap();
        }
        let held = ledger.read().unwrap();
        let seen: Vec<_> = held.entries.iter().map(|e| (e.generation, e.envelope.clone())).collect();
        assert_eq!(seen, [(5, vec![5]), (4, vec![4])]);
        assert!(held.corrupt.is_empty());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_slot_is_found_and_the_other_slot_stands() {
        let (folder, ledger) = ledger();
        ledger.write(b"old", at(1), Floor { epoch: 0, sequence: 1 }).unwrap();
        ledger.write(b"new", at(2), Floor { epoch: 0, sequence: 2 }).unwrap();
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
            let held = ledger.read().unwrap();
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
            floors.push(ledger.read().unwrap().floor());
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
        let held = ledger.read().unwrap();
        let seen: Vec<_> = held.entries.iter().map(|e| e.envelope.as_slice()).collect();
        assert_eq!(seen, [b"newest".as_slice(), b"new"]);
    }

    #[test]
    fn an_oversized_slot_is_corrupt_not_read_without_end() {
        let (folder, ledger) = ledger();
        let file = File::create(folder.path().join("ledger/a")).unwrap();
        file.set_len(1 << 40).unwrap();
        assert_eq!(ledger.read().unwrap().corrupt.len(), 1);
    }
}

//! Power cuts that lose what a disk may lose.
//!
//! A killed QEMU loses nothing that the guest wrote: it is in the host's page cache. A disk whose power fails loses any
//! of the writes that it took after the last flush, in any order, and may tear them between sectors. QEMU's block driver
//! `blklogwrites` logs every write, discard and flush of a machine; [`WriteLog::cut`] makes of that log the disk of a machine
//! whose power was cut at any moment: everything up to the last flush before it, and of the later writes whichever
//! chance keeps. One recorded run gives any number of cuts.
//!
//! The format is dm-log-writes' (`drivers/md/dm-log-writes.c` of Linux; `block/blklogwrites.c` of QEMU): a superblock in
//! the first sector, then for each entry one sector with four little-endian words (sector, sectors, flags, bytes of data)
//! and the data.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use thiserror::Error;

use crate::chance::Chance;

/// "jsgfwshr" as the kernel writes it.
const MAGIC: u64 = 0x6a_7366_7773_6872;
const VERSION: u64 = 1;
/// QEMU logs in sectors of the disk: virtio-blk's are 512 bytes.
const SECTOR: u64 = 512;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
/// Bytes behind the last whole entry of a QEMU that was killed: a few writes that were on their way.
const UNFINISHED: u64 = 8 << 20;
/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// What is wrong with a log or a disk.
#[derive(Debug, Error)]
pub enum LogError {
    /// A file.
    #[error("failed to read or write `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a log, or one of sectors of another size.
    #[error("`{}` is no log of writes in sectors of {SECTOR} bytes", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// An entry was never written, and many were behind it.
    #[error("`{}` has no entry at byte {at} of {length}", path.display())]
    Hole {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// Its size.
        length: u64,
    },
}

/// One entry: where its data lies in the log, and what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    data: u64,
    sector: u64,
    sectors: u64,
    flags: u64,
}

impl Entry {
    fn end(&self) -> u64 {
        self.data + if self.flags & DISCARD == 0 { self.sectors * SECTOR } else { 0 }
    }
}

/// A log of a machine that is off, or a part of one that is on.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    entries: Vec<Entry>,
}

impl WriteLog {
    /// Reads the entries of the log at `path`.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn read(path: &Path) -> Result<Self, LogError> {
        let failed = |source| LogError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let words = |at: u64| -> io::Result<[u64; 4]> {
            let mut bytes = [0; 32];
            file.read_exact_at(&mut bytes, at)?;
            Ok(std::array::from_fn(|word| {
                u64::from_le_bytes(bytes[word * 8..][..8].try_into().expect("eight bytes are eight bytes"))
            }))
        };
        let [magic, version, _, sector] = words(0).map_err(failed)?;
        if (magic, version, sector & 0xffff_ffff) != (MAGIC, VERSION, SECTOR) {
            return Err(LogError::Format { path: path.to_owned() });
        }
        let (mut entries, mut at) = (Vec::new(), SECTOR);
        while at + SECTOR <= length {
            let [sector, sectors, flags, _] = words(at).map_err(failed)?;
            let entry = Entry { data: at + SECTOR, sector, sectors, flags };
            // The last one may not have been written in full.
            if (sectors, flags) == (0, 0) || entry.end() > length {
                if length - at > UNFINISHED {
                    return Err(LogError::Hole { path: path.to_owned(), at, length });
                }
                break;
            }
            at = entry.end();
            entries.push(entry);
        }
        Ok(Self { file, entries })
    }

    /// How many entries there are: a power cut happens before one of them, or after the last.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// How many entries a log had when its file had `length` bytes.
    #[must_use]
    pub fn entries_at(&self, length: u64) -> usize {
        self.entries.partition_point(|entry| entry.end() <= length)
    }

    /// How many of the entries are flushes.
    #[must_use]
    pub fn flushes(&self) -> usize {
        self.entries.iter().filter(|entry| entry.flags & FLUSH != 0).count()
    }

    /// Makes of the disk at `path`, which is as it was before the first entry, the one of a machine whose power was cut
    /// before entry `at`.
    ///
    /// # Errors
    /// [`LogError::File`].
    pub fn cut(&self, at: usize, chance: &mut Chance, path: &Path) -> Result<Cut, LogError> {
        let failed = |source| LogError::File { path: path.to_owned(), source };
        let disk = File::options().write(true).open(path).map_err(failed)?;
        let entries = &self.entries[..at];
        let flushed = entries.iter().rposition(|entry| entry.flags & FLUSH != 0).map_or(0, |flush| flush + 1);
        let mut cut = Cut { at, ..Cut::default() };
        for (number, entry) in entries.iter().enumerate() {
            let sectors = match (number < flushed, chance.below(8)) {
                (true, _) => entry.sectors,
                (false, 0) if entry.sectors > 1 => {
                    cut.torn += 1;
                    1 + chance.below(entry.sectors - 1)
                }
                (false, 1..4) => {
                    cut.lost += 1;
                    0
                }
                (false, _) => {
                    cut.kept += 1;
                    entry.sectors
                }
            };
            self.apply(entry, sectors, &disk).map_err(failed)?;
        }
        Ok(cut)
    }

    /// Does to `disk` what the entry did; of its writes only the first `sectors`.
    fn apply(&self, entry: &Entry, sectors: u64, disk: &File) -> io::Result<()> {
        let (mut done, length) = (0, sectors.min(entry.sectors) * SECTOR);
        if entry.flags & DISCARD != 0 && length > 0 {
            // It leaves zeros here, and takes no room; a device may leave anything, and nobody may count on either.
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            return Ok(fallocate(disk, hole, entry.sector * SECTOR, length)?);
        }
        let mut chunk = vec![0; CHUNK];
        while done < length {
            let count = CHUNK.min(usize::try_from(length - done).unwrap_or(CHUNK));
            self.file.read_exact_at(&mut chunk[..count], entry.data + done)?;
            disk.write_all_at(&chunk[..count], entry.sector * SECTOR + done)?;
            done += count as u64;
        }
        Ok(())
    }
}

/// What a power cut did to the writes after the last flush.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// The entry before which the power went.
    pub at: usize,
    /// Writes that were kept whole.
    pub kept: usize,
    /// Writes that were lost.
    pub lost: usize,
    /// Writes of which only the first sectors were kept.
    pub torn: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn sector(words: [u64; 4]) -> Vec<u8> {
        let mut sector = words.map(u64::to_le_bytes).concat();
        sector.resize(512, 0);
        sector
    }

    /// A log as QEMU writes it: two writes, a flush, two writes.
    fn log(folder: &Path) -> PathBuf {
        let mut bytes = Vec::new();
        bytes.extend(sector([MAGIC, VERSION, 5, SECTOR]));
        for (at, sectors, byte) in [(1, 1, 1), (2, 2, 2)] {
            bytes.extend(sector([at, sectors, 0, 0]));
            bytes.extend(vec![byte; usize::try_from(sectors).expect("it is small") * 512]);
        }
        bytes.extend(sector([0, 0, FLUSH, 0]));
        for (at, sectors, byte) in [(1, 1, 3), (4, 1, 4)] {
            bytes.extend(sector([at, sectors, 0, 0]));
            bytes.extend(vec![byte; usize::try_from(sectors).expect("it is small") * 512]);
        }
        let path = folder.join("writes.log");
        fs::write(&path, bytes).expect("a file");
        path
    }

    #[test]
    fn a_hole_is_not_taken_for_the_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = log(folder.path());
        let length = fs::metadata(&path).expect("a log").len();
        let file = fs::OpenOptions::new().write(true).open(&path).expect("a log");
        file.set_len(length + UNFINISHED).expect("longer");
        assert_eq!(WriteLog::read(&path).expect("a log").entries(), 5);
        file.set_len(length + UNFINISHED + SECTOR).expect("longer still");
        assert!(matches!(WriteLog::read(&path), Err(LogError::Hole { at, .. }) if at == length));
    }

    #[test]
    fn what_was_flushed_is_kept_and_what_was_not_may_be_lost() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = WriteLog::read(&log(folder.path())).expect("a log");
        assert_eq!((log.entries(), log.flushes()), (5, 1));
        let disk = folder.path().join("disk");
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            fs::write(&disk, vec![0; 8 * 512]).expect("a disk");
            log.cut(5, &mut Chance::of(seed), &disk).expect("a cut");
            let bytes = fs::read(&disk).expect("a disk");
            let first: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
            assert_eq!((first[2], first[3]), (2, 2), "these were flushed");
            seen.insert((first[1], first[4]));
        }
        assert_eq!(seen, [(1, 0), (1, 4), (3, 0), (3, 4)].into(), "of the others any can be lost");
    }
    #[test]
    fn what_was_discarded_is_zero_and_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, disk) = (folder.path().join("writes.log"), folder.path().join("disk"));
        // The second one reaches beyond the end of the disk.
        let entries = [[9, 3, DISCARD, 0], [62, 8, DISCARD, 0], [0, 0, FLUSH, 0]];
        let bytes = [[MAGIC, VERSION, 3, SECTOR]].into_iter().chain(entries).flat_map(sector).collect::<Vec<_>>();
        fs::write(&path, bytes).expect("a file");
        fs::write(&disk, vec![9; 64 * 512]).expect("a disk");
        let log = WriteLog::read(&path).expect("a log");
        log.cut(3, &mut Chance::of(0), &disk).expect("a cut");
        let bytes = fs::read(&disk).expect("a disk");
        assert_eq!(bytes.len(), 64 * 512);
        for (number, sector) in bytes.chunks(512).enumerate() {
            let is_discarded = (9..12).contains(&number) || number >= 62;
            assert!(sector.iter().all(|byte| *byte == if is_discarded { 0 } else { 9 }), "sector {number}");
        }
    }
}

//! Block devices: finding a partition by its label, seeing whether it is empty, making its file system, mounting it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
};

use catenoid_kernel_base::{
    fault::{at, look},
    mounts::{CLOSED, is_mounted},
};
use nix::mount::{MsFlags, mount};

/// Bytes at each end of a partition that are looked at: every superblock and signature that `blkid` knows lies there.
/// The file system leaves this much free at the end.
const END: u64 = 1024 * 1024;

/// What could not be done with a block device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's list could not be read.
    #[error("failed to list the block devices")]
    List(#[source] io::Error),
    /// More than one disk has the partition that the device booted from.
    #[error("{count} disks have the partition that the device booted from; all but its own must be taken out")]
    SeveralDisks {
        /// How many disks there are.
        count: usize,
    },
    /// It could not be read.
    #[error("failed to read block device `{device}`")]
    Read {
        /// The device.
        device: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// It could not be formatted.
    #[error("failed to make a file system on `{device}`: {output}")]
    Format {
        /// The device.
        device: PathBuf,
        /// What the tool said.
        output: String,
        /// The cause, if the tool could not be run at all.
        source: Option<io::Error>,
    },
    /// Somebody changed its file system to one that behaves otherwise.
    #[error("failed to mount `{device}`: {difference}; this device never makes that")]
    Foreign {
        /// The device.
        device: PathBuf,
        /// What differs.
        difference: &'static str,
    },
    /// It could not be mounted.
    #[error("failed to mount `{device}` on `{target}`")]
    Mount {
        /// The device.
        device: PathBuf,
        /// The folder that it was to be mounted on.
        target: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// The device node of the GPT partition with `label` on the disk that has partition `boot`, if the kernel has found it by now.
///
/// # Errors
/// [`Error::List`]; [`Error::SeveralDisks`]: nothing distinguishes a copy of the disk from the disk.
pub fn partition(label: &str, boot: &Guid) -> Result<Option<PathBuf>, Error> {
    let mut disks = Vec::new();
    for disk in entries(Path::new("/sys/class/block"))? {
        // Partitions have no device of their own, nor what the kernel makes of files. A disk that cannot be read, or can vanish
        // while it is looked at, is not the one.
        if disk.join("device").exists() && has_partition(&disk, boot).unwrap_or(false) {
            disks.push(disk);
        }
    }
    let disk = match disks.as_slice() {
        [] => return Ok(None),
        [disk] => disk,
        _ => return Err(Error::SeveralDisks { count: disks.len() }),
    };
    let wanted = format!("PARTNAME={label}");
    for path in entries(disk)? {
        let Ok(uevent) = fs::read_to_string(path.join("uevent")) else { continue };
        if uevent.lines().any(|line| line == wanted) {
            let name = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME="));
            return Ok(name.map(|name| Path::new("/dev").join(name)));
        }
    }
    Ok(None)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = look("block.list", || fs::read_dir(folder)).map_err(Error::List)?;
    entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(Error::List)
}

/// Whether the GPT of the disk at `path` in sysfs has a partition with this GUID.
fn has_partition(path: &Path, wanted: &Guid) -> io::Result<bool> {
    let name = path.file_name().unwrap_or_default();
    let block: u64 = fs::read_to_string(path.join("queue/logical_block_size"))?
        .trim()
        .parse()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut disk = File::open(Path::new("/dev").join(name))?;
    let header = read_at(&mut disk, block, GPT_HEADER)?;
    let Some((first, size, count)) = table(&header) else { return Ok(false) };
    let table = read_at(&mut disk, first.saturating_mul(block), u64::from(size) * u64::from(count))?;
    Ok(table.chunks_exact(size as usize).any(|entry| entry[16..32] == wanted.0))
}

/// Bytes of a GPT header that are looked at, and the most entries of a table: what everybody makes.
const GPT_HEADER: u64 = 92;
const GPT_ENTRIES: u32 = 128;

/// Where the table of partitions begins in blocks, the size of an entry, and how many there are (UEFI 2.10, 5.3.2). The
/// kernel has checked it, or shows no partitions.
fn table(header: &[u8]) -> Option<(u64, u32, u32)> {
    let word = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let first = u64::from_le_bytes(header.get(72..80)?.try_into().ok()?);
    let (count, size) = (word(80)?.min(GPT_ENTRIES), word(84)?);
    (header.starts_with(b"EFI PART") && (128..=4096).contains(&size)).then_some((first, size, count))
}

/// What names a partition in a GPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid([u8; 16]);

impl std::str::FromStr for Guid {
    type Err = NoGuid;

    /// Of the text form, in which the first three groups are numbers.
    fn from_str(text: &str) -> Result<Self, NoGuid> {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        let digits = groups.concat();
        if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NoGuid);
        }
        let mut bytes = u128::from_str_radix(&digits, 16).map_err(|_| NoGuid)?.to_be_bytes();
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        Ok(Self(bytes))
    }
}

/// A text that is no GUID.
#[derive(Debug, thiserror::Error)]
#[error("this is no GUID")]
pub struct NoGuid;

/// What a partition holds, by our mark in its last block.
///
/// The file system ends one MiB before the partition does. The mark in that MiB is written before and after the file
/// system is made, so that a power cut in between is distinguished from a partition that is somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionContent {
    /// Both ends are zeros: nobody has written to it.
    Empty,
    /// We began to make a file system and did not get to the end.
    Unfinished,
    /// Our file system.
    Ours,
    /// Something else.
    Foreign,
}

const MARK_BYTES: usize = 512;
const MARK_ROOM: u64 = MARK_BYTES as u64;
const UNFINISHED: &[u8] = b"catenoid data 1 unfinished\n";
const OURS: &[u8] = b"catenoid data 1 made\n";

/// Opens `device` to read what it holds.
///
/// # Errors
/// [`Error::Read`].
pub fn open(device: &Path) -> Result<File, Error> {
    look("block.open", || File::open(device)).map_err(|source| Error::Read { device: device.to_owned(), source })
}

/// Looks at both ends of `device`.
///
/// # Errors
/// [`Error::Read`].
pub fn content(device: &Path) -> Result<PartitionContent, Error> {
    let error = |source| Error::Read { device: device.to_owned(), source };
    let mut file = open(device)?;
    let size = file.seek(SeekFrom::End(0)).map_err(error)?;
    let mark = read_at(&mut file, size.saturating_sub(MARK_ROOM), MARK_ROOM).map_err(error)?;
    if mark.starts_with(OURS) {
        return Ok(PartitionContent::Ours);
    }
    if mark.starts_with(UNFINISHED) {
        return Ok(PartitionContent::Unfinished);
    }
    for start in [0, size.saturating_sub(END)] {
        if read_at(&mut file, start, END).map_err(error)?.iter().any(|byte| *byte != 0) {
            return Ok(PartitionContent::Foreign);
        }
    }
    Ok(PartitionContent::Empty)
}

fn read_at(file: &mut File, start: u64, count: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(count).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes an ext4 on `device` and marks it as ours. What it held is lost: only for one that is empty or unfinished.
/// Cut short, it leaves [`PartitionContent::Unfinished`].
///
/// # Errors
/// [`Error::Format`] with what `mkfs.ext4` said.
pub fn format(device: &Path, label: &str) -> Result<(), Error> {
    let error = |output: &str, source| Error::Format { device: device.to_owned(), output: output.to_owned(), source };
    let failed = |e| error("the mark could not be written", Some(e));
    let mut file = OpenOptions::new().read(true).write(true).open(device).map_err(failed)?;
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    at("block.mark_unfinished", || mark(&mut file, size, UNFINISHED)).map_err(failed)?;
    let kibibytes = format!("{}k", size.saturating_sub(END) / 1024);
    let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
    let mkfs = mkfs.args(["-q", "-F", "-L", label, "-m", "1"]).arg(device).arg(kibibytes);
    let output = at("block.format", || mkfs.output());
    let output = output.map_err(|e| error("`mkfs.ext4` did not start", Some(e)))?;
    if !output.status.success() {
        return Err(error(String::from_utf8_lossy(&output.stderr).trim(), None));
    }
    at("block.sync", || file.sync_all()).map_err(failed)?;
    at("block.mark", || mark(&mut file, size, OURS)).map_err(failed)
}

fn mark(file: &mut File, size: u64, text: &[u8]) -> io::Result<()> {
    let mut block = [0; MARK_BYTES];
    block[..text.len()].copy_from_slice(text);
    file.seek(SeekFrom::Start(size.saturating_sub(MARK_ROOM)))?;
    file.write_all(&block)?;
    file.sync_all()
}

/// Features of the file systems that our `mkfs.ext4` makes (Documentation/filesystems/ext4/super.rst): compatible, incompatible
/// but for [`RECOVER`], and compatible for who only reads. A line for each version of it that makes others.
const FEATURES: &[[u32; 3]] = &[[0x3c, 0x2c2, 0x46b]];
/// The journal is to be replayed.
const RECOVER: u32 = 4;
/// Where the superblock begins, and its bytes.
const SUPERBLOCK: u64 = 1024;

/// How the file system with this superblock differs from those that we make, where it would behave otherwise: a mount that
/// waits for hours for another machine (`mmp`), folders that take no file from another one (`project`), options of its own.
fn difference(superblock: &[u8]) -> Option<&'static str> {
    let word = |at: usize| superblock.get(at..at + 4).and_then(|word| Some(u32::from_le_bytes(*word.first_chunk()?)));
    let features = [word(0x5c), word(0x60).map(|word| word & !RECOVER), word(0x64)];
    let is_set = |bytes: Option<&[u8]>| bytes.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0));
    if superblock.get(0x38..0x3a) != Some(&[0x53, 0xef]) {
        return Some("there is no ext4 on it");
    }
    if !FEATURES.iter().any(|known| known.map(Some) == features) {
        return Some("its file system has other features");
    }
    if is_set(superblock.get(0x200..0x240)) {
        return Some("its file system has mount options of its own");
    }
    if word(0xe4) != Some(0) {
        return Some("its journal is on another device");
    }
    let [all, kept] = [word(0x4), word(0x8)].map(|blocks| u64::from(blocks.unwrap_or_default()));
    (kept * 100 > all).then_some("its file system keeps more than 1 % of itself for root")
}

/// Mounts the ext4 on `device`, if it is as we make them, at `target`, which is made. What is mounted there already stays.
///
/// # Errors
/// [`Error::Read`]; [`Error::Foreign`]; [`Error::Mount`].
pub fn mount_data(device: &Path, target: &Path) -> Result<(), Error> {
    let error = |source| Error::Mount { device: device.to_owned(), target: target.to_owned(), source };
    fs::create_dir_all(target).map_err(error)?;
    let flags = CLOSED | MsFlags::MS_NOATIME;
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(error)?;
    if target.to_str().is_some_and(|target| is_mounted(&mounts, target)) {
        return Ok(());
    }
    let superblock = read_at(&mut open(device)?, SUPERBLOCK, SUPERBLOCK);
    let superblock = superblock.map_err(|source| Error::Read { device: device.to_owned(), source })?;
    if let Some(difference) = difference(&superblock) {
        return Err(Error::Foreign { device: device.to_owned(), difference });
    }
    let ext4 = || mount(Some(device), target, Some("ext4"), flags, Some("errors=remount-ro"));
    at("block.mount", ext4).map_err(|errno| error(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_read_as_they_lie_on_a_disk() {
        let guid: Guid = "CA7E401D-0102-4304-8506-0708090a0b0c".parse().unwrap();
        assert_eq!(guid.0, [0x1d, 0x40, 0x7e, 0xca, 2, 1, 4, 0x43, 0x85, 6, 7, 8, 9, 10, 11, 12]);
        for bad in ["", "CA7E401D", "CA7E401D-0102-4304-8506-0708090a0b0", "+A7E401D-0102-4304-8506-0708090a0b0c"] {
            assert!(bad.parse::<Guid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_system_that_would_behave_otherwise_is_not_taken_for_ours() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 << 20).unwrap();
        let run = |program: &str, args: &[&str]| {
            let output = Command::new(format!("/usr/sbin/{program}")).args(args).arg(file.path()).output().unwrap();
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let make = |more: &[&str]| run("mkfs.ext4", &[&["-q", "-F", "-m", "1"], more].concat());
        let seen = || difference(&read_at(&mut File::open(file.path()).unwrap(), SUPERBLOCK, SUPERBLOCK).unwrap());
        assert_eq!(seen(), Some("there is no ext4 on it"));
        make(&[]);
        assert_eq!(seen(), None);
        run("tune2fs", &["-E", "mount_opts=nobarrier"]);
        assert_eq!(seen(), Some("its file system has mount options of its own"));
        for feature in
            ["mmp", "project,quota", "encrypt", "verity", "casefold", "inline_data", "^filetype", "^has_journal"]
        {
            make(&["-O", feature]);
            assert_eq!(seen(), Some("its file system has other features"), "{feature}");
        }
        make(&["-m", "20"]);
        assert_eq!(seen(), Some("its file system keeps more than 1 % of itself for root"));
        assert_eq!(difference(&[]), Some("there is no ext4 on it"));
    }

    #[test]
    fn no_header_leads_to_a_read_without_end() {
        let header = |magic: &[u8], count: u32, size: u32| {
            let mut header = vec![0; 92];
            header[..8].copy_from_slice(magic);
            header[72] = 2;
            header[80..84].copy_from_slice(&count.to_le_bytes());
            header[84..88].copy_from_slice(&size.to_le_bytes());
            table(&header)
        };
        assert_eq!(header(b"EFI PART", 128, 128), Some((2, 128, 128)));
        assert_eq!(header(b"EFI PART", u32::MAX, 4096), Some((2, 4096, 128)));
        assert_eq!(header(b"EFI PART", 1, 0), None);
        assert_eq!(header(b"EFI PART", 1, 1 << 20), None);
        assert_eq!(header(b"EFI BART", 1, 128), None);
        assert_eq!(table(b"EFI PART"), None);
    }

    #[test]
    fn what_a_partition_holds_is_recognised_by_its_ends_and_our_mark() {
        let path = std::env::temp_dir().join(format!("catenoid-block-{}", std::process::id()));
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let size = 64 * END;
        file.set_len(size).unwrap();
        let mut seen = vec![content(&path).unwrap()];
        for text in [UNFINISHED, OURS] {
            mark(&mut file, size, text).unwrap();
            seen.push(content(&path).unwrap());
        }
        mark(&mut file, size, b"somebody else").unwrap();
        seen.push(content(&path).unwrap());
        mark(&mut file, size, b"").unwrap();
        file.seek(SeekFrom::Start(1080)).unwrap();
        file.write_all(&[0x53, 0xef]).unwrap();
        seen.push(content(&path).unwrap());
        fs::remove_file(&path).unwrap();
        assert_eq!(
            seen,
            [
                PartitionContent::Empty,
                PartitionContent::Unfinished,
                PartitionContent::Ours,
                PartitionContent::Foreign,
                PartitionContent::Foreign
            ]
        );
    }
}

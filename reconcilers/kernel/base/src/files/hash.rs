//! Reading all of a file or of a device.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::Error;
use crate::fault::look;

/// Bytes that are read at a time.
const CHUNK: usize = 1024 * 1024;

pub(super) fn hash(file: &File, path: &Path) -> Result<[u8; 32], Error> {
    let mut hash = Sha256::new();
    let each = |bytes: &[u8]| {
        hash.update(bytes);
        true
    };
    look("files.hash", || read_through(file, each)).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(hash.finalize().into())
}

/// Reads all of the block device at `path`, so that whatever checks it checks every block, as long as it `goes_on` after so
/// many bytes; whether it came to the end.
///
/// # Errors
/// [`Error::Open`]; [`Error::Read`]: `EIO` for a block that cannot be read or is not what it should be.
pub fn read_device(path: &Path, mut goes_on: impl FnMut(u64) -> bool) -> Result<bool, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|source| Error::Open { path: path.to_owned(), source: source.into() })?;
    let mut bytes = 0;
    let mut each = |chunk: &[u8]| {
        bytes += chunk.len() as u64;
        goes_on(bytes)
    };
    look("files.read_device", || read_through(&File::from(file), &mut each))
        .map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Reads as long as `each` wants more; whether it came to the end.
fn read_through(file: &File, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let (mut chunk, mut offset) = (vec![0; CHUNK], 0);
    loop {
        match file.read_at(&mut chunk, offset) {
            Ok(0) => return Ok(true),
            Ok(count) => {
                if !each(&chunk[..count]) {
                    return Ok(false);
                }
                offset += count as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

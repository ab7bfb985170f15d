//! The blocks of an archive: headers, and as much content as they say.

use std::{fs::File, io, os::unix::fs::FileExt};

use tar::Header;

use super::error::Error;

/// What an archive is made of: a header, or as much content.
const BLOCK: u64 = 512;
/// Most bytes of what stands before an entry about it: many times a path, and the limit of Go's reader too.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// An archive and how far it was read.
pub(super) struct Reader<'a> {
    pub(super) file: &'a File,
    pub(super) shown: String,
    pub(super) length: u64,
    /// Where the next block is.
    pub(super) at: u64,
    /// Headers so far.
    pub(super) headers: usize,
}

impl Reader<'_> {
    pub(super) fn failed(&self, source: io::Error) -> Error {
        Error::Read { archive: self.shown.clone(), source }
    }

    pub(super) fn header_error(&self, problem: &'static str) -> Error {
        Error::Header { archive: self.shown.clone(), index: self.headers.saturating_sub(1), problem }
    }

    /// The bytes from here on, as many as are asked for and whole blocks of them; goes behind them.
    fn take(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let start = self.at;
        self.skip(size)?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, start).map_err(|source| self.failed(source))?;
        Ok(bytes)
    }

    /// Goes behind so many bytes, in whole blocks, which must be there.
    pub(super) fn skip(&mut self, size: u64) -> Result<(), Error> {
        let end = size.checked_next_multiple_of(BLOCK).and_then(|size| self.at.checked_add(size)).unwrap_or(u64::MAX);
        if end > self.length {
            return Err(Error::EndsEarly { archive: self.shown.clone(), length: self.length, needed: end });
        }
        self.at = end;
        Ok(())
    }

    /// The next header; none at the mark that ends an archive.
    pub(super) fn header(&mut self) -> Result<Option<Header>, Error> {
        let block = self.take(BLOCK)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        self.headers += 1;
        let header = Header::from_byte_slice(&block).clone();
        // POSIX: the sum of all bytes, those of the sum itself taken for blanks.
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let expected = sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..]);
        if !header.cksum().is_ok_and(|found| found == expected) {
            return Err(self.header_error("is none: its checksum is wrong"));
        }
        // Others look at the magic alone, and find the first half of a long path where version 0 has it.
        if header.as_old().pad.starts_with(b"ustar\0") && header.as_ustar().is_none() {
            return Err(self.header_error("is of a version of ustar that is not known here"));
        }
        Ok(Some(header))
    }

    /// What a header that is about the next entry holds.
    pub(super) fn extension(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > EXTENSION_LIMIT {
            return Err(self.header_error("is longer than 1 MiB"));
        }
        self.take(size)
    }

    /// Whether nothing but zeros, which fill up what was written at once, is left.
    pub(super) fn is_at_end(&self) -> io::Result<bool> {
        let mut chunk = vec![0; 1 << 16];
        let mut at = self.at;
        loop {
            match self.file.read_at(&mut chunk, at)? {
                0 => return Ok(true),
                read if chunk[..read].iter().any(|byte| *byte != 0) => return Ok(false),
                read => at += read as u64,
            }
        }
    }
}

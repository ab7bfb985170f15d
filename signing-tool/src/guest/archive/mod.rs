//! Reads a tar archive into a [`Tree`]; contents stay in the archive and are only located.
//!
//! Formats: ustar and its extended headers (POSIX.1-2017, `pax`), and GNU's long names (tar, "Basic Tar Format"). What is read
//! here is what GNU tar unpacks, or it is refused: readers of tar differ, and what is built here is signed.

mod error;
mod extension;
mod member;
mod reader;
#[cfg(test)]
mod tests;
mod unpacked;

pub(crate) use error::Error;

use std::{
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use tar::EntryType;

use super::tree::Tree;
use extension::{Extension, Meaning, meaning, records};
use member::member;
use reader::Reader;
use unpacked::Unpacked;

/// First bytes of the compressed forms people have tars in.
const COMPRESSED: [(&[u8], &str); 4] =
    [(b"\x1f\x8b", "gzip"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2")];

/// Reads what `archive` holds. Device nodes, pipes and sockets are left out: a container gets its own `/dev`.
///
/// # Errors
/// [`Error`] for the first entry that is unfit.
pub(crate) fn read(path: &Path, archive: &File) -> Result<Tree, Error> {
    let shown = path.display().to_string();
    let failed = |source| Error::Read { archive: path.display().to_string(), source };
    let mut head = [0; 8];
    let read = archive.read_at(&mut head, 0).map_err(failed)?;
    if let Some((_, compression)) = COMPRESSED.iter().find(|(magic, _)| head[..read].starts_with(magic)) {
        return Err(Error::Compressed { archive: shown, compression });
    }

    let length = archive.metadata().map_err(failed)?.size();
    let mut reader = Reader { file: archive, shown, length, at: 0, headers: 0 };
    let mut unpacked = Unpacked::default();
    let mut extension = Extension::default();
    let mut index = 0;
    while let Some(header) = reader.header()? {
        let size = header.entry_size().map_err(failed)?;
        match header.entry_type() {
            EntryType::XGlobalHeader => {
                let bytes = reader.extension(size)?;
                let records = records(&bytes).ok_or_else(|| reader.header_error("is no extended header"))?;
                global(&records)?;
            }
            EntryType::XHeader => {
                let bytes = reader.extension(size)?;
                let records = records(&bytes).ok_or_else(|| reader.header_error("is no extended header"))?;
                records.iter().for_each(|(key, value)| extension.add(key, value));
                extension.any = true;
            }
            kind @ (EntryType::GNULongName | EntryType::GNULongLink) => {
                extension.add_long(kind, &reader.extension(size)?);
                extension.any = true;
            }
            _ => {
                member(&mut unpacked, index, &header, &std::mem::take(&mut extension), &mut reader)?;
                index += 1;
            }
        }
    }
    if extension.any {
        return Err(reader.header_error("is about a next entry, of which there is none"));
    }
    if !reader.is_at_end().map_err(failed)? {
        return Err(Error::Follows { archive: reader.shown, end: reader.at });
    }
    Ok(unpacked.tree)
}

/// Checks what an archive says of all its entries at once.
fn global(records: &[(&str, &[u8])]) -> Result<(), Error> {
    let dropped = |key: &str| matches!(meaning(key), Some(Meaning::Dropped));
    match records.iter().find(|(key, _)| !dropped(key)) {
        Some((key, _)) => Err(Error::Key {
            of: "all entries".to_owned(),
            key: key.chars().take(80).collect(),
            problem: "which is followed for single entries only",
        }),
        None => Ok(()),
    }
}

//! Reads a tar archive into a [`Tree`]; contents stay in the archive and are only located.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use tar::EntryType;

use super::{
    path::{GuestPath, PathError},
    tree::{self, Content, Entry, Node, Tree},
};

/// Why an archive could not be read. Who made the archive must act.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It could not be opened or read.
    #[error("failed to read the archive `{archive}`")]
    Read {
        /// The archive.
        archive: String,
        /// What the system or the format says.
        source: io::Error,
    },
    /// It is compressed.
    #[error("the archive `{archive}` is compressed with {compression}")]
    Compressed {
        /// The archive.
        archive: String,
        /// How.
        compression: &'static str,
    },
    /// An entry has a name that no image can have.
    #[error("entry {index} of the archive has no usable path")]
    Path {
        /// Which one, from 0.
        index: usize,
        /// Why.
        source: PathError,
    },
    /// An entry's name or link target is not UTF-8.
    #[error("entry {index} of the archive, `{name}`, is not named in UTF-8")]
    NotText {
        /// Which one, from 0.
        index: usize,
        /// Its name as far as it can be shown.
        name: String,
    },
    /// A kind of entry that is not supported.
    #[error("`{path}` is of tar type `{kind}`, which an image cannot hold")]
    Kind {
        /// The entry.
        path: GuestPath,
        /// The type byte.
        kind: char,
    },
    /// An entry is not fit for the tree.
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

impl Error {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Compressed { compression, .. } => Some(format!("unpack it first with `{compression} -d`")),
            _ => None,
        }
    }
}

/// First bytes of the compressed forms people have tars in.
const COMPRESSED: [(&[u8], &str); 4] =
    [(b"\x1f\x8b", "gzip"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2")];

/// Reads what `archive` holds. Device nodes, pipes and sockets are left out: a container gets its own `/dev`.
///
/// # Errors
/// [`Error`] for the first entry that is unfit.
pub(crate) fn read(path: &Path, mut archive: &File) -> Result<Tree, Error> {
    let failed = |source| Error::Read { archive: path.display().to_string(), source };
    let mut head = Vec::new();
    archive.take(8).read_to_end(&mut head).map_err(failed)?;
    archive.rewind().map_err(failed)?;
    if let Some((_, compression)) = COMPRESSED.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(Error::Compressed { archive: path.display().to_string(), compression });
    }

    let mut tree = Tree::default();
    let mut archive = tar::Archive::new(archive);
    for (index, entry) in archive.entries_with_seek().map_err(failed)?.enumerate() {
        let entry = entry.map_err(failed)?;
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| Error::NotText { index, name: String::from_utf8_lossy(bytes).chars().take(80).collect() })
        };
        let guest_path = |name: &str| {
            let name = name.strip_prefix('.').filter(|rest| matches!(rest.as_bytes(), [] | [b'/', ..])).unwrap_or(name);
            match format!("/{}", name.trim_matches('/')).parse() {
                Ok(path) => Ok(Some(path)),
                Err(PathError::Root) => Ok(None),
                Err(source) => Err(Error::Path { index, source }),
            }
        };
        let header = entry.header();
        let kind = header.entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            continue;
        }
        let Some(path) = guest_path(&text(&entry.path_bytes())?)? else { continue };
        let target = || entry.link_name_bytes().map_or(Ok(String::new()), |bytes| text(&bytes));
        let node = match kind {
            EntryType::Regular | EntryType::Continuous => {
                let size = entry.size();
                Node::File { content: Content::Archive { offset: entry.raw_file_position(), size }, size }
            }
            EntryType::Directory => Node::Directory,
            EntryType::Symlink => Node::Link { target: target()? },
            EntryType::Link => {
                let Some(target) = guest_path(&target()?)? else { continue };
                tree.add_hard_link(path, target)?;
                continue;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => continue,
            other => return Err(Error::Kind { path, kind: other.as_byte().into() }),
        };
        // An id over 32 bits cannot be within the limit either.
        let id = |id: io::Result<u64>| id.map(|id| u32::try_from(id).unwrap_or(u32::MAX)).map_err(failed);
        let entry =
            Entry { mode: header.mode().map_err(failed)?, user: id(header.uid())?, group: id(header.gid())?, node };
        tree.add(path, entry)?;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn archive(build: impl FnOnce(&mut tar::Builder<&mut File>)) -> (tempfile::NamedTempFile, Result<Tree, Error>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut handle = file.reopen().unwrap();
        let mut builder = tar::Builder::new(&mut handle);
        build(&mut builder);
        builder.finish().unwrap();
        drop(builder);
        handle.rewind().unwrap();
        let tree = read(Path::new("test.tar"), &handle);
        (file, tree)
    }

    fn header(kind: EntryType, user: u64, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(user);
        header.set_gid(0);
        header.set_size(size);
        header
    }

    #[test]
    fn every_kind_of_entry_is_read_or_left_out() {
        let long = format!("./{}", ["long"; 60].join("/"));
        let (_file, tree) = archive(|tar| {
            tar.append_data(&mut header(EntryType::Directory, 0, 0), "./", io::empty()).unwrap();
            tar.append_data(&mut header(EntryType::Regular, 7, 3), "./etc/a", &b"abc"[..]).unwrap();
            tar.append_link(&mut header(EntryType::Link, 0, 0), "./etc/b", "./etc/a").unwrap();
            tar.append_link(&mut header(EntryType::Symlink, 0, 0), "./etc/c", "../x").unwrap();
            tar.append_data(&mut header(EntryType::Char, 0, 0), "./dev/null", io::empty()).unwrap();
            tar.append_data(&mut header(EntryType::Regular, 0, 0), &long, io::empty()).unwrap();
        });
        let tree = tree.unwrap();
        let paths: Vec<String> = tree.entries().map(|(path, _)| path.to_string()).collect();
        assert_eq!(paths, ["/etc/a", "/etc/b", "/etc/c", &long[1..]]);
        assert_eq!(tree.files(), (3, 6));
        let (_, a) = tree.entries().next().unwrap();
        assert_eq!((a.user, a.mode), (7, 0o755));
    }

    #[test]
    fn an_entry_outside_of_the_root_is_refused() {
        let mut raw = header(EntryType::Regular, 0, 0);
        raw.as_old_mut().name[..7].copy_from_slice(b"../evil");
        raw.set_cksum();
        let (_file, tree) = archive(|tar| tar.append(&raw, io::empty()).unwrap());
        assert!(matches!(tree, Err(Error::Path { index: 0, source: PathError::Component(_) })), "{tree:?}");
    }

    #[test]
    fn an_id_over_the_range_names_its_entry() {
        let (_file, tree) =
            archive(|tar| tar.append_data(&mut header(EntryType::Regular, 1 << 20, 0), "a", io::empty()).unwrap());
        assert_eq!(
            tree.unwrap_err().to_string(),
            "`/a` belongs to user 1048576 and group 0, but a container's ids end at 65535"
        );
    }

    #[test]
    fn a_compressed_archive_is_told_from_a_broken_one() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"\x1f\x8b\x08\0\0\0\0\0").unwrap();
        let error = read(Path::new("x.tar.gz"), &file.reopen().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the archive `x.tar.gz` is compressed with gzip");
        assert_eq!(error.hint().unwrap(), "unpack it first with `gzip -d`");

        let mut broken = tempfile::NamedTempFile::new().unwrap();
        broken.write_all(&[b'x'; 1024]).unwrap();
        let error = read(Path::new("x.tar"), &broken.reopen().unwrap()).unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{error:?}");
    }
}

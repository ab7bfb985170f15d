//! An entry of an archive becomes one of the tree.

use std::io;

use tar::{EntryType, Header};

use super::{
    super::{
        path::{GuestPath, PathError},
        tree::{Content, Entry, Node},
    },
    error::Error,
    extension::Extension,
    reader::Reader,
    unpacked::{Kind, Unpacked},
};

/// Adds an entry of the archive to the tree, and goes behind it.
pub(super) fn member(
    unpacked: &mut Unpacked,
    index: usize,
    header: &Header,
    extension: &Extension,
    reader: &mut Reader<'_>,
) -> Result<(), Error> {
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .map_err(|_| Error::NotText { index, name: String::from_utf8_lossy(bytes).chars().take(80).collect() })
    };
    let guest_path = |name: &str| -> Result<GuestPath, PathError> {
        let name = name.strip_prefix('.').filter(|rest| matches!(rest.as_bytes(), [] | [b'/', ..])).unwrap_or(name);
        format!("/{}", name.trim_matches('/')).parse()
    };
    let unusable = |source| Error::Path { index, source };
    let kind = header.entry_type();
    let name = match extension.sparse_path.as_ref().or(extension.path.as_ref()) {
        Some(path) => text(path)?,
        None => text(&header.path_bytes())?,
    };
    let size = extension.size.map_or_else(|| header.entry_size(), Ok).map_err(|source| reader.failed(source))?;
    let content = reader.at;
    reader.skip(size)?;
    let path = match guest_path(&name) {
        Ok(path) => Some(path),
        Err(PathError::Root) => None,
        Err(source) => return Err(unusable(source)),
    };
    if let Some((key, problem)) = &extension.refused {
        let of = path.map_or_else(|| "`/`".to_owned(), |path| format!("`{path}`"));
        return Err(Error::Key { of, key: key.clone(), problem });
    }
    let Some(path) = path else {
        return if kind == EntryType::Directory { Ok(()) } else { Err(unusable(PathError::Root)) };
    };
    if extension.sparse || kind == EntryType::GNUSparse {
        return Err(Error::Sparse { path });
    }
    let target = || match &extension.target {
        Some(target) => text(target),
        None => header.link_name_bytes().map_or(Ok(String::new()), |bytes| text(&bytes)),
    };
    // Some readers take what follows such an entry for its content, and some for the next entry.
    let no_content = |kind| match size {
        0 => Ok(()),
        _ => Err(Error::Ambiguous { path: path.clone(), kind, problem: "has content" }),
    };
    let node = match kind {
        // GNU tar makes a directory of it, as archives had none before POSIX.
        EntryType::Regular | EntryType::Continuous if name.ends_with('/') => {
            return Err(Error::Ambiguous { path, kind: "a file", problem: "has a name that ends with `/`" });
        }
        EntryType::Regular | EntryType::Continuous => {
            Node::File { content: Content::Archive { offset: content, size }, size }
        }
        EntryType::Directory => {
            no_content("a directory")?;
            Node::Directory
        }
        EntryType::Symlink => {
            no_content("a symbolic link")?;
            Node::Link { target: target()? }
        }
        EntryType::Link => {
            no_content("a hard link")?;
            let target = guest_path(&target()?).map_err(unusable)?;
            unpacked.make_way(&path, Kind::File)?;
            return Ok(unpacked.tree.add_hard_link(path, target)?);
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            no_content(Kind::Special.describe())?;
            return unpacked.add_special(path);
        }
        other => return Err(Error::Kind { path, kind: other.as_byte().into() }),
    };
    let id = |of: Option<u64>, id: io::Result<u64>| {
        // An id over 32 bits cannot be within the limit either.
        of.map_or(id, Ok).map(|id| u32::try_from(id).unwrap_or(u32::MAX)).map_err(|source| reader.failed(source))
    };
    let entry = Entry {
        mode: header.mode().map_err(|source| reader.failed(source))?,
        user: id(extension.user, header.uid())?,
        group: id(extension.group, header.gid())?,
        node,
    };
    unpacked.make_way(&path, Kind::of(&entry.node))?;
    Ok(unpacked.tree.add(path, entry)?)
}

//! Reads a tar archive into a [`Tree`]; contents stay in the archive and are only located.
//!
//! Formats: ustar and its extended headers (POSIX.1-2017, `pax`), and GNU's long names (tar, "Basic Tar Format"). What is read
//! here is what GNU tar unpacks, or it is refused: readers of tar differ, and what is built here is signed.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use tar::{EntryType, Header};

use super::{
    path::{GuestPath, PathError},
    tree::{self, Content, ENTRIES_LIMIT, Entry, Node, Tree},
};

/// What an archive is made of: a header, or as much content.
const BLOCK: u64 = 512;
/// Most bytes of what stands before an entry about it: many times a path, and the limit of Go's reader too.
const EXTENSION_LIMIT: u64 = 1 << 20;

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
    /// It was cut.
    #[error("the archive ends early: `{archive}` has {length} bytes, and what it holds needs {needed} at least")]
    EndsEarly {
        /// The archive.
        archive: String,
        /// Its bytes.
        length: u64,
        /// Bytes up to the end of the entry, or of the mark that ends an archive.
        needed: u64,
    },
    /// Something is behind its end.
    #[error("the archive `{archive}` ends at byte {end}, but something follows")]
    Follows {
        /// The archive.
        archive: String,
        /// Where the mark is that ends an archive.
        end: u64,
    },
    /// A header is none, or does not fit its place.
    #[error("header {index} of the archive `{archive}` {problem}")]
    Header {
        /// The archive.
        archive: String,
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
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
    /// A file without its holes.
    #[error("`{path}` is stored as a sparse file, whose holes are not in the archive")]
    Sparse {
        /// The entry.
        path: GuestPath,
    },
    /// What stands before an entry, or all of them, changes what it is.
    #[error("the archive says `{key}` of {of}, {problem}")]
    Key {
        /// The entry.
        of: String,
        /// What it says.
        key: String,
        /// Why that is not followed.
        problem: &'static str,
    },
    /// An entry is two things at once.
    #[error("`{path}` is {kind} in the archive, but {problem}")]
    Ambiguous {
        /// The entry.
        path: GuestPath,
        /// What it says that it is.
        kind: &'static str,
        /// What speaks against it.
        problem: &'static str,
    },
    /// An entry is something else than an earlier one at its path, which does not simply give way to it.
    #[error("`{path}` is {kind} in the archive, and {earlier} by an earlier entry")]
    Replaces {
        /// The entry.
        path: GuestPath,
        /// What it is.
        kind: &'static str,
        /// What is there.
        earlier: &'static str,
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
            Self::EndsEarly { .. } => Some("a part of it is missing: copy it or make it again".to_owned()),
            Self::Follows { .. } => Some("join archives with `tar --concatenate`".to_owned()),
            Self::Tree(error) => error.hint(),
            Self::Sparse { .. } => Some("make the archive without `--sparse`".to_owned()),
            Self::Replaces { .. } => Some("make the archive again, with one entry for each path".to_owned()),
            Self::Key { .. } => Some("make the archive with `tar --format=gnu`, which has no such keys".to_owned()),
            _ => None,
        }
    }
}

/// First bytes of the compressed forms people have tars in.
const COMPRESSED: [(&[u8], &str); 4] =
    [(b"\x1f\x8b", "gzip"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2")];

/// What a key of an extended header says of an entry.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    Path,
    /// The path of a sparse file, which has another one as an entry.
    SparsePath,
    Target,
    User,
    Group,
    Size,
    /// How names are written.
    Charset,
    /// Where the holes of a file are.
    Sparse,
    /// Something that no image has.
    Dropped,
}

/// The keys that are known; all others are refused. One that ends with a dot stands for all that begin so.
const KEYS: [(&str, Meaning); 23] = [
    ("GNU.sparse.", Meaning::Sparse),
    ("GNU.sparse.name", Meaning::SparsePath),
    // Attributes mean nothing under `no_new_privs`, or do not belong in an image (`erofs.rs`).
    ("LIBARCHIVE.creationtime", Meaning::Dropped),
    ("LIBARCHIVE.xattr.", Meaning::Dropped),
    ("RHT.security.selinux", Meaning::Dropped),
    ("SCHILY.dev", Meaning::Dropped),
    ("SCHILY.fflags", Meaning::Dropped),
    ("SCHILY.ino", Meaning::Dropped),
    ("SCHILY.nlink", Meaning::Dropped),
    ("SCHILY.xattr.", Meaning::Dropped),
    ("SUN.holesdata", Meaning::Sparse),
    ("atime", Meaning::Dropped),
    ("comment", Meaning::Dropped),
    ("ctime", Meaning::Dropped),
    ("gid", Meaning::Group),
    ("gname", Meaning::Dropped),
    ("hdrcharset", Meaning::Charset),
    ("linkpath", Meaning::Target),
    ("mtime", Meaning::Dropped),
    ("path", Meaning::Path),
    ("size", Meaning::Size),
    ("uid", Meaning::User),
    ("uname", Meaning::Dropped),
];

fn meaning(key: &str) -> Option<Meaning> {
    let is = |(known, _): &&(&str, Meaning)| *known == key;
    let begins = |(known, _): &&(&str, Meaning)| known.ends_with('.') && key.starts_with(known);
    KEYS.iter().find(is).or_else(|| KEYS.iter().find(begins)).map(|(_, meaning)| *meaning)
}

/// What stands before an entry about it.
#[derive(Debug, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    sparse_path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    user: Option<u64>,
    group: Option<u64>,
    size: Option<u64>,
    sparse: bool,
    /// Whether there is anything.
    any: bool,
    /// The first key that is not followed, and why.
    refused: Option<(String, &'static str)>,
}

impl Extension {
    /// Takes a long name or target of GNU tar, which ends with a zero byte.
    fn add_long(&mut self, kind: EntryType, text: &[u8]) {
        let text = text.strip_suffix(b"\0").unwrap_or(text).to_vec();
        match kind {
            EntryType::GNULongName => self.once("long name", |own| own.path.replace(text).is_none()),
            _ => self.once("long target", |own| own.target.replace(text).is_none()),
        }
    }

    /// Takes one record of an extended header.
    fn add(&mut self, key: &str, value: &[u8]) {
        let number = || {
            let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse().ok()
        };
        match meaning(key) {
            None => self.refuse(key, "which is not known here"),
            Some(Meaning::Dropped) => {}
            Some(Meaning::Charset) if [&b"BINARY"[..], b"ISO-IR 10646 2000 UTF-8"].contains(&value) => {}
            Some(Meaning::Sparse) => self.sparse = true,
            Some(Meaning::SparsePath) => {
                self.sparse = true;
                self.once(key, |own| own.sparse_path.replace(value.to_vec()).is_none());
            }
            Some(Meaning::Path) if !value.is_empty() => {
                self.once(key, |own| own.path.replace(value.to_vec()).is_none());
            }
            Some(Meaning::Target) if !value.is_empty() => {
                self.once(key, |own| own.target.replace(value.to_vec()).is_none());
            }
            Some(of @ (Meaning::User | Meaning::Group | Meaning::Size)) if number().is_some() => {
                self.once(key, |own| {
                    let field = match of {
                        Meaning::User => &mut own.user,
                        Meaning::Group => &mut own.group,
                        _ => &mut own.size,
                    };
                    std::mem::replace(field, number()).is_none()
                });
            }
            Some(_) => self.refuse(key, "whose value cannot be followed"),
        }
    }

    /// Readers differ on which of two values counts.
    fn once(&mut self, key: &str, set: impl FnOnce(&mut Self) -> bool) {
        if !set(self) {
            self.refuse(key, "and has said the same before");
        }
    }

    fn refuse(&mut self, key: &str, problem: &'static str) {
        self.refused.get_or_insert((key.chars().take(80).collect(), problem));
    }
}

/// The records of an extended header (`LENGTH KEY=VALUE` and a line end each, the length that of all of it); none if it has
/// another form.
fn records(mut bytes: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let digits = std::str::from_utf8(&bytes[..space]).ok()?;
        let length: usize = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
        let record = bytes.get(..length)?.strip_suffix(b"\n")?.get(space + 1..)?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((std::str::from_utf8(&record[..equals]).ok()?, &record[equals + 1..]));
        bytes = &bytes[length..];
    }
    Some(records)
}

/// An archive and how far it was read.
struct Reader<'a> {
    file: &'a File,
    shown: String,
    length: u64,
    /// Where the next block is.
    at: u64,
    /// Headers so far.
    headers: usize,
}

impl Reader<'_> {
    fn failed(&self, source: io::Error) -> Error {
        Error::Read { archive: self.shown.clone(), source }
    }

    fn header_error(&self, problem: &'static str) -> Error {
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
    fn skip(&mut self, size: u64) -> Result<(), Error> {
        let end = size.checked_next_multiple_of(BLOCK).and_then(|size| self.at.checked_add(size)).unwrap_or(u64::MAX);
        if end > self.length {
            return Err(Error::EndsEarly { archive: self.shown.clone(), length: self.length, needed: end });
        }
        self.at = end;
        Ok(())
    }

    /// The next header; none at the mark that ends an archive.
    fn header(&mut self) -> Result<Option<Header>, Error> {
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
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > EXTENSION_LIMIT {
            return Err(self.header_error("is longer than 1 MiB"));
        }
        self.take(size)
    }

    /// Whether nothing but zeros, which fill up what was written at once, is left.
    fn is_at_end(&self) -> io::Result<bool> {
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

/// What an entry is to others at its path, or on the way to theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Link,
    /// A device node or a pipe.
    Special,
}

impl Kind {
    fn of(node: &Node) -> Self {
        match node {
            Node::Directory => Self::Directory,
            Node::File { .. } => Self::File,
            Node::Link { .. } => Self::Link,
        }
    }

    /// For errors.
    fn describe(self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::File => "a file",
            Self::Link => tree::LINK,
            Self::Special => "a device node or a pipe",
        }
    }
}

/// What the entries up to here have made.
#[derive(Debug, Default)]
struct Unpacked {
    tree: Tree,
    /// Where device nodes and pipes are, which the tree leaves out.
    specials: BTreeSet<GuestPath>,
}

impl Unpacked {
    /// Makes way for an entry. GNU tar goes through links on the way to a path, and cannot go through files; at the path it
    /// takes away what is there, but no directory that something is in. Where that could end with another tree than ours, the
    /// entry is refused.
    fn make_way(&mut self, path: &GuestPath, kind: Kind) -> Result<(), Error> {
        for parent in path.ancestors() {
            if let Some(found) = self.kind_at(&parent).filter(|found| *found != Kind::Directory) {
                return Err(tree::Error::Parent { path: path.clone(), parent, found: found.describe() }.into());
            }
        }
        if let Some(earlier) = self.kind_at(path).filter(|earlier| *earlier != kind) {
            let gives_way = matches!(kind, Kind::File | Kind::Link) && !self.has_inside(path);
            if !gives_way {
                let (kind, earlier) = (kind.describe(), earlier.describe());
                return Err(Error::Replaces { path: path.clone(), kind, earlier });
            }
        }
        self.specials.remove(path);
        Ok(())
    }

    /// Notes where a device node or a pipe is.
    fn add_special(&mut self, path: GuestPath) -> Result<(), Error> {
        self.make_way(&path, Kind::Special)?;
        if self.specials.len() >= ENTRIES_LIMIT {
            return Err(tree::Error::TooMany { path }.into());
        }
        self.specials.insert(path);
        Ok(())
    }

    /// What is at a path. A directory that no entry names is there if something is in it.
    fn kind_at(&self, path: &GuestPath) -> Option<Kind> {
        match self.tree.node(path) {
            Some(node) => Some(Kind::of(node)),
            None if self.specials.contains(path) => Some(Kind::Special),
            None => self.has_inside(path).then_some(Kind::Directory),
        }
    }

    fn has_inside(&self, path: &GuestPath) -> bool {
        let special = self.specials.range(path.bound_of_inside()..).next();
        self.tree.has_inside(path) || special.is_some_and(|special| path.holds(special))
    }
}

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

/// Adds an entry of the archive to the tree, and goes behind it.
fn member(
    unpacked: &mut Unpacked,
    index: usize,
    header: &Header,
    extension: &Extension,
    reader: &mut Reader,
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

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, process::Command};

    use super::{
        super::{
            erofs,
            stage::{self, Opened},
        },
        *,
    };

    fn archive(build: impl FnOnce(&mut tar::Builder<&mut File>)) -> (tempfile::NamedTempFile, Result<Tree, Error>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut handle = file.reopen().unwrap();
        let mut builder = tar::Builder::new(&mut handle);
        build(&mut builder);
        builder.finish().unwrap();
        drop(builder);
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
    fn a_compressed_archive_is_not_taken_for_a_broken_one() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"\x1f\x8b\x08\0\0\0\0\0").unwrap();
        let error = read(Path::new("x.tar.gz"), &file.reopen().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the archive `x.tar.gz` is compressed with gzip");
        assert_eq!(error.hint().unwrap(), "unpack it first with `gzip -d`");

        let mut broken = tempfile::NamedTempFile::new().unwrap();
        broken.write_all(&[b'x'; 1024]).unwrap();
        let error = read(Path::new("x.tar"), &broken.reopen().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "header 0 of the archive `x.tar` is none: its checksum is wrong");
    }

    /// How an archive is made.
    enum Made {
        /// By a program: `a.tar` of the folder `w`, which is made by [`FOLDER`].
        By(&'static str),
        /// An archive with the file `a`, of which this is said, and nothing else.
        Saying(&'static [(&'static str, &'static str)]),
        /// The same, said of all entries.
        SayingOfAll(&'static [(&'static str, &'static str)]),
        /// An archive with these headers: type, name, target of a link, content.
        Of(&'static [(u8, &'static str, &'static str, &'static [u8])]),
    }
    use Made::{By, Of, Saying, SayingOfAll};

    /// What is packed: modes, owners, holes, links, and a path that no old header has room for.
    const FOLDER: &str = "mkdir -p w/bin w/data w/srv/share; printf '#!/bin/true\n' > w/bin/program; chmod 755 w/bin/program
        ln w/bin/program w/bin/again; ln -s ../bin/program w/srv/link; chmod 2775 w/srv/share; chown 33:50 w/srv/share
        truncate -s 1M w/data/s; printf HEAD | dd of=w/data/s conv=notrunc bs=1 status=none
        printf TAIL | dd of=w/data/s conv=notrunc bs=1 seek=1048572 status=none; chown 7:8 w/data/s
        long=$(printf %080d 0); mkdir -p w/$long/$long; printf long > w/$long/$long/$long; ln -s $long/$long/$long w/long
        find w -type d ! -path w/srv/share -exec chmod 755 {} +; ";

    /// An archive: what it is, how it is made, and why it is refused, if it is.
    const ARCHIVES: &[(&str, Made, Result<(), &str>)] = &[
        ("posix", By("tar -C w --format=posix -cf a.tar ."), Ok(())),
        ("gnu", By("tar -C w --format=gnu -cf a.tar ."), Ok(())),
        (
            "pax as others write it",
            By("tar -C w --format=posix --pax-option=delete=atime -cf a.tar bin data srv"),
            Ok(()),
        ),
        ("ustar", By("tar -C w --format=ustar -cf a.tar bin data srv"), Ok(())),
        ("v7", By("tar -C w --format=v7 -cf a.tar bin data srv"), Ok(())),
        ("appended", By("tar -C w -cf a.tar bin data; tar -C w -rf a.tar srv; tar -C w -rf a.tar bin"), Ok(())),
        ("by its numbers alone", By("tar -C w --numeric-owner -b 1 -cf a.tar ."), Ok(())),
        ("owner", Saying(&[("uid", "7"), ("gid", "8"), ("uname", "root"), ("gname", "root")]), Ok(())),
        ("path", Saying(&[("path", "./b")]), Ok(())),
        ("size", Saying(&[("size", "3")]), Ok(())),
        ("times", Saying(&[("mtime", "1.5"), ("atime", "1"), ("ctime", "1"), ("comment", "x")]), Ok(())),
        ("names are text", Saying(&[("hdrcharset", "BINARY")]), Ok(())),
        ("attribute that looks like a path", Saying(&[("SCHILY.xattr.user.a", "1\n12 path=evil\n")]), Ok(())),
        ("numbers of the host", Saying(&[("SCHILY.dev", "1"), ("SCHILY.ino", "2"), ("SCHILY.nlink", "1")]), Ok(())),
        ("git archive", SayingOfAll(&[("comment", "158487b")]), Ok(())),
        ("a file over a file", Of(&[(b'0', "a", "", b"x"), (b'0', "a", "", b"other")]), Ok(())),
        ("a file over a link", Of(&[(b'2', "a", "b", b""), (b'0', "a", "", b"x")]), Ok(())),
        ("a link over a file", Of(&[(b'0', "a", "", b"x"), (b'2', "a", "b", b"")]), Ok(())),
        ("a file over an empty directory", Of(&[(b'5', "a/", "", b""), (b'0', "a", "", b"x")]), Ok(())),
        ("a file over a pipe", Of(&[(b'6', "a", "", b""), (b'0', "a", "", b"x")]), Ok(())),
        ("a hard link over a file", Of(&[(b'0', "a", "", b"x"), (b'0', "b", "", b"y"), (b'1', "b", "a", b"")]), Ok(())),
        ("a directory behind what is in it", Of(&[(b'0', "d/a", "", b"x"), (b'5', "d/", "", b"")]), Ok(())),
        (
            "sparse 1.0",
            By("tar -C w -S --format=posix -cf a.tar data"),
            Err("`/data/s` is stored as a sparse file, whose holes are not in the archive"),
        ),
        (
            "sparse 0.1",
            By("tar -C w -S --format=posix --sparse-version=0.1 -cf a.tar data"),
            Err("`/data/s` is stored as a sparse file, whose holes are not in the archive"),
        ),
        (
            "sparse 0.0",
            By("tar -C w -S --format=posix --sparse-version=0.0 -cf a.tar data"),
            Err("`/data/s` is stored as a sparse file, whose holes are not in the archive"),
        ),
        (
            "sparse of GNU",
            By("tar -C w -S --format=gnu -cf a.tar data"),
            Err("`/data/s` is stored as a sparse file, whose holes are not in the archive"),
        ),
        (
            "sparse of Solaris",
            Saying(&[("SUN.holesdata", " 0 1 3")]),
            Err("`/a` is stored as a sparse file, whose holes are not in the archive"),
        ),
        (
            "cut within a file",
            By("tar -C w -cf whole bin data; head -c 100000 whole > a.tar"),
            Err("the archive ends early: `a.tar` has 100000 bytes, and what it holds needs 1051648 at least"),
        ),
        (
            "cut within a header",
            By("tar -C w -cf whole bin; head -c 700 whole > a.tar"),
            Err("the archive ends early: `a.tar` has 700 bytes, and what it holds needs 1024 at least"),
        ),
        (
            "cut between two entries",
            By("tar -C w -cf whole bin; head -c 512 whole > a.tar"),
            Err("the archive ends early: `a.tar` has 512 bytes, and what it holds needs 1024 at least"),
        ),
        (
            "cut before a long name's entry",
            By("tar -C w --format=gnu -cf whole long; head -c 1024 whole > a.tar"),
            Err("the archive ends early: `a.tar` has 1024 bytes, and what it holds needs 1536 at least"),
        ),
        (
            "empty",
            By(": > a.tar"),
            Err("the archive ends early: `a.tar` has 0 bytes, and what it holds needs 512 at least"),
        ),
        (
            "one behind another",
            By("tar -C w -cf a.tar bin; tar -C w -c srv >> a.tar"),
            Err("the archive `a.tar` ends at byte 2560, but something follows"),
        ),
        (
            "unknown key",
            Saying(&[("VENDOR.mood", "good")]),
            Err("the archive says `VENDOR.mood` of `/a`, which is not known here"),
        ),
        (
            "access control list",
            Saying(&[("SCHILY.acl.access", "user::rwx,group::r--")]),
            Err("the archive says `SCHILY.acl.access` of `/a`, which is not known here"),
        ),
        (
            "volume",
            Saying(&[("GNU.volume.offset", "512")]),
            Err("the archive says `GNU.volume.offset` of `/a`, which is not known here"),
        ),
        (
            "ustar of another version",
            By("tar -C w --format=ustar -cf a.tar bin; printf /1 | dd of=a.tar bs=1 seek=263 conv=notrunc status=none"),
            Err("header 0 of the archive `a.tar` is of a version of ustar that is not known here"),
        ),
        (
            "names are no text",
            Saying(&[("hdrcharset", "ISO-IR 8859 1 1998")]),
            Err("the archive says `hdrcharset` of `/a`, whose value cannot be followed"),
        ),
        (
            "negative owner",
            Saying(&[("uid", "-1")]),
            Err("the archive says `uid` of `/a`, whose value cannot be followed"),
        ),
        (
            "two paths",
            Saying(&[("path", "b"), ("path", "c")]),
            Err("the archive says `path` of `/c`, and has said the same before"),
        ),
        ("no path", Saying(&[("path", "")]), Err("the archive says `path` of `/a`, whose value cannot be followed")),
        (
            "owner of all",
            SayingOfAll(&[("uid", "0")]),
            Err("the archive says `uid` of all entries, which is followed for single entries only"),
        ),
        (
            "no record",
            Of(&[(b'x', "x", "", b"8 path=a\n"), (b'0', "a", "", b"")]),
            Err("header 0 of the archive `a.tar` is no extended header"),
        ),
        (
            "about nothing",
            Of(&[(b'0', "a", "", b""), (b'L', "x", "", b"b\0")]),
            Err("header 1 of the archive `a.tar` is about a next entry, of which there is none"),
        ),
        (
            "long name and path",
            Of(&[(b'L', "x", "", b"b\0"), (b'x', "x", "", b"10 path=c\n"), (b'0', "a", "", b"")]),
            Err("the archive says `path` of `/c`, and has said the same before"),
        ),
        (
            "content of a hard link",
            Of(&[(b'0', "a", "", b""), (b'1', "b", "a", &[1; 512])]),
            Err("`/b` is a hard link in the archive, but has content"),
        ),
        (
            "content of a directory",
            Of(&[(b'5', "a/", "", &[1; 512])]),
            Err("`/a` is a directory in the archive, but has content"),
        ),
        (
            "content of a pipe",
            Of(&[(b'6', "a", "", &[1; 512])]),
            Err("`/a` is a device node or a pipe in the archive, but has content"),
        ),
        (
            "file that some take for a directory",
            Of(&[(b'0', "a/", "", b"")]),
            Err("`/a` is a file in the archive, but has a name that ends with `/`"),
        ),
        (
            "a pipe over a file",
            Of(&[(b'0', "a", "", b"x"), (b'6', "a", "", b"")]),
            Err("`/a` is a device node or a pipe in the archive, and a file by an earlier entry"),
        ),
        (
            "a device node over a file",
            Of(&[(b'0', "a", "", b"x"), (b'3', "a", "", b"")]),
            Err("`/a` is a device node or a pipe in the archive, and a file by an earlier entry"),
        ),
        (
            "a pipe over a directory",
            Of(&[(b'0', "a/b", "", b"x"), (b'6', "a", "", b"")]),
            Err("`/a` is a device node or a pipe in the archive, and a directory by an earlier entry"),
        ),
        (
            "a directory over a file",
            Of(&[(b'0', "a", "", b"x"), (b'5', "a/", "", b"")]),
            Err("`/a` is a directory in the archive, and a file by an earlier entry"),
        ),
        (
            "a directory over a link",
            Of(&[(b'5', "d/", "", b""), (b'2', "l", "d", b""), (b'5', "l/", "", b"")]),
            Err("`/l` is a directory in the archive, and a symbolic link by an earlier entry"),
        ),
        (
            "a directory over a pipe",
            Of(&[(b'6', "a", "", b""), (b'5', "a/", "", b"")]),
            Err("`/a` is a directory in the archive, and a device node or a pipe by an earlier entry"),
        ),
        (
            "a file over a directory that something is in",
            Of(&[(b'0', "a/b", "", b"x"), (b'0', "a", "", b"y"), (b'5', "a/", "", b"")]),
            Err("`/a` is a file in the archive, and a directory by an earlier entry"),
        ),
        (
            "a file over a directory that a pipe is in",
            Of(&[(b'6', "a/b", "", b""), (b'0', "a", "", b"y")]),
            Err("`/a` is a file in the archive, and a directory by an earlier entry"),
        ),
        (
            "through a link",
            Of(&[(b'5', "d/", "", b""), (b'2', "l", "d", b""), (b'0', "l/x", "", b"x"), (b'5', "l/", "", b"")]),
            Err("`/l/x` is in `/l`, which is not a directory in the image but a symbolic link"),
        ),
        (
            "a hard link through a link",
            Of(&[(b'0', "a", "", b"x"), (b'2', "l", ".", b""), (b'1', "l/b", "a", b""), (b'5', "l/", "", b"")]),
            Err("`/l/b` is in `/l`, which is not a directory in the image but a symbolic link"),
        ),
        (
            "in a file",
            Of(&[(b'0', "a", "", b"x"), (b'0', "a/b", "", b"y"), (b'5', "a/", "", b"")]),
            Err("`/a/b` is in `/a`, which is not a directory in the image but a file"),
        ),
        (
            "far down in a file",
            Of(&[(b'0', "a", "", b"x"), (b'0', "a/b/c", "", b"y"), (b'5', "a/", "", b"")]),
            Err("`/a/b/c` is in `/a`, which is not a directory in the image but a file"),
        ),
        (
            "in a pipe",
            Of(&[(b'6', "a", "", b""), (b'0', "a/b", "", b"x")]),
            Err("`/a/b` is in `/a`, which is not a directory in the image but a device node or a pipe"),
        ),
        ("file at the root", Of(&[(b'0', "./", "", b"x")]), Err("entry 0 of the archive has no usable path")),
        ("hard link to the root", Of(&[(b'1', "a", "./", b"")]), Err("entry 0 of the archive has no usable path")),
        ("part of several", Of(&[(b'M', "a", "", b"")]), Err("`/a` is of tar type `M`, which an image cannot hold")),
    ];

    fn sh(folder: &Path, script: &str) -> String {
        let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn make(made: &Made, folder: &Path) {
        let build = |headers: &[(u8, &str, &str, &[u8])]| {
            let mut builder = tar::Builder::new(File::create(folder.join("a.tar")).unwrap());
            for (kind, name, target, content) in headers {
                let mut header = header(EntryType::new(*kind), 0, content.len() as u64);
                header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
                header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
                header.set_cksum();
                builder.append(&header, *content).unwrap();
            }
            builder.finish().unwrap();
        };
        let said = |kind, said: &[(&str, &str)]| {
            let records: String = said.iter().map(|(key, value)| record(key, value)).collect();
            build(&[(kind, "x", "", records.as_bytes()), (b'0', "a", "", b"abc")]);
        };
        match made {
            By(script) => drop(sh(folder, &format!("{FOLDER}{script}"))),
            Saying(records) => said(b'x', records),
            SayingOfAll(records) => said(b'g', records),
            Of(headers) => build(headers),
        }
    }

    /// A record of an extended header, whose length counts itself.
    fn record(key: &str, value: &str) -> String {
        let rest = key.len() + value.len() + 3;
        let length = (1..).find(|length: &usize| length.to_string().len() + rest == *length).unwrap();
        format!("{length} {key}={value}\n")
    }

    /// Reads `a.tar` of a folder into an image and unpacks that to `ours`.
    fn unpack_image(folder: &Path) -> Result<(), String> {
        let archive = File::open(folder.join("a.tar")).unwrap();
        let mut tree = read(Path::new("a.tar"), &archive).map_err(|error| error.to_string())?;
        tree.complete().unwrap();
        fs::create_dir(folder.join("staged")).unwrap();
        stage::write(&tree, &Opened::Archive(archive), &folder.join("staged")).unwrap();
        erofs::make(&folder.join("staged"), &folder.join("image"), [0; 16]).unwrap();
        sh(folder, "fsck.erofs --extract=ours image >&2");
        Ok(())
    }

    #[test]
    fn tool_an_archive_is_what_gnu_tar_unpacks_or_is_refused() {
        let listed =
            "find . -mindepth 1 -printf '%p %y %m %U:%G %l\\n' | sort; find . -type f -exec sha256sum {} + | sort";
        let mut wrong = Vec::new();
        for (what, made, expected) in ARCHIVES {
            let folder = tempfile::tempdir().unwrap();
            make(made, folder.path());
            let found = unpack_image(folder.path());
            if found != expected.map_err(str::to_owned) {
                wrong.push(format!("{what}: {found:?}"));
            } else if found.is_ok() {
                sh(folder.path(), "mkdir theirs; tar -C theirs --numeric-owner -xpf a.tar");
                let [ours, theirs] = ["ours", "theirs"].map(|place| sh(&folder.path().join(place), listed));
                if ours != theirs {
                    wrong.push(format!("{what}:\n{ours}\nand GNU tar unpacks\n{theirs}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// No byte of an archive can be missing without a word.
    #[test]
    fn a_cut_is_found_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        make(&Of(&[(b'5', "d/", "", b""), (b'0', "d/a", "", b"abc")]), folder.path());
        let whole = fs::read(folder.path().join("a.tar")).unwrap();
        // The mark that ends it is two blocks of zeros, of which the first says all.
        for length in 0..4 * 512 {
            let cut = folder.path().join("cut");
            fs::write(&cut, &whole[..length]).unwrap();
            let refused = read(&cut, &File::open(&cut).unwrap());
            assert!(matches!(refused, Err(Error::EndsEarly { .. })), "{length}: {refused:?}");
        }
    }

    proptest::proptest! {
        /// Whatever stands in headers and records: no panic, and no content that is not in the archive.
        #[test]
        fn any_archive_is_read_or_refused(changes in proptest::collection::vec((0..2560_usize, 0_u8..), 0..8)) {
            let folder = tempfile::tempdir().unwrap();
            make(&Saying(&[("path", "b"), ("uid", "7"), ("size", "3"), ("SCHILY.xattr.user.a", "x")]), folder.path());
            let mut bytes = fs::read(folder.path().join("a.tar")).unwrap();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            for at in [0, 1024] {
                let mut header = Header::from_byte_slice(&bytes[at..at + 512]).clone();
                header.set_cksum();
                bytes[at..at + 512].copy_from_slice(header.as_bytes());
            }
            let changed = folder.path().join("changed");
            fs::write(&changed, &bytes).unwrap();
            for (path, entry) in read(&changed, &File::open(&changed).unwrap()).unwrap_or_default().entries() {
                if let Node::File { content: Content::Archive { offset, size }, .. } = &entry.node {
                    proptest::prop_assert!(offset + size <= bytes.len() as u64, "{path}");
                }
            }
        }
    }
}

//! What stands before an entry about it: long names of GNU tar, and extended headers.

use tar::EntryType;

/// What a key of an extended header says of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meaning {
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

pub(super) fn meaning(key: &str) -> Option<Meaning> {
    let is = |(known, _): &&(&str, Meaning)| *known == key;
    let begins = |(known, _): &&(&str, Meaning)| known.ends_with('.') && key.starts_with(known);
    KEYS.iter().find(is).or_else(|| KEYS.iter().find(begins)).map(|(_, meaning)| *meaning)
}

/// What stands before an entry about it.
#[derive(Debug, Default)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) sparse_path: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) user: Option<u64>,
    pub(super) group: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) sparse: bool,
    /// Whether there is anything.
    pub(super) any: bool,
    /// The first key that is not followed, and why.
    pub(super) refused: Option<(String, &'static str)>,
}

impl Extension {
    /// Takes a long name or target of GNU tar, which ends with a zero byte.
    pub(super) fn add_long(&mut self, kind: EntryType, text: &[u8]) {
        let text = text.strip_suffix(b"\0").unwrap_or(text).to_vec();
        match kind {
            EntryType::GNULongName => self.once("long name", |own| own.path.replace(text).is_none()),
            _ => self.once("long target", |own| own.target.replace(text).is_none()),
        }
    }

    /// Takes one record of an extended header.
    pub(super) fn add(&mut self, key: &str, value: &[u8]) {
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
pub(super) fn records(mut bytes: &[u8]) -> Option<Vec<(&str, &[u8])>> {
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

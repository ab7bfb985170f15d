//! The initramfs archive: "newc" cpio as Documentation/driver-api/early-userspace/buffer-format.rst of Linux has it.
//! Sorted, owned by root, without times: the same content gives the same bytes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

/// Files by absolute path. Parent directories make themselves.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
}

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
/// The name of the last entry.
const TRAILER: &str = "TRAILER!!!";
/// Bytes of a header: six of magic and 13 fields of eight digits.
const HEADER: usize = 110;

impl Tree {
    /// Adds a file with permission bits `mode`. A second file of the same path replaces the first.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.parents(path);
        self.entries.insert(path.trim_start_matches('/').to_owned(), Entry { mode: FILE | mode, content });
    }

    /// Adds an empty directory, a place to mount on.
    pub(crate) fn directory(&mut self, path: &str) {
        self.parents(&format!("{path}/"));
    }

    /// Every path, parents first; that of a directory ends with a slash.
    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        self.entries.iter().map(|(path, entry)| format!("/{path}{}", if entry.mode == DIRECTORY { "/" } else { "" }))
    }

    fn parents(&mut self, path: &str) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry { mode: DIRECTORY, content: Vec::new() });
        }
    }

    /// The archive.
    #[must_use]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        for (index, (path, entry)) in self.entries.iter().enumerate() {
            push(&mut archive, index + 1, path, entry.mode, &entry.content);
        }
        push(&mut archive, 0, TRAILER, 0, &[]);
        archive
    }
}

/// What an archive holds: path, mode and size of each entry, in its order. Archives behind the first one are left out.
pub(crate) fn entries(archive: &[u8]) -> Result<Vec<(String, u32, usize)>> {
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let (header, rest) =
            archive.get(at..).and_then(|rest| rest.split_at_checked(HEADER)).context("it ends early")?;
        let field = |index: usize| {
            let digits = header.get(6 + index * 8..14 + index * 8).and_then(|digits| str::from_utf8(digits).ok());
            digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).context("a header has no digits")
        };
        ensure!(header.starts_with(b"070701"), "byte {at} begins no entry");
        let (mode, size, name) = (field(1)?, field(6)? as usize, field(11)? as usize);
        let path = rest.get(..name.saturating_sub(1)).context("a name ends early")?;
        let path = String::from_utf8(path.to_vec()).context("a name is not UTF-8")?;
        if path == TRAILER {
            return Ok(entries);
        }
        entries.push((path, mode, size));
        at = ((at + HEADER + name).next_multiple_of(4) + size).next_multiple_of(4);
    }
}

fn push(archive: &mut Vec<u8>, inode: usize, path: &str, mode: u32, content: &[u8]) {
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    // magic, inode, mode, uid, gid, links, mtime, size, device and its minor, rdev and its minor, name size, check
    let header = format!(
        "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name:08x}{0:08x}",
        0,
        size = content.len(),
        name = path.len() + 1,
    );
    archive.extend(header.as_bytes());
    archive.extend(path.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_adding_does_not_matter_and_parents_exist() {
        let (mut one, mut other) = (Tree::default(), Tree::default());
        one.file("/a/b", 0o755, b"x".to_vec());
        one.directory("/proc");
        other.directory("/proc");
        other.file("/a/b", 0o755, b"x".to_vec());
        assert_eq!(one.bytes(), other.bytes());
        let names: Vec<&str> = one.entries.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "a/b", "proc"]);
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let mut tree = Tree::default();
        tree.file("/a/bc", 0o755, b"hello".to_vec());
        tree.file("/a/empty", 0o644, Vec::new());
        let mut archive = tree.bytes();
        let entry = |path: &str, mode, size| (path.to_owned(), mode, size);
        let all = [entry("a", 0o040_755, 0), entry("a/bc", 0o100_755, 5), entry("a/empty", 0o100_644, 0)];
        assert_eq!(entries(&archive).expect("an archive"), all);
        archive.extend(Tree::default().bytes());
        assert_eq!(entries(&archive).expect("two archives").len(), 3);
        for (length, why) in [(109, "it ends early"), (200, "it ends early"), (222, "a name ends early")] {
            assert_eq!(entries(&archive[..length]).expect_err("it is cut").to_string(), why, "{length}");
        }
        archive[0] = b'1';
        assert_eq!(entries(&archive).expect_err("no magic").to_string(), "byte 0 begins no entry");
    }

    #[test]
    fn entry_is_byte_exact() {
        let mut archive = Vec::new();
        push(&mut archive, 1, "init", 0o100_755, b"hello");
        let header = concat!(
            "070701", "00000001", "000081ed", "00000000", "00000000", "00000001", "00000000", "00000005", "00000000",
            "00000000", "00000000", "00000000", "00000005", "00000000",
        );
        // 110 bytes of header and 5 of name are padded by one, 5 of content by three.
        assert_eq!(archive, [header.as_bytes(), b"init\0\0hello\0\0\0"].concat());
    }
}

//! The file tree of an image before it is one: what is in it, whose it is, where its content comes from. Pure.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    identity::Identity,
    path::{GuestPath, Pattern},
};

/// Most entries of a tree: several times a full desktop installation.
pub(super) const ENTRIES_LIMIT: usize = 500_000;
/// Most bytes of content: guests are pushed over networks and held twice during an update.
const CONTENT_LIMIT: u64 = 8 << 30;
/// Largest user or group id: a container's id range has 65536.
const ID_LIMIT: u32 = 65_535;
/// Longest target of a symbolic link: Linux's `PATH_MAX`, less its final zero.
const TARGET_LIMIT: usize = 4095;
/// Most symbolic links followed to find a program: Linux's limit.
const LINKS_LIMIT: usize = 40;

/// Why a tree is not fit for an image. The author of the recipe, or of its source, must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Too many entries.
    #[error("`{path}` is one entry more than the limit of {ENTRIES_LIMIT}")]
    TooMany {
        /// The entry that is too many.
        path: GuestPath,
    },
    /// Too much content.
    #[error("the files up to `{path}` hold {bytes} bytes, more than the limit of {CONTENT_LIMIT}")]
    TooLarge {
        /// The file that passes the limit.
        path: GuestPath,
        /// Bytes of all files so far.
        bytes: u64,
    },
    /// An owner that no container can have.
    #[error("`{path}` belongs to user {user} and group {group}, but a container's ids end at {ID_LIMIT}")]
    Id {
        /// The entry.
        path: GuestPath,
        /// Its user.
        user: u32,
        /// Its group.
        group: u32,
    },
    /// The target of a symbolic link is empty, too long or has a zero byte.
    #[error("the target of the symbolic link `{path}` is empty, longer than {TARGET_LIMIT} bytes or not text")]
    Target {
        /// The link.
        path: GuestPath,
    },
    /// Something stands where a directory would have to be.
    #[error("`{path}` is in `{parent}`, which is not a directory in the image but {found}")]
    Parent {
        /// The entry.
        path: GuestPath,
        /// Where it would be.
        parent: GuestPath,
        /// What is there.
        found: &'static str,
    },
    /// Something stands where every container gets a directory of its own.
    #[error("`{path}` must be a directory, over which each container mounts its own, but is {found} in the image")]
    Mounted {
        /// The place.
        path: GuestPath,
        /// What is there.
        found: &'static str,
    },
    /// A hard link to something that is not a file in the image.
    #[error("`{path}` is a hard link to `{target}`, which is not an earlier file")]
    HardLink {
        /// The link.
        path: GuestPath,
        /// What it points to.
        target: GuestPath,
    },
    /// The default command cannot be run.
    #[error("the command `{path}` is not an executable file in the image")]
    Command {
        /// The program.
        path: GuestPath,
    },
}

impl Error {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Parent { parent, found: LINK, .. } => {
                Some(format!("write the path that the link `{parent}` points to"))
            }
            Self::Mounted { path, .. } => Some(format!(
                "leave it out (in a recipe `remove: [{path}]`): every image gets an empty directory there"
            )),
            _ => None,
        }
    }
}

/// How a symbolic link is called in errors.
pub(super) const LINK: &str = "a symbolic link";

/// Where the bytes of a file come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    /// Written here.
    Text(&'static str),
    /// A file of the build host, wherever it is.
    Host {
        /// Where the file is.
        path: PathBuf,
        /// Which file was looked at, whatever has its name later.
        identity: Identity,
    },
    /// A file of the folder that the tree was read from.
    Folder {
        /// Where in the folder.
        path: String,
        /// Which file was looked at, whatever has its name later.
        identity: Identity,
    },
    /// A stretch of the archive.
    Archive {
        /// Where it begins.
        offset: u64,
        /// Its bytes.
        size: u64,
    },
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory.
    Directory,
    /// A file. Entries of equal content, owner and mode become hard links of one.
    File {
        /// Its bytes.
        content: Content,
        /// How many bytes it has.
        size: u64,
    },
    /// A symbolic link.
    Link {
        /// Where it points, as it is written.
        target: String,
    },
}

impl Node {
    /// For errors.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::File { .. } => "a file",
            Self::Link { .. } => LINK,
        }
    }
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Permission bits, the sticky bit, and the set-group-id bit of a directory; other set-id bits are dropped on the way
    /// in.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) user: u32,
    /// Group.
    pub(crate) group: u32,
    /// What it is.
    pub(crate) node: Node,
}

impl Entry {
    /// An entry of the superuser.
    pub(crate) fn of_root(mode: u32, node: Node) -> Self {
        Self { mode, user: 0, group: 0, node }
    }
}

/// The permission bits that an image keeps of a file. Set-user-id and set-group-id are not among them: every container runs
/// with `no_new_privs`, under which the kernel ignores both, so that keeping them could only mislead.
pub(crate) const FILE_MODE: u32 = 0o1777;
/// And of a directory: there set-group-id gives no rights, but says which group new files belong to (inode(7)).
pub(crate) const DIRECTORY_MODE: u32 = 0o3777;

/// A file tree. Every entry is within the limits; that its directories exist is known after [`Tree::complete`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    entries: BTreeMap<GuestPath, Entry>,
    bytes: u64,
}

impl Tree {
    /// The entries, every directory before what is in it.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = (&GuestPath, &Entry)> {
        self.entries.iter()
    }

    /// What is at a path, if something is.
    pub(crate) fn node(&self, path: &GuestPath) -> Option<&Node> {
        self.entries.get(path).map(|entry| &entry.node)
    }

    /// Whether something is in the directory at a path, which may have no entry of its own yet.
    pub(crate) fn has_inside(&self, path: &GuestPath) -> bool {
        self.entries.range(path.bound_of_inside()..).next().is_some_and(|(next, _)| path.holds(next))
    }

    /// How many files it has, and their bytes.
    pub(crate) fn files(&self) -> (usize, u64) {
        let sizes = self.entries.values().filter_map(|entry| match entry.node {
            Node::File { size, .. } => Some(size),
            Node::Directory | Node::Link { .. } => None,
        });
        sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
    }

    /// Adds an entry, or replaces what was at its path.
    pub(crate) fn add(&mut self, path: GuestPath, mut entry: Entry) -> Result<(), Error> {
        if self.entries.len() >= ENTRIES_LIMIT && !self.entries.contains_key(&path) {
            return Err(Error::TooMany { path });
        }
        if entry.user > ID_LIMIT || entry.group > ID_LIMIT {
            return Err(Error::Id { path, user: entry.user, group: entry.group });
        }
        entry.mode &= if entry.node == Node::Directory { DIRECTORY_MODE } else { FILE_MODE };
        match &entry.node {
            Node::File { size, .. } => {
                self.bytes = self.bytes.saturating_add(*size);
                if self.bytes > CONTENT_LIMIT {
                    return Err(Error::TooLarge { path, bytes: self.bytes });
                }
            }
            Node::Link { target } if target.is_empty() || target.len() > TARGET_LIMIT || target.contains('\0') => {
                return Err(Error::Target { path });
            }
            Node::Link { .. } | Node::Directory => {}
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Adds another name of an earlier file.
    pub(crate) fn add_hard_link(&mut self, path: GuestPath, target: GuestPath) -> Result<(), Error> {
        match self.entries.get(&target) {
            Some(entry) if matches!(entry.node, Node::File { .. }) => {
                let entry = entry.clone();
                self.add(path, entry)
            }
            _ => Err(Error::HardLink { path, target }),
        }
    }

    /// Adds an entry unless something is at its path.
    pub(crate) fn add_missing(&mut self, path: GuestPath, entry: Entry) -> Result<(), Error> {
        if self.entries.contains_key(&path) { Ok(()) } else { self.add(path, entry) }
    }

    /// Drops the files and symbolic links that a pattern means; directories stay.
    pub(crate) fn remove_files(&mut self, patterns: &[Pattern]) {
        self.entries.retain(|path, entry| {
            entry.node == Node::Directory || !patterns.iter().any(|pattern| pattern.matches(path))
        });
    }

    /// Drops what a pattern of `remove` means, with all that is in it, except what a pattern of `keep` means.
    pub(crate) fn remove(&mut self, remove: &[Pattern], keep: &[Pattern]) {
        let meant = |patterns: &[Pattern], path: &GuestPath| {
            std::iter::once(path.clone())
                .chain(path.ancestors())
                .any(|path| patterns.iter().any(|pattern| pattern.matches(&path)))
        };
        let (kept, doubtful): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|(path, _)| !meant(remove, path) || meant(keep, path));
        self.entries = kept;
        // A directory stays as long as something in it does.
        for (path, entry) in doubtful.into_iter().rev() {
            if self.has_inside(&path) {
                self.entries.insert(path, entry);
            }
        }
    }

    /// Adds the directories that entries are in and that nobody named, and checks that all of them are directories.
    pub(crate) fn complete(&mut self) -> Result<(), Error> {
        let missing: Vec<GuestPath> = self
            .entries
            .keys()
            .flat_map(GuestPath::ancestors)
            .filter(|parent| !self.entries.contains_key(parent))
            .collect();
        for path in missing {
            self.add_missing(path, Entry::of_root(0o755, Node::Directory))?;
        }
        for path in self.entries.keys() {
            let Some(parent) = path.parent() else { continue };
            let node = &self.entries[&parent].node;
            if *node != Node::Directory {
                return Err(Error::Parent { path: path.clone(), parent, found: node.describe() });
            }
        }
        Ok(())
    }

    /// Checks that `program` is an executable file, through the symbolic links of the image.
    pub(crate) fn check_command(&self, program: &GuestPath) -> Result<(), Error> {
        let found = self
            .resolve(program.relative())
            .is_some_and(|entry| entry.mode & 0o111 != 0 && matches!(entry.node, Node::File { .. }));
        if found { Ok(()) } else { Err(Error::Command { path: program.clone() }) }
    }

    /// Finds what a path leads to, the way the kernel walks it in a root of its own.
    fn resolve(&self, path: &str) -> Option<&Entry> {
        let mut walked: Vec<String> = Vec::new();
        let mut ahead: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut links = 0;
        while let Some(component) = ahead.pop() {
            match component.as_str() {
                "" | "." => continue,
                ".." => {
                    walked.pop();
                    continue;
                }
                _ => walked.push(component),
            }
            let here = self.at(&walked)?;
            if let Node::Link { target } = &here.node {
                links += 1;
                if links > LINKS_LIMIT {
                    return None;
                }
                walked.pop();
                if target.starts_with('/') {
                    walked.clear();
                }
                ahead.extend(target.split('/').rev().map(str::to_owned));
            }
        }
        self.at(&walked)
    }

    fn at(&self, components: &[String]) -> Option<&Entry> {
        self.entries.get(&format!("/{}", components.join("/")).parse().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64) -> Node {
        Node::File { content: Content::Archive { offset: 0, size }, size }
    }

    fn path(text: &str) -> GuestPath {
        text.parse().unwrap()
    }

    fn tree(entries: &[(&str, Node)]) -> Tree {
        let mut tree = Tree::default();
        for (at, node) in entries {
            tree.add(path(at), Entry::of_root(0o755, node.clone())).unwrap();
        }
        tree
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.entries().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn set_id_bits_are_dropped_but_the_group_of_a_directory_stays() {
        let mut tree = Tree::default();
        tree.add(path("/srv"), Entry::of_root(0o6775, Node::Directory)).unwrap();
        tree.add(path("/su"), Entry::of_root(0o7755, file(1))).unwrap();
        tree.add(path("/tmp"), Entry::of_root(0o1777, Node::Directory)).unwrap();
        let modes: Vec<u32> = tree.entries().map(|(_, entry)| entry.mode).collect();
        assert_eq!(modes, [0o2775, 0o1755, 0o1777]);
    }

    #[test]
    fn ids_end_at_65535() {
        let entry = |user, group| Entry { mode: 0o644, user, group, node: file(1) };
        assert_eq!(Tree::default().add(path("/a"), entry(65_535, 65_535)), Ok(()));
        for (user, group) in [(65_536, 0), (0, 65_536), (u32::MAX, 0)] {
            let expected = Error::Id { path: path("/a"), user, group };
            assert_eq!(Tree::default().add(path("/a"), entry(user, group)), Err(expected));
        }
    }

    #[test]
    fn content_over_the_limit_is_refused_where_it_passes() {
        let mut tree = tree(&[("/a", file(CONTENT_LIMIT))]);
        let refused = tree.add(path("/b"), Entry::of_root(0o644, file(1)));
        assert_eq!(refused, Err(Error::TooLarge { path: path("/b"), bytes: CONTENT_LIMIT + 1 }));
    }

    #[test]
    fn a_removed_directory_stays_for_what_is_kept_in_it() {
        let mut tree = tree(&[
            ("/usr", Node::Directory),
            ("/usr/doc", Node::Directory),
            ("/usr/doc/a", Node::Directory),
            ("/usr/doc/a/copyright", file(1)),
            ("/usr/doc/a/news", file(1)),
            ("/usr/doc/b", Node::Directory),
            ("/usr/doc/b/news", file(1)),
        ]);
        tree.remove(&["/usr/doc/*".parse().unwrap()], &["/usr/doc/*/copyright".parse().unwrap()]);
        assert_eq!(paths(&tree), ["/usr", "/usr/doc", "/usr/doc/a", "/usr/doc/a/copyright"]);
    }

    #[test]
    fn completion_adds_directories_and_refuses_to_walk_through_links() {
        let mut good = tree(&[("/a/b/c", file(1))]);
        good.complete().unwrap();
        assert_eq!(paths(&good), ["/a", "/a/b", "/a/b/c"]);

        let mut bad = tree(&[("/bin", Node::Link { target: "/etc".into() }), ("/bin/sh", file(1))]);
        let error = bad.complete().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`/bin/sh` is in `/bin`, which is not a directory in the image but a symbolic link"
        );
        assert_eq!(error.hint().unwrap(), "write the path that the link `/bin` points to");
    }

    #[test]
    fn a_hard_link_needs_an_earlier_file() {
        let mut tree = tree(&[("/a", file(3)), ("/d", Node::Directory)]);
        tree.add_hard_link(path("/b"), path("/a")).unwrap();
        assert_eq!(tree.files(), (2, 6));
        for target in ["/d", "/none"] {
            let expected = Error::HardLink { path: path("/c"), target: path(target) };
            assert_eq!(tree.add_hard_link(path("/c"), path(target)), Err(expected));
        }
    }

    #[test]
    fn a_command_is_found_through_the_links_of_the_image() {
        let link = |target: &str| Node::Link { target: target.into() };
        let tree = tree(&[
            ("/bin", link("usr/bin")),
            ("/usr/bin/sh", link("../lib/dash")),
            ("/usr/bin/abs", link("/usr/lib/dash")),
            ("/usr/bin/up", link("../../../../usr/lib/dash")),
            ("/usr/bin/loop", link("loop")),
            ("/usr/bin/gone", link("none")),
            ("/usr/lib/dash", file(1)),
        ]);
        let mut tree = tree;
        tree.complete().unwrap();
        for good in ["/bin/sh", "/usr/bin/abs", "/bin/up", "/usr/lib/dash"] {
            assert_eq!(tree.check_command(&path(good)), Ok(()), "{good}");
        }
        for bad in ["/bin/loop", "/bin/gone", "/usr/bin", "/bin"] {
            assert_eq!(tree.check_command(&path(bad)), Err(Error::Command { path: path(bad) }), "{bad}");
        }
    }
}

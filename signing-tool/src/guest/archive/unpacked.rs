//! What the entries of an archive make, one after the other, as GNU tar would unpack them.

use std::collections::BTreeSet;

use super::{
    super::{
        path::GuestPath,
        tree::{self, ENTRIES_LIMIT, Node, Tree},
    },
    error::Error,
};

/// What an entry is to others at its path, or on the way to theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Link,
    /// A device node or a pipe.
    Special,
}

impl Kind {
    pub(super) fn of(node: &Node) -> Self {
        match node {
            Node::Directory => Self::Directory,
            Node::File { .. } => Self::File,
            Node::Link { .. } => Self::Link,
        }
    }

    /// For errors.
    pub(super) fn describe(self) -> &'static str {
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
pub(super) struct Unpacked {
    pub(super) tree: Tree,
    /// Where device nodes and pipes are, which the tree leaves out.
    specials: BTreeSet<GuestPath>,
}

impl Unpacked {
    /// Makes way for an entry. GNU tar goes through links on the way to a path, and cannot go through files; at the path it
    /// takes away what is there, but no directory that something is in. Where that could end with another tree than ours, the
    /// entry is refused.
    pub(super) fn make_way(&mut self, path: &GuestPath, kind: Kind) -> Result<(), Error> {
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
    pub(super) fn add_special(&mut self, path: GuestPath) -> Result<(), Error> {
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

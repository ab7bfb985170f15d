//! Namespaces that are entered, and those that this process gets of its own.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::sched::CloneFlags;
use rustix::{
    fs::{Mode, OFlags},
    mount::{MountPropagationFlags, mount_change},
};

use super::Error;
use crate::fault::at;

/// A namespace, opened from where it is pinned.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    path: PathBuf,
}

impl Namespace {
    /// Opens the namespace pinned at `path`.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|source| Error::Open { path: path.to_owned(), source: source.into() })?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Enters it.
    ///
    /// # Errors
    /// [`Error::Enter`].
    pub fn enter(&self, kind: NamespaceKind) -> Result<(), Error> {
        let flag = match kind {
            NamespaceKind::User => CloneFlags::CLONE_NEWUSER,
            NamespaceKind::Network => CloneFlags::CLONE_NEWNET,
        };
        at("launch.enter", || nix::sched::setns(&self.fd, flag))
            .map_err(|e| Error::Enter { path: self.path.clone(), source: e.into() })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The namespaces that are entered, not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceKind {
    /// user_namespaces(7).
    User,
    /// network_namespaces(7).
    Network,
}

/// Leaves the mount namespace for a copy of it, from and to which no mount propagates.
///
/// # Errors
/// [`Error::Unshare`].
pub fn own_mounts() -> Result<(), Error> {
    let error = |source: io::Error| Error::Unshare { kind: "mount", source };
    at("launch.own_mounts", || nix::sched::unshare(CloneFlags::CLONE_NEWNS)).map_err(|e| error(e.into()))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(|e| error(e.into()))
}

/// Children get a time namespace of their own.
///
/// # Errors
/// [`Error::Unshare`].
pub fn own_time() -> Result<(), Error> {
    // `nix` has no name for it (time_namespaces(7)).
    let flag = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
    at("launch.own_time", || nix::sched::unshare(flag)).map_err(|e| Error::Unshare { kind: "time", source: e.into() })
}

/// Leaves the cgroup namespace for one whose root is the own cgroup.
///
/// # Errors
/// [`Error::Unshare`].
pub fn own_cgroup() -> Result<(), Error> {
    at("launch.own_cgroup", || nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP))
        .map_err(|e| Error::Unshare { kind: "cgroup", source: e.into() })
}

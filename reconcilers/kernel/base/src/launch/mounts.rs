//! Mounts: made detached, restricted, and then attached at what was opened below a root.

#![allow(unsafe_code, reason = "`mount_setattr`, which `rustix` and `nix` lack")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat2, symlinkat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
    },
};

use super::{Error, set};
use crate::fault::at;

/// What a mount forbids, on top of set-id programs, which every mount forbids, and devices, which all but one forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbid {
    /// Nothing more.
    Nothing,
    /// Writing.
    Write,
    /// Executing.
    Execute,
    /// Both.
    WriteExecute,
    /// Executing, while nodes of devices can be opened.
    ExecuteNotDevices,
}

impl Forbid {
    fn flags(self) -> MountAttrFlags {
        let base = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        match self {
            Self::Nothing => base,
            Self::Write => base | MountAttrFlags::MOUNT_ATTR_RDONLY,
            Self::Execute => base | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            Self::WriteExecute => base | MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            Self::ExecuteNotDevices => MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        }
    }
}

/// A mount; detached until [`Tree::attach`]. Places in it are opened without following links.
#[derive(Debug)]
pub struct Tree {
    fd: OwnedFd,
    path: PathBuf,
}

/// A file or folder in a [`Tree`] or of the host, opened for mounting on it (`O_PATH`).
#[derive(Debug)]
pub struct MountTarget {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
}

impl MountTarget {
    /// Opens a folder of the host, whose paths are ours.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn of_host(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = at("launch.open", || rustix::fs::open(path, flags, Mode::empty()))
            .map_err(|source| Error::Open { path: path.to_owned(), source: source.into() })?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// A detached clone of the mount that this lies in, beginning here, with what is mounted below.
    ///
    /// # Errors
    /// [`Error::CloneMount`].
    pub fn clone_tree(&self) -> Result<Tree, Error> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let fd = at("launch.clone_mount", || open_tree(&self.fd, c"", flags))
            .map_err(|source| Error::CloneMount { path: self.path.clone(), source: source.into() })?;
        Ok(Tree { fd, path: self.path.clone() })
    }

    /// Whether this is a folder.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn is_folder(&self) -> Result<bool, Error> {
        let stat = rustix::fs::fstat(&self.fd)
            .map_err(|source| Error::Open { path: self.path.clone(), source: source.into() })?;
        Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
    }
}

impl Tree {
    /// A detached clone of the one mount at `path`, a path of the host.
    ///
    /// # Errors
    /// [`Error::CloneMount`].
    pub fn of_host(path: &Path) -> Result<Self, Error> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let fd = at("launch.clone_mount", || open_tree(CWD, path, flags))
            .map_err(|source| Error::CloneMount { path: path.to_owned(), source: source.into() })?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// A new file system of type `kind`; an option without a value is a flag.
    ///
    /// # Errors
    /// [`Error::FileSystem`].
    pub fn new(kind: &'static str, options: &[(&str, &str)], forbid: Forbid) -> Result<Self, Error> {
        let error = |source: rustix::io::Errno| Error::FileSystem { kind, source: source.into() };
        let context = at("launch.new_file_system", || fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)).map_err(error)?;
        for (key, value) in options {
            match *value {
                "" => fsconfig_set_flag(&context, *key),
                value => fsconfig_set_string(&context, *key, value),
            }
            .map_err(error)?;
        }
        at("launch.create_file_system", || fsconfig_create(&context)).map_err(error)?;
        let fd = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, forbid.flags()).map_err(error)?;
        Ok(Self { fd, path: PathBuf::from("/") })
    }

    /// Forbids more; what a mount forbids already stays forbidden.
    ///
    /// # Errors
    /// [`Error::Restrict`].
    pub fn restrict(&self, forbid: Forbid) -> Result<(), Error> {
        self.set_attributes(u64::from(forbid.flags().bits()), None)
            .map_err(|source| Error::Restrict { path: self.path.clone(), source })
    }

    /// Shows the files of the mount with the ids that `user_namespace` maps theirs to (`mount_setattr(2)`, id-mapped
    /// mounts). The file system on disk is not touched.
    ///
    /// # Errors
    /// [`Error::MapIds`].
    pub fn map_ids(&self, user_namespace: BorrowedFd<'_>) -> Result<(), Error> {
        self.set_attributes(libc::MOUNT_ATTR_IDMAP, Some(user_namespace))
            .map_err(|source| Error::MapIds { path: self.path.clone(), source })
    }

    fn set_attributes(&self, set: u64, user_namespace: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let attributes = libc::mount_attr {
            attr_set: set,
            attr_clr: 0,
            propagation: 0,
            userns_fd: user_namespace.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
        };
        at("launch.set_attributes", || {
            // SAFETY: the path is a NUL-terminated constant, `attributes` lives over the call and its size is given.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_mount_setattr,
                    self.fd.as_raw_fd(),
                    c"".as_ptr(),
                    libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
                    &raw const attributes,
                    size_of::<libc::mount_attr>(),
                )
            };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        })
    }

    /// Attaches the mount on top of `place`.
    ///
    /// # Errors
    /// [`Error::Attach`].
    pub fn attach(&self, place: &MountTarget) -> Result<(), Error> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        at("launch.attach", || move_mount(&self.fd, c"", &place.fd, c"", flags))
            .map_err(|source| Error::Attach { path: place.path.clone(), source: source.into() })
    }

    /// Opens `path` below this mount's root, which no link, `..` or absolute path leaves; a link on the way is an error.
    /// A name in `/dev` or `/proc` of the guest finds what is mounted there by now.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn place(&self, path: &str) -> Result<MountTarget, Error> {
        let shown = Path::new("/").join(path.trim_start_matches('/'));
        // Without O_NOFOLLOW, which would open a link at the end instead of refusing it.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = at("launch.place", || openat2(&self.fd, shown.as_path(), flags, Mode::empty(), resolve))
            .map_err(|source| Error::Open { path: shown.clone(), source: source.into() })?;
        Ok(MountTarget { fd, path: shown })
    }

    /// As [`Tree::place`]; `None` if there is no such file.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn place_if_any(&self, path: &str) -> Result<Option<MountTarget>, Error> {
        match self.place(path) {
            Ok(place) => Ok(Some(place)),
            Err(Error::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a folder in the root of this mount.
    ///
    /// # Errors
    /// [`Error::Make`].
    pub fn make_folder(&self, name: &str, mode: u32) -> Result<(), Error> {
        at("launch.make_folder", || mkdirat(&self.fd, name, Mode::from_raw_mode(mode)))
            .map_err(|source| self.make_error(name, source))
    }

    /// Makes an empty file in the root of this mount, for another one to be mounted on it.
    ///
    /// # Errors
    /// [`Error::Make`].
    pub fn make_file(&self, name: &str) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at("launch.make_file", || rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o666)))
            .map(drop)
            .map_err(|source| self.make_error(name, source))
    }

    /// Makes the node of a character device in the root of this mount, for everybody to read and write.
    ///
    /// # Errors
    /// [`Error::Make`].
    pub fn make_device(&self, name: &str, major: u32, minor: u32) -> Result<(), Error> {
        let error = |source| self.make_error(name, source);
        let device = rustix::fs::makedev(major, minor);
        let make = || rustix::fs::mknodat(&self.fd, name, FileType::CharacterDevice, Mode::empty(), device);
        at("launch.make_device", make).map_err(error)?;
        // The mask of new files does not count here.
        rustix::fs::chmodat(&self.fd, name, Mode::from_raw_mode(0o666), AtFlags::empty()).map_err(error)
    }

    /// Makes a link in the root of this mount.
    ///
    /// # Errors
    /// [`Error::Make`].
    pub fn make_link(&self, name: &str, target: &str) -> Result<(), Error> {
        at("launch.make_link", || symlinkat(target, &self.fd, name)).map_err(|source| self.make_error(name, source))
    }

    /// Gives the folder `name` in the root of this mount the owner and mode that the root of `model` has.
    ///
    /// # Errors
    /// [`Error::Make`].
    pub fn adopt_owner(&self, name: &str, model: &Tree) -> Result<(), Error> {
        let error = |source| self.make_error(name, source);
        let stat = rustix::fs::fstat(&model.fd).map_err(error)?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(&self.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(error)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        rustix::fs::chmodat(&self.fd, name, mode, AtFlags::empty()).map_err(error)
    }

    /// Makes the root of this mount the working directory.
    ///
    /// # Errors
    /// [`Error::Set`].
    pub fn enter(&self) -> Result<(), Error> {
        rustix::process::fchdir(&self.fd).map_err(|e| set("the working directory", e))
    }

    /// Makes this attached mount the root of the mount namespace and lets go of the old one.
    ///
    /// # Errors
    /// [`Error::Pivot`].
    pub fn become_root(&self) -> Result<(), Error> {
        let error = |source: rustix::io::Errno| Error::Pivot { path: self.path.clone(), source: source.into() };
        rustix::process::fchdir(&self.fd).map_err(error)?;
        // Both the same: the old root is mounted on top of the new one (pivot_root(2), NOTES), then taken away.
        at("launch.pivot", || rustix::process::pivot_root(".", ".")).map_err(error)?;
        at("launch.leave_old_root", || unmount(".", UnmountFlags::DETACH)).map_err(error)?;
        rustix::process::chdir("/").map_err(error)
    }

    fn make_error(&self, name: &str, source: rustix::io::Errno) -> Error {
        Error::Make { path: self.path.join(name), source: source.into() }
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

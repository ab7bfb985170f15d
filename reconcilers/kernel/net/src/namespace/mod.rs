//! Pairs of a user namespace and a network namespace, kept by a bind mount of their files in nsfs
//! (user_namespaces(7), network_namespaces(7), namespaces(7)).
//!
//! A network namespace belongs to the user namespace that it was made in; capabilities such as NET_BIND_SERVICE count
//! in it when they are held there. So the two are made together, in one folder:
//!
//! ```text
//! <folder>/user    the user namespace, ids 0.. mapped to a range
//! <folder>/net     the network namespace, owned by it
//! ```
//!
//! What the kernel counts in a user namespace (inotify(7) instances and watches, namespaces: `/proc/sys/user`,
//! namespaces(7)) it also counts for the user who made it, in the namespace that this one was in. So a pair is made by
//! the first id of its own range, which is nobody else's: what a container uses up is none of root's.
//!
//! A pair holds no process and outlives those that enter it: setns(2) into `user`, then into `net`. The bind mounts must
//! lie below a private mount, or they spread into other mount namespaces.

mod child;
mod error;
mod nsfs;
mod settings;
#[cfg(test)]
mod tests;
mod visit;

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use nix::sched::CloneFlags;
use rustix::{
    fs::{FsWord, fstatfs},
    mount::{UnmountFlags, mount_bind, unmount},
};

pub use error::Error;
pub use settings::{set, settings};
pub use visit::{Visitor, inside, visit};

pub(crate) use nsfs::cookie;

use catenoid_kernel_base::fault::{at, look};
use child::Child;
use nsfs::{identity, maker, namespace_kind, owner};

/// The file of the user namespace in a pair's folder.
pub const USER: &str = "user";
/// The file of the network namespace in a pair's folder.
pub const NET: &str = "net";
/// `linux/magic.h`.
const NSFS_MAGIC: FsWord = 0x6e73_6673;

/// A pair as it is found.
#[derive(Debug)]
pub struct Pair {
    /// The first id of the range that the user namespace maps its ids to.
    pub base: u32,
    /// The network namespace.
    pub net: OwnedFd,
}

/// A pair that ends when this is dropped.
#[derive(Debug)]
pub struct Fresh(Child);

/// Makes a pair and maps `count` user and group ids from 0 on to those from `base` on. The limits of `/proc/sys/user` are
/// set.
///
/// # Errors
/// [`Error::Make`], [`Error::Map`].
pub fn make(base: u32, count: u32) -> Result<Fresh, Error> {
    let child = at("namespace.make", || Child::start(base)).map_err(Error::Make)?;
    for map in ["uid_map", "gid_map"] {
        let written = at("namespace.map", || fs::write(child.file(map), format!("0 {base} {count}\n")));
        written.map_err(|source| Error::Map { base, count, source })?;
    }
    Ok(Fresh(child))
}

impl Fresh {
    /// Its network namespace, so that all that is to be set there is set before the pair is kept.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn net(&self) -> Result<OwnedFd, Error> {
        let path = self.0.file("ns/net");
        File::open(&path).map(OwnedFd::from).map_err(|source| Error::Read { path, source })
    }

    /// Keeps it in `folder`, which is made if it is not there; a pair that is there is an error.
    ///
    /// # Errors
    /// [`Error::Keep`]; what was kept by then is let go.
    pub fn keep(self, folder: &Path) -> Result<(), Error> {
        let kept = [USER, NET].into_iter().try_for_each(|name| {
            let path = folder.join(name);
            keep(&self.0.file(&format!("ns/{name}")), &path).map_err(|source| Error::Keep { path, source })
        });
        if kept.is_err() {
            // The first error is the one to report; what is left is found as half a pair and removed by the next pass.
            let _ = remove(folder);
        }
        kept
    }
}

fn keep(namespace: &Path, path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    at("namespace.keep_folder", || fs::create_dir_all(folder))?;
    at("namespace.keep_file", || File::options().create_new(true).write(true).open(path))?;
    Ok(at("namespace.keep", || mount_bind(namespace, path))?)
}

/// Lets go of the pair in `folder` and removes the folder. The namespaces end with the last process in them.
///
/// # Errors
/// [`Error::LetGo`].
pub fn remove(folder: &Path) -> Result<(), Error> {
    for path in [folder.join(NET), folder.join(USER)] {
        let gone = loop {
            match at("namespace.let_go", || unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)) {
                // There may be more than one mount on it.
                Ok(()) => {}
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {
                    break absent(at("namespace.remove_file", || fs::remove_file(&path)));
                }
                Err(errno) => break Err(errno.into()),
            }
        };
        gone.map_err(|source| Error::LetGo { path, source })?;
    }
    absent(at("namespace.remove_folder", || fs::remove_dir(folder)))
        .map_err(|source| Error::LetGo { path: folder.to_owned(), source })
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The names of the folders in `base` that hold a pair, or half of one. A base that is not there holds none.
///
/// # Errors
/// [`Error::Read`].
pub fn list(base: &Path) -> Result<Vec<String>, Error> {
    let read = || -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(base) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    };
    look("namespace.list", read).map_err(|source| Error::Read { path: base.to_owned(), source })
}

/// The network namespace of the pair in `folder`; none if it is not [whole](read).
///
/// # Errors
/// [`Error::Read`].
pub fn net(folder: &Path) -> Result<Option<OwnedFd>, Error> {
    Ok(read(folder)?.map(|pair| pair.net))
}

/// The pair in `folder`; none if it is not whole: a file is missing or no namespace of its kind, or the network namespace
/// belongs to another user namespace.
///
/// # Errors
/// [`Error::Read`].
pub fn read(folder: &Path) -> Result<Option<Pair>, Error> {
    let error = |source| Error::Read { path: folder.to_owned(), source };
    let open = |name: &str, kind: CloneFlags| -> io::Result<Option<OwnedFd>> {
        match File::open(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => {
                let fd = OwnedFd::from(file?);
                Ok((fstatfs(&fd)?.f_type == NSFS_MAGIC && namespace_kind(fd.as_fd())? == kind.bits()).then_some(fd))
            }
        }
    };
    let user = look("namespace.look", || open(USER, CloneFlags::CLONE_NEWUSER)).map_err(error)?;
    let net = open(NET, CloneFlags::CLONE_NEWNET).map_err(error)?;
    let (Some(user), Some(net)) = (user, net) else { return Ok(None) };
    let owner = owner(net.as_fd()).map_err(error)?;
    if identity(owner.as_fd()).map_err(error)? != identity(user.as_fd()).map_err(error)? {
        return Ok(None);
    }
    let base = maker(user.as_fd()).map_err(error)?;
    Ok(Some(Pair { base, net }))
}

/// Whether the process `pid` is in another network namespace than that of the pair in `folder`, or in one that no pair keeps
/// any more. One that has ended is nowhere.
///
/// # Errors
/// [`Error::Read`].
pub fn is_outside(pid: u32, folder: &Path) -> Result<bool, Error> {
    let of = |path: PathBuf| match look("namespace.look", || fs::metadata(&path)) {
        Ok(file) => Ok(Some((file.dev(), file.ino()))),
        // The process went away, before or while its link was followed.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EACCES)) => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
    };
    let lives_in = of(format!("/proc/{pid}/ns/net").into())?;
    Ok(lives_in.is_some() && lives_in != of(folder.join(NET))?)
}

/// The number of a namespace, which no other one of the same kind has while this one lives.
///
/// # Errors
/// [`Error::Read`].
pub fn number(namespace: &OwnedFd) -> Result<u64, Error> {
    let path = || PathBuf::from("namespace");
    let stat = rustix::fs::fstat(namespace).map_err(|e| Error::Read { path: path(), source: e.into() })?;
    Ok(stat.st_ino)
}

/// The network namespace of the calling thread.
///
/// # Errors
/// [`Error::Read`].
pub fn current() -> Result<OwnedFd, Error> {
    let path = Path::new("/proc/thread-self/ns/net");
    File::open(path).map(OwnedFd::from).map_err(|source| Error::Read { path: path.to_owned(), source })
}

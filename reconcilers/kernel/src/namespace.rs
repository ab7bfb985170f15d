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

#![allow(unsafe_code, reason = "fork, and two ioctls that no crate has")]

use std::{
    ffi::CStr,
    fs::{self, File},
    io::{self, Read as _},
    marker::PhantomData,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    sched::{CloneFlags, setns, unshare},
    sys::wait::waitpid,
    unistd::{ForkResult, Pid, fork, pipe2},
};
use rustix::{
    fs::{FsWord, Mode, OFlags, fstat, fstatfs, openat},
    mount::{UnmountFlags, mount_bind, unmount},
};

use crate::fault::{at, look};

/// The file of the user namespace in a pair's folder.
pub const USER: &str = "user";
/// The file of the network namespace in a pair's folder.
pub const NET: &str = "net";
/// `linux/magic.h`.
const NSFS_MAGIC: FsWord = 0x6e73_6673;
/// What every user of a container may have of inotify: half of what root has of instances by default, and as many watches
/// as it takes to follow a large tree of files (1 KiB each, of the container's memory).
const COUNTS: [(&CStr, &[u8]); 2] =
    [(c"/proc/sys/user/max_inotify_instances", b"64"), (c"/proc/sys/user/max_inotify_watches", b"16384")];
// `linux/nsfs.h`.
const NS_GET_USERNS: libc::c_ulong = 0xb701;
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespaces could not be made.
    #[error("failed to make a user and a network namespace")]
    Make(#[source] io::Error),
    /// The ids could not be mapped.
    #[error("failed to map ids to {count} from {base} on")]
    Map {
        /// The first of the range.
        base: u32,
        /// How many.
        count: u32,
        /// Why.
        source: io::Error,
    },
    /// A namespace could not be kept.
    #[error("failed to keep a namespace at `{}`", path.display())]
    Keep {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A namespace could not be let go.
    #[error("failed to let go of the namespace at `{}`", path.display())]
    LetGo {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder could not be read.
    #[error("failed to read the namespaces at `{}`", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread could not enter a network namespace.
    #[error("failed to enter a network namespace")]
    Enter(#[source] io::Error),
    /// A setting of the network namespace could not be read or written.
    #[error("failed to set `{key}`")]
    Setting {
        /// Below `/proc/sys/net`.
        key: String,
        /// Why.
        source: io::Error,
    },
}

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
            // The first error is the one to tell; what is left is found as half a pair and removed by the next pass.
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

/// The number of the network namespace that `socket` was opened in; none after it has the same one until the next boot.
pub(crate) fn cookie(socket: &OwnedFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).expect("8 fits");
    let (level, option, value) = (libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, (&raw mut cookie).cast());
    // SAFETY: the kernel writes at most `length` bytes, which is the size of what `value` points to.
    let got = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, value, &raw mut length) };
    if got == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// The network namespace of the calling thread.
///
/// # Errors
/// [`Error::Read`].
pub fn current() -> Result<OwnedFd, Error> {
    let path = Path::new("/proc/thread-self/ns/net");
    File::open(path).map(OwnedFd::from).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// A thread that goes from one network namespace to another and ends with the visit: no other thread ever leaves its own.
/// What it opens or spawns stays in the namespace that it is in.
#[derive(Debug)]
pub struct Visitor(PhantomData<*const ()>);

/// Runs `work` on a visitor, which is in the caller's network namespace at first.
///
/// # Errors
/// [`Error::Enter`] if there is no thread to be had.
pub fn visit<T: Send>(work: impl FnOnce(&Visitor) -> T + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let visitor = std::thread::Builder::new().name("namespace".to_owned());
        match visitor.spawn_scoped(scope, || work(&Visitor(PhantomData))).map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::Enter(error)),
        }
    })
}

impl Visitor {
    /// Goes on to the network namespace `net`.
    ///
    /// # Errors
    /// [`Error::Enter`].
    pub fn enter(&self, net: BorrowedFd<'_>) -> Result<(), Error> {
        look("namespace.enter", || setns(net, CloneFlags::CLONE_NEWNET)).map_err(|errno| Error::Enter(errno.into()))
    }
}

/// Runs `work` in the network namespace `net`, on a thread of its own that ends with it.
///
/// # Errors
/// [`Error::Enter`].
pub fn inside<T: Send>(net: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    visit(|visitor| visitor.enter(net).map(|()| work()))?
}

/// The values of settings below `/proc/sys/net` in the calling thread's network namespace, without the line's end; none where
/// there is no such setting. The folder of a family is opened once for all of its keys in a row: the kernel keeps those of
/// all network namespaces in one chain of its name cache, and passes all of it on the way to one (`proc_sys_compare`).
///
/// # Errors
/// [`Error::Setting`].
pub fn settings<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Vec<Option<String>>, Error> {
    let mut folder: Option<(&str, File)> = None;
    let mut read = |key: &'a str| -> io::Result<String> {
        let (family, name) = key.split_once('/').ok_or(io::ErrorKind::NotFound)?;
        let (_, opened) = match folder.take().filter(|(opened, _)| *opened == family) {
            Some(opened) => folder.insert(opened),
            None => folder.insert((family, File::open(format!("/proc/sys/net/{family}"))?)),
        };
        let file = openat(opened, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // The kernel gives a value by one read(2).
        let mut value = [0; 256];
        let length = rustix::io::read(&file, &mut value)?;
        Ok(String::from_utf8_lossy(&value[..length]).trim_end().to_owned())
    };
    let values = keys.into_iter().map(|key| match look("namespace.read_setting", || read(key)) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Setting { key: key.to_owned(), source }),
    });
    values.collect()
}

/// Writes a setting below `/proc/sys/net` in the calling thread's network namespace.
///
/// # Errors
/// [`Error::Setting`].
pub fn set(key: &str, value: &str) -> Result<(), Error> {
    at("namespace.set", || fs::write(format!("/proc/sys/net/{key}"), value))
        .map_err(|source| Error::Setting { key: key.to_owned(), source })
}

/// A process in a new user and a new network namespace, that does nothing until its `hold` is closed and then ends.
#[derive(Debug)]
struct Child {
    pid: Pid,
    hold: Option<OwnedFd>,
}

impl Child {
    /// `owner` is who makes the namespaces.
    fn start(owner: u32) -> io::Result<Self> {
        let (hold, held) = pipe2(OFlag::O_CLOEXEC).map(|(read, write)| (write, read))?;
        let (answer, writer) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: the child calls setresuid, unshare, open, write, close, read and _exit only, all of them
        // async-signal-safe system calls; it allocates nothing and takes no lock.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let errno = match unshare_as(owner) {
                    Ok(()) => 0,
                    Err(errno) => errno as i32,
                };
                let _ = nix::unistd::write(&writer, &errno.to_ne_bytes());
                // Its own copy of the other end would keep it from ever reading the end of the pipe.
                let _ = nix::unistd::close(hold.as_raw_fd());
                let _ = nix::unistd::read(&held, &mut [0]);
                // SAFETY: _exit ends the process without running anything of ours.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                drop((held, writer));
                let child = Self { pid: child, hold: Some(hold) };
                let mut errno = [0; 4];
                File::from(answer).read_exact(&mut errno)?;
                match i32::from_ne_bytes(errno) {
                    0 => Ok(child),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                }
            }
        }
    }

    /// One of its files in `/proc`. The process is there until we wait for it, so nobody else has its number.
    fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }
}

/// Makes the namespaces of the calling process, as `owner`, and sets [`COUNTS`].
fn unshare_as(owner: u32) -> nix::Result<()> {
    const UNCHANGED: libc::uid_t = libc::uid_t::MAX;
    // The system call itself: that of a libc changes all threads, of which the parent's are not here.
    // SAFETY: it takes numbers only.
    nix::errno::Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, UNCHANGED, owner, UNCHANGED) })?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    for (path, value) in COUNTS {
        let file = nix::fcntl::open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
        nix::unistd::write(&file, value)?;
    }
    Ok(())
}

impl Drop for Child {
    fn drop(&mut self) {
        self.hold.take();
        // It cannot fail: the child is ours and nobody else waits for it.
        while waitpid(self.pid, None) == Err(nix::Error::EINTR) {}
    }
}

/// What kind of namespace a file of nsfs is: a flag of clone(2). See ioctl_ns(2).
fn namespace_kind(fd: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: this request takes no argument.
    Ok(nix::errno::Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) })?)
}

/// The user namespace that owns `namespace`. See ioctl_ns(2).
fn owner(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: this request takes no argument.
    let fd = nix::errno::Errno::result(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) })?;
    // SAFETY: the kernel has just opened it for us, with O_CLOEXEC.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The user id as which the user namespace `user` was made. Of one that [`make`] made it is the first of those that it maps:
/// no pair is [kept](Fresh::keep) before they are mapped, and they can be mapped only once. See ioctl_ns(2).
fn maker(user: BorrowedFd<'_>) -> io::Result<u32> {
    let mut maker: libc::uid_t = 0;
    // SAFETY: the kernel writes a user id to where `maker` lives.
    nix::errno::Errno::result(unsafe { libc::ioctl(user.as_raw_fd(), NS_GET_OWNER_UID, &raw mut maker) })?;
    Ok(maker)
}

/// What tells a namespace from every other: device and inode (namespaces(7)).
fn identity(namespace: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    Ok(fstat(namespace).map(|stat| (stat.st_dev, stat.st_ino))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::inotify::{InitFlags, Inotify};

    fn instance() -> nix::Result<Inotify> {
        Inotify::init(InitFlags::IN_CLOEXEC)
    }

    /// As many users of `user` as there are numbers take what they get of inotify; `while_held` runs while they hold it.
    fn exhaust<const USERS: usize>(user: BorrowedFd<'_>, while_held: impl FnOnce()) -> [u32; USERS] {
        let (answer, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (held, hold) = pipe2(OFlag::O_CLOEXEC).unwrap();
        // SAFETY: the child makes system calls only.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let _ = nix::unistd::close(hold.as_raw_fd());
                let mut counts = [0_u32; USERS];
                let entered = setns(user, CloneFlags::CLONE_NEWUSER).is_ok();
                for (id, count) in counts.iter_mut().enumerate().filter(|_| entered) {
                    // SAFETY: they take numbers only; back to 0 first, which may become anybody.
                    unsafe {
                        libc::syscall(libc::SYS_setresuid, -1, 0, 0);
                        libc::syscall(libc::SYS_setresuid, -1, id, 0);
                    }
                    while let Ok(instance) = instance() {
                        std::mem::forget(instance);
                        *count += 1;
                    }
                }
                let _ = nix::unistd::write(&writer, counts.map(u32::to_ne_bytes).as_flattened());
                let _ = nix::unistd::read(&held, &mut [0]);
                // SAFETY: _exit ends the process without running anything of ours.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                drop((held, writer));
                let mut bytes = [[0; 4]; USERS];
                File::from(answer).read_exact(bytes.as_flattened_mut()).unwrap();
                while_held();
                drop(hold);
                waitpid(child, None).unwrap();
                bytes.map(u32::from_ne_bytes)
            }
        }
    }

    // [req->TSF-ISOLATION]
    #[test]
    fn netns_what_a_container_takes_of_inotify_is_none_of_roots() {
        const BASE: u32 = 1 << 30;
        let fresh = make(BASE, 65_536).unwrap();
        let user = File::open(fresh.0.file("ns/user")).unwrap();
        assert_eq!(maker(user.as_fd()).unwrap(), BASE);
        let whole = || std::iter::repeat_with(instance).map_while(Result::ok).collect::<Vec<_>>().len();
        let before = whole();
        assert!(before > 0);
        let counts: [u32; 4] = exhaust(user.as_fd(), || assert_eq!(whole(), before, "of root"));
        assert_eq!(counts[0], 64, "one user's: {counts:?}");
        assert!(counts.iter().all(|count| *count <= 64), "{counts:?}");
        let watches = inside_user(user.as_fd(), "/proc/sys/user/max_inotify_watches");
        assert_eq!(watches.trim_end(), "16384");
    }

    fn inside_user(user: BorrowedFd<'_>, file: &str) -> String {
        let output = std::process::Command::new("nsenter")
            .arg(format!("--user=/proc/{}/fd/{}", std::process::id(), user.as_raw_fd()))
            .args(["cat", file])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn netns_a_fresh_pair_can_be_set_and_leaves_no_process() {
        const KEYS: [&str; 2] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
        let fresh = make(1 << 30, 65_536).unwrap();
        let set_and_read = inside(fresh.net().unwrap().as_fd(), || {
            for wanted in [[0, 0], [1, 0], [1, 1], [0, 1]] {
                KEYS.iter().zip(wanted).for_each(|(key, value)| set(key, &value.to_string()).unwrap());
                assert_eq!(settings(KEYS).unwrap(), wanted.map(|value| Some(value.to_string())));
                assert_eq!(crate::netlink::Netlink::open().unwrap().forwarding().unwrap(), wanted.map(Some));
            }
        });
        set_and_read.unwrap();
        let pid = fresh.0.pid;
        drop(fresh);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}

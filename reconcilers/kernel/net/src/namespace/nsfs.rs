//! What the kernel says of a namespace.

#![allow(unsafe_code, reason = "ioctls and a socket option that no crate has")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use rustix::fs::fstat;

// `linux/nsfs.h`.
const NS_GET_USERNS: libc::c_ulong = 0xb701;
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;

/// The number of the network namespace that `socket` was opened in; none after it has the same one until the next boot.
pub(crate) fn cookie(socket: &OwnedFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).expect("8 fits");
    let (level, option, value) = (libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, (&raw mut cookie).cast());
    // SAFETY: the kernel writes at most `length` bytes, which is the size of what `value` points to.
    let got = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, value, &raw mut length) };
    if got == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// What kind of namespace a file of nsfs is: a flag of clone(2). See ioctl_ns(2).
pub(super) fn namespace_kind(fd: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: this request takes no argument.
    Ok(nix::errno::Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) })?)
}

/// The user namespace that owns `namespace`. See ioctl_ns(2).
pub(super) fn owner(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: this request takes no argument.
    let fd = nix::errno::Errno::result(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) })?;
    // SAFETY: the kernel has just opened it for us, with O_CLOEXEC.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The user id as which the user namespace `user` was made. Of one that [`make`](super::make) made it is the first of those
/// that it maps: no pair is [kept](super::Fresh::keep) before they are mapped, and they can be mapped only once. See
/// ioctl_ns(2).
pub(super) fn maker(user: BorrowedFd<'_>) -> io::Result<u32> {
    let mut maker: libc::uid_t = 0;
    // SAFETY: the kernel writes a user id to where `maker` lives.
    nix::errno::Errno::result(unsafe { libc::ioctl(user.as_raw_fd(), NS_GET_OWNER_UID, &raw mut maker) })?;
    Ok(maker)
}

/// What distinguishes a namespace from every other: device and inode (namespaces(7)).
pub(super) fn identity(namespace: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    Ok(fstat(namespace).map(|stat| (stat.st_dev, stat.st_ino))?)
}

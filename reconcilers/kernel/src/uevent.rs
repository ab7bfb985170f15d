//! The kernel's announcements of devices (`NETLINK_KOBJECT_UEVENT`): to wait for, never to believe; whoever is woken looks.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
    sockopt::RcvBuf,
};
use std::os::fd::AsRawFd;

/// Room for a burst of announcements; if it overflows the reader is still woken, and looks at everything anyway.
const BUFFER: usize = 1024 * 1024;

/// An open line to the kernel's announcements.
#[derive(Debug)]
pub struct Announcements(OwnedFd);

impl Announcements {
    /// Listens from now on.
    ///
    /// # Errors
    /// The socket's.
    pub fn listen() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkKObjectUEvent)?;
        setsockopt(&fd, RcvBuf, &BUFFER)?;
        // Group 1 is the kernel's own; 2 would be udev's.
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
        Ok(Self(fd))
    }

    /// Reads all that is there and forgets it; whether there was anything.
    ///
    /// # Errors
    /// The socket's, but not that it overflowed: that too means that something happened.
    pub fn drain(&self) -> io::Result<bool> {
        let mut any = false;
        let mut buffer = [0; 8192];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(nix::Error::ENOBUFS) => any = true,
                Err(nix::Error::EAGAIN) => return Ok(any),
                Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Announcements {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

//! The kernel's announcements of devices (`NETLINK_KOBJECT_UEVENT`): to wait for, never to believe; whoever is woken looks.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use catenoid_kernel_base::announcements::drain;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt::RcvBuf,
};

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

    /// Waits for the next announcement, for `timeout` at most; whether one came.
    ///
    /// # Errors
    /// The socket's.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = timeout.try_into().unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => self.drain(),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads all that is there and forgets it; whether there was anything.
    ///
    /// # Errors
    /// The socket's, but not that it overflowed: that too means that something happened.
    pub fn drain(&self) -> io::Result<bool> {
        drain(self.0.as_fd())
    }
}

impl AsFd for Announcements {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

//! What the kernel announces: to wait for, never to believe; whoever is woken looks.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use catenoid_kernel_base::announcements::drain;
use nix::sys::socket::{SockFlag, SockProtocol};

use super::{Error, exchange::open};

/// The multicast group of this number, as a bit of the address to bind to.
const fn group(number: u32) -> u32 {
    1 << (number - 1)
}
/// `linux/rtnetlink.h`: RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE, _IPV4_NETCONF, _IPV6_NETCONF.
const GROUPS: u32 = group(1) | group(5) | group(7) | group(9) | group(11) | group(24) | group(25);
/// `linux/netfilter/nfnetlink.h`: `NFNLGRP_NFTABLES`.
const NFTABLES_GROUP: u32 = group(7);

/// A socket on which the kernel announces changes in the network namespace of the thread that opened it. For poll(2).
#[derive(Debug)]
pub struct Announcements(OwnedFd);

impl Announcements {
    /// Of links, addresses, routes and forwarding.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn of_links() -> Result<Self, Error> {
        open(SockProtocol::NetlinkRoute, SockFlag::SOCK_NONBLOCK, GROUPS).map(Self).map_err(Error::Open)
    }

    /// Of the firewall.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn of_firewall() -> Result<Self, Error> {
        open(SockProtocol::NetlinkNetFilter, SockFlag::SOCK_NONBLOCK, NFTABLES_GROUP).map(Self).map_err(Error::Open)
    }

    /// Reads all that is there and forgets it; whether there was anything.
    ///
    /// # Errors
    /// The socket's.
    pub fn drain(&self) -> io::Result<bool> {
        drain(self.0.as_fd())
    }
}

impl AsFd for Announcements {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Announcements {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

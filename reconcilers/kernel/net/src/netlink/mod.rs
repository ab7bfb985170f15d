//! Links, addresses and routes of a network namespace (`NETLINK_ROUTE`, rtnetlink(7)).
//!
//! A [`Netlink`] speaks to the network namespace of the thread that opened it; [`crate::namespace::inside`] brings a
//! thread into another one. Calls block for as long as the kernel takes, which for all of these is well below a
//! millisecond. "Already so" is success. Start reading at [`Netlink`].

mod announcements;
mod constants;
mod error;
pub(crate) mod exchange;
pub(crate) mod message;
mod parse;
#[cfg(test)]
mod tests;
mod types;

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use libc::{
    IFA_ADDRESS, IFA_F_NODAD, IFA_FLAGS, IFA_LOCAL, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND,
    IFLA_LINKINFO, IFLA_MASTER, IFLA_NET_NS_FD, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN, RTA_DST, RTA_GATEWAY, RTA_OIF,
    RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTM_GETADDR, RTM_GETLINK, RTM_GETNSID, RTM_GETROUTE, RTM_NEWADDR,
    RTM_NEWLINK, RTM_NEWROUTE, RTN_UNICAST, RTPROT_STATIC,
};
use nix::sys::socket::{SockFlag, SockProtocol};

pub use announcements::Announcements;
pub use error::Error;
pub use types::{Address, BridgeSettings, Link, Route};

use catenoid_kernel_base::fault::at;
use constants::{
    IFLA_ALT_IFNAME, IFLA_BR_MCAST_SNOOPING, IFLA_BR_NF_CALL_IP6TABLES, IFLA_BR_NF_CALL_IPTABLES, IFLA_BR_STP_STATE,
    IFLA_EXT_MASK, IFLA_PROP_LIST, NETCONFA_FORWARDING, NETCONFA_IFINDEX, NETCONFA_IFINDEX_ALL, NETNSA_FD, NETNSA_NSID,
    RTEXT_FILTER_SKIP_STATS, RTM_DELLINKPROP, RTM_GETNETCONF, VETH_INFO_PEER,
};
use exchange::{
    exchange,
    flags::{ACKNOWLEDGED, CREATE, CREATE_ONLY, DUMP, REPLACE, REQUEST},
    open,
};
use message::{Message, attributes, number};
use parse::{address, alternative_names, link, route};

/// A socket to the kernel.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open() -> Result<Self, Error> {
        open(SockProtocol::NetlinkRoute, SockFlag::empty(), 0).map(Self).map_err(Error::Open)
    }

    /// Every interface.
    ///
    /// # Errors
    /// [`Error::List`].
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        // With a mask the kernel makes room for the longest link, and does not break off at it.
        let request = Message::new(RTM_GETLINK, REQUEST | DUMP, &link_header(0, None));
        let request = request.number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        self.dump(request, RTM_NEWLINK, "interfaces", link)
    }

    /// Every address.
    ///
    /// # Errors
    /// [`Error::List`].
    pub fn addresses(&self) -> Result<Vec<Address>, Error> {
        let request = Message::new(RTM_GETADDR, REQUEST | DUMP, &[0; 8]);
        self.dump(request, RTM_NEWADDR, "addresses", address)
    }

    /// Every route by one interface in the main table.
    ///
    /// # Errors
    /// [`Error::List`].
    pub fn routes(&self) -> Result<Vec<Route>, Error> {
        let request = Message::new(RTM_GETROUTE, REQUEST | DUMP, &[0; 12]);
        self.dump(request, RTM_NEWROUTE, "routes", route)
    }

    /// What `/proc/sys/net/ipv4/ip_forward` and `/proc/sys/net/ipv6/conf/all/forwarding` hold; none for a family that this
    /// kernel does not have. To read those files takes the longer the more network namespaces there are: the kernel keeps
    /// the files of one name of all of them in one chain.
    ///
    /// # Errors
    /// [`Error::List`].
    pub fn forwarding(&self) -> Result<[Option<i32>; 2], Error> {
        let of = |family: i32| {
            // `struct netconfmsg`: the family.
            let family = u8::try_from(family).expect("families are small numbers");
            let request = Message::new(RTM_GETNETCONF, ACKNOWLEDGED, &[family, 0, 0, 0]);
            let request = request.number(NETCONFA_IFINDEX, NETCONFA_IFINDEX_ALL.cast_unsigned());
            let mut found = None;
            let listed = exchange(&self.0, request, |received| {
                let mut all = attributes(received.body.get(4..).unwrap_or_default());
                found =
                    all.find(|(kind, _)| *kind == NETCONFA_FORWARDING).map(|(_, value)| number(value).cast_signed());
            });
            if listed.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP)) {
                return Ok(None);
            }
            let found = listed.and(found.ok_or_else(|| io::ErrorKind::InvalidData.into()));
            found.map(Some).map_err(|source| Error::List { what: "settings", source })
        };
        Ok([of(libc::AF_INET)?, of(libc::AF_INET6)?])
    }

    /// The number that this network namespace has for `namespace`; none if it has none, because nothing leads there.
    ///
    /// # Errors
    /// [`Error::List`].
    pub fn number_of(&self, namespace: BorrowedFd<'_>) -> Result<Option<u32>, Error> {
        // `struct rtgenmsg`: any family.
        let request = Message::new(RTM_GETNSID, ACKNOWLEDGED, &[0; 4]);
        let request = request.number(NETNSA_FD, descriptor(namespace));
        let mut found = None;
        let listed = exchange(&self.0, request, |received| {
            let mut all = attributes(received.body.get(4..).unwrap_or_default());
            found = all.find(|(kind, _)| *kind == NETNSA_NSID).map(|(_, value)| number(value));
        });
        // NETNSA_NSID_NOT_ASSIGNED is -1.
        let found = || found.filter(|number| number.cast_signed() >= 0);
        listed.map(|()| found()).map_err(|source| Error::List { what: "namespaces", source })
    }

    /// The number of an interface.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::List`].
    pub fn index(&self, name: &str) -> Result<u32, Error> {
        self.get(name, |body| link(body).map(|link| link.index))
    }

    /// What `parse` finds in the description of an interface.
    fn get<T>(&self, name: &str, parse: fn(&[u8]) -> Option<T>) -> Result<T, Error> {
        let missing = || Error::Missing { interface: name.to_owned() };
        let request = Message::new(RTM_GETLINK, ACKNOWLEDGED, &link_header(0, None)).text(IFLA_IFNAME, name);
        let mut found = None;
        match exchange(&self.0, request, |received| found = parse(received.body)) {
            Ok(()) => found.ok_or_else(missing),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(missing()),
            Err(source) => Err(Error::List { what: "interfaces", source }),
        }
    }

    /// Makes a bridge, switched off, with nothing in it.
    ///
    /// # Errors
    /// [`Error::Change`].
    pub fn make_bridge(&self, name: &str) -> Result<(), Error> {
        let request = Message::new(RTM_NEWLINK, CREATE, &link_header(0, None))
            .text(IFLA_IFNAME, name)
            .nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
        unless(self.change(request, "make", name), libc::EEXIST)
    }

    /// Sets what a bridge can have set.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Missing`].
    pub fn set_bridge(&self, name: &str, bridge: BridgeSettings) -> Result<(), Error> {
        let request = Message::new(RTM_NEWLINK, ACKNOWLEDGED, &link_header(self.index(name)?, None)).nest(
            IFLA_LINKINFO,
            |info| {
                info.text(IFLA_INFO_KIND, "bridge").nest(IFLA_INFO_DATA, |data| {
                    data.number(IFLA_BR_STP_STATE, bridge.stp.into())
                        .attribute(IFLA_BR_MCAST_SNOOPING, &[bridge.snooping.into()])
                        .attribute(IFLA_BR_NF_CALL_IPTABLES, &[bridge.filtered.into()])
                        .attribute(IFLA_BR_NF_CALL_IP6TABLES, &[bridge.filtered.into()])
                })
            },
        );
        self.change(request, "set", name)
    }

    /// Makes a pair of interfaces, both switched off: `outer` here, `inner` in `namespace` with `address`.
    ///
    /// # Errors
    /// [`Error::Change`].
    pub fn make_veth(
        &self,
        outer: &str,
        inner: &str,
        address: [u8; 6],
        namespace: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let request = Message::new(RTM_NEWLINK, CREATE, &link_header(0, None)).text(IFLA_IFNAME, outer).nest(
            IFLA_LINKINFO,
            |info| {
                info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                    data.nest(VETH_INFO_PEER, |peer| {
                        peer.raw(&link_header(0, None))
                            .text(IFLA_IFNAME, inner)
                            .attribute(IFLA_ADDRESS, &address)
                            .number(IFLA_NET_NS_FD, descriptor(namespace))
                    })
                })
            },
        );
        unless(self.change(request, "make", outer), libc::EEXIST)
    }

    /// Switches an interface on.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Missing`].
    pub fn switch_on(&self, name: &str) -> Result<(), Error> {
        let request = Message::new(RTM_NEWLINK, ACKNOWLEDGED, &link_header(self.index(name)?, Some(true)));
        self.change(request, "switch on", name)
    }

    /// Switches an interface off.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Missing`].
    pub fn switch_off(&self, name: &str) -> Result<(), Error> {
        let request = Message::new(RTM_NEWLINK, ACKNOWLEDGED, &link_header(self.index(name)?, Some(false)));
        self.change(request, "switch off", name)
    }

    /// Makes an interface a port of `bridge`, and of no other.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Missing`].
    pub fn set_master(&self, name: &str, bridge: &str) -> Result<(), Error> {
        let request = Message::new(RTM_NEWLINK, ACKNOWLEDGED, &link_header(self.index(name)?, None))
            .number(IFLA_MASTER, self.index(bridge)?);
        self.change(request, "set the master of", name)
    }

    /// Moves an interface into `namespace` under the name `renamed`, switched off and without its addresses; also without
    /// the alternative names that somebody gave it, which would keep others from theirs where it comes to.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Missing`].
    pub fn move_to(&self, name: &str, namespace: BorrowedFd<'_>, renamed: &str) -> Result<(), Error> {
        // An interface that is on cannot be renamed before Linux 6.2.
        self.switch_off(name)?;
        let index = self.index(name)?;
        for other in self.get(name, alternative_names)? {
            let request = Message::new(RTM_DELLINKPROP, ACKNOWLEDGED, &link_header(index, None));
            let request = request.nest(IFLA_PROP_LIST, |list| list.attribute(IFLA_ALT_IFNAME, &other));
            self.change(request, "take a name from", name)?;
        }
        let request = Message::new(RTM_NEWLINK, ACKNOWLEDGED, &link_header(index, None))
            .text(IFLA_IFNAME, renamed)
            .number(IFLA_NET_NS_FD, descriptor(namespace));
        self.change(request, "move", name)
    }

    /// Removes a virtual interface; of a pair, both ends.
    ///
    /// # Errors
    /// [`Error::Change`].
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let request = Message::new(RTM_DELLINK, ACKNOWLEDGED, &link_header(0, None)).text(IFLA_IFNAME, name);
        unless(self.change(request, "remove", name), libc::ENODEV)
    }

    /// Adds an address, to be used at once: duplicate address detection is for addresses that nobody allocated.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Missing`].
    pub fn add_address(&self, name: &str, address: IpAddr, prefix: u8) -> Result<(), Error> {
        let request = self.address_message(RTM_NEWADDR, CREATE, name, address, prefix)?;
        let request = request.number(IFA_FLAGS, IFA_F_NODAD);
        unless(self.change(request, "add an address to", name), libc::EEXIST)
    }

    /// Takes an address away.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Missing`].
    pub fn remove_address(&self, name: &str, address: IpAddr, prefix: u8) -> Result<(), Error> {
        let request = self.address_message(RTM_DELADDR, ACKNOWLEDGED, name, address, prefix)?;
        unless(self.change(request, "take an address from", name), libc::EADDRNOTAVAIL)
    }

    /// Sets the default route of the gateway's family, in place of one that is there.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Missing`].
    pub fn set_default_route(&self, name: &str, gateway: IpAddr) -> Result<(), Error> {
        let request = self.route_message(RTM_NEWROUTE, ACKNOWLEDGED | CREATE_ONLY | REPLACE, name, gateway)?;
        self.change(request, "set the default route by", name)
    }

    /// Removes a default route.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Missing`].
    pub fn remove_default_route(&self, name: &str, gateway: IpAddr) -> Result<(), Error> {
        let request = self.route_message(RTM_DELROUTE, ACKNOWLEDGED, name, gateway)?;
        unless(self.change(request, "remove the default route by", name), libc::ESRCH)
    }

    /// Removes a route that the kernel made, if it is still there. `name` is what its interface is called.
    ///
    /// # Errors
    /// [`Error::Change`].
    pub fn remove_route(&self, name: &str, route: &Route) -> Result<(), Error> {
        let fixed = [family(route.to), route.prefix, 0, 0, RT_TABLE_MAIN, 0, 0, RTN_UNICAST, 0, 0, 0, 0];
        let request = Message::new(RTM_DELROUTE, ACKNOWLEDGED, &fixed)
            .attribute(RTA_DST, &octets(route.to))
            .number(RTA_OIF, route.index);
        let request = match route.gateway {
            Some(gateway) => request.attribute(RTA_GATEWAY, &octets(gateway)),
            None => request,
        };
        unless(self.change(request, "remove a route by", name), libc::ESRCH)
    }

    fn address_message(
        &self,
        kind: u16,
        flags: u16,
        name: &str,
        address: IpAddr,
        prefix: u8,
    ) -> Result<Message, Error> {
        let [a, b, c, d] = self.index(name)?.to_ne_bytes();
        let bytes = octets(address);
        Ok(Message::new(kind, flags, &[family(address), prefix, 0, RT_SCOPE_UNIVERSE, a, b, c, d])
            .attribute(IFA_LOCAL, &bytes)
            .attribute(IFA_ADDRESS, &bytes))
    }

    fn route_message(&self, kind: u16, flags: u16, name: &str, gateway: IpAddr) -> Result<Message, Error> {
        let fixed =
            [family(gateway), 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0, 0, 0, 0];
        Ok(Message::new(kind, flags, &fixed)
            .attribute(RTA_GATEWAY, &octets(gateway))
            .number(RTA_OIF, self.index(name)?))
    }

    fn change(&self, request: Message, what: &'static str, interface: &str) -> Result<(), Error> {
        let done = at("netlink.change", || exchange(&self.0, request, |_| ()));
        done.map_err(|source| Error::Change { what, interface: interface.to_owned(), source })
    }

    fn dump<T>(
        &self,
        request: Message,
        kind: u16,
        what: &'static str,
        parse: fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let listed = exchange(&self.0, request, |received| {
            if received.kind == kind {
                found.extend(parse(received.body));
            }
        });
        listed.map(|()| found).map_err(|source| Error::List { what, source })
    }
}

/// Takes the error `errno` of a change for success.
fn unless(done: Result<(), Error>, errno: i32) -> Result<(), Error> {
    match done {
        Err(Error::Change { source, .. }) if source.raw_os_error() == Some(errno) => Ok(()),
        done => done,
    }
}

/// `struct ifinfomsg`; `up` changes `IFF_UP` and nothing else.
fn link_header(index: u32, up: Option<bool>) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Some(up) = up {
        let flag = libc::IFF_UP.cast_unsigned();
        header[8..12].copy_from_slice(&(if up { flag } else { 0 }).to_ne_bytes());
        header[12..16].copy_from_slice(&flag.to_ne_bytes());
    }
    header
}

#[allow(clippy::cast_possible_truncation, reason = "AF_INET is 2 and AF_INET6 is 10")]
fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn descriptor(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

//! Links, addresses and routes of a network namespace (`NETLINK_ROUTE`, rtnetlink(7)).
//!
//! A [`Netlink`] speaks to the network namespace of the thread that opened it; [`crate::namespace::inside`] brings a
//! thread into another one. Calls block for as long as the kernel takes, which for all of these is well below a
//! millisecond. "Already so" is success. Start reading at [`Netlink`].

pub(crate) mod message;

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use libc::{
    IFA_ADDRESS, IFA_F_NODAD, IFA_FLAGS, IFA_LOCAL, IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_IFNAME, IFLA_INFO_DATA,
    IFLA_INFO_KIND, IFLA_LINK, IFLA_LINK_NETNSID, IFLA_LINKINFO, IFLA_MASTER, IFLA_NET_NS_FD, IFLA_PERM_ADDRESS,
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN,
    RTA_DST, RTA_GATEWAY, RTA_OIF, RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTM_GETADDR, RTM_GETLINK, RTM_GETNSID,
    RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE, RTN_UNICAST, RTPROT_KERNEL, RTPROT_STATIC,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, connect, recv, send, setsockopt,
    socket, sockopt::RcvBuf,
};

use message::{Message, Received, attributes, messages, number, text};

/// The most bytes of one answer: 4096 links of 2 KiB. What does not fit is not seen, so a container that fills its own
/// namespace with links only hides its own.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;
/// More than the kernel puts into one datagram: a link can have 64 KiB of alternative names.
const DATAGRAM: usize = 128 * 1024;
/// Datagrams of announcements that are read at a time: who sends without end must not hold up who reads.
const DRAINED: usize = 1024;
/// Room for notifications until they are read; if it overflows the reader is still woken, and looks at everything anyway.
const NOTIFICATIONS: usize = 256 * 1024;

// `linux/if_link.h`, what libc lacks; `linux/rtnetlink.h` for the messages and the mask.
const IFLA_EXT_MASK: u16 = 29;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const RTM_DELLINKPROP: u16 = 109;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;
const IFLA_BR_NF_CALL_IP6TABLES: u16 = 37;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_CONF: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
/// A route to a router that advertised itself.
const RTPROT_RA: u8 = 9;
// `linux/net_namespace.h`.
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
// `linux/netconf.h` and `linux/rtnetlink.h`.
const RTM_GETNETCONF: u16 = 82;
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_FORWARDING: u16 = 2;
const NETCONFA_IFINDEX_ALL: i32 = -1;
/// The settings of an interface in the order in which the kernel tells them: `IPV4_DEVCONF_` of `linux/ip.h` and `DEVCONF_` of
/// `linux/ipv6.h`, as they are called in `/proc/sys/net`; `-` is one whose file has it in another unit.
const CONF: [(&str, &str); 2] = [
    (
        "ipv4/conf/*/",
        "forwarding mc_forwarding proxy_arp accept_redirects secure_redirects send_redirects shared_media rp_filter \
         accept_source_route bootp_relay log_martians tag arp_filter medium_id disable_xfrm disable_policy \
         force_igmp_version arp_announce arp_ignore promote_secondaries arp_accept arp_notify accept_local \
         src_valid_mark proxy_arp_pvlan route_localnet igmpv2_unsolicited_report_interval \
         igmpv3_unsolicited_report_interval ignore_routes_with_linkdown drop_unicast_in_l2_multicast \
         drop_gratuitous_arp bc_forwarding arp_evict_nocarrier",
    ),
    (
        "ipv6/conf/*/",
        "forwarding hop_limit mtu accept_ra accept_redirects autoconf dad_transmits router_solicitations - - \
         use_tempaddr temp_valid_lft temp_prefered_lft regen_max_retry max_desync_factor max_addresses \
         force_mld_version accept_ra_defrtr accept_ra_pinfo accept_ra_rtr_pref - accept_ra_rt_info_max_plen proxy_ndp \
         optimistic_dad accept_source_route mc_forwarding disable_ipv6 accept_dad force_tllao ndisc_notify \
         mldv1_unsolicited_report_interval mldv2_unsolicited_report_interval suppress_frag_ndisc accept_ra_from_local \
         use_optimistic accept_ra_mtu - use_oif_addrs_only accept_ra_min_hop_limit ignore_routes_with_linkdown \
         drop_unicast_in_l2_multicast drop_unsolicited_na keep_addr_on_down - seg6_enabled seg6_require_hmac \
         enhanced_dad addr_gen_mode",
    ),
];
/// The multicast group of this number, as a bit of the address to bind to.
const fn group(number: u32) -> u32 {
    1 << (number - 1)
}
/// `linux/rtnetlink.h`: RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE, _IPV4_NETCONF, _IPV6_NETCONF.
const GROUPS: u32 = group(1) | group(5) | group(7) | group(9) | group(11) | group(24) | group(25);
/// `linux/netfilter/nfnetlink.h`: `NFNLGRP_NFTABLES`.
const NFTABLES_GROUP: u32 = group(7);

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no socket to the kernel.
    #[error("failed to open a netlink socket")]
    Open(#[source] io::Error),
    /// The list could not be read.
    #[error("failed to list {what}")]
    List {
        /// Of what.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The change was refused.
    #[error("failed to {what} interface `{interface}`")]
    Change {
        /// A verb: `make`, `remove`, `move`.
        what: &'static str,
        /// Which.
        interface: String,
        /// Why.
        source: io::Error,
    },
    /// No interface has this name.
    #[error("there is no interface `{interface}`")]
    Missing {
        /// Which.
        interface: String,
    },
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The driver of a virtual one: `veth`, `bridge`. None for hardware.
    pub kind: Option<String>,
    /// Whether it is switched on (`IFF_UP`).
    pub up: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Its Ethernet address.
    pub address: Option<[u8; 6]>,
    /// The Ethernet address that it was built with, if its driver tells; nobody can change it.
    pub permanent: Option<[u8; 6]>,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// The number of a veth's other end, in the namespace of that one.
    pub peer: Option<u32>,
    /// The number of that namespace in this one ([`Netlink::number_of`]), if it is another one.
    pub peer_namespace: Option<u32>,
    /// What a bridge has set.
    pub bridge: Bridge,
    /// The settings of [`CONF`], in its order.
    conf: [Vec<u8>; 2],
}

impl Link {
    /// The value of a setting of the interface, by its key below `/proc/sys/net` with `*` for the interface; none if the kernel
    /// does not tell it.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<i32> {
        self.conf.iter().zip(CONF).find_map(|(values, (folder, names))| {
            let name = key.strip_prefix(folder)?;
            let place = 4 * names.split(' ').position(|other| other == name)?;
            Some(number(values.get(place..place + 4)?).cast_signed())
        })
    }
}

/// What a bridge has set. The default is what we want of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Whether it speaks the spanning tree protocol.
    pub stp: bool,
    /// Whether it follows multicast memberships.
    pub snooping: bool,
    /// Whether IPv4 and IPv6 frames pass the filters and the connection tracking of the IP layer (`br_netfilter`).
    pub filtered: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of the network's prefix.
    pub prefix: u8,
}

/// A route by one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The interface it leaves by.
    pub index: u32,
    /// The first address of where it leads.
    pub to: IpAddr,
    /// The length of that network's prefix; 0 of a default route.
    pub prefix: u8,
    /// The next hop; none if what it leads to is on the link.
    pub gateway: Option<IpAddr>,
    /// Whether the kernel made it by itself: for an address, or because a router advertised it.
    pub by_kernel: bool,
}

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
    pub fn set_bridge(&self, name: &str, bridge: Bridge) -> Result<(), Error> {
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

    /// Switches an interface on or off.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Missing`].
    pub fn switch(&self, name: &str, up: bool) -> Result<(), Error> {
        let request = Message::new(RTM_NEWLINK, ACKNOWLEDGED, &link_header(self.index(name)?, Some(up)));
        self.change(request, if up { "switch on" } else { "switch off" }, name)
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
        self.switch(name, false)?;
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

impl Error {
    /// Whether a listing broke off at an entry that is longer than what the kernel lists.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::List { source, .. } if source.raw_os_error() == Some(libc::EMSGSIZE))
    }
}

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

/// Reads what a socket of announcements has, without waiting, and forgets it; whether there was anything.
pub(crate) fn drain(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    let mut any = false;
    for _ in 0..DRAINED {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            // ENOBUFS: more came than there was room for, which is an announcement too.
            Ok(_) | Err(nix::Error::ENOBUFS) => any = true,
            Err(nix::Error::EAGAIN) => break,
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(any)
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

#[allow(clippy::cast_possible_truncation, reason = "all of them are flags of 16 bits")]
pub(crate) mod flags {
    pub(crate) const REQUEST: u16 = super::NLM_F_REQUEST as u16;
    pub(crate) const DUMP: u16 = super::NLM_F_DUMP as u16;
    pub(crate) const ACKNOWLEDGED: u16 = REQUEST | super::NLM_F_ACK as u16;
    pub(super) const CREATE_ONLY: u16 = super::NLM_F_CREATE as u16;
    pub(super) const CREATE: u16 = ACKNOWLEDGED | CREATE_ONLY | super::NLM_F_EXCL as u16;
    pub(super) const REPLACE: u16 = super::NLM_F_REPLACE as u16;
}
use flags::{ACKNOWLEDGED, CREATE, CREATE_ONLY, DUMP, REPLACE, REQUEST};

use crate::fault::{at, look};

/// A request for all there is of something.
pub(crate) fn listing(kind: u16, fixed: &[u8]) -> Message {
    Message::new(kind, REQUEST | DUMP, fixed)
}

/// A netlink socket in the calling thread's network namespace. Nobody but the kernel can answer on it: who has NET_ADMIN
/// in a namespace can send to any other socket of it, but not to one that is connected to somebody else (netlink(7)).
pub(crate) fn open(protocol: SockProtocol, flags: SockFlag, groups: u32) -> io::Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    let fd = look("netlink.open", || socket(AddressFamily::Netlink, SockType::Raw, flags, protocol))?;
    if groups != 0 {
        setsockopt(&fd, RcvBuf, &NOTIFICATIONS)?;
    }
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    connect(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(fd)
}

thread_local! {
    /// For the answers of a whole visit, whose thread it ends with: to clear one for each costs about as much as to ask.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Sends `request` and hands each message of its answer to `each`, until the kernel says that it is done.
pub(crate) fn exchange(fd: &OwnedFd, request: Message, mut each: impl FnMut(Received<'_>)) -> io::Result<()> {
    /// The answer to this request, and not to one that was given up: one request is under way at a time.
    const SEQUENCE: u32 = 1;
    let fd = fd.as_fd().as_raw_fd();
    look("netlink.ask", || send(fd, &request.finish(SEQUENCE), MsgFlags::empty()))?;
    let mut seen = 0;
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(DATAGRAM, 0);
        loop {
            // MSG_TRUNC: the length that it had, which must not be more than there was room for.
            let length = match recv(fd, buffer, MsgFlags::MSG_TRUNC) {
                Err(nix::Error::EINTR) => continue,
                received => received?,
            };
            if length > buffer.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            seen += length;
            for received in messages(&buffer[..length]).filter(|received| received.sequence == SEQUENCE) {
                match i32::from(received.kind) {
                    // The end of a listing says as well whether it is whole.
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => return acknowledged(received.body),
                    _ if seen <= ANSWER_LIMIT => each(received),
                    // Read to the end all the same: what is left in the socket would be taken for the next answer.
                    _ => {}
                }
            }
        }
    })
}

/// `struct nlmsgerr`: a negative errno, or 0 for success.
fn acknowledged(body: &[u8]) -> io::Result<()> {
    match number(body).cast_signed() {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
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

fn link(body: &[u8]) -> Option<Link> {
    let flags = number(body.get(8..12)?);
    let mut link = Link {
        index: number(&body[4..8]),
        name: String::new(),
        kind: None,
        up: flags & libc::IFF_UP.cast_unsigned() != 0,
        loopback: flags & libc::IFF_LOOPBACK.cast_unsigned() != 0,
        address: None,
        permanent: None,
        master: None,
        peer: None,
        peer_namespace: None,
        bridge: Bridge::default(),
        conf: Default::default(),
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.address = value.try_into().ok(),
            IFLA_PERM_ADDRESS => link.permanent = value.try_into().ok(),
            IFLA_MASTER => link.master = Some(number(value)),
            IFLA_LINK => link.peer = Some(number(value)),
            IFLA_LINK_NETNSID => link.peer_namespace = Some(number(value)),
            IFLA_LINKINFO => link_info(value, &mut link),
            IFLA_AF_SPEC => {
                for (of, value) in attributes(value) {
                    let (place, conf) = match i32::from(of) {
                        libc::AF_INET => (0, IFLA_INET_CONF),
                        libc::AF_INET6 => (1, IFLA_INET6_CONF),
                        _ => continue,
                    };
                    if let Some((_, values)) = attributes(value).find(|(kind, _)| *kind == conf) {
                        link.conf[place] = values.to_owned();
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}

/// As the kernel writes them, with the NUL.
fn alternative_names(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let lists = attributes(body.get(16..)?).filter(|(kind, _)| *kind == IFLA_PROP_LIST);
    let names = lists.flat_map(|(_, list)| attributes(list)).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
    Some(names.map(|(_, name)| name.to_owned()).collect())
}

fn link_info(info: &[u8], link: &mut Link) {
    let mut filtered = [false; 2];
    for (kind, value) in attributes(info) {
        match kind {
            IFLA_INFO_KIND => link.kind = Some(text(value)),
            // The kind comes first, and with it the meaning of the data.
            IFLA_INFO_DATA if link.kind.as_deref() == Some("bridge") => {
                for (kind, value) in attributes(value) {
                    let set = value.first().is_some_and(|byte| *byte != 0);
                    match kind {
                        IFLA_BR_STP_STATE => link.bridge.stp = number(value) != 0,
                        IFLA_BR_MCAST_SNOOPING => link.bridge.snooping = set,
                        IFLA_BR_NF_CALL_IPTABLES => filtered[0] = set,
                        IFLA_BR_NF_CALL_IP6TABLES => filtered[1] = set,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link.bridge.filtered = filtered == [true; 2];
}

fn address(body: &[u8]) -> Option<Address> {
    let (family, prefix, index) = (*body.first()?, *body.get(1)?, number(body.get(4..8)?));
    let mut found = [None; 2];
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            // Where the two differ, the local one is ours and the other is the peer's.
            IFA_LOCAL => found[0] = ip(family, value),
            IFA_ADDRESS => found[1] = ip(family, value),
            _ => {}
        }
    }
    found[0].or(found[1]).map(|address| Address { index, address, prefix })
}

fn route(body: &[u8]) -> Option<Route> {
    let (family, prefix) = (*body.first()?, *body.get(1)?);
    let (table, protocol, kind) = (*body.get(4)?, *body.get(5)?, *body.get(7)?);
    if table != RT_TABLE_MAIN || kind != RTN_UNICAST {
        return None;
    }
    let (mut to, mut gateway, mut index) = (unspecified(family), None, None);
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            RTA_DST => to = ip(family, value),
            RTA_GATEWAY => gateway = ip(family, value),
            RTA_OIF => index = Some(number(value)),
            _ => {}
        }
    }
    let by_kernel = [RTPROT_KERNEL, RTPROT_RA].contains(&protocol);
    Some(Route { index: index?, to: to?, prefix, gateway, by_kernel })
}

/// A route that leads everywhere says no destination.
fn unspecified(family: u8) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::UNSPECIFIED.into()),
        libc::AF_INET6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        libc::AF_INET6 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{getsockname, sendto};

    #[test]
    fn netns_nobody_but_the_kernel_can_answer() {
        let fresh = crate::namespace::make(1 << 30, 65_536).unwrap();
        crate::namespace::inside(fresh.net().unwrap().as_fd(), || {
            let ours = open(SockProtocol::NetlinkRoute, SockFlag::empty(), 0).unwrap();
            let port: NetlinkAddr = getsockname(ours.as_raw_fd()).unwrap();
            let forged = Message::new(RTM_NEWLINK, 0, &link_header(7, None)).text(IFLA_IFNAME, "forged").finish(1);
            let kind = SockType::Raw;
            let plain = socket(AddressFamily::Netlink, kind, SockFlag::empty(), SockProtocol::NetlinkRoute).unwrap();
            let to = |socket: &OwnedFd, port| sendto(socket.as_raw_fd(), &forged, &port, MsgFlags::empty());
            assert_eq!(to(&plain, port), Err(nix::Error::ECONNREFUSED));
            // The same to a socket as anybody opens it.
            let open_to_all: NetlinkAddr = getsockname(plain.as_raw_fd()).unwrap();
            assert_eq!(to(&plain, open_to_all), Ok(forged.len()));
            let links = Netlink(ours).links().unwrap();
            assert_eq!(links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["lo"]);
        })
        .unwrap();
    }

    #[test]
    fn netns_the_settings_of_a_link_are_those_of_its_files() {
        let fresh = crate::namespace::make(1 << 30, 65_536).unwrap();
        crate::namespace::inside(fresh.net().unwrap().as_fd(), || {
            let netlink = Netlink::open().unwrap();
            let keys =
                CONF.iter().flat_map(|(folder, names)| names.split(' ').map(move |name| format!("{folder}{name}")));
            let compared = keys.filter(|key| {
                let path = key.replace('*', "lo");
                let of_file = || crate::namespace::settings([path.as_str()]).unwrap().remove(0)?.parse::<i32>().ok();
                let listed = || netlink.links().unwrap().remove(0).setting(key);
                let Some(before) = of_file() else { return false };
                assert_eq!(listed(), Some(before), "{key}");
                // Where it takes another value.
                let _ = crate::namespace::set(&path, if before == 0 { "1" } else { "0" });
                assert_eq!(listed(), of_file(), "{key}");
                true
            });
            assert!(compared.count() > 50);
        })
        .unwrap();
    }

    #[test]
    fn netns_a_listing_that_breaks_off_is_an_error() {
        let fresh = crate::namespace::make(1 << 30, 65_536).unwrap();
        crate::namespace::inside(fresh.net().unwrap().as_fd(), || {
            let netlink = Netlink::open().unwrap();
            netlink.switch("lo", true).unwrap();
            // `struct rtnexthop`: its length, flags, weight, interface.
            let mut hop = [0; 8];
            hop[0] = 8;
            hop[4..].copy_from_slice(&netlink.index("lo").unwrap().to_ne_bytes());
            let fixed = [2, 24, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, libc::RT_SCOPE_LINK, RTN_UNICAST, 0, 0, 0, 0];
            let request = Message::new(RTM_NEWROUTE, CREATE, &fixed).attribute(libc::RTA_DST, &[203, 0, 113, 0]);
            netlink.change(request.attribute(libc::RTA_MULTIPATH, &hop.repeat(8000)), "make", "lo").unwrap();
            assert!(netlink.routes().is_err_and(|error| error.is_cut()));
            assert_eq!(netlink.links().unwrap().len(), 1);
        })
        .unwrap();
    }
}

//! Links, addresses and routes, as they are read.

use std::net::IpAddr;

use super::message::number;

/// The settings of an interface in the order in which the kernel lists them: `IPV4_DEVCONF_` of `linux/ip.h` and `DEVCONF_` of
/// `linux/ipv6.h`, as they are called in `/proc/sys/net`; `-` is one whose file has it in another unit.
pub(super) const CONF: [(&str, &str); 2] = [
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
    /// The Ethernet address that it was built with, if its driver reports it; nobody can change it.
    pub permanent: Option<[u8; 6]>,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// The number of a veth's other end, in the namespace of that one.
    pub peer: Option<u32>,
    /// The number of that namespace in this one ([`Netlink::number_of`](super::Netlink::number_of)), if it is another one.
    pub peer_namespace: Option<u32>,
    /// What a bridge has set.
    pub bridge: BridgeSettings,
    /// The settings of [`CONF`], in its order.
    pub(super) conf: [Vec<u8>; 2],
}

impl Link {
    /// The value of a setting of the interface, by its key below `/proc/sys/net` with `*` for the interface; none if the kernel
    /// does not report it.
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
pub struct BridgeSettings {
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

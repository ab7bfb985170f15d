//! Numbers of the kernel's headers that `libc` lacks.

// `linux/if_link.h`, what libc lacks; `linux/rtnetlink.h` for the messages and the mask.
pub(super) const IFLA_EXT_MASK: u16 = 29;
pub(super) const IFLA_PROP_LIST: u16 = 52;
pub(super) const IFLA_ALT_IFNAME: u16 = 53;
pub(super) const RTM_DELLINKPROP: u16 = 109;
pub(super) const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
pub(super) const IFLA_BR_STP_STATE: u16 = 5;
pub(super) const IFLA_BR_MCAST_SNOOPING: u16 = 23;
pub(super) const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;
pub(super) const IFLA_BR_NF_CALL_IP6TABLES: u16 = 37;
pub(super) const IFLA_INET_CONF: u16 = 1;
pub(super) const IFLA_INET6_CONF: u16 = 2;
pub(super) const VETH_INFO_PEER: u16 = 1;
/// A route to a router that advertised itself.
pub(super) const RTPROT_RA: u8 = 9;
// `linux/net_namespace.h`.
pub(super) const NETNSA_NSID: u16 = 1;
pub(super) const NETNSA_FD: u16 = 3;
// `linux/netconf.h` and `linux/rtnetlink.h`.
pub(super) const RTM_GETNETCONF: u16 = 82;
pub(super) const NETCONFA_IFINDEX: u16 = 1;
pub(super) const NETCONFA_FORWARDING: u16 = 2;
pub(super) const NETCONFA_IFINDEX_ALL: i32 = -1;

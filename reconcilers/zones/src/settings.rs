//! What is set in the kernel for each network namespace and interface, and is the same on every device: one table, each line
//! with its reason (`ip-sysctl` in the kernel's documentation). It is set when the namespace or the interface is made,
//! looked at in each pass, and set again where it differs. What the manifest decides (forwarding, router advertisements)
//! has fields of its own.

use std::collections::BTreeMap;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The network namespace of a container.
    Namespace,
    /// The inner end of a pair.
    Inner,
    /// A physical interface in the core container.
    Uplink,
    /// A bridge or the outer end of a pair, in the root namespace.
    Outer,
}

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// What it is about.
    pub of: Of,
    /// Below `/proc/sys/net`; `*` stands for the interface.
    pub key: &'static str,
    /// As the kernel prints it.
    pub value: &'static str,
    /// Why it has that value.
    pub reason: &'static str,
}

/// The settings that are not as the table has them: the key of the line, and what its value is.
pub type Differing = BTreeMap<String, String>;

const fn setting(of: Of, key: &'static str, value: &'static str, reason: &'static str) -> Setting {
    Setting { of, key, value, reason }
}

/// IPv4 and IPv6 forwarding of a network namespace.
#[cfg(feature = "kernel")]
pub(crate) const FORWARDING: [&str; 2] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
/// Whether an interface takes router advertisements.
#[cfg(feature = "kernel")]
pub(crate) const ADVERTISEMENTS: &str = "ipv6/conf/*/accept_ra";
/// Whether the root namespace speaks no IPv6 by an interface.
pub(crate) const IPV6_OFF: &str = "ipv6/conf/*/disable_ipv6";

/// The table.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting(Of::Namespace, "ipv4/conf/all/arp_ignore", "1", "an interface answers for its own addresses only"),
    setting(Of::Namespace, "ipv4/conf/all/arp_announce", "2", "an interface asks under its own addresses only"),
    setting(Of::Namespace, "ipv4/conf/all/accept_redirects", "0", "no neighbour changes a route: this or the interface's own is enough"),
    setting(Of::Inner, "ipv4/conf/*/accept_redirects", "0", "no neighbour changes a route"),
    setting(Of::Inner, "ipv6/conf/*/accept_redirects", "0", "no neighbour changes a route"),
    setting(Of::Inner, "ipv6/conf/*/accept_ra", "0", "nobody follows a router that is none"),
    setting(Of::Inner, "ipv6/conf/*/suppress_frag_ndisc", "1", "neighbour discovery comes whole (RFC 6980)"),
    setting(Of::Inner, "ipv6/conf/*/addr_gen_mode", "1", "the kernel makes no addresses up: they are given"),
    setting(Of::Uplink, "ipv4/conf/*/accept_redirects", "0", "no neighbour changes a route"),
    setting(Of::Uplink, "ipv6/conf/*/accept_redirects", "0", "no neighbour changes a route"),
    setting(Of::Uplink, "ipv6/conf/*/suppress_frag_ndisc", "1", "neighbour discovery comes whole (RFC 6980)"),
    setting(Of::Uplink, "ipv6/conf/*/max_addresses", "16", "routers do not give it any number of addresses"),
    setting(Of::Uplink, "ipv6/conf/*/accept_ra_rt_info_max_plen", "0", "no router draws single networks to itself"),
    setting(Of::Uplink, "ipv6/conf/*/accept_ra_min_hop_limit", "64", "no router makes packets die on their way"),
    setting(Of::Uplink, "ipv6/conf/*/addr_gen_mode", "0", "the link-local address of an uplink is its own"),
    setting(Of::Outer, IPV6_OFF, "1", "the root namespace speaks by no interface"),
];

impl Setting {
    /// Below `/proc/sys/net`, for this interface.
    #[must_use]
    pub fn path(&self, interface: &str) -> String {
        self.key.replace('*', interface)
    }
}

/// The lines about `of`.
pub(crate) fn about(of: Of) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |line| line.of == of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_there_once_has_a_reason_and_names_an_interface_where_it_is_about_one() {
        for line in SETTINGS {
            assert_eq!(about(line.of).filter(|other| other.key == line.key).count(), 1, "{line:?}");
            assert!(!line.reason.is_empty(), "{line:?}");
            assert_eq!(line.key.contains('*'), line.of != Of::Namespace, "{line:?}");
        }
    }
}

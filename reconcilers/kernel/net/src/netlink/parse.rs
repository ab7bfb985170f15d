//! What the kernel's messages say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{
    IFA_ADDRESS, IFA_LOCAL, IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK,
    IFLA_LINK_NETNSID, IFLA_LINKINFO, IFLA_MASTER, IFLA_PERM_ADDRESS, RT_TABLE_MAIN, RTA_DST, RTA_GATEWAY, RTA_OIF,
    RTN_UNICAST, RTPROT_KERNEL,
};

use super::{
    Address, BridgeSettings, Link, Route,
    constants::{
        IFLA_ALT_IFNAME, IFLA_BR_MCAST_SNOOPING, IFLA_BR_NF_CALL_IP6TABLES, IFLA_BR_NF_CALL_IPTABLES,
        IFLA_BR_STP_STATE, IFLA_INET_CONF, IFLA_INET6_CONF, IFLA_PROP_LIST, RTPROT_RA,
    },
    message::{attributes, number, text},
};

pub(super) fn link(body: &[u8]) -> Option<Link> {
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
        bridge: BridgeSettings::default(),
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
pub(super) fn alternative_names(body: &[u8]) -> Option<Vec<Vec<u8>>> {
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

pub(super) fn address(body: &[u8]) -> Option<Address> {
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

pub(super) fn route(body: &[u8]) -> Option<Route> {
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

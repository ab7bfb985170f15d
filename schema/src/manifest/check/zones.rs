//! The rules of `zones`: segments, subnets and flows.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::found::{Found, known};
use crate::{
    limits::ENTRIES_LIMIT,
    manifest::{Addressing, CORE, Manifest, Zone},
    name::Name,
};

const fn v4(a: u8, b: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length))
}

const fn v6(first: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length))
}

/// Where the kernel, or everybody, takes an address for something else than a host behind a bridge (RFC 6890).
const NOT_FOR_HOSTS: [(IpNet, &str); 8] = [
    (v4(0, 0, 8), "\"this network\""),
    (v4(127, 0, 8), "loopback"),
    (v4(169, 254, 16), "link-local: each interface has it"),
    (v4(224, 0, 4), "multicast"),
    (v4(240, 0, 4), "reserved"),
    (v6(0, 64), "reserved: loopback and IPv4 within IPv6"),
    (v6(0xfe80, 10), "link-local: each interface has it"),
    (v6(0xff00, 8), "multicast"),
];

pub(super) fn zones(manifest: &Manifest, found: &mut Found) {
    let mut macs = BTreeSet::new();
    for (name, zone) in &manifest.zones {
        let path = format!("zones.{name}");
        found.reserved("zone", name);
        for (index, interface) in zone.interfaces.iter().enumerate() {
            if !macs.insert(interface.mac) {
                found
                    .add(format!("{path}.interfaces.{index}.mac"), format!("`{}` is in a zone already", interface.mac));
            }
            let [first, ..] = interface.mac.bytes();
            if first & 1 == 1 || interface.mac.bytes() == [0; 6] {
                found.hint(
                    format!("{path}.interfaces.{index}.mac"),
                    format!("`{}` is the address of no single interface", interface.mac),
                    "write the interface's own, such as `52:54:00:12:34:56`",
                );
            }
        }
        segment(&path, zone, found);
        subnets(manifest, name, zone, found);
        flows(manifest, name, zone, found);
    }
}

fn segment(path: &str, zone: &Zone, found: &mut Found) {
    match (zone.interfaces.is_empty(), zone.subnet.is_empty()) {
        (true, true) => found.add(path, "has neither `interfaces` nor a `subnet`"),
        (false, false) => found.add(path, "has both `interfaces` and a `subnet`"),
        _ => {}
    }
    if zone.interfaces.is_empty() && zone.address != Addressing::None {
        found.add(format!("{path}.address"), "only a zone with `interfaces` asks for addresses");
    }
}

fn subnets(manifest: &Manifest, name: &Name, zone: &Zone, found: &mut Found) {
    let v4 = zone.subnet.iter().filter(|net| net.addr().is_ipv4()).count();
    if v4 > 1 || zone.subnet.len() - v4 > 1 {
        found.add(format!("zones.{name}.subnet"), "more than one subnet of the same family");
    }
    for (index, net) in zone.subnet.iter().enumerate() {
        let path = format!("zones.{name}.subnet.{index}");
        if net.addr() != net.network() {
            found.hint(&path, format!("`{net}` has host bits set"), format!("write `{}`", net.trunc()));
        }
        let (least, most) = if net.addr().is_ipv4() { (8, 28) } else { (48, 112) };
        if !(least..=most).contains(&net.prefix_len()) {
            found.hint(
                &path,
                format!("`{net}` is not between /{least} and /{most}"),
                if net.addr().is_ipv4() {
                    "a zone's network is like `10.20.0.0/24`"
                } else {
                    "a zone's network is like `fd20::/64`"
                },
            );
        }
        let special = NOT_FOR_HOSTS.iter().find(|(range, _)| range.contains(net) || net.contains(range));
        if let Some((range, what)) = special {
            found.hint(
                &path,
                format!("`{net}` is not a network of hosts: `{range}` is {what}"),
                "a private network is like `10.20.0.0/24` or `fd20::/64`",
            );
        }
        let other = manifest
            .zones
            .iter()
            .take_while(|(other, _)| *other != name)
            .find(|(_, zone)| zone.subnet.iter().any(|n| n.contains(&net.network()) || net.contains(&n.network())));
        if let Some((other, _)) = other {
            found.add(&path, format!("`{net}` overlaps a subnet of zone `{other}`"));
        }
    }
}

fn flows(manifest: &Manifest, name: &Name, zone: &Zone, found: &mut Found) {
    for (index, flow) in zone.flows.iter().enumerate() {
        let path = format!("zones.{name}.flows.{index}");
        if flow.to.as_str() != CORE && !manifest.zones.contains_key(&flow.to) {
            found.hint(
                format!("{path}.to"),
                format!("there is no zone `{}`", flow.to),
                known("zones are", manifest.zones.keys()),
            );
        }
        if flow.to == *name {
            found.add(format!("{path}.to"), "a zone needs no flow to itself");
        }
        if flow.tcp.is_empty() && flow.udp.is_empty() {
            found.add(&path, "permits nothing: `tcp` and `udp` are empty");
        }
        if flow.tcp.len() + flow.udp.len() > ENTRIES_LIMIT {
            found.add(&path, format!("more than {ENTRIES_LIMIT} ports"));
        }
        for ports in [&flow.tcp, &flow.udp] {
            if ports.iter().collect::<BTreeSet<_>>().len() != ports.len() {
                found.add(&path, "names a port twice");
            }
        }
    }
}

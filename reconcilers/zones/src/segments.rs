//! Who is in which segment, under which addresses: what wishes and rules are both made of.

use std::{collections::BTreeMap, net::Ipv6Addr};

use catenoid_schema::{
    allocate,
    manifest::{Container, ContainerRole, MacAddress, Manifest, Zone},
    name::Name,
};
use ipnet::IpNet;

/// The core container.
pub(crate) fn core(manifest: &Manifest) -> Option<(&Name, &Container)> {
    manifest.containers.iter().find(|(_, container)| container.role == ContainerRole::Core)
}

/// The zones with a subnet that `container` is in, in its order.
pub(crate) fn segments<'a>(
    manifest: &'a Manifest,
    container: &'a Container,
) -> impl Iterator<Item = (&'a Name, &'a Zone)> {
    let zones = container.zones.iter().filter_map(|name| manifest.zones.get_key_value(name));
    zones.filter(|(_, zone)| !zone.subnet.is_empty())
}

/// The addresses of each member of each zone: one look at all members, however many there are.
pub(crate) fn addresses(manifest: &Manifest) -> BTreeMap<&Name, BTreeMap<Name, Vec<IpNet>>> {
    manifest.zones.keys().map(|zone| (zone, allocate::addresses(manifest, zone))).collect()
}

/// The link-local address that belongs to a hardware address (RFC 4291, appendix A).
pub(crate) fn link_local(mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.bytes();
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_address_is_the_modified_eui_64() {
        let mac = MacAddress::from_bytes([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);
        assert_eq!(link_local(mac), "fe80::11:22ff:fe33:4455".parse::<Ipv6Addr>().unwrap());
    }
}

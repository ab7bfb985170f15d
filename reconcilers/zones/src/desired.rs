//! What the manifest asks of namespaces, segments and firewalls, fully computed: names, addresses, rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use catenoid_schema::{
    allocate,
    manifest::{Addressing, Capability, ContainerRole, MacAddress, Manifest, Zone},
    name::Name,
};
use ipnet::{IpNet, Ipv6Net};
use serde::Deserialize;

use crate::{
    BridgePort, Differing, Inner, Namespaces, NetworkNamespace, Rules, name, rules,
    segments::{addresses, core, link_local, segments},
};

/// What the manifest asks of this room. It can be read from a manifest, as the golden plans do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Manifest")]
pub struct Desired {
    /// The namespaces of each container.
    pub namespaces: BTreeMap<Name, Namespaces>,
    /// The zone of each bridge, by the bridge's name.
    pub bridges: BTreeMap<String, Name>,
    /// The port of each member in each zone with a subnet, by the name of its outer end.
    pub joints: BTreeMap<String, Joint>,
    /// Where each physical interface belongs.
    pub uplinks: BTreeMap<MacAddress, Uplink>,
    /// The rules in each place that has some.
    pub firewalls: BTreeMap<NetworkNamespace, Rules>,
    /// The containers that can change their network namespace by themselves.
    pub free: BTreeSet<Name>,
}

/// A container's port in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joint {
    /// Which zone it joins.
    pub zone: Name,
    /// What it is to be.
    pub port: BridgePort,
}

/// A physical interface of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The zone it makes.
    pub zone: Name,
    /// The core container, into which it moves.
    pub container: Name,
    /// What it is called there.
    pub name: String,
    /// Whether it takes router advertisements.
    pub address: Addressing,
}

impl From<Manifest> for Desired {
    fn from(manifest: Manifest) -> Self {
        desired(&manifest)
    }
}

/// What `manifest` asks of this room.
#[must_use]
pub fn desired(manifest: &Manifest) -> Desired {
    let core = core(manifest);
    let ranges = allocate::id_ranges(manifest);
    let namespaces = ranges
        .into_iter()
        .map(|(container, base)| {
            let forwarding = core.is_some_and(|(name, _)| *name == container);
            (container, Namespaces::new(base, forwarding))
        })
        .collect();
    let segments = manifest.zones.iter().filter(|(_, zone)| !zone.subnet.is_empty());
    let bridges = segments.map(|(zone, _)| (name::bridge(zone.as_str()), zone.clone())).collect();
    let mut firewalls = BTreeMap::from([(NetworkNamespace::Root, rules::root(manifest))]);
    if let Some((name, _)) = core {
        firewalls.insert(NetworkNamespace::Container(name.clone()), rules::core(manifest));
    }
    let free = manifest.containers.iter().filter(|(_, container)| {
        container.role == ContainerRole::Core || container.capabilities.contains(&Capability::NetAdmin)
    });
    let free = free.map(|(name, _)| name.clone()).collect();
    Desired { namespaces, bridges, joints: joints(manifest), uplinks: uplinks(manifest), firewalls, free }
}

fn joints(manifest: &Manifest) -> BTreeMap<String, Joint> {
    let mut joints = BTreeMap::new();
    let allocated = addresses(manifest);
    for (container, member) in &manifest.containers {
        for (place, (zone, segment)) in segments(manifest, member).enumerate() {
            // The rules refuse a manifest whose subnet is too small; whoever is left out of it here has no port.
            let Some(addresses) = allocated[zone].get(container).filter(|addresses| !addresses.is_empty()) else {
                continue;
            };
            let mac = allocate::mac(zone, container);
            let way_out = place == 0 && member.role == ContainerRole::Service;
            let inner = Inner {
                container: container.clone(),
                name: name::inner(zone.as_str(), 0),
                mac,
                up: true,
                addresses: with_link_local(addresses, mac),
                gateways: if way_out { gateways(manifest, segment) } else { BTreeSet::new() },
                settings: Differing::new(),
            };
            let port = BridgePort {
                bridge: Some(name::bridge(zone.as_str())),
                up: true,
                ipv6: false,
                inner: Some(inner),
                settings: Differing::new(),
            };
            let outer = name::veth(zone.as_str(), container.as_str());
            joints.insert(outer, Joint { zone: zone.clone(), port });
        }
    }
    joints
}

/// With IPv6, neighbour discovery needs a link-local address too. It is given, not left to the kernel, so that it is
/// there at once and can be compared.
fn with_link_local(addresses: &[IpNet], mac: MacAddress) -> BTreeSet<IpNet> {
    let mut all: BTreeSet<_> = addresses.iter().copied().collect();
    if all.iter().any(|net| net.addr().is_ipv6()) {
        all.insert(Ipv6Net::new_assert(link_local(mac), 64).into());
    }
    all
}

/// The core container's addresses, if it is in the zone: nobody else sends anything on.
fn gateways(manifest: &Manifest, segment: &Zone) -> BTreeSet<IpAddr> {
    let present =
        core(manifest).is_some_and(|(_, core)| segments(manifest, core).any(|(_, zone)| std::ptr::eq(zone, segment)));
    if present { allocate::gateways(segment).into_iter().collect() } else { BTreeSet::new() }
}

// [req->COM-01]
/// The core container holds every physical interface of its zones; nobody else can be in such a zone.
fn uplinks(manifest: &Manifest) -> BTreeMap<MacAddress, Uplink> {
    let Some((container, core)) = core(manifest) else { return BTreeMap::new() };
    let mut uplinks = BTreeMap::new();
    for (zone, segment) in manifest.zones.iter().filter(|(name, _)| core.zones.contains(name)) {
        for (index, interface) in segment.interfaces.iter().enumerate() {
            let uplink = Uplink {
                zone: zone.clone(),
                container: container.clone(),
                name: name::inner(zone.as_str(), index),
                address: segment.address,
            };
            uplinks.insert(interface.mac, uplink);
        }
    }
    uplinks
}

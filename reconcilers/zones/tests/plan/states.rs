//! Manifests, and devices that followed them and were disturbed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use catenoid_core::{Planner, testing::simulate};
use catenoid_schema::{
    manifest::{ContainerRole, MacAddress, Manifest},
    name::Name,
};
use catenoid_zones::{
    ADVERTISED_MOST, Advertised, Desired, Differing, Namespaces, NetworkNamespace, Observed, ObservedInterface, Rules,
    ZonesPlanner, desired,
};
use ipnet::IpNet;
use proptest::{collection, prelude::*, sample};
use serde_json::json;

/// Everything that the manifests of the properties choose from.
const EVERYTHING: &str = r#"
apiVersion: catenoid.dev/v1
kind: Manifest
metadata: { name: zones, sequence: 1, notAfter: 2100-01-01T00:00:00Z }
target: { serials: [TEST] }
guests: { g: { ref: "g@1" } }
zones:
  uplink: { interfaces: [{ mac: "52:54:00:00:00:01" }, { mac: "52:54:00:00:00:02" }], address: dhcp }
  spare: { interfaces: [{ mac: "52:54:00:00:00:03" }], flows: [{ to: plant, tcp: [80] }] }
  plant: { subnet: ["10.20.0.0/24", "fd20::/64"], flows: [{ to: core, tcp: [53] }, { to: uplink, udp: [123] }] }
  lab: { subnet: ["10.30.0.0/24"], flows: [{ to: plant, tcp: [80, 81] }] }
containers:
  core0: { guest: g, role: core, zones: [uplink, spare, plant, lab] }
  web: { guest: g, zones: [plant] }
  db: { guest: g, zones: [plant, lab] }
  idle: { guest: g }
"#;

pub(crate) fn everything() -> Manifest {
    serde_yaml::from_str(EVERYTHING).expect("it is a manifest")
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let names = |all: &[&'static str]| {
        let most = all.len();
        collection::btree_set(sample::select(all.to_vec()), 0..=most)
    };
    let zones = names(&["uplink", "spare", "plant", "lab"]);
    let containers = names(&["core0", "web", "db", "idle"]);
    (zones, containers, any::<bool>(), any::<bool>()).prop_map(|(zones, containers, flows, other_core)| {
        let mut manifest = everything();
        manifest.zones.retain(|name, _| zones.contains(name.as_str()));
        manifest.containers.retain(|name, _| containers.contains(name.as_str()));
        for zone in manifest.zones.values_mut() {
            zone.flows.retain(|flow| flows && (flow.to.as_str() == "core" || zones.contains(flow.to.as_str())));
        }
        for (name, container) in &mut manifest.containers {
            container.zones.retain(|zone| zones.contains(zone.as_str()));
            if other_core && ["core0", "idle"].contains(&name.as_str()) {
                let core = name.as_str() == "idle";
                container.role = if core { ContainerRole::Core } else { ContainerRole::Service };
            }
        }
        manifest
    })
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("it is a name")
}

pub(crate) fn mac(last: u8) -> MacAddress {
    MacAddress::from_bytes([0x52, 0x54, 0, 0, 0, last])
}

/// So many routes of router advertisements.
pub(crate) fn advertised(count: usize) -> BTreeSet<Advertised> {
    let to = |number: usize| format!("2001:db8:{number:x}::/64").parse().expect("a network");
    (0..count).map(|number| Advertised { to: to(number), router: None }).collect()
}

/// A setting that is not as it should be.
pub(crate) fn set(key: &str) -> Differing {
    Differing::from([(key.to_owned(), "7".to_owned())])
}

/// What somebody else may have done to the device.
fn disturb(observed: &mut Observed, kind: u8, which: usize) {
    fn nth<K: Ord + Clone, V>(map: &BTreeMap<K, V>, which: usize) -> Option<K> {
        map.keys().nth(which % map.len().max(1)).cloned()
    }
    let (container, bridge, port) =
        (nth(&observed.namespaces, which), nth(&observed.bridges, which), nth(&observed.ports, which));
    let place = nth(&observed.firewalls, which);
    let namespaces = container.as_ref().and_then(|container| observed.namespaces.get_mut(container));
    let bridged = bridge.as_ref().and_then(|bridge| observed.bridges.get_mut(bridge));
    let joined = port.as_ref().and_then(|port| observed.ports.get_mut(port));
    let inner = |observed: &mut Observed, change: fn(&mut catenoid_zones::Inner)| {
        let port = port.as_ref().and_then(|port| observed.ports.get_mut(port));
        port.and_then(|port| port.inner.as_mut()).into_iter().for_each(change);
    };
    let inside = |observed: &mut Observed, change: &dyn Fn(&mut ObservedInterface)| {
        observed.interfaces.values_mut().filter(|interface| interface.place != NetworkNamespace::Root).for_each(change);
    };
    match kind {
        0 => drop(container.and_then(|container| observed.namespaces.remove(&container))),
        1 => namespaces.into_iter().for_each(|pair| *pair = None),
        2 => namespaces.into_iter().flatten().for_each(|pair| pair.base += 65_536),
        3 => namespaces.into_iter().flatten().for_each(|pair| {
            // None in one case of three: on for one family and off for the other.
            pair.forwarding = if which.is_multiple_of(3) { None } else { pair.forwarding.map(|on| !on) };
        }),
        4 => drop(bridge.and_then(|bridge| observed.bridges.remove(&bridge))),
        5 => bridged.into_iter().for_each(|bridge| bridge.stp = true),
        6 => bridged.into_iter().for_each(|bridge| bridge.up = false),
        7 => drop(port.and_then(|port| observed.ports.remove(&port))),
        8 => joined.into_iter().for_each(|port| port.inner = None),
        9 => joined.into_iter().for_each(|port| port.bridge = None),
        10 => joined.into_iter().for_each(|port| port.ipv6 = true),
        11 => inner(observed, |inner| inner.container = name("idle")),
        12 => inner(observed, |inner| inner.name = "other".to_owned()),
        13 => inner(observed, |inner| inner.addresses.clear()),
        14 => inner(observed, |inner| inner.gateways.extend([IpAddr::from([10, 20, 0, 9])])),
        15 => drop(observed.strays.insert("cz-x".to_owned())),
        16 => drop(place.and_then(|place| observed.firewalls.remove(&place))),
        17 => {
            let rules = Rules::normal([json!({"table": {"family": "ip", "name": "catenoid"}})]);
            observed.firewalls.extend(place.map(|place| (place, rules)));
        }
        18 => drop(observed.interfaces.remove(&mac(1))),
        19 => drop(container.map(|container| {
            let place = NetworkNamespace::Container(container);
            let interface = ObservedInterface {
                place,
                name: "wan".to_owned(),
                up: true,
                physical: which.is_multiple_of(2),
                advertisements: which.is_multiple_of(3),
                settings: Differing::new(),
                networks: BTreeSet::new(),
                advertised: BTreeSet::new(),
            };
            observed.interfaces.insert(mac(1), interface)
        })),
        20 => namespaces.into_iter().flatten().for_each(|pair| pair.settings = set("ipv4/conf/all/arp_ignore")),
        21 => bridged.into_iter().for_each(|bridge| bridge.settings = set("a line of a later version")),
        22 => joined.into_iter().for_each(|port| port.settings = set("a line of a later version")),
        23 => inner(observed, |inner| inner.settings = set("ipv6/conf/*/accept_ra")),
        24 => observed.interfaces.values_mut().for_each(|interface| {
            if interface.place != NetworkNamespace::Root {
                interface.settings = set("ipv6/conf/*/addr_gen_mode");
            }
        }),
        25 => inside(observed, &|interface| {
            let networks = ["10.20.0.0/16", "10.30.0.128/25", "fd20::/64", "192.0.2.0/24"];
            interface
                .networks
                .extend(networks.iter().skip(which % 4).map(|net| net.parse::<IpNet>().expect("a network")));
        }),
        26 => inside(observed, &|interface| interface.advertised = advertised(which % (2 * ADVERTISED_MOST))),
        27 => inside(observed, &|interface| {
            let router = which.is_multiple_of(2).then(|| "fe80::1".parse().expect("an address"));
            interface.advertised.insert(Advertised { to: "fd20::/63".parse().expect("a network"), router });
        }),
        _ => drop(observed.namespaces.insert(name("gone"), Some(Namespaces::new(65_536, true)))),
    }
}

/// A device on which nothing was done yet.
pub(crate) fn fresh() -> Observed {
    let interface = |place: NetworkNamespace, name: &str| ObservedInterface {
        place,
        name: name.to_owned(),
        up: false,
        physical: true,
        advertisements: false,
        settings: Differing::new(),
        networks: BTreeSet::new(),
        advertised: BTreeSet::new(),
    };
    Observed {
        interfaces: BTreeMap::from([
            (mac(1), interface(NetworkNamespace::Root, "eth0")),
            (mac(3), interface(NetworkNamespace::Root, "eth1")),
            (mac(9), interface(NetworkNamespace::Root, "eth2")),
        ]),
        ..Observed::default()
    }
}

pub(crate) fn converged(desired: &Desired, from: &Observed) -> Observed {
    simulate::<ZonesPlanner>(&ZonesPlanner::plan(desired, from), from)
}

/// A manifest, and a device that followed another one or the same, and on which a few things were done by hand.
pub(crate) fn states() -> impl Strategy<Value = (Desired, Observed)> {
    let disturbances = collection::vec((0..29u8, any::<usize>()), 0..4);
    (manifest(), proptest::option::of(manifest()), disturbances).prop_map(|(wanted, before, disturbances)| {
        let wanted = desired(&wanted);
        let before = before.map_or_else(|| wanted.clone(), |before| desired(&before));
        let mut observed = converged(&before, &fresh());
        disturbances.into_iter().for_each(|(kind, which)| disturb(&mut observed, kind, which));
        (wanted, observed)
    })
}

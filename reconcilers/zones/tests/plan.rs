//! The planner: golden folders, the two properties, and what is reported of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use catenoid_core::{Planner, simulate, testing};
use catenoid_schema::{
    manifest::{Capability, ContainerRole, MacAddress, Manifest},
    name::Name,
    status::{Blame, Health, Sync},
};
use catenoid_zones::{
    ADVERTISED_MOST, Advertised, Bridge, Desired, Differing, Inner, Interface, Namespaces, NetworkNamespace, Observed,
    Port, Rules, SETTINGS, Step, ZonesPlanner, desired,
};
use ipnet::IpNet;
use proptest::{collection, prelude::*, sample};
use serde_json::json;

#[test]
fn golden_plans() {
    testing::golden::<ZonesPlanner>(Path::new("tests/plans"), 8);
}

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

fn everything() -> Manifest {
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

fn name(text: &str) -> Name {
    text.parse().expect("it is a name")
}

fn mac(last: u8) -> MacAddress {
    MacAddress::from_bytes([0x52, 0x54, 0, 0, 0, last])
}

/// So many routes of router advertisements.
fn advertised(count: usize) -> BTreeSet<Advertised> {
    let to = |number: usize| format!("2001:db8:{number:x}::/64").parse().expect("a network");
    (0..count).map(|number| Advertised { to: to(number), router: None }).collect()
}

/// A setting that is not as it should be.
fn set(key: &str) -> Differing {
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
    let inside = |observed: &mut Observed, change: &dyn Fn(&mut Interface)| {
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
            let interface = Interface {
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
fn fresh() -> Observed {
    let interface = |place: NetworkNamespace, name: &str| Interface {
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

fn converged(desired: &Desired, from: &Observed) -> Observed {
    simulate::<ZonesPlanner>(&ZonesPlanner::plan(desired, from), from)
}

/// A manifest, and a device that followed another one or the same, and on which a few things were done by hand.
fn states() -> impl Strategy<Value = (Desired, Observed)> {
    let disturbances = collection::vec((0..29u8, any::<usize>()), 0..4);
    (manifest(), proptest::option::of(manifest()), disturbances).prop_map(|(wanted, before, disturbances)| {
        let wanted = desired(&wanted);
        let before = before.map_or_else(|| wanted.clone(), |before| desired(&before));
        let mut observed = converged(&before, &fresh());
        disturbances.into_iter().for_each(|(kind, which)| disturb(&mut observed, kind, which));
        (wanted, observed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_plan_leads_to_what_is_wanted_and_is_empty_only_there((desired, observed) in states()) {
        testing::properties::<ZonesPlanner>(&desired, &observed).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_is_reported_as_synced_is_satisfied((desired, observed) in states()) {
        let status = ZonesPlanner::status(&desired, &observed);
        let open: Vec<_> = status.iter().filter(|subject| subject.sync != Sync::Synced).collect();
        let waits = |reason: &str| ["WaitingForInterface", "OverlapsUplink"].contains(&reason);
        let waits = open.iter().all(|subject| subject.conditions.iter().all(|condition| waits(&condition.reason)));
        // What is waited for is reported as out of sync, but is nothing that a plan could do.
        prop_assert_eq!(waits, ZonesPlanner::satisfied(&desired, &observed), "{:#?}", open);
    }

    /// No step before its guard: rules stand before the first port leads to them, and a port ends before what it led to.
    #[test]
    fn nothing_is_joined_before_its_firewall((desired, observed) in states()) {
        let plan = ZonesPlanner::plan(&desired, &observed);
        let desired = desired.held_back(&simulate::<ZonesPlanner>(&plan, &observed).interfaces).into_owned();
        let mut state = observed;
        for (_, step) in plan.steps() {
            match step {
                Step::MakePort { .. } | Step::SetPort { .. } => {
                    prop_assert_eq!(state.firewalls.get(&NetworkNamespace::Root), desired.firewalls.get(&NetworkNamespace::Root), "{}", step);
                }
                Step::MoveInterface { container, .. } => {
                    let place = NetworkNamespace::Container(container.clone());
                    prop_assert_eq!(state.firewalls.get(&place), desired.firewalls.get(&place), "{}", step);
                }
                Step::RemoveNamespaces { container } => {
                    let leads_there = |port: &catenoid_zones::Port| {
                        port.inner.as_ref().is_some_and(|inner| inner.container == *container)
                    };
                    prop_assert!(!state.ports.values().any(leads_there), "{}", step);
                }
                _ => {}
            }
            catenoid_core::Step::effect_on(step, &mut state);
        }
    }
}

#[test]
fn an_untouched_container_is_touched_by_no_step() {
    let before = converged(&desired(&everything()), &fresh());
    let mut manifest = everything();
    manifest.containers.remove(&name("web"));
    let plan = ZonesPlanner::plan(&desired(&manifest), &before);
    let subjects: BTreeSet<_> = plan.steps().map(|(_, step)| catenoid_core::Step::subject(step)).collect();
    let subjects: Vec<_> = subjects.iter().map(|subject| subject.as_str()).collect();
    assert_eq!(subjects, ["container/web", "firewall/root"]);
}

#[test]
fn an_interface_that_is_not_plugged_in_is_for_the_administrator() {
    let wanted = desired(&everything());
    let observed = converged(&wanted, &fresh());
    let open: Vec<_> =
        ZonesPlanner::status(&wanted, &observed).into_iter().filter(|s| s.sync != Sync::Synced).collect();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].subject.as_str(), open[0].health), ("zone/uplink", Health::Degraded));
    let reported: Vec<_> =
        open[0].conditions.iter().map(|c| (c.reason.as_str(), c.message.as_str(), c.blame)).collect();
    let message = "waiting for an interface with the address 52:54:00:00:00:02";
    assert_eq!(reported, [("WaitingForInterface", message, Some(Blame::Administrator))]);
}

/// The network of an uplink, and what is held back of the zones `plant` (10.20.0.0/24, fd20::/64) and `lab` (10.30.0.0/24).
#[test]
fn what_overlaps_a_network_of_an_uplink_is_held_back_and_reported() {
    let wanted = desired(&everything());
    let whole = converged(&wanted, &fresh());
    let table: [(&str, &[&str]); 9] = [
        ("192.0.2.0/24", &[]),
        ("10.20.1.0/24", &[]),
        ("10.20.0.0/24", &["10.20.0.1/24"]),
        ("10.20.0.128/25", &["10.20.0.1/24"]),
        ("10.20.0.1/32", &["10.20.0.1/24"]),
        ("10.0.0.0/8", &["10.20.0.1/24", "10.30.0.1/24"]),
        ("0.0.0.0/0", &["10.20.0.1/24", "10.30.0.1/24"]),
        ("fd20::/48", &["fd20::1/64"]),
        ("::/0", &["fd20::1/64"]),
    ];
    for (network, held) in table {
        for on_link_only in [false, true] {
            let mut observed = whole.clone();
            let uplink = observed.interfaces.get_mut(&mac(1)).expect("it");
            let network: IpNet = network.parse().expect("a network");
            if on_link_only {
                uplink.advertised.insert(Advertised { to: network, router: None });
            } else {
                uplink.networks.insert(network);
            }
            let plan = ZonesPlanner::plan(&wanted, &observed);
            let then = simulate::<ZonesPlanner>(&plan, &observed);
            let of_core = |observed: &Observed| {
                let inner = observed.ports.values().filter_map(|port| port.inner.clone());
                inner.filter(|inner| inner.container == name("core0")).flat_map(|inner| inner.addresses).collect()
            };
            let (before, after): (BTreeSet<IpNet>, BTreeSet<IpNet>) = (of_core(&observed), of_core(&then));
            let gone: Vec<String> = before.difference(&after).map(ToString::to_string).collect();
            assert_eq!(gone, held, "{network}");
            // Nothing else is touched, and all of it comes back.
            assert!(plan.steps().all(|(_, step)| matches!(step, Step::SetPort { .. } | Step::SetFirewall { .. })));
            assert_eq!(ZonesPlanner::plan(&wanted, &then).steps().count(), 0, "{network}");
            let reported = ZonesPlanner::status(&wanted, &then).into_iter().flat_map(|subject| subject.conditions);
            let reported = reported.filter(|condition| condition.reason == "OverlapsUplink").count();
            assert_eq!(reported, held.len(), "{network}");
            let mut elsewhere = then.clone();
            elsewhere.interfaces.clone_from(&whole.interfaces);
            assert_eq!(converged(&wanted, &elsewhere), whole, "{network}");
        }
    }
}

#[test]
fn an_overlap_is_reported_with_both_networks_and_a_hint() {
    let wanted = desired(&everything());
    let mut observed = converged(&wanted, &fresh());
    let uplink = observed.interfaces.get_mut(&mac(1)).expect("it");
    uplink.networks.insert("10.20.0.0/16".parse().expect("a network"));
    let observed = converged(&wanted, &observed);
    let status = ZonesPlanner::status(&wanted, &observed);
    let plant = status.iter().find(|subject| subject.subject.as_str() == "zone/plant").expect("it is reported");
    let reported: Vec<_> = plant.conditions.iter().map(|c| (c.reason.as_str(), c.message.as_str(), c.blame)).collect();
    let message = "its subnet 10.20.0.0/24 overlaps 10.20.0.0/16, a network of uplink interface 52:54:00:00:00:01: the core \
                   container has no address in it until one of them is another (hint: give the zone another subnet)";
    assert_eq!(reported, [("OverlapsUplink", message, Some(Blame::ManifestAuthor))]);
    assert_eq!((plant.sync, plant.health), (Sync::OutOfSync, Health::Degraded));
    assert!(ZonesPlanner::satisfied(&wanted, &observed), "there is nothing to do about it");
}

#[test]
fn a_changed_rule_is_reported_by_counting_lines() {
    let wanted = desired(&everything());
    let mut observed = converged(&wanted, &fresh());
    let root = observed.firewalls.get_mut(&NetworkNamespace::Root).expect("it is there");
    let mut objects = root.objects();
    let lost = objects.pop().expect("there are rules");
    objects.push(json!({"table": {"family": "ip", "name": "catenoid"}}));
    *root = Rules::normal(objects);
    assert!(lost.get("rule").is_some());
    let status = ZonesPlanner::status(&wanted, &observed);
    let root = status.iter().find(|subject| subject.subject.as_str() == "firewall/root").expect("it is reported");
    let message = "1 lines of rules are missing, 1 lines are not ours";
    assert_eq!((root.health, root.conditions[0].message.as_str()), (Health::Progressing, message));
}

#[test]
fn rules_differ_by_what_each_has_more() {
    let rules = |names: &[&str]| {
        let rule = |name: &&str| json!({"rule": {"family": "ip", "table": "t", "chain": name}});
        Rules::normal(names.iter().map(rule))
    };
    let table = [
        (rules(&[]), rules(&[]), (0, 0)),
        (rules(&["a", "a", "b"]), rules(&["a"]), (2, 0)),
        (rules(&["a"]), rules(&["a", "b", "b", "c"]), (0, 3)),
        (rules(&["a", "b"]), rules(&["b", "c", "d"]), (1, 2)),
    ];
    for (these, others, difference) in table {
        assert_eq!(these.difference(&others), difference, "{these:?} {others:?}");
    }
}

/// A rule may use what stands before it.
#[test]
fn rules_stand_behind_what_they_use() {
    let rule = json!({"rule": {"family": "ip", "table": "t", "chain": "c"}});
    let kinds = ["table", "set", "chain", "map"].map(|kind| json!({kind: {"name": "x"}}));
    let all = Rules::normal(std::iter::once(rule).chain(kinds.into_iter().rev())).objects();
    let order: Vec<_> = all.iter().filter_map(|object| object.as_object()?.keys().next().cloned()).collect();
    assert_eq!(order, ["table", "set", "chain", "map", "rule"]);
}

/// nft lists a set of one as that one: rules that say it otherwise would be drift for ever.
#[test]
fn a_core_container_outside_of_all_zones_is_told_by_one_name() {
    let mut manifest = everything();
    manifest.containers.get_mut(&name("core0")).expect("it").zones.clear();
    let objects = desired(&manifest).firewalls[&NetworkNamespace::Container(name("core0"))].objects();
    let elsewhere = |object: &&serde_json::Value| object["rule"]["expr"][0]["match"]["op"] == "!=";
    let names: Vec<_> =
        objects.iter().filter(elsewhere).map(|object| object["rule"]["expr"][0]["match"]["right"].clone()).collect();
    assert!(names.len() >= 4 && names.iter().all(|name| name == "lo"), "{names:?}");
}

#[test]
fn a_setting_has_one_file_for_each_interface() {
    let paths: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.path("eth7")).collect();
    assert!(paths.contains("ipv4/conf/eth7/accept_redirects"), "{paths:?}");
    assert!(paths.iter().all(|path| !path.contains('*')), "{paths:?}");
}

#[test]
fn only_who_may_change_its_network_is_read_anew_each_time() {
    let mut manifest = everything();
    manifest.containers.get_mut(&name("db")).expect("it").capabilities.insert(Capability::NetAdmin);
    assert_eq!(desired(&manifest).free, ["core0", "db"].map(name).into());
}

#[test]
fn names_say_whose_an_interface_is() {
    assert_eq!(catenoid_zones::name::returned(mac(0xa1)), "enx5254000000a1");
    let (bridge, port) = (catenoid_zones::name::bridge("plant"), catenoid_zones::name::veth("plant", "web"));
    for (interface, is_bridge, is_port) in [(&*bridge, true, false), (&port, false, true), ("eth0", false, false)] {
        assert_eq!(catenoid_zones::name::is_bridge(interface), is_bridge, "{interface}");
        assert_eq!(catenoid_zones::name::is_port(interface), is_port, "{interface}");
    }
}

#[test]
fn a_place_is_the_root_or_a_containers() {
    let read = |text: &str| serde_json::from_value::<NetworkNamespace>(json!(text)).ok();
    assert_eq!(read("root"), Some(NetworkNamespace::Root));
    assert_eq!(read("container/web"), Some(NetworkNamespace::Container(name("web"))));
    assert_eq!([read("web"), read("container/"), read("")], [None, None, None]);
}

/// What an interface of an uplink brings along when it is put right.
#[test]
fn an_interface_keeps_what_the_kernel_keeps_of_it() {
    let wanted = desired(&everything());
    let whole = converged(&wanted, &fresh());
    let networks: BTreeSet<IpNet> =
        ["192.0.2.0/24", "2001:db8::/64"].map(|network| network.parse().expect("a network")).into();
    let first = BTreeSet::from(["192.0.2.0/24".parse::<IpNet>().expect("a network")]);
    /// What is done to it; its networks then, and how many routes of routers.
    type Row<'a> = (&'a str, fn(&mut Interface), &'a BTreeSet<IpNet>, usize);
    let table: [Row<'_>; 4] = [
        ("nothing to do", |_| {}, &networks, 3),
        ("switched off", |interface| interface.up = false, &networks, 3),
        ("called otherwise", |interface| interface.name = "other".to_owned(), &first, 0),
        ("elsewhere", |interface| interface.place = NetworkNamespace::Root, &BTreeSet::new(), 0),
    ];
    for (what, change, networks_then, advertised_then) in table {
        let mut observed = whole.clone();
        let uplink = observed.interfaces.get_mut(&mac(1)).expect("it");
        (uplink.networks, uplink.advertised) = (networks.clone(), advertised(3));
        change(uplink);
        let then = simulate::<ZonesPlanner>(&ZonesPlanner::plan(&wanted, &observed), &observed);
        let uplink = &then.interfaces[&mac(1)];
        assert_eq!((&uplink.networks, uplink.advertised.len()), (networks_then, advertised_then), "{what}");
    }
    // Taken back it brings nothing along either.
    let mut observed = whole;
    observed.interfaces.get_mut(&mac(1)).expect("it").networks = networks;
    let mut manifest = everything();
    manifest.zones.retain(|zone, _| zone.as_str() != "uplink");
    let wanted = desired(&manifest);
    let then = simulate::<ZonesPlanner>(&ZonesPlanner::plan(&wanted, &observed), &observed);
    let uplink = &then.interfaces[&mac(1)];
    assert_eq!((&uplink.place, &*uplink.name), (&NetworkNamespace::Root, "enx525400000001"));
    assert!(uplink.networks.is_empty() && !uplink.up);
}

#[test]
fn an_interface_has_one_right_place() {
    let wanted = desired(&everything());
    let whole = converged(&wanted, &fresh());
    let satisfied = |change: &dyn Fn(&mut Observed)| {
        let mut observed = whole.clone();
        change(&mut observed);
        let satisfied = ZonesPlanner::satisfied(&wanted, &observed);
        assert_eq!(satisfied, ZonesPlanner::plan(&wanted, &observed).steps().count() == 0);
        satisfied
    };
    let uplink = |change: &dyn Fn(&mut Interface)| {
        satisfied(&|observed| change(observed.interfaces.get_mut(&mac(1)).expect("it")))
    };
    assert!(uplink(&|uplink| uplink.advertised = advertised(ADVERTISED_MOST)));
    assert!(!uplink(&|uplink| uplink.advertised = advertised(ADVERTISED_MOST + 1)));
    assert!(!uplink(&|uplink| uplink.up = false));
    assert!(!uplink(&|uplink| uplink.place = NetworkNamespace::Root));
    // One that nobody asks for.
    let other = |place: NetworkNamespace, physical: bool| {
        satisfied(&|observed| {
            let mut other = observed.interfaces[&mac(1)].clone();
            (other.place, other.physical) = (place.clone(), physical);
            observed.interfaces.insert(mac(9), other);
        })
    };
    let elsewhere = || NetworkNamespace::Container(name("core0"));
    assert!(other(NetworkNamespace::Root, true) && other(elsewhere(), false));
    assert!(!other(elsewhere(), true), "hardware is taken back");
}

#[test]
fn a_pair_that_leads_elsewhere_is_made_anew_and_another_is_set() {
    let wanted = desired(&everything());
    let whole = converged(&wanted, &fresh());
    let outer = whole.ports.keys().next().expect("a port");
    let steps = |change: fn(&mut Port)| {
        let mut observed = whole.clone();
        change(observed.ports.get_mut(outer).expect("it"));
        let plan = ZonesPlanner::plan(&wanted, &observed);
        let step = |step: &Step| match step {
            Step::SetPort { .. } => "set",
            Step::RemovePort { .. } => "remove",
            Step::MakePort { .. } => "make",
            _ => "other",
        };
        let mut steps: Vec<_> = plan.steps().map(|(_, one)| step(one)).collect();
        steps.sort_unstable();
        steps
    };
    fn inner(port: &mut Port) -> &mut Inner {
        port.inner.as_mut().expect("it is whole")
    }
    assert_eq!(steps(|port| port.up = false), ["set"]);
    assert_eq!(steps(|port| inner(port).up = false), ["set"]);
    assert_eq!(steps(|port| inner(port).name = "other".to_owned()), ["make", "remove"]);
    assert_eq!(steps(|port| inner(port).mac = mac(7)), ["make", "remove"]);
    assert_eq!(steps(|port| inner(port).container = name("idle")), ["make", "remove"]);
    assert_eq!(steps(|port| port.inner = None), ["make", "remove"]);
}

/// Who is in a network of an uplink may reach the core container, and still nobody behind it.
#[test]
fn rules_about_a_subnet_that_is_held_back_stand_elsewhere() {
    let wanted = desired(&everything());
    let whole = converged(&wanted, &fresh());
    let mut observed = whole.clone();
    let uplink = observed.interfaces.get_mut(&mac(1)).expect("it");
    uplink.networks.insert("10.20.0.0/24".parse().expect("a network"));
    let then = simulate::<ZonesPlanner>(&ZonesPlanner::plan(&wanted, &observed), &observed);
    let core = NetworkNamespace::Container(name("core0"));
    let moved = |object: &serde_json::Value| {
        object["rule"]["chain"] == "from-standing"
            && object["rule"]["expr"][0]["match"]["right"] == json!({"prefix": {"addr": "10.20.0.0", "len": 24}})
    };
    let objects = whole.firewalls[&core].objects();
    assert!(
        objects.iter().any(moved)
            && objects.iter().any(|object| object["rule"]["chain"] == "from-standing" && !moved(object))
    );
    let expected = objects.into_iter().map(|mut object| {
        if moved(&object) {
            object["rule"]["chain"] = "from-held".into();
        }
        object
    });
    assert_eq!(then.firewalls[&core], Rules::normal(expected));
}

#[test]
fn every_difference_of_the_network_reports_what_is_and_what_is_wanted() {
    let wanted = desired(&everything());
    let whole = converged(&wanted, &fresh());
    let (outer, bridge) = ("cv-", "cz-");
    let outer = whole.ports.keys().find(|name| name.starts_with(outer)).expect("a port").clone();
    let bridge = whole.bridges.keys().find(|name| name.starts_with(bridge)).expect("a bridge").clone();
    let changed = |change: &dyn Fn(&mut Observed)| {
        let mut observed = whole.clone();
        change(&mut observed);
        let status = ZonesPlanner::status(&wanted, &observed);
        let reported =
            status.iter().flat_map(|subject| &subject.conditions).filter(|c| c.reason != "WaitingForInterface");
        reported
            .map(|condition| condition.message.clone())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join("; ")
    };
    let port = |change: &dyn Fn(&mut Port)| changed(&|observed| change(observed.ports.get_mut(&outer).expect("it")));
    let inner = |change: &dyn Fn(&mut Inner)| port(&|port| change(port.inner.as_mut().expect("it")));
    let set_bridge =
        |change: &dyn Fn(&mut Bridge)| changed(&|observed| change(observed.bridges.get_mut(&bridge).expect("it")));
    let reported = [
        set_bridge(&|bridge| bridge.up = false),
        set_bridge(&|bridge| (bridge.stp, bridge.ipv6) = (true, true)),
        changed(&|observed| assert!(observed.bridges.remove(&bridge).is_some())),
        port(&|port| port.bridge = None),
        port(&|port| (port.up, port.ipv6) = (false, true)),
        port(&|port| port.inner = None),
        inner(&|inner| inner.up = false),
        inner(&|inner| inner.name = "eth7".to_owned()),
        inner(&|inner| inner.addresses.clear()),
        inner(&|inner| inner.gateways.extend(["192.0.2.1".parse::<std::net::IpAddr>().expect("an address")])),
        changed(&|observed| drop(observed.ports.remove(&outer))),
        changed(&|observed| observed.namespaces.values_mut().for_each(|pair| *pair = None)),
        changed(&|observed| drop(observed.namespaces.pop_first())),
        changed(&|observed| {
            for pair in observed.namespaces.values_mut().flatten() {
                pair.forwarding = None;
            }
        }),
        changed(&|observed| {
            for pair in observed.namespaces.values_mut().flatten() {
                pair.settings = set("ipv4/conf/all/arp_ignore");
            }
        }),
        set_bridge(&|bridge| bridge.settings = set("a line of a later version")),
        port(&|port| (port.up, port.settings) = (false, set("a line of a later version"))),
        inner(&|inner| inner.settings = set("ipv6/conf/*/accept_ra")),
        changed(&|observed| {
            observed.interfaces.get_mut(&mac(1)).expect("it").settings = set("ipv6/conf/*/addr_gen_mode");
        }),
        changed(&|observed| {
            observed.interfaces.get_mut(&mac(1)).expect("it").advertised = advertised(ADVERTISED_MOST + 1);
        }),
        changed(&|observed| observed.interfaces.get_mut(&mac(1)).expect("it").place = NetworkNamespace::Root),
        changed(&|observed| {
            observed.interfaces.get_mut(&mac(1)).expect("it").place = NetworkNamespace::Container(name("web"));
        }),
        changed(&|observed| observed.interfaces.get_mut(&mac(1)).expect("it").name = "eth7".to_owned()),
        changed(&|observed| observed.interfaces.get_mut(&mac(1)).expect("it").up = false),
        changed(&|observed| {
            let uplink = observed.interfaces.get_mut(&mac(1)).expect("it");
            uplink.advertisements = !uplink.advertisements;
        }),
    ];
    assert_eq!(changed(&|_| {}), "");
    let moved = changed(&|observed| observed.namespaces.values_mut().flatten().for_each(|pair| pair.base += 65_536));
    assert!(moved.contains("ids"), "{moved}");
    insta::assert_snapshot!(reported.join("\n"));
}

#[test]
fn what_is_observed_survives_the_way_through_a_status() {
    let mut observed = converged(&desired(&everything()), &fresh());
    assert!(!serde_json::to_string(&observed).expect("it can be written").contains("settings"), "nothing differs");
    assert!(!serde_json::to_string(&observed).expect("it can be written").contains("networks"), "there is none");
    for interface in observed.interfaces.values_mut() {
        interface.settings = set("ipv6/conf/*/addr_gen_mode");
        interface.networks.insert("192.0.2.0/24".parse().expect("a network"));
        interface.advertised = advertised(2);
        let router = Some("fe80::1".parse().expect("an address"));
        interface.advertised.insert(Advertised { to: "::/0".parse().expect("a network"), router });
    }
    let text = serde_json::to_string(&observed).expect("it can be written");
    assert_eq!(serde_json::from_str::<Observed>(&text).expect("it can be read"), observed);
}

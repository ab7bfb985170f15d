//! Physical interfaces, and the networks that others make of them.

use std::collections::BTreeSet;

use catenoid_core::{Planner, testing::simulate};
use catenoid_schema::status::{Blame, Health, Sync};
use catenoid_zones::{
    ADVERTISED_MOST, Advertised, NetworkNamespace, Observed, ObservedInterface, Rules, Step, ZonesPlanner, desired,
};
use ipnet::IpNet;
use serde_json::json;

use crate::states::{advertised, converged, everything, fresh, mac, name};

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

/// What an interface of an uplink brings along when it is put right.
#[test]
fn an_interface_keeps_what_the_kernel_keeps_of_it() {
    let wanted = desired(&everything());
    let whole = converged(&wanted, &fresh());
    let networks: BTreeSet<IpNet> =
        ["192.0.2.0/24", "2001:db8::/64"].map(|network| network.parse().expect("a network")).into();
    let first = BTreeSet::from(["192.0.2.0/24".parse::<IpNet>().expect("a network")]);
    /// What is done to it; its networks then, and how many routes of routers.
    type Row<'a> = (&'a str, fn(&mut ObservedInterface), &'a BTreeSet<IpNet>, usize);
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
    let uplink = |change: &dyn Fn(&mut ObservedInterface)| {
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

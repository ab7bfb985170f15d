//! What is reported, and how it is written.

use std::collections::BTreeSet;

use catenoid_core::Planner;
use catenoid_zones::{
    ADVERTISED_MOST, Advertised, Bridge, BridgePort, Inner, NetworkNamespace, Observed, ZonesPlanner, desired,
};

use crate::states::{advertised, converged, everything, fresh, mac, name, set};

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
    let port =
        |change: &dyn Fn(&mut BridgePort)| changed(&|observed| change(observed.ports.get_mut(&outer).expect("it")));
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

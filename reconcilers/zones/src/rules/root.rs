//! The rules in the root namespace: who a frame is from, whom it may reach, and which connections may be opened.

use std::net::{IpAddr, Ipv6Addr};

use catenoid_schema::{
    allocate,
    manifest::{CORE, MacAddress, Manifest, Zone},
};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    expression::{
        Table, accept, any_of, differs, drop_, equal, family, first_packet, meta, neighbours, none_of, payload, prefix,
        services, state,
    },
    normal::Rules,
};
use crate::{
    name,
    segments::{addresses, core as core_of, link_local, segments},
};

/// Set on a frame by the rules of the IP layer, required by those of the bridge: ASCII `cate`. A mark does not survive
/// the way into another namespace, so no container can set it.
const MARK: u32 = 0x6361_7465;

// [req->TSF-ISOLATION] [req->CR-5.1] [req->NDR-5.2] [req->NDR-5.2-1]
/// The rules in the root namespace. No container can change them, so they hold whatever the core container does.
pub(crate) fn root(manifest: &Manifest) -> Rules {
    let ports = ports(manifest);
    let mut rules = Table::new("bridge");
    identity(&mut rules, &ports);
    reach(&mut rules);
    let mut objects = rules.0;
    objects.extend(connections(manifest, &ports).0);
    Rules::normal(objects)
}

/// One end of a pair as the bridge knows it.
struct Known {
    name: String,
    mac: MacAddress,
    addresses: Vec<IpAddr>,
    /// The subnets of its zone, if it is the core container's: it sends what others sent it.
    routes: Option<Vec<IpNet>>,
}

fn ports(manifest: &Manifest) -> Vec<Known> {
    let mut ports = Vec::new();
    let core = core_of(manifest).map(|(name, _)| name);
    let allocated = addresses(manifest);
    for (container, member) in &manifest.containers {
        for (zone, segment) in segments(manifest, member) {
            let mac = allocate::mac(zone, container);
            let allocated = allocated[zone].get(container);
            let mut addresses: Vec<_> = allocated.into_iter().flatten().map(IpNet::addr).collect();
            if addresses.iter().any(IpAddr::is_ipv6) {
                addresses.push(link_local(mac).into());
            }
            let name = name::veth(zone.as_str(), container.as_str());
            let routes = (core == Some(container)).then(|| segment.subnet.clone());
            ports.push(Known { name, mac, addresses, routes });
        }
    }
    ports
}

/// Who a frame is from: nothing enters a bridge, and no bridge learns anything, under another's name.
fn identity(table: &mut Table, ports: &[Known]) {
    let senders = |v4: bool| {
        let all = ports.iter().flat_map(|port| port.addresses.iter().map(move |address| (port, address)));
        all.filter(move |(_, address)| address.is_ipv4() == v4)
            .map(|(port, address)| json!({"concat": [port.name, port.mac, address]}))
            .collect::<Vec<_>>()
    };
    table.set("senders4", &["ifname", "ether_addr", "ipv4_addr"], senders(true));
    table.set("senders6", &["ifname", "ether_addr", "ipv6_addr"], senders(false));
    // Before the bridge learns where an address is (NF_BR_PRI_NAT_DST_BRIDGED).
    table.base_chain("ingress", "filter", "prerouting", -300, "drop");
    table.chain("adverts");

    let from = |what: Value, address: Value| json!({"concat": [meta("iifname"), what, address]});
    let ether = || payload("ether", "saddr");
    table.rule(
        "ingress",
        [
            any_of(payload("arp", "operation"), ["reply", "request"]),
            equal(from(ether(), payload("arp", "saddr ip")), "@senders4"),
            equal(from(payload("arp", "saddr ether"), payload("arp", "saddr ip")), "@senders4"),
            accept(),
        ],
    );
    table.rule("ingress", [equal(from(ether(), payload("ip", "saddr")), "@senders4"), accept()]);
    whole_discovery(table);
    table.rule(
        "ingress",
        [equal(payload("icmpv6", "type"), "nd-neighbor-advert"), json!({"jump": {"target": "adverts"}})],
    );
    let misguides = any_of(payload("icmpv6", "type"), ["nd-redirect", "nd-router-advert"]);
    table.rule("ingress", [misguides, drop_()]);
    table.rule("ingress", [equal(from(ether(), payload("ip6", "saddr")), "@senders6"), accept()]);

    for port in ports {
        let here = || [equal(meta("iifname"), port.name.as_str()), equal(ether(), port.mac)];
        for net in port.routes.iter().flatten() {
            let source = |net: &IpNet| differs(payload(family(net.addr()), "saddr"), prefix(net));
            let link_local = net.addr().is_ipv6().then(|| source(&IpNet::V6(LINK_LOCAL)));
            table.rule("ingress", here().into_iter().chain([source(net)]).chain(link_local).chain([accept()]));
        }
        // What an advertisement says is where its target is (RFC 4861, 4.4): 8 bytes behind the start of ICMPv6.
        let targets = port.addresses.iter().filter_map(|address| match address {
            IpAddr::V6(address) => Some(format!("{:#x}", address.to_bits())),
            IpAddr::V4(_) => None,
        });
        let targets: Vec<_> = targets.collect();
        if !targets.is_empty() {
            let target = json!({"payload": {"base": "th", "offset": 64, "len": 128}});
            let target = any_of(target, targets);
            table.rule("adverts", [equal(meta("iifname"), port.name.as_str()), target, json!({"return": null})]);
        }
    }
    table.rule("adverts", [drop_()]);
    let receivers = ports.iter().map(|port| json!({"concat": [port.name, port.mac]})).collect();
    table.set("receivers", &["ifname", "ether_addr"], receivers);
}

/// What is read above IP in `ingress` stands ahead of defragmentation: the part of a packet that has its header may come in
/// another frame. So neighbour discovery has to come whole, and with nothing before it (RFC 6980, 5); and a fragment has to
/// begin with what its packet is about, not with a header behind which that comes later (RFC 7112, 5).
fn whole_discovery(table: &mut Table) {
    // TCP, UDP, ESP, ICMPv6, SCTP; authentication. The device has no names for protocols of IP (protocols(5)).
    const WHOLE: [u8; 5] = [6, 17, 50, ICMP6, 132];
    const ICMP6: u8 = 58;
    const AUTHENTICATION: u8 = 51;
    let fragment = json!({"exthdr": {"name": "frag", "field": "nexthdr"}});
    table.rule("ingress", [none_of(fragment, WHOLE), drop_()]);
    let discovery =
        ["nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert", "nd-redirect"];
    let behind = differs(payload("ip6", "nexthdr"), ICMP6);
    table.rule("ingress", [any_of(payload("icmpv6", "type"), discovery), behind, drop_()]);
    // Where a packet is authenticated these rules see no further (`IP6_FH_F_AUTH`).
    table.rule("ingress", [equal(payload("ether", "type"), "ip6"), equal(meta("l4proto"), AUTHENTICATION), drop_()]);
}

/// `fe80::/10`.
const LINK_LOCAL: ipnet::Ipv6Net = ipnet::Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// Whom a frame may reach: the port that its address belongs to, even when the bridge does not know it and floods. All
/// that goes to everybody is the questions of ARP and of neighbour discovery. Nothing reaches the root namespace.
fn reach(table: &mut Table) {
    // Behind `br_netfilter`, by which the rules of the IP layer come to see the frame (NF_BR_PRI_BRNF is 0).
    table.base_chain("forward", "filter", "forward", 200, "drop");
    table.base_chain("input", "filter", "input", 0, "drop");
    table.base_chain("output", "filter", "output", 0, "drop");
    let to_its_port = || equal(json!({"concat": [meta("oifname"), payload("ether", "daddr")]}), "@receivers");
    let arp = || equal(payload("ether", "type"), "arp");
    let permitted = || equal(meta("mark"), MARK);
    let solicited = json!({"&": [payload("ether", "daddr"), "ff:ff:ff:00:00:00"]});
    table.rule("forward", [arp(), to_its_port(), accept()]);
    table.rule("forward", [arp(), equal(payload("ether", "daddr"), "ff:ff:ff:ff:ff:ff"), accept()]);
    table.rule("forward", [permitted(), to_its_port(), accept()]);
    table.rule(
        "forward",
        [
            permitted(),
            equal(solicited, "33:33:ff:00:00:00"),
            equal(payload("icmpv6", "type"), "nd-neighbor-solicit"),
            accept(),
        ],
    );
}

/// Which connections may be opened through a bridge. `identity` has made sure of the source.
fn connections(manifest: &Manifest, ports: &[Known]) -> Table {
    let mut table = Table::new("inet");
    table.base_chain("forward", "filter", "forward", 0, "drop");
    table.base_chain("input", "filter", "input", 0, "drop");
    table.rule("input", [equal(meta("iifname"), "lo"), accept()]);
    table.rule("forward", [json!({"mangle": {"key": meta("mark"), "value": MARK}})]);
    table.rule("forward", [state("established"), accept()]);
    table.rule("forward", [state("invalid"), drop_()]);
    table.rule("forward", [neighbours(), accept()]);
    let subnets: Vec<_> = manifest.zones.values().flat_map(|zone| &zone.subnet).collect();
    table.chain("subnets");
    for net in &subnets {
        table.rule("subnets", [equal(payload(family(net.addr()), "daddr"), prefix(net)), drop_()]);
    }
    let mut chains = Vec::new();
    for (zone, segment) in manifest.zones.iter().filter(|(_, zone)| !zone.subnet.is_empty()) {
        let chain = format!("zone-{zone}");
        table.chain(&chain);
        chains.push(json!([name::bridge(zone.as_str()), {"jump": {"target": chain}}]));
        let core = core_of(manifest).map(|(core, _)| name::veth(zone.as_str(), core.as_str()));
        let core = ports.iter().find(|port| Some(&port.name) == core.as_ref()).map(|port| port.mac);
        within(&mut table, &chain, segment, core);
        if core.is_some() {
            beyond(&mut table, &chain, segment, manifest);
        }
    }
    if !chains.is_empty() {
        table.rule("forward", [json!({"vmap": {"key": meta("iifname"), "data": {"set": chains}}})]);
    }
    table
}

/// Errors (ICMP) pass if the packet that they are about was sent from this zone or to it: the kernel does not ask who sends
/// one. The core container reaches every member; members reach each other.
fn within(table: &mut Table, chain: &str, segment: &Zone, core: Option<MacAddress>) {
    for net in &segment.subnet {
        for end in ["saddr", "daddr"] {
            table.rule(chain, [state("related"), equal(first_packet(net.addr(), end), prefix(net)), accept()]);
        }
    }
    if let Some(mac) = core {
        table.rule(chain, [equal(payload("ether", "saddr"), mac), accept()]);
    }
    for net in &segment.subnet {
        let end = |end| equal(payload(family(net.addr()), end), prefix(net));
        // Not by way of the core container: that would be a way to reach it.
        let direct = core.map(|mac| differs(payload("ether", "daddr"), mac));
        table.rule(chain, direct.into_iter().chain([end("saddr"), end("daddr"), accept()]));
    }
}

/// Members reach the core container, and through it other zones, where a flow says so.
fn beyond(table: &mut Table, chain: &str, segment: &Zone, manifest: &Manifest) {
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for flow in &segment.flows {
        let destinations: Vec<_> = if flow.to.as_str() == CORE {
            allocate::gateways(segment).into_iter().map(|ip| equal(payload(family(ip), "daddr"), ip)).collect()
        } else {
            let subnets = manifest.zones.get(&flow.to).map_or(&[][..], |zone| &zone.subnet);
            subnets.iter().map(|net| equal(payload(family(net.addr()), "daddr"), prefix(net))).collect()
        };
        let uplink = manifest.zones.get(&flow.to).is_some_and(|zone| !zone.interfaces.is_empty());
        for service in services(flow) {
            near.extend(destinations.iter().map(|to| [to.clone(), service.clone(), accept()]));
            far.extend(uplink.then(|| [service, accept()]));
        }
    }
    for rule in near {
        table.rule(chain, rule);
    }
    if !far.is_empty() {
        // Behind an uplink is everything but what is in a zone.
        table.rule(chain, [json!({"jump": {"target": "subnets"}})]);
    }
    for rule in far {
        table.rule(chain, rule);
    }
}

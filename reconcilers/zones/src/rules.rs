//! The firewall's rules, in the JSON form of nft (libnftables-json(5)), as nft itself lists them.
//!
//! Desired and observed rules go through the same normal form ([`Rules::normal`]), so that they compare by `==` and any
//! change by hand is drift. Every expression here is written as nft 1.0.6 lists it back; the test
//! `netns_rules_are_listed_as_they_were_set` holds it to that.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use catenoid_schema::{
    allocate,
    manifest::{Addressing, CORE, Flow, MacAddress, Manifest, Zone},
    name::Name,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    desired::{addresses, core as core_of, link_local, segments},
    name,
};

/// Set on a frame by the rules of the IP layer, required by those of the bridge: ASCII `cate`. A mark does not survive
/// the way into another namespace, so no container can set it.
const MARK: u32 = 0x6361_7465;

/// The rules in one place, in normal form: one JSON object a line; first tables, then sets, then chains, then rules, each
/// in the order of their text, but rules of one chain in their own order. No line means that there is no table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rules(Vec<String>);

impl Rules {
    /// From what nft lists or what is to be added: handles are left out, sets are sorted, and so is everything whose order
    /// says nothing.
    #[must_use]
    pub fn normal(objects: impl IntoIterator<Item = Value>) -> Self {
        let mut lines: Vec<_> = objects
            .into_iter()
            .map(|object| {
                let object = normal(object);
                let line = object.to_string();
                (order(&object, &line), line)
            })
            .collect();
        lines.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self(lines.into_iter().map(|(_, line)| line).collect())
    }

    /// The objects, in an order in which they can be added.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        // Lines come from `normal`, or from a status that somebody wrote; what is no JSON is refused as such by nft.
        self.0.iter().map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect()
    }

    /// Whether there is no table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long the lines are together.
    #[cfg(feature = "kernel")]
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(String::len).sum()
    }

    /// The core container's rules, while it has no address in the subnets `held`, which are a network of its uplink too: who
    /// is there may reach it, and still nobody behind it.
    #[must_use]
    pub(crate) fn held_back(&self, held: &BTreeSet<IpNet>) -> Self {
        let held: Vec<_> = held.iter().map(prefix).collect();
        Self::normal(self.objects().into_iter().map(|mut object| {
            let about = |rule: &Value| held.contains(&rule["expr"][0]["match"]["right"]);
            if let Some(rule) = object.get_mut("rule").filter(|rule| rule["chain"] == STANDING && about(rule)) {
                rule["chain"] = HELD.into();
            }
            object
        }))
    }

    /// How many lines are rules.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().filter(|line| line.starts_with(r#"{"rule":"#)).count()
    }

    /// How many lines `other` lacks of these, and these of `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> (usize, usize) {
        let mut lines: BTreeMap<&str, isize> = BTreeMap::new();
        self.0.iter().for_each(|line| *lines.entry(line).or_default() += 1);
        other.0.iter().for_each(|line| *lines.entry(line).or_default() -= 1);
        let sum = |of: fn(isize) -> isize| lines.values().map(|count| of(*count).max(0).unsigned_abs()).sum();
        (sum(|more| more), sum(|more| -more))
    }
}

/// What a line is sorted by: kind, then the chain of a rule or the text of anything else.
fn order(object: &Value, line: &str) -> (usize, String) {
    const KINDS: [&str; 4] = ["table", "set", "chain", "rule"];
    let kind = KINDS.iter().position(|kind| object.get(kind).is_some());
    let text = match object.get("rule") {
        Some(rule) => ["family", "table", "chain"].map(|key| rule[key].as_str().unwrap_or_default()).join(" "),
        None => line.to_owned(),
    };
    // What is none of ours (a map, a counter) stands before the rules, which may use it.
    (kind.map_or(5, |kind| kind * 2), text)
}

/// Without handles, with sorted keys and sorted sets.
fn normal(value: Value) -> Value {
    match value {
        Value::Array(values) => Value::Array(values.into_iter().map(normal).collect()),
        Value::Object(fields) => {
            // Sorted by hand: whether a map of `serde_json` sorts depends on what else is in the build.
            let mut sorted: BTreeMap<String, Value> = fields
                .into_iter()
                .filter(|(key, _)| key != "handle")
                .map(|(key, value)| (key, normal(value)))
                .collect();
            for key in ["set", "elem"] {
                if let Some(Value::Array(elements)) = sorted.get_mut(key) {
                    elements.sort_by_cached_key(ToString::to_string);
                }
            }
            Value::Object(sorted.into_iter().collect())
        }
        plain => plain,
    }
}

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

// [req->CR-5.1] [req->NDR-1.13]
/// The rules in the core container's namespace: what it lets in and what it forwards.
pub(crate) fn core(manifest: &Manifest) -> Rules {
    let mut table = Table::new("inet");
    table.base_chain("input", "filter", "input", 0, "drop");
    table.base_chain("forward", "filter", "forward", 0, "drop");
    table.base_chain("postrouting", "nat", "postrouting", 100, "accept");
    table.rule("input", [equal(meta("iifname"), "lo"), accept()]);
    let inside: Vec<_> = core_of(manifest).into_iter().flat_map(|(_, core)| &core.zones).collect();
    reverse_path(&mut table, manifest, &inside);
    for chain in ["input", "forward"] {
        table.rule(chain, [answers(), accept()]);
    }
    table.rule("input", [neighbours(), accept()]);
    for (zone, segment) in manifest.zones.iter().filter(|(name, _)| inside.contains(name)) {
        let from = interfaces(zone, segment);
        if segment.address == Addressing::Dhcp {
            // DHCPv4 (RFC 2131, 4.1) and DHCPv6 (RFC 8415, 7.2): answers come to a port that nobody connected from.
            for (server, client) in [(67, 68), (547, 546)] {
                let from_server = equal(payload("udp", "sport"), server);
                table.rule(
                    "input",
                    [
                        any_of(meta("iifname"), from.clone()),
                        from_server,
                        equal(payload("udp", "dport"), client),
                        accept(),
                    ],
                );
            }
            let heard = |what| [any_of(meta("iifname"), from.clone()), equal(payload("icmpv6", "type"), what)];
            table.rule("input", heard("mld-listener-query").into_iter().chain([accept()]));
            let seldom =
                json!({"limit": {"rate": ADVERTISEMENTS_RATE, "per": "second", "burst": ADVERTISEMENTS_BURST}});
            table.rule("input", heard("nd-router-advert").into_iter().chain([seldom, accept()]));
        }
        for flow in &segment.flows {
            let Some(to) = manifest.zones.get_key_value(&flow.to).filter(|(name, _)| inside.contains(name)) else {
                if flow.to.as_str() == CORE {
                    for service in services(flow) {
                        table.rule("input", [any_of(meta("iifname"), from.clone()), service, accept()]);
                    }
                }
                continue;
            };
            let onto = interfaces(to.0, to.1);
            for service in services(flow) {
                table.rule(
                    "forward",
                    [any_of(meta("iifname"), from.clone()), any_of(meta("oifname"), onto.clone()), service, accept()],
                );
            }
            if !to.1.interfaces.is_empty() {
                for net in &segment.subnet {
                    let source = equal(payload(family(net.addr()), "saddr"), prefix(net));
                    let masquerade = json!({"masquerade": null});
                    table.rule("postrouting", [source, any_of(meta("oifname"), onto.clone()), masquerade]);
                }
            }
        }
    }
    Rules::normal(table.0)
}

/// Router advertisements that the core container takes from one zone, in a second on average and at once. A router sends one
/// in three seconds at most (RFC 4861, 6.2.1), and each can bring 44 routes, which the kernel keeps and nobody counts.
const ADVERTISEMENTS_RATE: u32 = 1;
const ADVERTISEMENTS_BURST: u32 = 8;

/// The chain that drops what says to be from a zone's subnet.
const STANDING: &str = "from-standing";
/// The same of subnets in which the core container has no address, because they are a network of its uplink too.
const HELD: &str = "from-held";

/// What belongs to a zone's subnet comes from its interface and leaves by it, whatever the routes say: a lease or an
/// advertisement may have made others.
fn reverse_path(table: &mut Table, manifest: &Manifest, inside: &[&Name]) {
    let subnets: Vec<_> = manifest.zones.values().flat_map(|zone| &zone.subnet).collect();
    if subnets.is_empty() {
        return;
    }
    table.base_chain("output", "filter", "output", 0, "accept");
    let own = manifest.zones.iter().filter(|(name, zone)| inside.contains(name) && !zone.subnet.is_empty());
    let own: Vec<_> = own.flat_map(|(name, zone)| interfaces(name, zone)).chain(["lo".to_owned()]).collect();
    let jump = |chain: &str| json!({"jump": {"target": chain}});
    let elsewhere = |end: &str| none_of(meta(end), own.clone());
    table.rule("input", [elsewhere("iifname"), jump(STANDING)]);
    for chain in [STANDING, HELD] {
        table.rule("forward", [elsewhere("iifname"), jump(chain)]);
    }
    table.rule("forward", [elsewhere("oifname"), jump("to-zones")]);
    // Nobody elsewhere is on the way between two ends of the zones.
    for chain in ["input", "forward"] {
        table.rule(chain, [elsewhere("iifname"), state("related"), jump("errors")]);
    }
    if manifest.zones.values().any(|zone| zone.address == Addressing::Dhcp) {
        // A lease is prolonged by the server that gave it, wherever that is (RFC 2131, 4.4.5).
        let port = |end: &str, port: u16| equal(payload("udp", end), port);
        table.rule("output", [port("sport", 68), port("dport", 67), accept()]);
    }
    // Answers go to who asked.
    let asks = equal(json!({"ct": {"key": "direction"}}), "original");
    table.rule("output", [asks, elsewhere("oifname"), jump("to-zones")]);
    for chain in [STANDING, HELD, "to-zones", "errors", "between-zones"] {
        table.chain(chain);
    }
    for net in subnets {
        let end = |end: &str| equal(payload(family(net.addr()), end), prefix(net));
        table.rule(STANDING, [end("saddr"), drop_()]);
        table.rule("to-zones", [end("daddr"), drop_()]);
        let first = |end: &str| equal(first_packet(net.addr(), end), prefix(net));
        table.rule("errors", [first("saddr"), jump("between-zones")]);
        table.rule("between-zones", [first("daddr"), drop_()]);
    }
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
        // Not by way of the core container: that would be a way to tell it something.
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

/// The interfaces inside of the core container that make a zone.
fn interfaces(zone: &Name, segment: &Zone) -> Vec<String> {
    let count = if segment.subnet.is_empty() { segment.interfaces.len() } else { 1 };
    (0..count).map(|index| name::inner(zone.as_str(), index)).collect()
}

/// The objects of one table.
struct Table(Vec<Value>, &'static str);

impl Table {
    fn new(family: &'static str) -> Self {
        Self(vec![json!({"table": {"family": family, "name": name::TABLE}})], family)
    }

    fn set(&mut self, name: &str, kinds: &[&str], elements: Vec<Value>) {
        let mut set = json!({"family": self.1, "table": name::TABLE, "name": name, "type": kinds});
        if !elements.is_empty() {
            set["elem"] = Value::Array(elements);
        }
        self.0.push(json!({"set": set}));
    }

    fn chain(&mut self, name: &str) {
        self.0.push(json!({"chain": {"family": self.1, "table": name::TABLE, "name": name}}));
    }

    fn base_chain(&mut self, name: &str, kind: &str, hook: &str, priority: i32, policy: &str) {
        self.0.push(json!({"chain": {
            "family": self.1, "table": name::TABLE, "name": name,
            "type": kind, "hook": hook, "prio": priority, "policy": policy,
        }}));
    }

    fn rule(&mut self, chain: &str, expressions: impl IntoIterator<Item = Value>) {
        let expressions: Vec<_> = expressions.into_iter().collect();
        self.0.push(json!({
            "rule": {"family": self.1, "table": name::TABLE, "chain": chain, "expr": expressions}
        }));
    }
}

/// A flow's ports, as one expression for each protocol.
fn services(flow: &Flow) -> Vec<Value> {
    let ports = [("tcp", &flow.tcp), ("udp", &flow.udp)].into_iter().filter(|(_, ports)| !ports.is_empty());
    ports.map(|(protocol, ports)| any_of(payload(protocol, "dport"), ports.iter().map(|p| p.get()))).collect()
}

fn neighbours() -> Value {
    any_of(payload("icmpv6", "type"), ["nd-neighbor-advert", "nd-neighbor-solicit"])
}

fn answers() -> Value {
    state(json!(["established", "related"]))
}

fn state(states: impl Into<Value>) -> Value {
    json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": states.into()}})
}

fn equal(left: Value, right: impl Serialize) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn differs(left: Value, right: impl Serialize) -> Value {
    json!({"match": {"op": "!=", "left": left, "right": right}})
}

/// A set of one is listed as that one.
fn any_of(left: Value, values: impl IntoIterator<Item = impl Serialize>) -> Value {
    let mut values: Vec<_> = values.into_iter().map(|value| json!(value)).collect();
    match values.len() {
        1 => equal(left, values.remove(0)),
        _ => equal(left, json!({"set": values})),
    }
}

/// The same for what is in no set.
fn none_of(left: Value, values: impl IntoIterator<Item = impl Serialize>) -> Value {
    let mut values: Vec<_> = values.into_iter().map(|value| json!(value)).collect();
    match values.len() {
        1 => differs(left, values.remove(0)),
        _ => differs(left, json!({"set": values})),
    }
}

/// An end of the first packet of a connection, in the family of `address`.
fn first_packet(address: IpAddr, end: &str) -> Value {
    json!({"ct": {"key": format!("{} {end}", family(address)), "dir": "original"}})
}

fn meta(key: &str) -> Value {
    json!({"meta": {"key": key}})
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

fn prefix(net: &IpNet) -> Value {
    json!({"prefix": {"addr": net.network(), "len": net.prefix_len()}})
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

fn accept() -> Value {
    json!({"accept": null})
}

fn drop_() -> Value {
    json!({"drop": null})
}

//! The rules in the core container's namespace: what it lets in, what it forwards, and what is on no way but its zone's.

use catenoid_schema::{
    manifest::{Addressing, CORE, Manifest, Zone},
    name::Name,
};
use serde_json::json;

use super::{
    expression::{
        Table, accept, answers, any_of, drop_, equal, family, first_packet, meta, neighbours, none_of, payload, prefix,
        services, state,
    },
    normal::{HELD, Rules, STANDING},
};
use crate::{name, segments::core as core_of};

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

/// The interfaces inside of the core container that make a zone.
fn interfaces(zone: &Name, segment: &Zone) -> Vec<String> {
    let count = if segment.subnet.is_empty() { segment.interfaces.len() } else { 1 };
    (0..count).map(|index| name::inner(zone.as_str(), index)).collect()
}

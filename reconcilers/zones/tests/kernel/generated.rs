//! Manifests that nobody wrote, with `ip` and `nft` as the oracle.

use std::collections::{BTreeMap, BTreeSet};

use catenoid_schema::{
    allocate,
    manifest::{Container, Manifest, Port, check},
};
use catenoid_zones::{desired, name};
use proptest::{collection, prelude::*, sample, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::device::{Kernel, ip_json, manifest, on_a_thread, run_nft};

/// A manifest of some zones with subnets, in any of the address families, with any flows and members.
fn any_manifest() -> impl Strategy<Value = Manifest> {
    const ZONES: [&str; 4] = ["plant", "lab", "a-zone-of-24-characters", "z"];
    const SUBNETS: [&[&str]; 3] = [&["10.{}.0.0/24"], &["fd{}::/96"], &["10.{}.0.0/22", "fd{}::/64"]];
    let flow = || (0..=ZONES.len(), collection::btree_set(1u16.., 1..3), collection::btree_set(1u16.., 0..3));
    let zone = (0..SUBNETS.len(), collection::vec(flow(), 0..3));
    let members = || collection::vec(sample::subsequence(ZONES.to_vec(), 0..=ZONES.len()), 1..4);
    (collection::vec(zone, 1..=ZONES.len()), sample::subsequence(ZONES.to_vec(), 0..=ZONES.len()), members())
        .prop_map(|(zones, core, services)| {
            let mut manifest = manifest();
            let name = |text: &str| text.parse().unwrap();
            let there = &ZONES[..zones.len()];
            manifest.zones.clear();
            for (index, (zone, (family, flows))) in there.iter().zip(&zones).enumerate() {
                let subnet: Vec<_> =
                    SUBNETS[*family].iter().map(|text| text.replace("{}", &(40 + index).to_string())).collect();
                let mut flows: Vec<Value> = flows
                    .iter()
                    .map(|(to, tcp, udp)| json!({"to": there.get(*to).unwrap_or(&"core"), "tcp": tcp, "udp": udp}))
                    .filter(|flow| flow["to"] != *zone)
                    .collect();
                flows.dedup_by_key(|flow| flow["to"].clone());
                let made = json!({"subnet": subnet, "flows": flows});
                manifest.zones.insert(name(zone), serde_json::from_value(made).unwrap());
            }
            let member =
                |zones: &[&str]| zones.iter().filter(|zone| there.contains(zone)).map(|zone| name(zone)).collect();
            let service = manifest.containers[&name("web")].clone();
            manifest.containers.retain(|name, _| name.as_str() == "core0");
            manifest.containers.values_mut().for_each(|container| container.zones = member(&core));
            for (index, zones) in services.iter().enumerate() {
                let container = Container { zones: member(zones), ..service.clone() };
                manifest.containers.insert(name(&format!("service{index}")), container);
            }
            manifest
        })
        .prop_filter("it breaks a rule", |manifest| check::check(manifest, check::Stage::Authored).is_empty())
}

/// One manifest after the other, each made of what the one before left; `ip` and `nft` say what there is.
#[test]
fn netns_any_manifest_is_what_ip_and_nft_show() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let mut runner = TestRunner::deterministic();
        for _ in 0..8 {
            let manifest = any_manifest().new_tree(&mut runner).unwrap().current();
            kernel.converge(&desired(&manifest)).await;
            assert_eq!(kernel.converge(&desired(&manifest)).await, []);

            let mut masters = BTreeMap::new();
            for (container, wanted) in &manifest.containers {
                let mut addresses = BTreeSet::new();
                for zone in &wanted.zones {
                    let inner = name::inner(zone.as_str(), 0);
                    let found = &allocate::addresses(&manifest, zone)[container];
                    addresses.extend(found.iter().map(|net| (inner.clone(), net.to_string())));
                    masters.insert(name::veth(zone.as_str(), container.as_str()), name::bridge(zone.as_str()));
                }
                let shown = ip_json(&kernel.net(container.as_str()), "addr show scope global");
                let shown = shown.iter().flat_map(|link| {
                    let of_link = |address: &Value| {
                        let local = address["local"].as_str()?;
                        Some((link["ifname"].as_str()?.to_owned(), format!("{local}/{}", address["prefixlen"])))
                    };
                    link["addr_info"].as_array().into_iter().flatten().filter_map(of_link)
                });
                assert_eq!(shown.collect::<BTreeSet<_>>(), addresses, "{container} of {manifest:?}");
            }
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let links = ip_json(&kernel.root, "link show");
            let joined = links.iter().filter(|link| link["master"].is_string());
            let shown: BTreeMap<_, _> = joined.map(|link| (text(&link["ifname"]), text(&link["master"]))).collect();
            assert_eq!(shown, masters, "{manifest:?}");
            let bridges: BTreeSet<_> = manifest.zones.keys().map(|zone| name::bridge(zone.as_str())).collect();
            let shown = ip_json(&kernel.root, "link show type bridge");
            assert_eq!(shown.iter().map(|link| text(&link["ifname"])).collect::<BTreeSet<_>>(), bridges);

            let listed = [&kernel.root, &kernel.net("core0")].map(|net| ports(&run_nft(net, "-j list ruleset")));
            assert_eq!(listed.into_iter().flatten().collect::<BTreeSet<_>>(), permitted(&manifest), "{manifest:?}");
        }
    });
}

/// The ports of all flows from zones that the core container is in: there is no other way out of a zone.
fn permitted(manifest: &Manifest) -> BTreeSet<(String, u64)> {
    let core = &manifest.containers[&"core0".parse().unwrap()].zones;
    let zones = manifest.zones.iter().filter(|(name, _)| core.contains(name));
    let named =
        |kind: &str, ports: &[Port]| ports.iter().map(|p| (kind.to_owned(), p.get().into())).collect::<Vec<_>>();
    zones
        .flat_map(|(_, zone)| &zone.flows)
        .flat_map(|flow| [named("tcp", &flow.tcp), named("udp", &flow.udp)].concat())
        .collect()
}

/// Protocol and port of each destination that a rule names.
fn ports(ruleset: &str) -> BTreeSet<(String, u64)> {
    fn collect(value: &Value, found: &mut BTreeSet<(String, u64)>) {
        if let Some(matched) = value.get("match")
            && matched["left"]["payload"]["field"] == "dport"
        {
            let protocol = matched["left"]["payload"]["protocol"].as_str().unwrap();
            let right = &matched["right"];
            let set = right["set"].as_array().cloned().unwrap_or_else(|| vec![right.clone()]);
            for port in set {
                let range = port["range"].as_array().cloned().unwrap_or_else(|| vec![port.clone(), port.clone()]);
                let [first, last] = [&range[0], &range[1]].map(|port| port.as_u64().unwrap());
                found.extend((first..=last).map(|port| (protocol.to_owned(), port)));
            }
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(fields) => fields.values().for_each(|field| collect(field, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    collect(&serde_json::from_str(ruleset).unwrap(), &mut found);
    found
}

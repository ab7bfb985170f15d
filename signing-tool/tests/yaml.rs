//! Two YAML readers see the same manifest: serde-saphyr, which we trust, and serde_yaml, which checks it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;

use catenoid_schema::{manifest::Manifest, name::Name};
use common::{cases, manifests};
use proptest::prelude::*;
use serde_json::{Value, json};

fn agree(text: &str) -> Manifest {
    let ours: Manifest = serde_saphyr::from_str(text).unwrap();
    let theirs: Manifest = serde_yaml::from_str(text).unwrap();
    assert_eq!(ours, theirs);
    ours
}

#[test]
fn both_readers_agree_on_golden_manifests() {
    for case in cases(&manifests().join("golden"), None) {
        for file in ["manifest.yaml", "rendered.yaml"] {
            agree(&std::fs::read_to_string(manifests().join("golden").join(&case).join(file)).unwrap());
        }
    }
}

/// What ours refuses as ambiguous and serde_yaml takes is known by name: a change on either side shows.
#[test]
fn the_readers_differ_where_ours_is_stricter() {
    let folder = manifests().join("refused");
    let taken: Vec<_> = cases(&folder, Some("yaml"))
        .into_iter()
        .filter(|case| {
            let text = std::fs::read_to_string(folder.join(format!("{case}.yaml"))).unwrap();
            let semantic = serde_saphyr::from_str::<Manifest>(&text).is_ok();
            !semantic && serde_yaml::from_str::<Manifest>(&text).is_ok()
        })
        .collect();
    insta::assert_debug_snapshot!(taken);
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,9}".prop_filter("a word that YAML reads otherwise", |text| text.parse::<Name>().is_ok())
}

/// YAML 1.1, which serde_yaml writes, breaks lines at three characters that YAML 1.2, which we read, takes as text.
const BREAKS_OF_1_1: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

fn text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec!["yes", "0x10", "~", "null", "", " ", "-", "1_000", "0o7", "1e3", ".inf"]);
    prop_oneof!["[ -~]{0,20}", words.prop_map(str::to_owned), "[0-9]{1,5}", "\\PC{0,10}"]
        .prop_filter("a break or merge of YAML 1.1", |text| !text.contains(BREAKS_OF_1_1) && text != "<<")
}

fn container() -> impl Strategy<Value = Value> {
    let limits = (1u64..1 << 40, 0u32..100_000, any::<u32>());
    let stop = (prop::sample::select(vec!["TERM", "INT", "QUIT", "KILL"]), any::<u32>());
    (
        name(),
        prop::option::of(prop::collection::vec(text(), 0..4)),
        prop::collection::btree_map(text(), text(), 0..4),
        prop::collection::vec(name(), 0..3),
        limits,
        prop::sample::subsequence(vec!["CHOWN", "NET_RAW", "SETUID"], 0..3),
        prop::sample::select(vec!["always", "onFailure", "never"]),
        stop,
    )
        .prop_map(|(guest, command, environment, zones, (memory, cpu, pids), capabilities, restart, (signal, grace))| {
            json!({
                "guest": guest, "role": "service", "command": command, "environment": environment, "zones": zones,
                "limits": {"memory": format!("{memory}B"), "cpu": format!("{}.{:03}", cpu / 1000, cpu % 1000), "pids": pids},
                "capabilities": capabilities, "restart": restart,
                "stop": {"signal": signal, "grace": format!("{grace}ms")},
            })
        })
}

fn zone() -> impl Strategy<Value = Value> {
    let flow = (name(), prop::collection::vec(1u16.., 0..4), prop::collection::vec(1u16.., 0..4))
        .prop_map(|(to, tcp, udp)| json!({"to": to, "tcp": tcp, "udp": udp}));
    let subnet = (any::<std::net::Ipv6Addr>(), 0u8..=128).prop_map(|(address, length)| format!("{address}/{length}"));
    let mac = any::<[u8; 6]>().prop_map(|bytes| bytes.map(|byte| format!("{byte:02x}")).join(":"));
    (prop::collection::vec(mac, 0..3), prop::collection::vec(subnet, 0..3), prop::collection::vec(flow, 0..3), any::<bool>())
        .prop_map(|(macs, subnet, flows, dhcp)| {
            let interfaces: Vec<_> = macs.into_iter().map(|mac| json!({"mac": mac})).collect();
            json!({"interfaces": interfaces, "subnet": subnet, "flows": flows, "address": if dhcp { "dhcp" } else { "none" }})
        })
}

fn manifest() -> impl Strategy<Value = Value> {
    let named = |value| prop::collection::btree_map(name(), value, 0..4);
    let guest =
        (name(), "[A-Za-z0-9._+~-]{1,12}").prop_map(|(name, version)| json!({"ref": format!("{name}@{version}")}));
    let serials = prop::collection::btree_set("[A-Za-z0-9._-]{1,12}", 0..3);
    (
        name(),
        1u64..,
        any::<u64>(),
        0i64..253_402_300_800,
        serials,
        named(guest.boxed()),
        named(zone().boxed()),
        named(container().boxed()),
    )
        .prop_map(|(name, sequence, epoch, end, serials, guests, zones, containers)| {
            let end = catenoid_schema::units::Timestamp::from_seconds(end).unwrap().to_string();
            json!({
                "apiVersion": "catenoid.dev/v1", "kind": "Manifest",
                "metadata": {"name": name, "sequence": sequence, "epoch": epoch, "notAfter": end},
                "target": {"serials": serials}, "guests": guests, "zones": zones, "containers": containers,
            })
        })
}

proptest! {
    /// As another tool would write it, and as we write it out.
    #[test]
    fn both_readers_agree_on_generated_manifests(value in manifest()) {
        let expected: Manifest = serde_json::from_value(value.clone()).unwrap();
        prop_assert_eq!(&agree(&serde_yaml::to_string(&value).unwrap()), &expected);
        prop_assert_eq!(&agree(&serde_yaml::to_string(&expected).unwrap()), &expected);
        prop_assert_eq!(&agree(&serde_saphyr::to_string(&expected).unwrap()), &expected);
        let keys: BTreeMap<String, Value> = serde_json::from_value(value).unwrap();
        prop_assert_eq!(keys.len(), 7);
    }
}

//! Two YAML readers see the same manifest: serde-saphyr as `catenoid-sign` uses it, and serde_yaml, which checks it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;

use catenoid_schema::{manifest::Manifest, name::Name};
use catenoid_sign::testing::parse_manifest;
use common::{cases, manifests};
use proptest::prelude::*;
use serde_json::{Value, json};

fn agree(text: &str) -> Manifest {
    let ours: Manifest = parse_manifest(text).unwrap();
    let theirs: Manifest = serde_yaml::from_str(text).unwrap();
    assert_eq!(ours, theirs);
    ours
}

/// serde_yaml writes some texts bare that are numbers to other readers; ours refuses those by name.
fn agree_if_quoted(text: &str, expected: &Manifest) {
    match parse_manifest(text) {
        Err(said) if said.contains(" stands without quotes ") || said.contains(" to some readers of YAML only") => {}
        ours => assert_eq!(ours.as_ref(), Ok(expected)),
    }
    assert_eq!(&serde_yaml::from_str::<Manifest>(text).unwrap(), expected);
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
            let semantic = parse_manifest(&text).is_ok();
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
    let limits = (
        1u64..1 << 40,
        0u32..100_000,
        any::<u32>(),
        prop::option::of((any::<u32>(), prop::option::of((any::<u32>(), any::<u32>())))),
    );
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
        .prop_map(|(guest, command, environment, zones, (memory, cpu, pids, io), capabilities, restart, (signal, grace))| {
            let mut container = json!({
                "guest": guest, "role": "service", "command": command, "environment": environment, "zones": zones,
                "limits": {"memory": format!("{memory}B"), "cpu": format!("{}.{:03}", cpu / 1000, cpu % 1000), "pids": pids},
                "capabilities": capabilities, "restart": restart,
                "stop": {"signal": signal, "grace": format!("{grace}ms")},
            });
            // Absence is written nowhere.
            if let Some((bps, rest)) = io {
                container["limits"]["io"] = json!({"readBps": format!("{bps}B")});
                if let Some((iops, weight)) = rest {
                    container["limits"]["io"]["writeIops"] = json!(iops);
                    container["limits"]["io"]["weight"] = json!(weight);
                }
            }
            container
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
        agree_if_quoted(&serde_yaml::to_string(&value).unwrap(), &expected);
        agree_if_quoted(&serde_yaml::to_string(&expected).unwrap(), &expected);
        prop_assert_eq!(&agree(&serde_saphyr::to_string(&expected).unwrap()), &expected);
        let keys: BTreeMap<String, Value> = serde_json::from_value(value).unwrap();
        prop_assert_eq!(keys.len(), 7);
    }
}

/// Writes `value` as one of the many texts that mean it; `choices` decides which, and begins anew at its end.
struct Scribe<'a> {
    out: String,
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    /// Write every text without quotes, whatever becomes of it.
    bare: bool,
}

impl Scribe<'_> {
    fn choose(&mut self, count: u8) -> u8 {
        self.choices.next().unwrap() % count
    }

    fn line(&mut self, indent: usize) {
        if self.choose(8) == 0 {
            let nothing = ["\n", "  # a comment: [with, {marks", "\n\n"][usize::from(self.choose(3))];
            self.out.push_str(nothing);
        }
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn scalar(&mut self, text: &str) {
        let plain = !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
            && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
        if self.bare || (plain && self.choose(2) == 0) {
            self.out.push_str(text);
        } else if self.choose(2) == 0 && text.chars().all(|c| (' '..='~').contains(&c)) {
            self.out.push_str(&format!("'{}'", text.replace('\'', "''")));
        } else {
            let escaped = |c: char| match c {
                ' '..='~' if c != '"' && c != '\\' => c.to_string(),
                c => format!("\\U{:08x}", u32::from(c)),
            };
            self.out.push_str(&format!("\"{}\"", text.chars().map(escaped).collect::<String>()));
        }
    }

    fn value(&mut self, value: &Value, indent: usize, flow: bool) {
        match value {
            Value::String(text) => self.scalar(text),
            Value::Array(items) if flow || items.is_empty() || self.choose(3) == 0 => {
                self.out.push('[');
                for item in items {
                    self.value(item, indent, true);
                    self.out.push_str(", ");
                }
                self.out.push(']');
            }
            Value::Object(fields) if flow || fields.is_empty() || self.choose(3) == 0 => {
                self.out.push('{');
                for (key, field) in fields {
                    self.scalar(key);
                    self.out.push_str(": ");
                    self.value(field, indent, true);
                    self.out.push_str(", ");
                }
                self.out.push('}');
            }
            Value::Array(items) => {
                for item in items {
                    self.line(indent);
                    self.out.push_str("- ");
                    self.value(item, indent + 3, false);
                }
            }
            Value::Object(fields) => {
                let deeper = indent + 1 + usize::from(self.choose(3));
                let backwards = self.choose(2) == 0;
                let mut fields: Vec<_> = fields.iter().collect();
                if backwards {
                    fields.reverse();
                }
                for (key, field) in fields {
                    self.line(indent);
                    self.scalar(key);
                    self.out.push_str(": ");
                    self.value(field, deeper, false);
                }
            }
            plain => self.out.push_str(&plain.to_string()),
        }
    }
}

fn written(value: &Value, choices: &[u8], bare: bool) -> String {
    let mut scribe = Scribe { out: String::new(), choices: choices.iter().cycle(), bare };
    scribe.value(value, 0, false);
    scribe.out + "\n"
}

/// That no text has two meanings: what ours reads, theirs reads as the same or not at all. But for one: in `{?a: b}` ours
/// sees the key `?a`, as YAML 1.2 says (section 7.3.3), and libyaml, which serde_yaml is made of, the key `a`.
fn never_two_meanings(text: &str) {
    if text.contains('?') {
        return;
    }
    if let (Ok(ours), Ok(theirs)) = (parse_manifest(text), serde_yaml::from_str::<Manifest>(text)) {
        assert_eq!(ours, theirs, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// In any of the ways in which an author may write it.
    #[test]
    fn both_readers_agree_on_every_spelling(value in manifest(), choices in prop::collection::vec(any::<u8>(), 1..60)) {
        let expected: Manifest = serde_json::from_value(value.clone()).unwrap();
        let text = written(&value, &choices, false);
        let ours = parse_manifest(&text);
        prop_assert_eq!(ours.as_ref(), Ok(&expected), "{}", text);
        let theirs = serde_yaml::from_str::<Manifest>(&text).unwrap();
        prop_assert_eq!(theirs, expected, "{}", text);
    }

    /// Texts and names that look like numbers, booleans, nulls, marks or comments, without the quotes they need.
    #[test]
    fn no_bare_word_has_two_meanings(value in manifest(), choices in prop::collection::vec(any::<u8>(), 1..60)) {
        never_two_meanings(&written(&value, &choices, true));
    }

    /// Texts that somebody made a mess of.
    #[test]
    fn no_edited_text_has_two_meanings(
        value in manifest(),
        choices in prop::collection::vec(any::<u8>(), 1..60),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop::sample::select(EDITS.to_vec())), 1..4,
        ),
    ) {
        let mut text: Vec<char> = written(&value, &choices, false).chars().collect();
        for (from, to, edit) in edits {
            let (from, to) = (from.index(text.len()), to.index(text.len()));
            match edit {
                "copy" => {
                    let part = text[from.min(to)..from.max(to)].to_vec();
                    text.splice(from..from, part);
                }
                "cut" => drop(text.splice(from..text.len().min(from + 1 + to % 8), [])),
                put => drop(text.splice(from..from, put.chars())),
            }
        }
        never_two_meanings(&text.into_iter().collect::<String>());
    }
}

const EDITS: [&str; 24] = [
    "copy", "cut", " ", "\n", "\t", "- ", ": ", "? ", "# ", "[", "]", "{", "}", ",", "\"", "'", "|\n", ">-\n",
    "!!str ", "&a ", "*a", "<<: ", "---\n", "\u{85}",
];

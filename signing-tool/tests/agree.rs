//! What `check` takes and what the JSON Schema takes is the same, and so is what editors and other programs make of it: only
//! rules that no schema can say are `check`'s alone, each of which is named here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use boon::{Compiler, SchemaIndex, Schemas};
use catenoid_sign::testing::{check_guest, check_manifest};
use common::manifests;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What a JSON Schema cannot say, by a part of the message: rules that span fields, arithmetic within a text, and what no
/// reader of JSON can see.
const ONLY_CHECK_SAYS: [&str; 38] = [
    // Between fields.
    "is not after `notBefore`",
    "no container is run from it",
    "is in a zone already",
    "has both `interfaces` and a `subnet`",
    "has neither `interfaces` nor a `subnet`",
    "only a zone with `interfaces` asks for addresses",
    "more than one subnet of the same family",
    "overlaps a subnet of zone",
    "there is no zone",
    "there is no guest",
    "a zone needs no flow to itself",
    "permits nothing",
    "a second container with the role `core`",
    "none has the role `core`",
    "has no address left for container",
    "has physical interfaces",
    "is for the core container only",
    "blocks of data and their hash tree",
    // Of how many there are in all, or of one name.
    "256 entries",
    "zones are more than",
    "`core` stands for the core container",
    "`root` stands for the device's own network namespace",
    // Of the first entry, or of characters that a text may not have.
    "does not begin with an absolute path",
    "is not an absolute path",
    "has a NUL",
    "cannot name a variable",
    // Arithmetic in a text.
    "has host bits set",
    "is not a network of hosts",
    "is not a multiple of 4KiB of at least 4MiB",
    "is more than 16TiB",
    "is less than a page",
    "is less than 0.01",
    "is longer than 10m",
    // Decimals of a number: readers that count in binary find 0.07 to be no multiple of 0.001.
    "three decimals at most",
    // How a number is spelt: JSON takes 12.0 for a whole number.
    ".0` is not a whole number",
    ".0` is not a port",
    "is a number to some readers of YAML only",
    "is a truth value to some readers of YAML only",
];

/// One kind of document.
struct Kind {
    schemas: Schemas,
    schema: SchemaIndex,
    check: fn(&str) -> Result<(), String>,
    /// A document that is taken, in which something is changed.
    good: Value,
}

impl Kind {
    fn new(name: &str, check: fn(&str) -> Result<(), String>, good: Value) -> Self {
        let path = manifests().join(format!("../schema/{name}.schema.json"));
        let text = std::fs::read_to_string(path).unwrap();
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("schema.json", serde_json::from_str(&text).unwrap()).unwrap();
        let schema = compiler.compile("schema.json", &mut schemas).unwrap();
        Self { schemas, schema, check, good }
    }

    fn manifest() -> Self {
        let path = manifests().join("golden/every-field/manifest.yaml");
        let mut good: Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        good["requires"] = json!(["needs"]);
        good["containers"]["worker"]["permits"] = json!(["aio"]);
        Self::new("manifest", |text| check_manifest(text).map(drop), good)
    }

    fn guest() -> Self {
        let digest = format!("sha256:{}", "0".repeat(64));
        let good = json!({
            "apiVersion": "catenoid.dev/v1", "kind": "Guest", "requires": ["needs"],
            "metadata": {"name": "tiny", "version": "1.0.0", "description": "small"}, "architecture": "x86_64",
            "image": {
                "digest": digest, "size": "12KiB", "verity": {"rootHash": digest, "salt": digest, "dataBlocks": 1},
            },
            "defaults": {
                "command": ["/bin/true", "a"], "environment": {"A": "b"}, "workingDirectory": "/", "user": 1, "group": 2,
            },
            "root": {"tmpfs": {"size": "1MiB"}}, "needs": ["aio"],
        });
        Self::new("guest", |text| check_guest(text).map(drop), good)
    }

    fn fits(&self, value: &Value) -> bool {
        self.schemas.validate(value, self.schema).is_ok()
    }

    /// As a reader of JSON sees `value`, and as `check` sees the same text.
    fn agree(&self, value: &Value) -> Result<(), String> {
        let text = value.to_string();
        let said = (self.check)(&text);
        match (self.fits(value), said) {
            (false, Ok(())) => Err(format!("`check` takes what the schema refuses: {text}")),
            (true, Err(said)) => {
                let errors = said.lines().filter(|line| line.starts_with("error: "));
                let strange: Vec<_> =
                    errors.filter(|line| !ONLY_CHECK_SAYS.iter().any(|known| line.contains(known))).collect();
                if strange.is_empty() { Ok(()) } else { Err(format!("the schema takes {text}, but {strange:?}")) }
            }
            _ => Ok(()),
        }
    }

    /// As another reader of YAML sees what stands at `path` without quotes.
    fn agree_bare(&self, good: &Value, path: &str, word: &str) -> Result<(), String> {
        let mut changed = good.clone();
        *changed.pointer_mut(path).unwrap() = json!("@@");
        let text = changed.to_string().replace("\"@@\"", word);
        // A reader that refuses it makes nothing else of it.
        match ((self.check)(&text), serde_yaml::from_str::<Value>(&text)) {
            (Ok(()), Ok(theirs)) if !self.fits(&theirs) => {
                Err(format!("`check` takes what others see and the schema refuses: {path} {word}"))
            }
            _ => Ok(()),
        }
    }
}

/// Each place of `value`, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, field)| {
            places(field, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// Words of which some reader makes something else. The next one joins in one line.
const WORDS: [&str; 96] = [
    "12",
    "012",
    "+12",
    "-12",
    "-0",
    "0",
    "1",
    "1e3",
    "1E3",
    "1.0",
    "1.10",
    ".5",
    "1.",
    "0.5",
    "0.50",
    "0.1234",
    "0x10",
    "0o17",
    "0b1",
    "1_000",
    "1:30",
    "1:30.5",
    "07",
    "08",
    ".inf",
    "-.INF",
    ".nan",
    "inf",
    "NaN",
    "true",
    "True",
    "yes",
    "No",
    "on",
    "y",
    "null",
    "Null",
    "~",
    "=",
    "<<",
    "9007199254740992",
    "9007199254740994",
    "18446744073709551615",
    "18446744073709551616",
    "99999",
    "99999.999",
    "100000",
    "0.009",
    "65535",
    "65536",
    "4194304",
    "4194305",
    "0B",
    "4MiB",
    "04MiB",
    "16TiB",
    "17TiB",
    "10485760TiB",
    "16777215TiB",
    "99999999TiB",
    "18446744073709551615B",
    "18446744073709551616B",
    "1MB",
    "1KiB ",
    "10s",
    "010s",
    "0ms",
    "10m",
    "11m",
    "999999999999h",
    "9999999999999h",
    "2027-12-31",
    "2027-12-31T23:59:60Z",
    "2027-12-31t00:00:00Z",
    "2027-12-31T00:00:00z",
    "2024-02-29T00:00:00Z",
    "2100-02-29T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2027-12-31T00:00:00.0Z",
    "10.30.0.0/24",
    "010.030.0.0/24",
    "10.30.0.0/024",
    "10.30.0.0/29",
    "169.254.0.0/16",
    "fd30::/64",
    "FD30:0::/64",
    "::ffff:10.30.0.0/112",
    "fe80::/64",
    "fd30::/47",
    "02:00:00:00:00:09",
    "01:00:00:00:00:09",
    "00:00:00:00:00:00",
    "a-@1",
    "A@1",
    "a@1",
    "web-",
];

/// Where a quantity, an address, a time, a number or a name stands.
const QUANTITIES: [&str; 16] = [
    "/subnet/",
    "/mac",
    "/notAfter",
    "/notBefore",
    "/memory",
    "/size",
    "/cpu",
    "/grace",
    "/ref",
    "/sequence",
    "/epoch",
    "/pids",
    "/tcp/",
    "/udp/",
    "/user",
    "/dataBlocks",
];

/// All that stands in the place of something.
fn odd() -> Vec<Value> {
    let numbers = [json!(12.0), json!(12.5), json!(-1), json!(1e300), json!(0.07), json!(0.009), json!(99999.999)];
    let numbers = numbers.into_iter().chain(WORDS.iter().filter_map(|word| serde_json::from_str(word).ok()));
    WORDS.iter().map(|word| json!(word)).chain(numbers).collect()
}

/// What is no scalar, or nothing.
fn forms() -> [Value; 7] {
    [json!(null), json!(true), json!([]), json!({}), json!(["a", "a"]), json!({"a": null}), json!("")]
}

#[test]
fn schema_and_check_agree_on_every_odd_value() {
    let mut found = Vec::new();
    for kind in [Kind::manifest(), Kind::guest()] {
        let good = &kind.good;
        assert_eq!((kind.fits(good), (kind.check)(&good.to_string())), (true, Ok(())));
        let mut all = Vec::new();
        places(good, "", &mut all);
        for (index, place) in all.iter().enumerate() {
            let leaf = good.pointer(place).is_some_and(|value| !value.is_object() && !value.is_array());
            // A fourth of the words where a quantity stands, and elsewhere a few of them: others at each place.
            let step = if leaf && QUANTITIES.iter().any(|field| place.contains(field)) { 4 } else { 24 };
            for odd in odd().into_iter().skip(index % step).step_by(step).chain(forms()) {
                let mut changed = good.clone();
                *changed.pointer_mut(place).unwrap() = odd;
                found.extend(kind.agree(&changed).err());
            }
            let words = WORDS.iter().skip(index % step).step_by(step).filter(|_| leaf);
            found.extend(words.filter_map(|word| kind.agree_bare(good, place, word).err()));
            found.extend(reshaped(good, place).iter().filter_map(|changed| kind.agree(changed).err()));
        }
    }
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{} disagreements:\n{}", found.len(), found.join("\n"));
}

/// `good` without what stands at `place`, with it twice, with a key beside it that nobody knows, and as the map that some
/// readers take for a word.
fn reshaped(good: &Value, place: &str) -> Vec<Value> {
    let Some((above, last)) = place.rsplit_once('/') else { return Vec::new() };
    let last = last.replace("~1", "/").replace("~0", "~");
    let mut changed = vec![good.clone(), good.clone(), good.clone()];
    match changed[0].pointer_mut(above).unwrap() {
        Value::Object(fields) => drop(fields.remove(&last)),
        Value::Array(items) => drop(items.remove(last.parse().unwrap())),
        _ => {}
    }
    match changed[1].pointer_mut(above).unwrap() {
        Value::Object(fields) => drop(fields.insert("noSuchField".to_owned(), json!("a"))),
        Value::Array(items) => items.push(items[last.parse::<usize>().unwrap()].clone()),
        _ => {}
    }
    if let Some(word) = good.pointer(place).and_then(Value::as_str).map(str::to_owned) {
        *changed[2].pointer_mut(place).unwrap() = json!({ word: null });
    }
    changed
}

/// Texts in the form of each quantity, right or nearly.
fn nearly() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "(19|20|21|24|99)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]Z",
        "(2[0-9]{3}|99[0-9]{2})-(02-2[89]|04-3[01]|12-3[012])T(00:00:00|23:59:59)Z",
        "[0-9]{1,20}(B|KiB|MiB|GiB|TiB)",
        "[0-9]{1,13}(ms|s|m|h)",
        "[0-9]{1,6}(\\.[0-9]{0,4})?",
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.0/[0-9]{1,3}",
        "(([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9])\\.){3}0/(8|16|2[0-9])",
        "([0-9a-fA-F]{1,5}:){0,8}:?([0-9a-f]{1,4}:){0,3}[0-9a-f]{0,4}/[0-9]{2,3}",
        "fd[0-9a-f]{2}(:0){0,7}(::)?(:0){0,3}/(48|64|112)",
        "[0-9a-f]{2}(:[0-9a-f]{2}){5}",
        "[a-z0-9-]{1,26}",
        "[a-z-]{1,4}@[A-Za-z0-9._+~-]{1,33}",
    ];
    prop_oneof![text.prop_map(Value::from), any::<u64>().prop_map(Value::from), (0u64..70_000).prop_map(Value::from)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn schema_and_check_agree(value in nearly(), of_guest in any::<bool>(), at in any::<prop::sample::Index>()) {
        thread_local! {
            static KINDS: [Kind; 2] = [Kind::manifest(), Kind::guest()];
        }
        KINDS.with(|kinds| {
            let kind = &kinds[usize::from(of_guest)];
            let mut changed = kind.good.clone();
            let mut all = Vec::new();
            places(&changed, "", &mut all);
            // Where a value of this form belongs, else it is refused by its form alone.
            let likely: Vec<_> = all.iter().filter(|place| QUANTITIES.iter().any(|field| place.contains(field))).collect();
            let place = if likely.is_empty() { &all[at.index(all.len())] } else { likely[at.index(likely.len())] };
            *changed.pointer_mut(place).unwrap() = value;
            prop_assert_eq!(kind.agree(&changed), Ok(()));
            Ok(())
        })?;
    }
}

//! A status of any version is planned against, of earlier ones as of later ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use catenoid_schema::feature::FEATURES;
use common::{run, seen};
use serde_json::{Value, json};

/// Objects of a status that get no field, by what leads to them; `*` is any key. Their keys are names or variants, or they are
/// part of what was signed, which is read strictly.
const CLOSED: [&str; 19] = [
    "observed",
    "observed/containers",
    "observed/containers/*/lastExit/end",
    "observed/containers/*/runs",
    "observed/containers/*/runs/*/stop",
    "observed/guests/blobs",
    "observed/guests/devices",
    "observed/guests/devices/*/verity",
    "observed/guests/mounts",
    "observed/guests/partials",
    "observed/limits/groups",
    "observed/limits/groups/*",
    "observed/zones/bridges",
    "observed/zones/firewalls",
    "observed/zones/interfaces",
    "observed/zones/namespaces",
    "observed/zones/ports",
    "subjects/*/facts",
    "observed/containers/*/runs/*/state",
];

fn stored() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/compat");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

/// A desk with what a version stored, and its status as `change` makes it.
fn desk(version: &Path, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("anchors.cbor", "anchors.cbor"),
        ("device.manifest.cose", "device.cose"),
        ("tiny.guest.cose", "tiny-1.0.0.guest.cose"),
    ] {
        fs::copy(version.join(from), desk.path().join(to)).unwrap();
    }
    let mut status = serde_json::from_slice(&fs::read(version.join("status.json")).unwrap()).unwrap();
    change(&mut status);
    fs::write(desk.path().join("status.json"), status.to_string()).unwrap();
    desk
}

fn plan(desk: &tempfile::TempDir) -> String {
    let words = ["plan", "--status", "status.json", "--guests", ".", "--anchors", "anchors.cbor", "device.cose"];
    seen(&run(desk.path(), &words))
}

/// Whether there is nothing to do, but to set rules of firewalls that a later version has otherwise. That is done in one
/// transaction each, and touches no container.
fn is_as_wanted(planned: &str) -> bool {
    let mut steps = planned
        .lines()
        .filter(|line| ["prepare ", "retire ", "establish "].iter().any(|phase| line.trim_start().starts_with(phase)));
    let nothing = planned.contains("nothing to do: the device holds what the manifest says");
    if nothing {
        steps.next().is_none()
    } else {
        planned.contains("STEP") && steps.all(|step| step.contains(" rules of the firewall of `"))
    }
}

/// The device was as its manifest says, and still is: what is observed, what is wanted and the names of launches mean the same.
#[test]
fn every_stored_status_is_planned_against() {
    for version in stored() {
        let planned = plan(&desk(&version, |_| ()));
        assert!(is_as_wanted(&planned), "{planned}");
    }
}

/// A later version observes more, in every object of its status.
#[test]
fn a_status_of_a_later_version_is_planned_against() {
    for version in stored() {
        let planned = plan(&desk(&version, |status| {
            let objects = add_what_is_later(status, "");
            assert!(objects > 50, "{objects} objects");
        }));
        assert!(is_as_wanted(&planned), "{planned}");
    }
}

/// Adds a field to each object that is not [`CLOSED`], and a room and a control that nobody knows; how many objects there were.
fn add_what_is_later(value: &mut Value, path: &str) -> usize {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") };
    match value {
        Value::Object(fields) => {
            let inner: usize = fields.iter_mut().map(|(key, field)| add_what_is_later(field, &below(key))).sum();
            let (later, value) = match path {
                "observed" => ("volumes", json!({"data": {}})),
                "observed/limits/groups/worker" => ("memoryMin", json!({"bytes": 4096})),
                _ => ("later", json!({"than": "this"})),
            };
            if later != "later" || !CLOSED.iter().any(|closed| fits(closed, path)) {
                fields.insert(later.to_owned(), value);
            }
            inner + 1
        }
        Value::Array(items) => {
            let each = items.iter_mut().enumerate();
            let inner = each.map(|(number, item)| add_what_is_later(item, &below(&number.to_string()))).sum();
            if path == "observed/limits/offered" {
                items.push("memoryMin".into());
            }
            inner
        }
        _ => 0,
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len() && pattern.iter().zip(path).all(|(wanted, found)| *wanted == "*" || *wanted == found)
}

/// A field that came after the first version belongs to a feature, or nobody who lacks it could say what is needed.
#[test]
fn each_later_field_is_of_a_feature() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema");
    let mut added = BTreeSet::new();
    for (file, name) in [("manifest.schema.json", "Manifest"), ("guest.schema.json", "Guest")] {
        let fields = |path: PathBuf| -> BTreeSet<String> {
            let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let types = schema["$defs"].as_object().into_iter().flatten().map(|(name, of)| (name.as_str(), of));
            let types = types.chain([(name, &schema)]);
            let of = |(name, of): (&str, &Value)| -> Vec<String> {
                let properties = of["properties"].as_object().into_iter().flatten();
                properties.map(|(property, _)| format!("{name}.{property}")).collect()
            };
            types.flat_map(of).collect()
        };
        let (first, today) = (fields(schema.join("compat").join(file)), fields(schema.join(file)));
        assert!(first.len() > 10, "{first:?}");
        assert_eq!(first.difference(&today).collect::<Vec<_>>(), Vec::<&String>::new(), "a field is gone");
        added.extend(today.difference(&first).cloned());
    }
    let named: BTreeSet<_> = FEATURES.iter().flat_map(|feature| feature.fields).map(ToString::to_string).collect();
    assert_eq!(added, named, "a field that came later belongs to a feature: schema/src/feature.rs");
}

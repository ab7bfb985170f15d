//! `plan` says what the rooms' planners say, from a status file alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;

use catenoid_house::{DesiredState, Observed, Paths, imagine};
use catenoid_schema::{cbor, digest::Digest, document::Document, guest::Guest, manifest::Manifest, name::Name};
use common::{Desk, manifest, run, seen, succeed};
use serde_json::{Value, json};

const AS_OF: &str = "2026-06-01T12:00:00Z";

fn status(observed: &BTreeMap<String, Value>, accepted: Option<&Manifest>) -> String {
    let accepted = accepted.map(|manifest| {
        json!({
            "name": manifest.metadata.name, "sequence": manifest.metadata.sequence,
            "digest": Digest::of(&cbor::encode(manifest).unwrap()), "since": "2026-05-01T12:00:00Z",
        })
    });
    json!({
        "device": {"serial": "QEMU-0001", "bootId": "b", "agent": "0.1.0", "kernel": "6.1"},
        "accepted": accepted, "reconciling": null, "converged": accepted,
        "heartbeat": {"at": AS_OF, "agentStarted": AS_OF, "passes": 1},
        "lastEvent": 0, "subjects": [], "observed": observed,
    })
    .to_string()
}

/// What the rooms would observe after they did what `manifest` asks for, by the models of their own steps.
fn converged(manifest: &Manifest, guests: &BTreeMap<Name, (Digest, Guest)>) -> BTreeMap<String, Value> {
    let wanted = DesiredState::new(manifest, guests, &Paths::default());
    let mut start = Observed::default();
    for (digest, guest) in guests.values() {
        for (digest, size) in [(*digest, 1000), (guest.image.digest, guest.image.size.bytes())] {
            start.guests.blobs.insert(digest, catenoid_guests::Blob { size, fresh: true });
        }
    }
    let (_, after) = imagine(&wanted, &start);
    assert!(wanted.house(&after).satisfied(), "{after:?}");
    after.to_status()
}

/// A desk with two guests, and a manifest of three containers that is signed as `press.cose`.
fn desk() -> (Desk, Manifest, BTreeMap<Name, (Digest, Guest)>) {
    let desk = Desk::new();
    desk.guest("web", "1");
    let text = manifest()
        .replace("guests: {", "guests: { web: { ref: web@1 },")
        .replace("containers: {", "containers: { web: { guest: web }, old: { guest: web },");
    desk.write("press.yaml", &text);
    let signed = desk.sign("press.yaml", "press.cose");
    assert!(signed.status.success(), "{}", seen(&signed));
    let read = |bytes: Vec<u8>| catenoid_envelope::Unverified::read(&bytes, 1 << 20).unwrap().payload().to_vec();
    let manifest: Manifest = cbor::decode(&read(desk.read("press.cose")), Manifest::LIMITS).unwrap();
    let mut guests = BTreeMap::new();
    for (name, reference) in &manifest.guests {
        let bytes =
            desk.read(&format!("guests/{}-{}.guest.cose", reference.reference.name, reference.reference.version));
        let digest = Digest::of(&bytes);
        guests.insert(name.clone(), (digest, cbor::decode(&read(bytes), Guest::LIMITS).unwrap()));
    }
    (desk, manifest, guests)
}

fn plan(desk: &Desk, manifest: &str) -> std::process::Output {
    run(
        desk.path(),
        &["plan", "--status", "status.json", "--guests", "guests", "--anchors", "pki/anchors.cbor", manifest],
    )
}

/// Digests of descriptors differ with each PKI; so do ids that are made of them.
fn stable() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{64}", "[digest]");
    settings.add_filter("[0-9a-f]{16}", "[id]");
    settings.add_filter(r"\([0-9]+B, ", "([size], ");
    settings.bind_to_scope()
}

#[test]
fn tool_a_new_device_is_planned_from_nothing() {
    // One guest: rooms go through guests in the order of digests, which differs with each PKI.
    let desk = Desk::new();
    let containers =
        "zones: { plant: { subnet: [10.20.0.0/24] } }\ncontainers: { web: { guest: core, zones: [plant] },";
    desk.write(
        "press.yaml",
        &manifest().replace("containers: {", containers).replace("role: core", "role: core, zones: [plant]"),
    );
    assert!(desk.sign("press.yaml", "press.cose").status.success());
    desk.write("status.json", &status(&BTreeMap::new(), None));
    let from_yaml = plan(&desk, "press.yaml");
    let from_envelope = plan(&desk, "press.cose");
    assert_eq!(seen(&from_yaml), seen(&from_envelope));
    let _stable = stable();
    insta::assert_snapshot!(seen(&from_yaml));
}

#[test]
fn tool_a_device_that_holds_it_has_nothing_to_do() {
    let (desk, manifest, guests) = desk();
    desk.write("status.json", &status(&converged(&manifest, &guests), Some(&manifest)));
    insta::assert_snapshot!(seen(&plan(&desk, "press.cose")));
    let json = ["plan", "-o", "json", "--status", "status.json", "--guests", "guests", "press.cose"];
    let json: Value = serde_json::from_str(&succeed(desk.path(), &json)).unwrap();
    assert_eq!((&json["plan"], &json["push"]), (&json!([]), &json!([])));
}

#[test]
fn tool_a_change_is_planned_with_its_removals() {
    let (desk, manifest, guests) = desk();
    desk.write("status.json", &status(&converged(&manifest, &guests), Some(&manifest)));
    desk.guest("web", "2");
    let text = std::fs::read_to_string(desk.path().join("press.yaml")).unwrap();
    let text = text
        .replace("sequence: 1", "sequence: 2")
        .replace("web@1", "web@2")
        .replace("old: { guest: web }", "new: { guest: web }")
        .replace("core0: { ", "core0: { limits: { pids: 77 }, ");
    desk.write("next.yaml", &text);
    let _stable = stable();
    insta::assert_snapshot!(seen(&plan(&desk, "next.yaml")));
}

#[test]
fn tool_what_the_device_would_refuse_is_refused_here() {
    let (desk, manifest, guests) = desk();
    let observed = converged(&manifest, &guests);
    let mut text = String::new();
    let mut show = |what: &str, status: &str, edit: (&str, &str)| {
        desk.write("status.json", status);
        let press = std::fs::read_to_string(desk.path().join("press.yaml")).unwrap();
        desk.write("other.yaml", &press.replace(edit.0, edit.1));
        let output = plan(&desk, "other.yaml");
        assert_eq!(output.status.code(), Some(1), "{what}: {}", seen(&output));
        text += &format!("# {what}\n{}\n", seen(&output));
    };
    let held = status(&observed, Some(&manifest));
    show("another device", &held, ("QEMU-0001", "OTHER-1"));
    show("the same sequence with other content", &held, ("old: {", "older: {"));
    show("its end is past", &status(&observed, None), ("2100-01-01", "2020-01-01"));
    show("no status", "{}", ("", ""));
    let strange = BTreeMap::from([("limits".to_owned(), json!({"groups": 7}))]);
    show("a status of another version", &status(&strange, None), ("", ""));
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("sha256:[0-9a-f]{64}", "sha256:[digest]");
    settings.add_filter(r"it is 20[0-9T:Z-]*", "it is [now]");
    settings.bind(|| insta::assert_snapshot!(text));
}

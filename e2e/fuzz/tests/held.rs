//! What a device holds it goes on holding, whatever later versions add and tighten.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use catenoid_agent::testing::{ledger_entry, ledger_slot};
use catenoid_envelope::Unverified;
use catenoid_fuzz::fixture::{FIXTURE, Fixture, folder};
use catenoid_schema::{cbor, digest::Digest, document::Document as _, manifest::Manifest, units::Timestamp};
use ciborium::Value;

/// Of a manifest in its envelope.
fn digest(envelope: &[u8]) -> Digest {
    Digest::of(Unverified::read(envelope, Manifest::LIMITS.bytes).unwrap().payload())
}

/// What the agent that finds `entry` in its ledger goes towards, and the slot after its start and one more manifest.
fn held(entry: &[u8]) -> (Option<Digest>, tempfile::TempDir) {
    let data = folder();
    fs::create_dir(data.path().join("ledger")).unwrap();
    fs::write(data.path().join("ledger/a"), ledger_slot(entry)).unwrap();
    let agent = FIXTURE.agent(data.path());
    (agent.accepted(), data)
}

fn at() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000).unwrap()
}

#[test]
fn replay_asks_no_rule_that_was_tightened_since() {
    let [slow, coreless] = &FIXTURE.lawless;
    assert_eq!(held(&ledger_entry(1, [2, 5], at(), slow)).0, Some(digest(slow)));
    // What no version ever took was put there by somebody else.
    assert_eq!(held(&ledger_entry(1, [2, 5], at(), coreless)).0, None);
    // Nobody is given either anew.
    for lawless in &FIXTURE.lawless {
        let data = folder();
        let refused = FIXTURE.agent(data.path()).accept(lawless).unwrap_err().to_string();
        assert_eq!(refused, "the manifest cannot be taken");
    }
}

/// An anchor among the certificates of a signature was taken by earlier versions.
#[test]
fn replay_asks_no_order_of_certificates() {
    let [descriptor, manifest] = &FIXTURE.with_anchors;
    let data = folder();
    for name in ["ledger", "blobs"] {
        fs::create_dir(data.path().join(name)).unwrap();
    }
    for blob in [descriptor, &FIXTURE.image] {
        fs::write(data.path().join("blobs").join(Digest::of(blob).to_hex()), blob).unwrap();
    }
    fs::write(data.path().join("ledger/a"), ledger_slot(&ledger_entry(1, [2, 5], at(), manifest))).unwrap();
    let agent = FIXTURE.agent(data.path());
    assert_eq!((agent.accepted(), agent.known_guests()), (Some(digest(manifest)), 1));
    // Whoever brings it again hears that it is held.
    assert_eq!(agent.accept(manifest).unwrap(), digest(manifest));
    // Nobody is given it anew.
    let data = folder();
    let agent = FIXTURE.agent(data.path());
    for blob in [descriptor, &FIXTURE.image] {
        agent.push(blob).unwrap();
    }
    let refused = agent.accept(manifest).unwrap_err();
    let reason = refused.source().unwrap().to_string();
    assert!(reason.ends_with("leads to an anchor, but others were sent along that are not on the way"), "{reason}");
}

/// The device fell back to a version that lacks what its newest manifest requires: the older one stands in, and takes nothing
/// from the newer one.
#[test]
fn what_a_later_version_accepted_is_kept_for_it() {
    let Fixture { newer, manifests: [older, next], .. } = &*FIXTURE;
    let entries =
        [ledger_entry(1, [2, 5], at(), older), ledger_entry(2, [2, 7], at(), newer)].map(|body| ledger_slot(&body));
    for slots in [&entries[..], &entries[1..]] {
        let data = folder();
        let ledger = data.path().join("ledger");
        fs::create_dir(&ledger).unwrap();
        for (name, slot) in ["b", "a"].into_iter().zip(slots.iter().rev()) {
            fs::write(ledger.join(name), slot).unwrap();
        }
        let agent = FIXTURE.agent(data.path());
        let both = slots.len() == 2;
        assert_eq!(agent.accepted(), both.then(|| digest(older)));
        assert!(agent.conditions().contains(&"NewerAgentNeeded".to_owned()), "{:?}", agent.conditions());
        if !both {
            // The factory's manifest stands in.
            for blob in [&FIXTURE.descriptor, &FIXTURE.image] {
                agent.push(blob).unwrap();
            }
            agent.accept_factory(older).unwrap();
            assert_eq!(agent.accepted(), Some(digest(older)));
        }
        assert!(agent.keeps_all_blobs());
        // Its sequence is above what only stands in, and its slot is as it was.
        assert!(agent.accept(next).unwrap_err().to_string().contains("cannot be taken"));
        assert_eq!(fs::read(ledger.join("b")).unwrap(), entries[1]);
        drop(agent);
        assert!(FIXTURE.agent(data.path()).conditions().contains(&"NewerAgentNeeded".to_owned()));
    }
}

/// The device fell back to this version. The next start of the later one finds what it wrote.
#[test]
fn what_a_later_version_wrote_beside_an_entry_is_kept() {
    let [manifest, _] = &FIXTURE.manifests;
    let mut entry: Value = ciborium::from_reader(ledger_entry(1, [2, 5], at(), manifest).as_slice()).unwrap();
    let later = [("trial", Value::from(true)), ("health", Value::Map(vec![("gate".into(), 7.into())]))];
    entry.as_map_mut().unwrap().extend(later.map(|(key, value)| (key.into(), value)));
    let body = cbor::encode(&entry).unwrap();
    let (accepted, data) = held(&body);
    assert_eq!(accepted, Some(digest(manifest)));
    // The copy is written by this version.
    assert_eq!(fs::read(data.path().join("copy")).unwrap(), ledger_slot(&body));
}

/// A bundle that needs more is refused before anything else of it is looked at.
#[test]
fn a_bundle_says_what_it_requires() {
    let bundle = |requires: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let images =
            [&FIXTURE.descriptor, &FIXTURE.image].map(|blob| (format!("blobs/{}", Digest::of(blob).to_hex()), blob));
        let entries =
            [("requires".to_owned(), requires.as_bytes()), ("manifest.cose".to_owned(), &FIXTURE.manifests[0])];
        for (name, bytes) in
            entries.into_iter().chain(images.iter().map(|(name, blob)| (name.clone(), blob.as_slice())))
        {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes).unwrap();
        }
        tar.into_inner().unwrap()
    };
    let taken = |requires: &str| {
        let data = folder();
        let agent = FIXTURE.agent(data.path());
        let taken = agent.take_bundle(bundle(requires).as_slice()).map_err(|error| error.to_string());
        taken.map(|()| agent.accepted())
    };
    assert_eq!(taken(r#"["requires"]"#), Ok(Some(digest(&FIXTURE.manifests[0]))));
    let newer = "newer agent needed: the factory bundle requires `volumes`, which this version does not know";
    assert_eq!(taken(r#"["requires","volumes"]"#), Err(newer.to_owned()));
    assert_eq!(taken("7"), Err("what the factory bundle requires cannot be read".to_owned()));
}

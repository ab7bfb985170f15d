//! What is accepted, and what of it is there after a restart.

use std::{fs, path::Path};

use catenoid_agent::testing::{Agent, ledger_entry, ledger_slot};
use catenoid_fuzz::fixture::{FIXTURE, SERIAL, folder};
use catenoid_schema::{control::Outcome, digest::Digest, units::Timestamp};

use super::{Device, stock};

#[test]
fn what_is_held_is_taken_again_as_it_is() {
    let device = Device::settled();
    let held = device.agent.held().unwrap();
    assert_eq!((held.sequence, held.generation, held.guests), (5, 1, 1));
    device.agent.accept(&FIXTURE.manifests[0]).unwrap();
    assert_eq!(device.agent.held(), Some(held));
    assert_eq!(device.event_kinds(&["ManifestAccepted"]).len(), 1, "it is not recorded twice");
    device.agent.accept(&FIXTURE.manifests[1]).unwrap();
    let next = device.agent.held().unwrap();
    assert_eq!((next.sequence, next.generation), (6, 2));
    // An older one is refused, whatever it holds.
    assert_eq!(device.agent.refusal(&FIXTURE.manifests[0]).unwrap().name, "manifest-sequence-older");
    let device = device.restarted();
    assert_eq!(device.agent.held(), Some(next));
    assert_eq!(device.event_kinds(&["ManifestFound", "Ledger"]), Vec::<String>::new());
    // What is held is not asked again: it is complete as long as its guests are.
    fs::remove_file(device.blob(&FIXTURE.image)).unwrap();
    assert_eq!(device.agent.refusal(&FIXTURE.manifests[1]).unwrap().name, "guest-missing");
    assert_eq!(device.agent.held(), Some(next));
}

/// What an earlier version took and this one would not, where another one is held, and where it is.
#[test]
fn what_would_be_refused_today_is_taken_again_only_where_it_is_held() {
    let [descriptor, envelope] = &FIXTURE.with_anchors;
    let device = Device::settled();
    device.agent.push(descriptor).unwrap();
    assert_eq!(device.agent.refusal(envelope).unwrap().name, "certificate-chain-surplus");
    let at = Timestamp::from_seconds(1_800_000_000).unwrap();
    for slot in ["a", "b"] {
        fs::write(device.ledger(slot), ledger_slot(&ledger_entry(2, [2, 5], at, envelope))).unwrap();
    }
    let device = device.restarted();
    let held = device.agent.held().unwrap();
    assert_eq!((held.accepted_at, held.guests), (at, 1));
    assert_eq!(device.agent.take(envelope).unwrap().0, Outcome::Unchanged);
    assert_eq!(device.agent.held(), Some(held));
}

#[test]
fn a_manifest_counts_from_when_it_was_accepted() {
    let before = Timestamp::from_seconds(1_700_000_000).unwrap();
    let accepted_at = Device::settled().agent.held().unwrap().accepted_at;
    assert!(accepted_at > before, "{accepted_at}");
    // One that is in the ledger keeps its time.
    let data = folder();
    fs::create_dir(data.path().join("ledger")).unwrap();
    let entry = ledger_entry(4, [2, 5], before, &FIXTURE.manifests[0]);
    fs::write(data.path().join("ledger/a"), ledger_slot(&entry)).unwrap();
    let agent = FIXTURE.agent(data.path());
    let held = agent.held().unwrap();
    assert_eq!((held.accepted_at, held.generation, held.guests), (before, 4, 0));
    stock(&agent);
    agent.accept(&FIXTURE.manifests[0]).unwrap();
    let held = agent.held().unwrap();
    assert_eq!((held.accepted_at, held.generation, held.guests), (before, 4, 1), "its guest is known again");
}

/// The log may have ended before it had what the ledger holds; what it does say is not said again.
#[test]
fn who_brought_what_the_ledger_holds_is_asked_of_the_log() {
    let device = Device::settled().restarted();
    assert_eq!(device.event_kinds(&["ManifestFound"]), Vec::<String>::new());
    fs::remove_dir_all(device.data.path().join("audit")).unwrap();
    let device = device.restarted();
    assert_eq!(device.event_kinds(&["ManifestFound"]), ["ManifestFound"]);
    let message = device.agent.events().into_iter().find(|event| event.kind == "ManifestFound").unwrap().message;
    assert!(message.starts_with("`small` sequence 5 (sha256:"), "{message}");
    let device = device.restarted();
    assert_eq!(device.event_kinds(&["ManifestFound"]), ["ManifestFound"], "once");
    // That another one was accepted says nothing of this one.
    let at = Timestamp::from_seconds(1_800_000_000).unwrap();
    fs::write(device.ledger("b"), ledger_slot(&ledger_entry(2, [2, 6], at, &FIXTURE.manifests[1]))).unwrap();
    let device = device.restarted();
    assert_eq!((device.agent.held().unwrap().sequence, device.event_kinds(&["ManifestFound"]).len()), (6, 2));
}

#[test]
fn what_only_a_later_version_reads_is_kept_for_it() {
    let data = folder();
    let ledger = data.path().join("ledger");
    fs::create_dir(&ledger).unwrap();
    let at = Timestamp::from_seconds(1_800_000_000).unwrap();
    for (slot, entry) in [("a", (1, 5, &FIXTURE.manifests[0])), ("b", (2, 7, &FIXTURE.newer))] {
        let (generation, sequence, envelope) = entry;
        fs::write(ledger.join(slot), ledger_slot(&ledger_entry(generation, [2, sequence], at, envelope))).unwrap();
    }
    let agent = FIXTURE.agent(data.path());
    assert_eq!((agent.held().unwrap().sequence, agent.conditions()), (5, vec!["NewerAgentNeeded".to_owned()]));
    assert!(agent.keeps_all_blobs());
    // Until somebody brings one that this version reads.
    stock(&agent);
    let mut newest = FIXTURE.manifest.clone();
    newest.metadata.sequence = 8;
    agent.accept(&FIXTURE.by_operator(&newest)).unwrap();
    assert_eq!((agent.conditions(), agent.keeps_all_blobs()), (vec![], false));
}

#[test]
fn a_pass_goes_towards_what_is_held_and_is_counted() {
    let device = Device::stocked();
    assert_eq!(device.agent.begin_pass(), None);
    let [first, next] = &FIXTURE.manifests;
    assert_eq!(device.agent.take(first).unwrap(), (Outcome::Accepted, 0), "a pass towards nothing is none");
    let held = device.agent.accepted();
    assert!(held.is_some());
    assert_eq!([device.agent.begin_pass(), device.agent.begin_pass()], [held, held]);
    assert_eq!(device.agent.take(first).unwrap(), (Outcome::Unchanged, 2));
    assert_eq!(device.agent.take(next).unwrap(), (Outcome::Accepted, 2));
}

/// Who waits for another manifest is woken by one, and by a guest that is known again; not by what is known.
#[test]
fn nobody_is_woken_for_what_is_known() {
    let Device { data, agent } = Device::stocked();
    let [first, _] = &FIXTURE.manifests;
    assert!(agent.wakes(|| agent.accept(first).unwrap()));
    assert!(!agent.wakes(|| agent.accept(first).unwrap()));
    drop(agent);
    let blob = data.path().join("blobs").join(Digest::of(&FIXTURE.descriptor).to_hex());
    fs::rename(&blob, data.path().join("away")).unwrap();
    let agent = FIXTURE.agent(data.path());
    assert!(!agent.wakes(|| agent.recover_blobs(0)), "it lacks as much as before");
    fs::rename(data.path().join("away"), &blob).unwrap();
    assert!(agent.wakes(|| agent.recover_blobs(1)));
    assert!(!agent.wakes(|| agent.recover_blobs(0)) && !agent.wakes(|| agent.go_on()));
    drop(agent);
    // The same for who brings it again.
    fs::rename(&blob, data.path().join("away")).unwrap();
    let agent = FIXTURE.agent(data.path());
    fs::rename(data.path().join("away"), &blob).unwrap();
    assert!(agent.wakes(|| agent.accept(first).unwrap()));
    assert!(!agent.wakes(|| agent.accept(first).unwrap()));
}

#[test]
fn an_entry_below_the_security_floor_does_not_run() {
    let [older, _] = &FIXTURE.manifests;
    let at = Timestamp::from_seconds(1_800_000_000).unwrap();
    let below = "manifest-epoch-below-floor";
    for (epochs, wanted, next) in
        [([2, 2], Some(5), "manifest-sequence-reused"), ([2, 3], None, below), ([3, 2], Some(5), below)]
    {
        let data = folder();
        let ledger = data.path().join("ledger");
        fs::create_dir(&ledger).unwrap();
        // The newer one has lost its manifest.
        let [first, second] = epochs;
        fs::write(ledger.join("a"), ledger_slot(&ledger_entry(1, [first, 5], at, older))).unwrap();
        fs::write(ledger.join("b"), ledger_slot(&ledger_entry(2, [second, 6], at, b"nobody's"))).unwrap();
        let agent = FIXTURE.agent(data.path());
        assert_eq!(agent.held().map(|held| held.sequence), wanted, "{epochs:?}");
        let refused = agent.events().into_iter().filter(|event| event.kind == "LedgerEntryRefused");
        let refused: Vec<_> = refused.map(|event| event.message).collect();
        assert!(refused[0].starts_with("generation 2: "), "{refused:?}");
        assert_eq!(refused.get(1).map(String::as_str), wanted.is_none().then_some("generation 1: below epoch 3"));
        if epochs == [2, 2] {
            // Its copy remembers that a later sequence was accepted.
            let remembered = ledger_slot(&ledger_entry(1, [2, 6], at, older));
            assert_eq!(fs::read(data.path().join("copy")).unwrap(), remembered);
        }
        assert!(!agent.conditions().contains(&"NewerAgentNeeded".to_owned()));
        // Whatever stands in, what the floor says counts for the next.
        stock(&agent);
        assert_eq!(agent.refusal(&FIXTURE.manifests[1]).map(|refused| refused.name), Some(next), "{epochs:?}");
    }
}

#[test]
fn after_too_many_unclean_boots_the_factory_stands_in_until_somebody_says_otherwise() {
    let device = Device::settled();
    device.agent.accept(&FIXTURE.manifests[1]).unwrap();
    let Device { data, agent } = device;
    drop(agent);
    let slots = |data: &Path| ["a", "b"].map(|slot| fs::read(data.join("ledger").join(slot)).unwrap());
    let before = slots(data.path());
    let agent = Agent::start_with_factory(data.path(), FIXTURE.anchors.clone(), SERIAL.parse().unwrap()).unwrap();
    assert_eq!(agent.held(), None);
    agent.accept_factory(&FIXTURE.manifests[0]).unwrap();
    let held = agent.held().unwrap();
    assert_eq!((held.sequence, held.generation), (5, 0), "in no slot");
    assert!(agent.keeps_all_blobs());
    assert_eq!(agent.conditions(), Vec::<String>::new());
    assert_eq!(slots(data.path()), before);
    agent.go_on();
    assert_eq!(agent.held().unwrap().sequence, 6);
    // Said again it changes nothing.
    agent.go_on();
    assert_eq!((agent.held().unwrap().sequence, agent.keeps_all_blobs()), (6, false));
    // What somebody brings takes the factory's place in the ledger as well.
    drop(agent);
    let agent = Agent::start_with_factory(data.path(), FIXTURE.anchors.clone(), SERIAL.parse().unwrap()).unwrap();
    agent.accept_factory(&FIXTURE.manifests[0]).unwrap();
    let mut newest = FIXTURE.manifest.clone();
    newest.metadata.sequence = 7;
    agent.accept(&FIXTURE.by_operator(&newest)).unwrap();
    assert_eq!(agent.held().map(|held| (held.sequence, held.generation)), Some((7, 3)));
    agent.go_on();
    assert_eq!(agent.held().unwrap().sequence, 7);
}

//! What the disk lost: blobs, slots of the ledger, all of it.

use std::{collections::BTreeSet, fs};

use catenoid_agent::testing::{ledger_entry, ledger_slot};
use catenoid_fuzz::fixture::{FIXTURE, Fixture};
use catenoid_schema::{
    digest::Digest,
    units::{Span, Timestamp},
};

use super::Device;

#[test]
fn what_the_store_lost_is_known_and_looked_for_once_more() {
    let device = Device::settled();
    assert!(device.agent.missing_blobs().is_empty());
    let blobs = [&FIXTURE.descriptor, &FIXTURE.image];
    blobs.iter().for_each(|blob| fs::remove_file(device.blob(blob)).unwrap());
    let all: BTreeSet<_> = blobs.map(|blob| Digest::of(blob)).into();
    assert_eq!(device.agent.missing_blobs(), all);
    let device = device.restarted();
    assert_eq!((device.agent.held().unwrap().guests, device.event_kinds(&["GuestBroken"]).len()), (0, 1));
    // What the image is called stands in the descriptor.
    assert_eq!(device.agent.missing_blobs(), [Digest::of(blobs[0])].into());
    device.agent.push(blobs[0]).unwrap();
    device.agent.recover_blobs(1);
    assert_eq!(device.agent.held().unwrap().guests, 1);
    assert_eq!(device.agent.missing_blobs(), [Digest::of(blobs[1])].into());
    assert_eq!(device.event_kinds(&["BlobsRestored"]).len(), 1);
    // A descriptor that is known stays so, also where the disk has lost it again.
    fs::remove_file(device.blob(blobs[0])).unwrap();
    device.agent.push(blobs[1]).unwrap();
    device.agent.recover_blobs(1);
    assert_eq!(device.agent.held().unwrap().guests, 1);
}

/// What is done to the ledger of a device, as whoever holds the disk can.
type Damage = fn(&Device);

/// What is done while the machine is off, with its copy or without; what is reported, and whether it is still wrong.
const DAMAGES: &[(&str, Damage, &[&str], &[&str])] = &[
    ("nothing", |_| {}, &[], &[]),
    (
        "a slot is altered, and the copy is gone",
        |device| {
            fs::write(device.ledger("b"), "other").unwrap();
            fs::remove_file(device.data.path().join("copy")).unwrap();
        },
        &["LedgerSlotCorrupt"],
        &["LedgerSlotCorrupt"],
    ),
    (
        "a slot is altered, and the copy is there",
        |device| fs::write(device.ledger("b"), "other").unwrap(),
        &["LedgerSlotCorrupt"],
        &[],
    ),
    (
        "both slots are gone with the copy",
        |device| {
            fs::remove_file(device.data.path().join("copy")).unwrap();
            ["a", "b"].iter().for_each(|slot| fs::remove_file(device.ledger(slot)).unwrap());
        },
        &["LedgerLost"],
        &["LedgerLost"],
    ),
    (
        "both slots are altered, and the copy is gone",
        |device| {
            fs::remove_file(device.data.path().join("copy")).unwrap();
            ["a", "b"].iter().for_each(|slot| fs::write(device.ledger(slot), "other").unwrap());
        },
        &["LedgerLost"],
        &["LedgerLost"],
    ),
];

#[test]
fn what_the_ledger_lost_is_reported_until_somebody_brings_the_newest_manifest() {
    for (what, damage, reported, wrong) in DAMAGES {
        let device = Device::settled();
        device.agent.accept(&FIXTURE.manifests[1]).unwrap();
        damage(&device);
        let device = device.restarted();
        assert_eq!(device.event_kinds(&["LedgerSlot", "LedgerLost"]), *reported, "{what}");
        assert_eq!(device.agent.conditions(), *wrong, "{what}");
        // It is remembered, and not reported again.
        let device = device.restarted();
        assert_eq!(device.event_kinds(&["LedgerSlot", "LedgerLost"]), *reported, "{what}");
        assert_eq!(device.agent.conditions(), *wrong, "{what}");
        if !wrong.is_empty() {
            if device.agent.held().is_none() {
                // The factory's manifest says to nobody which one was the newest.
                device.agent.accept_factory(&FIXTURE.manifests[0]).unwrap();
                assert_eq!(device.agent.conditions(), *wrong, "{what}");
            }
            device.agent.accept(&FIXTURE.manifests[1]).unwrap();
            assert_eq!(device.agent.conditions(), Vec::<String>::new(), "{what}");
        }
        let device = device.restarted();
        assert_eq!(device.agent.conditions(), Vec::<String>::new(), "{what}");
        assert_eq!(device.agent.held().unwrap().sequence, 6, "{what}");
    }
}

/// A device that has lost nothing but has none yet is new, and not said to have lost something.
#[test]
fn a_new_device_misses_nothing() {
    let device = Device::stocked();
    device.agent.accept_factory(&FIXTURE.manifests[0]).unwrap();
    assert_eq!(device.agent.held().unwrap().generation, 1);
    let device = device.restarted();
    assert_eq!((device.event_kinds(&["Ledger"]), device.agent.conditions()), (vec![], vec![]));
    // Nobody but the factory brought one: a ledger that is gone is as new.
    fs::remove_dir_all(device.data.path().join("ledger")).unwrap();
    fs::remove_file(device.data.path().join("copy")).unwrap();
    let device = device.restarted();
    assert_eq!((device.event_kinds(&["LedgerLost"]), device.agent.conditions()), (vec![], vec![]));
}

#[test]
fn what_the_ledger_loses_while_the_agent_runs_is_written_again() {
    let device = Device::settled();
    let slot = ["a", "b"].map(|slot| device.ledger(slot)).into_iter().find(|path| path.exists()).unwrap();
    let before = fs::read(&slot).unwrap();
    fs::remove_file(&slot).unwrap();
    assert_eq!(device.agent.conditions(), Vec::<String>::new());
    assert_eq!(device.event_kinds(&["LedgerRestored"]).len(), 1);
    let found = ["a", "b"].map(|slot| device.ledger(slot)).into_iter().filter_map(|path| fs::read(path).ok());
    assert_eq!(found.collect::<Vec<_>>(), [before]);
    // Where it cannot be, that is reported once and stands until it can.
    fs::remove_dir_all(device.data.path().join("ledger")).unwrap();
    fs::write(device.data.path().join("ledger"), "").unwrap();
    for _ in 0..2 {
        assert_eq!(device.agent.conditions(), ["LedgerUnwritable"]);
    }
    assert_eq!(device.event_kinds(&["LedgerUnwritable"]).len(), 1);
    fs::remove_file(device.data.path().join("ledger")).unwrap();
    assert_eq!(device.agent.conditions(), Vec::<String>::new());
    assert_eq!(device.event_kinds(&["LedgerRestored"]).len(), 2);
}

/// The factory's manifest takes no slot where the ledger says that a higher epoch was accepted.
#[test]
fn the_factory_below_the_floor_stands_in() {
    let Fixture { manifests: [factory, _], manifest, .. } = &*FIXTURE;
    let mut higher = manifest.clone();
    (higher.metadata.epoch, higher.metadata.sequence) = (3, 9);
    let device = Device::stocked();
    device.agent.accept(&FIXTURE.by_operator(&higher)).unwrap();
    // Its signer is believed no more, say: its entry holds something else, with the same floor.
    let at = Timestamp::from_seconds(1_800_000_000).unwrap();
    fs::remove_file(device.data.path().join("copy")).unwrap();
    for slot in ["a", "b"] {
        fs::write(device.ledger(slot), ledger_slot(&ledger_entry(1, [3, 9], at, b"nobody's"))).unwrap();
    }
    let device = device.restarted();
    assert_eq!(device.agent.held(), None);
    assert_eq!(device.agent.refusal(factory).unwrap().name, "manifest-epoch-below-floor");
    device.agent.accept_factory(factory).unwrap();
    assert_eq!(device.agent.held().unwrap().generation, 0);
    assert!(device.agent.keeps_all_blobs());
    assert_eq!(device.agent.refusal(&FIXTURE.manifests[1]).unwrap().name, "manifest-epoch-below-floor");
    higher.metadata.sequence = 10;
    higher.containers.values_mut().for_each(|core| core.stop.grace = Span::from_milliseconds(2000));
    device.agent.accept(&FIXTURE.by_operator(&higher)).unwrap();
    assert_eq!(device.agent.held().map(|held| (held.sequence, held.generation)), Some((10, 2)));
    assert!(!device.agent.keeps_all_blobs());
}

/// Of the same epoch it is as good as what was accepted.
#[test]
fn the_factory_at_the_floor_takes_a_slot() {
    let factory = &FIXTURE.manifests[0];
    let device = Device::settled();
    let at = Timestamp::from_seconds(1_800_000_000).unwrap();
    fs::remove_file(device.data.path().join("copy")).unwrap();
    for slot in ["a", "b"] {
        fs::write(device.ledger(slot), ledger_slot(&ledger_entry(1, [2, 9], at, b"nobody's"))).unwrap();
    }
    let device = device.restarted();
    assert_eq!(device.agent.held(), None);
    device.agent.accept_factory(factory).unwrap();
    assert_eq!(device.agent.held().unwrap().generation, 2);
    assert!(!device.agent.keeps_all_blobs());
}

//! Every way by which a manifest is refused or taken, and what the device then holds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use catenoid_agent::testing::{Agent, Refusal, ledger_entry, ledger_slot};
use catenoid_fuzz::fixture::{FIXTURE, Fixture, SERIAL, folder};
use catenoid_schema::{
    control::{BLOB_LIMIT, MANIFEST_LIMIT, Outcome},
    digest::Digest,
    document::Document as _,
    guest::{Architecture, Guest, Need},
    manifest::Manifest,
    status::Blame,
    units::{ByteSize, Span, Timestamp},
};

/// A device that nothing was brought to yet.
struct Device {
    data: tempfile::TempDir,
    agent: Agent,
}

impl Device {
    fn new() -> Self {
        let data = folder();
        Self { agent: FIXTURE.agent(data.path()), data }
    }

    /// One that has what `FIXTURE.manifests` need.
    fn stocked() -> Self {
        let device = Self::new();
        stock(&device.agent);
        device
    }

    /// One that accepted the first of them.
    fn settled() -> Self {
        let device = Self::stocked();
        device.agent.accept(&FIXTURE.manifests[0]).unwrap();
        device
    }

    fn restarted(self) -> Self {
        let Self { data, agent } = self;
        drop(agent);
        Self { agent: FIXTURE.agent(data.path()), data }
    }

    fn blob(&self, bytes: &[u8]) -> PathBuf {
        self.data.path().join("blobs").join(Digest::of(bytes).to_hex())
    }

    /// Pushes what `guest` is as a descriptor; the manifest with it.
    fn with(&self, guest: &Guest) -> Vec<u8> {
        self.naming(&FIXTURE.by_software(guest))
    }

    /// Pushes `descriptor`; the manifest with it.
    fn naming(&self, descriptor: &[u8]) -> Vec<u8> {
        self.agent.push(descriptor).unwrap();
        FIXTURE.by_operator(&naming(Digest::of(descriptor)))
    }

    /// The kinds of events that begin with one of `kinds`.
    fn told(&self, kinds: &[&str]) -> Vec<String> {
        let told = self.agent.events().into_iter().map(|event| event.kind);
        told.filter(|kind| kinds.iter().any(|wanted| kind.starts_with(wanted))).collect()
    }

    fn ledger(&self, slot: &str) -> PathBuf {
        self.data.path().join("ledger").join(slot)
    }
}

/// Pushes what `FIXTURE.manifests` need.
fn stock(agent: &Agent) {
    for blob in [&FIXTURE.descriptor, &FIXTURE.image] {
        agent.push(blob).unwrap();
    }
}

fn naming(descriptor: Digest) -> Manifest {
    let mut manifest = FIXTURE.manifest.clone();
    manifest.guests.values_mut().for_each(|guest| guest.descriptor = Some(descriptor));
    manifest
}

fn changed(change: impl FnOnce(&mut Guest)) -> Guest {
    let mut guest = FIXTURE.guest.clone();
    change(&mut guest);
    guest
}

/// The most bytes of a descriptor's envelope.
fn descriptor_limit() -> usize {
    Guest::LIMITS.bytes + 256 * 1024
}

/// What is brought, to which device; its refusal: name, who must act, whether there is a hint, and a part of why.
type Row = (&'static str, fn(&Device) -> Vec<u8>, &'static str, Blame, bool, &'static str);

const ROWS: &[Row] = &[
    (
        "more than a manifest has",
        |_| vec![0; usize::try_from(MANIFEST_LIMIT.bytes()).unwrap() + 1],
        "too-large",
        Blame::ManifestAuthor,
        false,
        "over the limit",
    ),
    (
        "as much, and no manifest",
        |_| vec![0; usize::try_from(MANIFEST_LIMIT.bytes()).unwrap()],
        "envelope-too-large",
        Blame::ManifestAuthor,
        true,
        "not believed",
    ),
    ("a descriptor", |_| FIXTURE.descriptor.clone(), "content-type-wrong", Blame::ManifestAuthor, true, "not believed"),
    (
        "a manifest for another device",
        |_| {
            let mut manifest = FIXTURE.manifest.clone();
            manifest.target.serials = ["OTHER".parse().unwrap()].into();
            FIXTURE.by_operator(&manifest)
        },
        "manifest-other-target",
        Blame::ManifestAuthor,
        true,
        "cannot be taken",
    ),
    (
        "a manifest before the first",
        |_| {
            let mut manifest = FIXTURE.manifest.clone();
            manifest.metadata.sequence = 0;
            FIXTURE.by_operator(&manifest)
        },
        "manifest-breaks-rules",
        Blame::ManifestAuthor,
        true,
        "cannot be taken",
    ),
    (
        "a descriptor that nobody pushed",
        |_| FIXTURE.by_operator(&naming(Digest::of(b"not pushed"))),
        "guest-missing",
        Blame::Administrator,
        true,
        "its descriptor",
    ),
    (
        "an image that nobody pushed",
        |device| device.with(&changed(|guest| guest.image.digest = Digest::of(b"not pushed"))),
        "guest-missing",
        Blame::Administrator,
        true,
        "its image",
    ),
    (
        "a descriptor that was altered on the disk",
        |device| {
            fs::write(device.blob(&FIXTURE.descriptor), "other").unwrap();
            FIXTURE.manifests[0].clone()
        },
        "guest-missing",
        Blame::Administrator,
        true,
        "altered",
    ),
    (
        "one that was altered and is longer than any",
        |device| {
            fs::write(device.blob(&FIXTURE.descriptor), vec![0; descriptor_limit() + 1]).unwrap();
            FIXTURE.manifests[0].clone()
        },
        "guest-missing",
        Blame::Administrator,
        true,
        "altered",
    ),
    (
        "an image that was cut on the disk",
        |device| {
            fs::write(device.blob(&FIXTURE.image), "other").unwrap();
            FIXTURE.manifests[0].clone()
        },
        "guest-missing",
        Blame::Administrator,
        true,
        "altered",
    ),
    (
        "a descriptor that is longer than any",
        |device| device.naming(&vec![0; descriptor_limit() + 1]),
        "guest-differs",
        Blame::ManifestAuthor,
        false,
        "and is no descriptor",
    ),
    (
        "one of just that length",
        |device| device.naming(&vec![0; descriptor_limit()]),
        "envelope-too-large",
        Blame::ManifestAuthor,
        true,
        "guest `core` is not believed",
    ),
    (
        "a descriptor that the operator signed",
        |device| device.naming(&FIXTURE.by_operator(&FIXTURE.guest)),
        "signer-role-wrong",
        Blame::ManifestAuthor,
        true,
        "guest `core` is not believed",
    ),
    (
        "another version than the manifest says",
        |device| device.with(&changed(|guest| guest.metadata.version = "2".parse().unwrap())),
        "guest-differs",
        Blame::ManifestAuthor,
        false,
        "the manifest says `core@1`, its descriptor `core@2`",
    ),
    (
        "a guest for another machine",
        |device| {
            let other = |guest: &mut Guest| {
                guest.architecture = match guest.architecture {
                    Architecture::X86_64 => Architecture::Aarch64,
                    Architecture::Aarch64 => Architecture::X86_64,
                }
            };
            device.with(&changed(other))
        },
        "guest-differs",
        Blame::ManifestAuthor,
        false,
        "and this device is",
    ),
    (
        "an image that was signed with another size",
        |device| device.with(&changed(|guest| guest.image.size = ByteSize::from_bytes(16384))),
        "guest-differs",
        Blame::ManifestAuthor,
        false,
        "its image has 12288 bytes instead of 16384",
    ),
    (
        "a descriptor that breaks a rule",
        |device| device.with(&changed(|guest| guest.defaults.command = vec!["init".to_owned()])),
        "guest-differs",
        Blame::ManifestAuthor,
        false,
        "breaks a rule: defaults.command",
    ),
    (
        "a guest that needs what its container does not permit",
        |device| device.with(&changed(|guest| guest.needs = [Need::Namespaces].into())),
        "manifest-breaks-rules",
        Blame::ManifestAuthor,
        true,
        "which is not permitted",
    ),
    (
        "a store that cannot be read",
        |device| {
            let blobs = device.data.path().join("blobs");
            fs::rename(&blobs, blobs.with_extension("away")).unwrap();
            fs::write(&blobs, "").unwrap();
            FIXTURE.manifests[0].clone()
        },
        "blob-unreadable",
        Blame::Administrator,
        false,
        "failed to read blob",
    ),
    (
        "a ledger that cannot be written",
        |device| {
            let _ = fs::remove_dir_all(device.data.path().join("ledger"));
            fs::write(device.data.path().join("ledger"), "").unwrap();
            FIXTURE.manifests[0].clone()
        },
        "ledger-unwritable",
        Blame::Administrator,
        true,
        "could not be kept",
    ),
];

#[test]
fn every_refusal_says_why_and_who_must_act_and_changes_nothing() {
    for (what, bring, name, blame, has_hint, part) in ROWS {
        let device = Device::stocked();
        let envelope = bring(&device);
        let Refusal { name: told, blame: by, hint, why } =
            device.agent.refusal(&envelope).unwrap_or_else(|| panic!("{what}: it was taken"));
        assert_eq!((told, by, hint.is_some()), (*name, *blame, *has_hint), "{what}: {why}");
        assert!(why.contains(part) && hint.is_none_or(|hint| hint.len() > 10), "{what}: {why}");
        let events = device.agent.events();
        let event = events.iter().rfind(|event| event.kind == "ManifestRefused").unwrap();
        assert!(event.message.starts_with(name) && event.message.contains(part), "{what}: {}", event.message);
        assert_eq!(event.actor, "test");
        assert_eq!(device.agent.accepted(), None, "{what}");
    }
}

#[test]
fn what_was_altered_on_the_disk_is_taken_away_so_that_it_can_be_pushed_again() {
    let signed = changed(|guest| guest.image.size = ByteSize::from_bytes(16384));
    for (blob, other) in [(&FIXTURE.descriptor, b"other".to_vec()), (&FIXTURE.image, b"other".to_vec())] {
        let device = Device::stocked();
        fs::write(device.blob(blob), other).unwrap();
        assert!(device.agent.refusal(&FIXTURE.manifests[0]).is_some());
        assert!(!device.blob(blob).exists());
        assert_eq!(device.told(&["BlobAltered"]).len(), 1);
        device.agent.push(blob).unwrap();
        device.agent.accept(&FIXTURE.manifests[0]).unwrap();
    }
    // One that is larger than any blob is not read to its end.
    let device = Device::stocked();
    fs::File::create(device.blob(&FIXTURE.image)).unwrap().set_len(BLOB_LIMIT.bytes() + 1).unwrap();
    assert!(device.agent.refusal(&FIXTURE.manifests[0]).is_some());
    assert!(!device.blob(&FIXTURE.image).exists());
    // What is whole, and was signed otherwise, stays.
    let device = Device::stocked();
    assert!(device.agent.refusal(&device.with(&signed)).is_some());
    assert!(device.blob(&FIXTURE.image).exists() && device.told(&["BlobAltered"]).is_empty());
}

#[test]
fn what_is_held_is_taken_again_as_it_is() {
    let device = Device::settled();
    let held = device.agent.held().unwrap();
    assert_eq!((held.sequence, held.generation, held.guests), (5, 1, 1));
    device.agent.accept(&FIXTURE.manifests[0]).unwrap();
    assert_eq!(device.agent.held(), Some(held));
    assert_eq!(device.told(&["ManifestAccepted"]).len(), 1, "it is not told twice");
    device.agent.accept(&FIXTURE.manifests[1]).unwrap();
    let next = device.agent.held().unwrap();
    assert_eq!((next.sequence, next.generation), (6, 2));
    // An older one is refused, whatever it holds.
    assert_eq!(device.agent.refusal(&FIXTURE.manifests[0]).unwrap().name, "manifest-sequence-older");
    let device = device.restarted();
    assert_eq!(device.agent.held(), Some(next));
    assert_eq!(device.told(&["ManifestFound", "Ledger"]), Vec::<String>::new());
    // What is held is not asked again: it is complete as long as its guests are.
    fs::remove_file(device.blob(&FIXTURE.image)).unwrap();
    assert_eq!(device.agent.refusal(&FIXTURE.manifests[1]).unwrap().name, "guest-missing");
    assert_eq!(device.agent.held(), Some(next));
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

/// The log may have ended before it was told of what the ledger holds; what it does say is not said again.
#[test]
fn who_brought_what_the_ledger_holds_is_asked_of_the_log() {
    let device = Device::settled().restarted();
    assert_eq!(device.told(&["ManifestFound"]), Vec::<String>::new());
    fs::remove_dir_all(device.data.path().join("audit")).unwrap();
    let device = device.restarted();
    assert_eq!(device.told(&["ManifestFound"]), ["ManifestFound"]);
    let message = device.agent.events().into_iter().find(|event| event.kind == "ManifestFound").unwrap().message;
    assert!(message.starts_with("`small` sequence 5 (sha256:"), "{message}");
    let device = device.restarted();
    assert_eq!(device.told(&["ManifestFound"]), ["ManifestFound"], "once");
    // That another one was accepted says nothing of this one.
    let at = Timestamp::from_seconds(1_800_000_000).unwrap();
    fs::write(device.ledger("b"), ledger_slot(&ledger_entry(2, [2, 6], at, &FIXTURE.manifests[1]))).unwrap();
    let device = device.restarted();
    assert_eq!((device.agent.held().unwrap().sequence, device.told(&["ManifestFound"]).len()), (6, 2));
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
        let told = agent.events().into_iter().filter(|event| event.kind == "LedgerEntryRefused").map(|e| e.message);
        let told: Vec<_> = told.collect();
        assert!(told[0].starts_with("generation 2: "), "{told:?}");
        assert_eq!(told.get(1).map(String::as_str), wanted.is_none().then_some("generation 1: below epoch 3"));
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

#[test]
fn what_the_store_lost_is_known_and_looked_for_once_more() {
    let device = Device::settled();
    assert!(device.agent.missing_blobs().is_empty());
    let blobs = [&FIXTURE.descriptor, &FIXTURE.image];
    blobs.iter().for_each(|blob| fs::remove_file(device.blob(blob)).unwrap());
    let all: BTreeSet<_> = blobs.map(|blob| Digest::of(blob)).into();
    assert_eq!(device.agent.missing_blobs(), all);
    let device = device.restarted();
    assert_eq!((device.agent.held().unwrap().guests, device.told(&["GuestBroken"]).len()), (0, 1));
    // What the image is called stands in the descriptor.
    assert_eq!(device.agent.missing_blobs(), [Digest::of(blobs[0])].into());
    device.agent.push(blobs[0]).unwrap();
    device.agent.recover_blobs(1);
    assert_eq!(device.agent.held().unwrap().guests, 1);
    assert_eq!(device.agent.missing_blobs(), [Digest::of(blobs[1])].into());
    assert_eq!(device.told(&["BlobsRestored"]).len(), 1);
    // A descriptor that is known stays so, also where the disk has lost it again.
    fs::remove_file(device.blob(blobs[0])).unwrap();
    device.agent.push(blobs[1]).unwrap();
    device.agent.recover_blobs(1);
    assert_eq!(device.agent.held().unwrap().guests, 1);
}

/// What is done to the ledger of a device, as whoever holds the disk can.
type Damage = fn(&Device);

/// What is done while the machine is off, with its copy or without; what is told, and whether it is still wrong.
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
fn what_the_ledger_lost_is_told_until_somebody_brings_the_newest_manifest() {
    for (what, damage, told, wrong) in DAMAGES {
        let device = Device::settled();
        device.agent.accept(&FIXTURE.manifests[1]).unwrap();
        damage(&device);
        let device = device.restarted();
        assert_eq!(device.told(&["LedgerSlot", "LedgerLost"]), *told, "{what}");
        assert_eq!(device.agent.conditions(), *wrong, "{what}");
        // It is remembered, and not told again.
        let device = device.restarted();
        assert_eq!(device.told(&["LedgerSlot", "LedgerLost"]), *told, "{what}");
        assert_eq!(device.agent.conditions(), *wrong, "{what}");
        if !wrong.is_empty() {
            if device.agent.held().is_none() {
                // The factory's manifest tells nobody which one was the newest.
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

/// A device that has lost nothing but has none yet is new, and not told to have lost something.
#[test]
fn a_new_device_misses_nothing() {
    let device = Device::stocked();
    device.agent.accept_factory(&FIXTURE.manifests[0]).unwrap();
    assert_eq!(device.agent.held().unwrap().generation, 1);
    let device = device.restarted();
    assert_eq!((device.told(&["Ledger"]), device.agent.conditions()), (vec![], vec![]));
    // Nobody but the factory brought one: a ledger that is gone is as new.
    fs::remove_dir_all(device.data.path().join("ledger")).unwrap();
    fs::remove_file(device.data.path().join("copy")).unwrap();
    let device = device.restarted();
    assert_eq!((device.told(&["LedgerLost"]), device.agent.conditions()), (vec![], vec![]));
}

#[test]
fn what_the_ledger_loses_while_the_agent_runs_is_written_again() {
    let device = Device::settled();
    let slot = ["a", "b"].map(|slot| device.ledger(slot)).into_iter().find(|path| path.exists()).unwrap();
    let before = fs::read(&slot).unwrap();
    fs::remove_file(&slot).unwrap();
    assert_eq!(device.agent.conditions(), Vec::<String>::new());
    assert_eq!(device.told(&["LedgerRestored"]).len(), 1);
    let found = ["a", "b"].map(|slot| device.ledger(slot)).into_iter().filter_map(|path| fs::read(path).ok());
    assert_eq!(found.collect::<Vec<_>>(), [before]);
    // Where it cannot be, that is told once and stands until it can.
    fs::remove_dir_all(device.data.path().join("ledger")).unwrap();
    fs::write(device.data.path().join("ledger"), "").unwrap();
    for _ in 0..2 {
        assert_eq!(device.agent.conditions(), ["LedgerUnwritable"]);
    }
    assert_eq!(device.told(&["LedgerUnwritable"]).len(), 1);
    fs::remove_file(device.data.path().join("ledger")).unwrap();
    assert_eq!(device.agent.conditions(), Vec::<String>::new());
    assert_eq!(device.told(&["LedgerRestored"]).len(), 2);
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

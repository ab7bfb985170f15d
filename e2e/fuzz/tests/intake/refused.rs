//! What is refused, why, and that it changes nothing.

use std::fs;

use catenoid_agent::testing::Refusal;
use catenoid_fuzz::fixture::FIXTURE;
use catenoid_schema::{
    control::{BLOB_LIMIT, MANIFEST_LIMIT},
    digest::Digest,
    document::Document as _,
    guest::{Architecture, Guest, Need},
    status::Blame,
    units::ByteSize,
};

use super::{Device, changed, naming};

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
        let Refusal { name: refused_as, blame: by, hint, why } =
            device.agent.refusal(&envelope).unwrap_or_else(|| panic!("{what}: it was taken"));
        assert_eq!((refused_as, by, hint.is_some()), (*name, *blame, *has_hint), "{what}: {why}");
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
        assert_eq!(device.event_kinds(&["BlobAltered"]).len(), 1);
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
    assert!(device.blob(&FIXTURE.image).exists() && device.event_kinds(&["BlobAltered"]).is_empty());
}

//! Whether a device takes a manifest that it believes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use catenoid_envelope::{AcceptedFacts, Admitted, DeviceFacts, Refusal, Verified, admit, open};
use catenoid_schema::{digest::Digest, manifest::Manifest};
use common::{at, fleet, manifest, now, seal};

fn verified(manifest: &Manifest) -> Verified<Manifest> {
    let fleet = fleet();
    open(&seal(manifest, &[&fleet.operator]), &fleet.anchors, now()).unwrap()
}

fn facts(accepted: Option<AcceptedFacts>) -> DeviceFacts {
    DeviceFacts { serial: "QEMU-0001".parse().unwrap(), accepted }
}

fn held(sequence: u64, epoch: u64) -> Option<AcceptedFacts> {
    Some(AcceptedFacts { sequence, epoch, digest: Digest::of(b"another") })
}

fn name(result: Result<Admitted, Refusal>) -> &'static str {
    match result {
        Ok(Admitted::New(_)) => "new",
        Ok(Admitted::Unchanged(_)) => "unchanged",
        Err(refusal) => {
            assert!(refusal.hint().is_some());
            refusal.name()
        }
    }
}

/// The small manifest has sequence 5 and epoch 2.
#[test]
fn order_of_sequence_and_epoch_is_kept() {
    let rows = [
        ("new", None),
        ("new", held(4, 2)),
        ("new", held(4, 1)),
        ("new", held(1, 0)),
        ("manifest-sequence-older", held(6, 2)),
        ("manifest-sequence-older", held(u64::MAX, 2)),
        ("manifest-sequence-reused", held(5, 2)),
        ("manifest-epoch-below-floor", held(4, 3)),
        ("manifest-epoch-below-floor", held(6, 3)), // the floor comes first
        ("manifest-epoch-below-floor", held(5, 3)),
    ];
    for (index, (expected, held)) in rows.into_iter().enumerate() {
        assert_eq!(name(admit(verified(&manifest()), &facts(held), now())), expected, "row {index}");
    }
}

#[test]
fn the_same_content_is_unchanged_even_after_its_end() {
    let manifest = verified(&manifest());
    let held = AcceptedFacts { sequence: 5, epoch: 2, digest: manifest.digest() };
    assert_eq!(name(admit(manifest.clone(), &facts(Some(held)), now())), "unchanged");
    let later = "2030-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(name(admit(manifest, &facts(Some(held)), later)), "unchanged");
}

#[test]
fn validity_begins_and_ends_to_the_second() {
    let start = at(common::NOW);
    let mut manifest = manifest();
    manifest.metadata.not_before = Some(start);
    let end = manifest.metadata.not_after;
    let at_second = |seconds| name(admit(verified(&manifest), &facts(None), at(seconds)));
    assert_eq!(at_second(start.seconds() - 1), "manifest-not-yet-valid");
    assert_eq!(at_second(start.seconds()), "new");
    assert_eq!(at_second(end.seconds()), "new");
    assert_eq!(at_second(end.seconds() + 1), "manifest-expired");
}

#[test]
fn another_target_comes_before_everything_else() {
    let mut manifest = manifest();
    manifest.target.serials = ["A", "B", "C", "D", "E"].iter().map(|s| s.parse().unwrap()).collect();
    let refusal = admit(verified(&manifest), &facts(held(9, 9)), now()).unwrap_err();
    assert_eq!(refusal.name(), "manifest-other-target");
    assert_eq!(refusal.to_string(), "the manifest is for `A`, `B`, `C` and 2 more, and this is `QEMU-0001`");
}

#[test]
fn a_manifest_that_breaks_a_rule_is_refused_with_all_of_them() {
    let mut manifest = manifest();
    manifest.guests.values_mut().for_each(|guest| guest.descriptor = None);
    manifest.containers.values_mut().for_each(|container| container.limits.pids = 0);
    let Err(Refusal::Violations { violations }) = admit(verified(&manifest), &facts(None), now()) else {
        panic!("it was taken")
    };
    assert_eq!(violations.len(), 2, "{violations:?}");
}

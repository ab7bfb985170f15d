//! Who signed.

use catenoid_envelope::{Error, open};
use catenoid_schema::{document::Role, manifest::Manifest, status::Blame};
use x509_cert::ext::pkix::KeyUsages;

use crate::{
    common::{self, DAY, Form, Issued, NOW, anchors, at, authority, fleet, key, leaf, manifest, now, other_form, seal},
    refused,
};

#[test]
fn a_chain_over_intermediates_opens() {
    let fleet = fleet();
    let first = authority("first", 20, Some(Role::Operator)).by(&fleet.operator_authority);
    let second = authority("second", 21, Some(Role::Operator)).by_intermediate(&first);
    let signer = leaf("deep", 22, Role::Operator).by_intermediate(&second);
    assert_eq!(signer.chain.len(), 3);
    let bytes = seal(&manifest(), &[&signer]);
    assert!(open::<Manifest>(&bytes, &fleet.anchors, now()).is_ok());
}

/// Who signed: each row is a signer that looks right but for one thing.
// [req->NDR-3.13]
#[test]
fn signers_that_do_not_count_are_named() {
    let fleet = fleet();
    let issue = |spec: common::Spec| spec.by(&fleet.operator_authority);
    let spec = leaf("operator", 3, Role::Operator);
    let foreign = authority("operator authority", 30, Some(Role::Operator)).self_signed();
    let no_purpose_above = authority("middle", 31, None).by(&fleet.operator_authority);
    let expired_above = common::Spec { end: NOW - DAY, ..authority("middle", 31, Some(Role::Operator)) };
    let expired_above = expired_above.by(&fleet.operator_authority);
    let rows = [
        ("signer-role-wrong", fleet.software.clone()),
        ("certificate-signature-wrong", spec.by(&foreign)),
        ("certificate-untrusted", spec.self_signed()),
        ("certificate-untrusted", spec.by(&fleet.software_authority)),
        ("certificate-untrusted", spec.by(&fleet.operator)), // by a leaf, which is no authority
        ("certificate-expired", issue(common::Spec { end: NOW - DAY, ..spec.clone() })),
        ("certificate-not-yet-valid", issue(common::Spec { start: NOW + DAY, ..spec.clone() })),
        ("certificate-expired", spec.by_intermediate(&expired_above)),
        ("certificate-purpose-wrong", issue(common::Spec { purposes: Vec::new(), ..spec.clone() })),
        (
            "certificate-purpose-wrong",
            issue(common::Spec { purposes: vec![Role::Software.extended_key_usage()], ..spec.clone() }),
        ),
        ("certificate-purpose-wrong", issue(common::Spec { purposes: vec!["2.5.29.37.0"], ..spec.clone() })), // any
        ("certificate-purpose-wrong", spec.by_intermediate(&no_purpose_above)),
        ("certificate-is-authority", issue(common::Spec { ca: true, ..spec.clone() })),
        ("certificate-key-usage", issue(common::Spec { usage: None, ..spec.clone() })),
        ("certificate-key-usage", issue(common::Spec { usage: Some(KeyUsages::KeyAgreement.into()), ..spec.clone() })),
        (
            "certificate-key-usage",
            issue(common::Spec { usage: Some(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign), ..spec.clone() }),
        ),
        ("certificate-key-kind", issue(common::Spec { info: common::p256(), ..spec.clone() })),
        ("certificate-key-kind", issue(common::Spec { info: common::rsa(), ..spec.clone() })),
        ("signature-wrong", Issued { key: key(99), ..fleet.operator.clone() }),
    ];
    for (index, (name, signer)) in rows.into_iter().enumerate() {
        let bytes = seal(&manifest(), &[&signer]);
        assert_eq!(refused::<Manifest>(&bytes, &fleet.anchors), name, "row {index}");
        // Another one's good signature does not make up for it.
        let bytes = seal(&manifest(), &[&fleet.second_operator, &signer]);
        assert_eq!(refused::<Manifest>(&bytes, &fleet.anchors), name, "row {index} behind a good signer");
    }
}

#[test]
fn the_threshold_counts_different_keys() {
    let fleet = fleet();
    let two = anchors(&[(Role::Operator, 2, &fleet.operator_authority)]);
    let renewed = common::Spec { end: NOW + 999 * DAY, ..leaf("operator again", 3, Role::Operator) };
    let renewed = renewed.by(&fleet.operator_authority);
    let one = seal(&manifest(), &[&fleet.operator]);
    let same = seal(&manifest(), &[&fleet.operator, &fleet.operator]);
    let same_key = seal(&manifest(), &[&fleet.operator, &renewed]);
    let both = seal(&manifest(), &[&fleet.operator, &fleet.second_operator]);
    for bytes in [&one, &same, &same_key] {
        assert_eq!(
            open::<Manifest>(bytes, &two, now()).unwrap_err(),
            Error::Threshold { role: Role::Operator, found: 1, needed: 2 }
        );
    }
    for form in [Form::Compressed, Form::Hybrid, Form::Nested] {
        let other = common::Spec { info: other_form(3, form), ..leaf("operator again", 3, Role::Operator) };
        let bytes = seal(&manifest(), &[&fleet.operator, &other.by(&fleet.operator_authority)]);
        assert_eq!(refused::<Manifest>(&bytes, &two), "certificate-key-kind", "{form:?}");
    }
    assert_eq!(open::<Manifest>(&both, &two, now()).unwrap().signers().len(), 2);
}

/// Whoever made the anchors mends it; no further signature would.
#[test]
fn a_threshold_that_nobody_reaches_is_the_administrators() {
    let fleet = fleet();
    let bytes = seal(&manifest(), &[&fleet.operator]);
    for (threshold, name, blame) in
        [(8, "signers-too-few", Blame::ManifestAuthor), (9, "threshold-too-high", Blame::Administrator)]
    {
        let believed = anchors(&[(Role::Operator, threshold, &fleet.operator_authority)]);
        let error = open::<Manifest>(&bytes, &believed, now()).unwrap_err();
        assert_eq!((error.name(), error.blame()), (name, blame));
    }
}

#[test]
fn anchors_without_the_role_believe_nobody() {
    let fleet = fleet();
    let bytes = seal(&manifest(), &[&fleet.operator]);
    let others = anchors(&[(Role::Software, 1, &fleet.software_authority)]);
    assert_eq!(refused::<Manifest>(&bytes, &others), "anchors-missing");
    let nobody_needed = anchors(&[(Role::Operator, 0, &fleet.operator_authority)]);
    assert_eq!(refused::<Manifest>(&bytes, &nobody_needed), "anchors-missing");
}

#[test]
fn the_certificate_ends_with_its_last_second() {
    let fleet = fleet();
    let bytes = seal(&manifest(), &[&fleet.operator]);
    let end = NOW + 100 * DAY;
    assert!(open::<Manifest>(&bytes, &fleet.anchors, at(end)).is_ok());
    assert_eq!(open::<Manifest>(&bytes, &fleet.anchors, at(end + 1)).unwrap_err().name(), "certificate-expired");
    let start = NOW - 10 * DAY;
    assert!(open::<Manifest>(&bytes, &fleet.anchors, at(start)).is_ok());
    assert_eq!(
        open::<Manifest>(&bytes, &fleet.anchors, at(start - 1)).unwrap_err().name(),
        "certificate-not-yet-valid"
    );
}

/// The header of an error message is what a person reads first: nothing that a terminal would obey gets into it.
#[test]
fn hostile_subjects_are_shown_harmless() {
    let fleet = fleet();
    let spec = leaf("evil\u{1b}[2J", 40, Role::Operator);
    let signer = spec.by(&authority("nobody", 41, None).self_signed());
    let error = open::<Manifest>(&seal(&manifest(), &[&signer]), &fleet.anchors, now()).unwrap_err();
    assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
}

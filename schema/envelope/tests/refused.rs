//! Every envelope that must not open, each with its own error. [req->TSF-UPDATE] [req->COM-06]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use catenoid_envelope::{Error, NEWER_AGENT_HINT, Unverified, format::EnvelopePart, open};
use catenoid_schema::{
    anchors::Anchors,
    cbor,
    document::{Document, Role},
    guest::Guest,
    manifest::Manifest,
    status::Blame,
};
use ciborium::value::Value;
use common::{
    DAY, Form, Issued, NOW, anchors, at, authority, fleet, frame, guest, key, leaf, manifest, nested_in_bytes,
    nested_in_maps, now, other_form, seal, sign,
};
use coset::{
    CborSerializable, ContentType, CoseSign, CoseSignBuilder, CoseSignature, Header, HeaderBuilder, Label,
    TaggedCborSerializable, iana,
};
use x509_cert::ext::pkix::KeyUsages;

fn refused<T: Document + std::fmt::Debug>(bytes: &[u8], anchors: &Anchors) -> &'static str {
    open::<T>(bytes, anchors, now()).expect_err("it was opened").name()
}

/// `payload` signed by `signer` as a manifest, whatever it holds.
fn signed(payload: Vec<u8>, signer: &Issued) -> Vec<u8> {
    let body = HeaderBuilder::new().content_type(Manifest::CONTENT_TYPE.to_owned()).build();
    custom(payload, body, headers(signer), Header::default(), signer)
}

fn headers(signer: &Issued) -> Header {
    let mut header = HeaderBuilder::new().algorithm(iana::Algorithm::ES384).build();
    header.rest = vec![(Label::Int(33), Value::Bytes(signer.chain[0].clone()))];
    header
}

fn custom(payload: Vec<u8>, body: Header, protected: Header, unprotected: Header, signer: &Issued) -> Vec<u8> {
    let signature = CoseSignature {
        protected: coset::ProtectedHeader { original_data: None, header: protected },
        unprotected,
        signature: Vec::new(),
    };
    CoseSignBuilder::new()
        .protected(body)
        .payload(payload)
        .add_created_signature(signature, Manifest::CONTENT_TYPE.as_bytes(), |m| sign(&signer.key, m).to_vec())
        .build()
        .to_tagged_vec()
        .unwrap()
}

/// Decodes, changes and encodes an envelope as CBOR, without regard to COSE.
fn bent(bytes: &[u8], change: impl FnOnce(&mut Vec<Value>)) -> Vec<u8> {
    let mut value: Value = ciborium::from_reader(bytes).unwrap();
    let Value::Tag(98, inner) = &mut value else { panic!("no COSE_Sign") };
    change(inner.as_array_mut().unwrap());
    let mut out = Vec::new();
    ciborium::into_writer(&value, &mut out).unwrap();
    out
}

#[test]
fn what_was_signed_opens() {
    let fleet = fleet();
    let bytes = seal(&manifest(), &[&fleet.operator]);
    let verified = open::<Manifest>(&bytes, &fleet.anchors, now()).unwrap();
    assert_eq!(verified.document(), &manifest());
    assert_eq!(verified.digest(), catenoid_schema::digest::Digest::of(&cbor::encode(&manifest()).unwrap()));
    assert_eq!(verified.signers().len(), 1);
    assert_eq!(verified.signers()[0].subject, "CN=operator");
    assert_eq!(verified.signers()[0].not_after, at(NOW + 100 * DAY));
    let bytes = seal(&guest(), &[&fleet.software]);
    assert_eq!(open::<Guest>(&bytes, &fleet.anchors, now()).unwrap().into_document(), guest());
}

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
fn a_document_is_never_taken_for_another_kind() {
    let fleet = fleet();
    assert_eq!(refused::<Guest>(&seal(&manifest(), &[&fleet.operator]), &fleet.anchors), "content-type-wrong");
    assert_eq!(refused::<Manifest>(&seal(&guest(), &[&fleet.software]), &fleet.anchors), "content-type-wrong");
    // The payload and signature of a manifest under the content type of a guest, by a key that may sign both.
    let both =
        anchors(&[(Role::Operator, 1, &fleet.operator_authority), (Role::Software, 1, &fleet.operator_authority)]);
    let purposes = vec![Role::Operator.extended_key_usage(), Role::Software.extended_key_usage()];
    let signer = common::Spec { purposes, ..leaf("both", 3, Role::Operator) }.by(&fleet.operator_authority);
    let good = seal(&guest(), &[&signer]);
    assert!(open::<Guest>(&good, &both, now()).is_ok());
    let renamed = |content_type: &str| {
        let mut cose = CoseSign::from_tagged_slice(&good).unwrap();
        let header = Header { content_type: Some(ContentType::Text(content_type.to_owned())), ..Header::default() };
        cose.protected = coset::ProtectedHeader { original_data: None, header };
        cose
    };
    let same = renamed(Guest::CONTENT_TYPE).to_tagged_vec().unwrap();
    assert_eq!(same, good);
    assert_eq!(
        refused::<Manifest>(&renamed(Manifest::CONTENT_TYPE).to_tagged_vec().unwrap(), &both),
        "signature-wrong"
    );
    let mut swapped = renamed(Guest::CONTENT_TYPE);
    swapped.payload = Some(cbor::encode(&manifest()).unwrap());
    assert_eq!(refused::<Guest>(&swapped.to_tagged_vec().unwrap(), &both), "signature-wrong");
}

/// The form: each row is a good envelope bent in one way.
#[test]
fn forms_that_are_not_ours_are_named() {
    let fleet = fleet();
    let good = seal(&manifest(), &[&fleet.operator]);
    let payload = cbor::encode(&manifest()).unwrap();
    let body = || HeaderBuilder::new().content_type(Manifest::CONTENT_TYPE.to_owned()).build();
    let make = |body, protected, unprotected| custom(payload.clone(), body, protected, unprotected, &fleet.operator);
    let with = |label: i64, value: Value| {
        let mut header = headers(&fleet.operator);
        header.rest.push((Label::Int(label), value));
        header
    };
    let chain = |value| Header { rest: vec![(Label::Int(33), value)], ..headers(&fleet.operator) };
    let leaf = Value::Bytes(fleet.operator.chain[0].clone());
    let unprotected = || HeaderBuilder::new().key_id(b"1".to_vec()).build();
    let no_type = Header::default();
    let numeric_type = HeaderBuilder::new().content_format(iana::CoapContentFormat::Cbor).build();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("envelope-malformed", good[2..].to_vec()),              // without the tag
        ("envelope-malformed", [&[0xd2], &good[2..]].concat()),  // as a COSE_Sign1
        ("envelope-malformed", [&good[..], &[0]].concat()),      // bytes behind
        ("envelope-malformed", [&good[..], &good[..]].concat()), // twice
        ("envelope-malformed", [&[0xd9, 0xd9, 0xf7], &good[..]].concat()), // another tag around
        ("envelope-malformed", good[..good.len() - 1].to_vec()), // cut
        ("envelope-malformed", Vec::new()),
        ("envelope-not-deterministic", [&[0xd9, 0x00, 0x62], &good[2..]].concat()), // the tag in three bytes
        ("envelope-not-deterministic", [&good[..2], &[0x98, 4], &good[3..]].concat()), // a long array head
        ("envelope-not-deterministic", [&good[..2], &[0x9f], &good[3..], &[0xff]].concat()), // indefinite
        ("unprotected-header", bent(&good, |parts| parts[1] = Value::Map(vec![(4.into(), Value::Bytes(vec![1]))]))),
        ("unprotected-header", make(body(), headers(&fleet.operator), unprotected())),
        ("header-not-allowed", make(Header { key_id: vec![1], ..body() }, headers(&fleet.operator), Header::default())),
        ("header-not-allowed", make(body(), Header { key_id: vec![1], ..headers(&fleet.operator) }, Header::default())),
        ("header-not-allowed", make(body(), with(34, Value::Bytes(vec![1])), Header::default())),
        ("header-not-allowed", make(body(), with(-70_000, Value::Null), Header::default())),
        ("content-type-missing", make(no_type, headers(&fleet.operator), Header::default())),
        ("content-type-missing", make(numeric_type, headers(&fleet.operator), Header::default())),
        ("algorithm-not-allowed", {
            let header = HeaderBuilder::new().algorithm(iana::Algorithm::ES256).build();
            make(body(), Header { rest: headers(&fleet.operator).rest, ..header }, Header::default())
        }),
        ("algorithm-not-allowed", make(body(), Header { alg: None, ..headers(&fleet.operator) }, Header::default())),
        (
            "certificate-chain-missing",
            make(body(), Header { rest: Vec::new(), ..headers(&fleet.operator) }, Header::default()),
        ),
        ("certificate-chain-missing", make(body(), chain(Value::Array(vec![leaf.clone()])), Header::default())),
        ("certificate-chain-missing", make(body(), chain(Value::Array(vec![])), Header::default())),
        (
            "certificate-chain-missing",
            make(body(), chain(Value::Array(vec![leaf.clone(), Value::Null])), Header::default()),
        ),
        ("certificate-chain-missing", make(body(), chain(Value::Text("x".to_owned())), Header::default())),
        ("certificate-chain-too-large", make(body(), chain(Value::Array(vec![leaf.clone(); 5])), Header::default())),
        ("certificate-chain-too-large", make(body(), chain(Value::Bytes(vec![0; 4097])), Header::default())),
        ("certificate-unreadable", make(body(), chain(Value::Bytes(vec![0; 700])), Header::default())),
        ("payload-missing", bent(&good, |parts| parts[2] = Value::Null)),
        ("signature-count", bent(&good, |parts| parts[3] = Value::Array(vec![]))),
        (
            "signature-count",
            bent(&good, |parts| {
                let one = parts[3].as_array().unwrap()[0].clone();
                parts[3] = Value::Array(vec![one; 9]);
            }),
        ),
        ("envelope-malformed", bent(&good, |parts| parts.push(Value::Null))),
        (
            "signature-wrong",
            bent(&good, |parts| parts[3].as_array_mut().unwrap()[0].as_array_mut().unwrap()[2] = Value::Bytes(vec![])),
        ),
        (
            "signature-wrong",
            bent(&good, |parts| {
                // The DER form of a signature is no COSE form.
                let parts = parts[3].as_array_mut().unwrap()[0].as_array_mut().unwrap();
                let fixed = p384::ecdsa::Signature::from_slice(parts[2].as_bytes().unwrap()).unwrap();
                parts[2] = Value::Bytes(fixed.to_der().as_bytes().to_vec());
            }),
        ),
        (
            "signature-wrong",
            bent(&good, |parts| {
                let signature = parts[3].as_array_mut().unwrap()[0].as_array_mut().unwrap();
                signature[2] = Value::Bytes(vec![0; 96]);
            }),
        ),
        // A protected header with a key twice, in the wrong order, with a long head: bytes inside of bytes.
        (
            "envelope-not-deterministic",
            bent(&good, |parts| parts[0] = Value::Bytes(hex::decode("a20363612f620363612f62").unwrap())),
        ),
        (
            "envelope-not-deterministic",
            bent(&good, |parts| parts[0] = Value::Bytes(hex::decode("a20441000363612f62").unwrap())),
        ),
        (
            "envelope-not-deterministic",
            bent(&good, |parts| parts[0] = Value::Bytes(hex::decode("a1037803612f62").unwrap())),
        ),
        ("envelope-malformed", bent(&good, |parts| parts[0] = Value::Bytes(hex::decode("a10363612f620000").unwrap()))),
        ("content-type-missing", bent(&good, |parts| parts[0] = Value::Bytes(hex::decode("a0").unwrap()))),
        ("content-type-missing", bent(&good, |parts| parts[0] = Value::Bytes(hex::decode("a1034100").unwrap()))),
        ("envelope-malformed", bent(&good, |parts| parts[0] = Value::Bytes(hex::decode("80").unwrap()))),
        ("header-not-allowed", bent(&good, |parts| parts[0] = Value::Bytes(hex::decode("a16133612f").unwrap()))), // "3"
        ("envelope-malformed", bent(&good, |parts| parts[0] = Value::Null)),
        ("envelope-malformed", bent(&good, |parts| parts[1] = Value::Array(vec![]))),
        ("envelope-malformed", bent(&good, |parts| parts[2] = Value::Bool(true))),
        ("envelope-malformed", bent(&good, |parts| parts[3] = Value::Null)),
        ("envelope-malformed", bent(&good, |parts| parts[3] = Value::Array(vec![Value::Null]))),
        // Two pairs that would be good, inside of the value of the first.
        (
            "algorithm-not-allowed",
            bent(&good, |parts| {
                let signature = parts[3].as_array_mut().unwrap()[0].as_array_mut().unwrap();
                signature[0] = Value::Bytes(hex::decode("a30182013822182141001822f6").unwrap());
            }),
        ),
    ];
    for (index, (name, bytes)) in rows.iter().enumerate() {
        let error = open::<Manifest>(bytes, &fleet.anchors, now()).expect_err("it was opened");
        assert_eq!(error.name(), *name, "row {index}: {error:?}");
    }
}

/// A map of CBOR.
type Fields = Vec<(Value, Value)>;

/// What was signed in good faith, but is no document.
#[test]
fn signed_payloads_are_still_checked() {
    let fleet = fleet();
    let value = || -> Value { ciborium::from_reader(cbor::encode(&manifest()).unwrap().as_slice()).unwrap() };
    let encode = |value: &Value| {
        let mut out = Vec::new();
        ciborium::into_writer(value, &mut out).unwrap();
        out
    };
    let edited = |edit: &dyn Fn(&mut Fields)| {
        let mut value = value();
        edit(value.as_map_mut().unwrap());
        encode(&value)
    };
    let good = cbor::encode(&manifest()).unwrap();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("payload-malformed", edited(&|map| map.push((Value::Text("zzzzzzzzzzzzzzzz".to_owned()), Value::Null)))), // unknown
        ("payload-malformed", edited(&|map| map.retain(|(key, _)| key.as_text() != Some("target")))),
        ("payload-not-deterministic", edited(&|map| map.reverse())),
        ("payload-not-deterministic", edited(&|map| map.insert(0, map[0].clone()))),
        ("payload-not-deterministic", edited(&|map| map.retain(|(key, _)| key.as_text() != Some("zones")))), // a default
        ("payload-malformed", edited(&|map| map[0].1 = Value::Float(1.0))),
        ("payload-malformed", edited(&|map| map[0].1 = Value::Tag(1, Box::new(Value::Null)))),
        ("payload-malformed", [&good[..], &[0]].concat()),
        ("payload-malformed", Vec::new()),
        ("payload-too-deep", vec![0x81; 1000]),
        ("payload-too-many-items", [&[0x9a, 0, 0x0f, 0xff, 0xff][..], &vec![0; 0x000f_ffff - 10]].concat()),
    ];
    for (index, (name, payload)) in rows.into_iter().enumerate() {
        assert_eq!(refused::<Manifest>(&signed(payload, &fleet.operator), &fleet.anchors), name, "row {index}");
    }
    let large = signed(vec![0; Manifest::LIMITS.bytes + 1], &fleet.operator);
    assert_eq!(refused::<Manifest>(&large, &fleet.anchors), "payload-too-large");
    assert!(open::<Manifest>(&signed(good, &fleet.operator), &fleet.anchors, now()).is_ok());
}

/// A document of a later version has fields that nobody here can know. It says so, and then it is not malformed.
#[test]
fn newer_agent_needed_is_said() {
    let fleet = fleet();
    let later = |requires: &[&str]| {
        let mut value: Value = ciborium::from_reader(cbor::encode(&manifest()).unwrap().as_slice()).unwrap();
        let names = requires.iter().map(|name| Value::Text((*name).to_owned())).collect();
        let map = value.as_map_mut().unwrap();
        map.push((Value::Text("requires".to_owned()), Value::Array(names)));
        map.push((Value::Text("volumes".to_owned()), Value::Map(Vec::new())));
        signed(cbor::encode(&value).unwrap(), &fleet.operator)
    };
    let error = open::<Manifest>(&later(&["volumes"]), &fleet.anchors, now()).unwrap_err();
    assert_eq!(error.name(), "newer-agent-needed");
    assert_eq!(error.blame(), Blame::Administrator);
    assert_eq!(error.hint(), Some(NEWER_AGENT_HINT));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "this Manifest requires `volumes`, which this version does not know");
    // It is said of what was signed only, and not where what is required is known.
    let mut unsigned = later(&["volumes"]);
    let end = unsigned.len() - 1;
    unsigned[end] ^= 1;
    assert_eq!(refused::<Manifest>(&unsigned, &fleet.anchors), "signature-wrong");
    assert_eq!(refused::<Manifest>(&later(&["requires"]), &fleet.anchors), "payload-malformed");
}

#[test]
fn nothing_of_an_unsigned_payload_is_read() {
    let fleet = fleet();
    let signer = Issued { key: key(99), ..fleet.operator.clone() };
    assert_eq!(refused::<Manifest>(&signed(vec![0x81; 1000], &signer), &fleet.anchors), "signature-wrong");
}

#[test]
fn floods_are_refused_before_they_cost() {
    let fleet = fleet();
    let begin = Instant::now();
    assert_eq!(refused::<Manifest>(&vec![0; 64 << 20], &fleet.anchors), "envelope-too-large");
    assert_eq!(refused::<Manifest>(&vec![0; 1 << 20], &fleet.anchors), "envelope-malformed");
    assert_eq!(refused::<Manifest>(&vec![0x81; 1 << 20], &fleet.anchors), "envelope-too-deep");
    let wide = [&[0xd8, 0x62, 0x9a, 0, 0x0f, 0, 0][..], &vec![0; 0x000f_0000]].concat();
    assert_eq!(refused::<Manifest>(&wide, &fleet.anchors), "envelope-too-many-items");
    assert!(begin.elapsed() < Duration::from_secs(1), "took {:?}", begin.elapsed());
}

/// Runs `test` on as little stack as no thread of ours has: what recurses along its input ends the process.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 << 10).spawn(test).unwrap().join().unwrap();
}

#[test]
fn no_depth_of_headers_costs_stack() {
    let fleet = fleet();
    on_a_small_stack(|| {
        let [body, signer] = common::good_headers(&fleet.operator);
        let good: [&[u8]; 4] = [&body, &[0xa0], &signer, &[0xa0]];
        assert!(
            Unverified::read(&frame(good), Manifest::LIMITS.bytes).is_ok(),
            "the frame is good but for its headers"
        );
        let refused_with = |index: usize, header: &[u8]| {
            let mut headers = good;
            headers[index] = header;
            refused::<Manifest>(&frame(headers), &fleet.anchors)
        };
        for levels in [2, 1_000, 100_000] {
            let (in_bytes, in_maps) = (nested_in_bytes(levels), nested_in_maps(levels));
            // A protected header is read alone: below the limit of its bytes it is the label that is refused.
            let large = levels == 100_000;
            for index in [0, 2] {
                let expected = if large { "envelope-too-large" } else { "header-not-allowed" };
                assert_eq!(refused_with(index, &in_bytes), expected, "{levels} levels of bytes in header {index}");
                let expected = if large { "envelope-too-large" } else { "envelope-too-deep" };
                assert_eq!(refused_with(index, &in_maps), expected, "{levels} levels of maps in header {index}");
            }
            // An unprotected one is part of the whole, in which a signature's lies two levels below the body's.
            assert_eq!(refused_with(1, &in_bytes), "unprotected-header", "{levels} levels of bytes");
            assert_eq!(refused_with(3, &in_bytes), "envelope-too-deep", "{levels} levels of bytes in a signature");
            for index in [1, 3] {
                assert_eq!(refused_with(index, &in_maps), "envelope-too-deep", "{levels} levels of maps in {index}");
            }
        }
    });
}

/// The error is that of the limit: the rules for what is in a header come behind it, and any decoder behind those.
#[test]
fn wide_headers_are_refused_by_their_size_alone() {
    let fleet = fleet();
    let [body, signer] = common::good_headers(&fleet.operator);
    let wide = common::wide_header(1_100_000);
    for (place, headers) in [
        (EnvelopePart::Body, [wide.as_slice(), &[0xa0], &signer, &[0xa0]]),
        (EnvelopePart::Signature(1), [&body, &[0xa0], wide.as_slice(), &[0xa0]]),
    ] {
        let source = cbor::Error::TooLarge { bytes: wide.len(), limit: 16_640 };
        let error = open::<Manifest>(&frame(headers), &fleet.anchors, now()).unwrap_err();
        assert_eq!(error, Error::HeaderEncoding { place, source });
        // One that is small enough has too many items: the map, the key, the array and 29 numbers are 32.
        let small = common::wide_header(1_000);
        let headers = headers.map(|header| if header.len() > 1_000_000 { &small } else { header });
        let error = open::<Manifest>(&frame(headers), &fleet.anchors, now()).unwrap_err();
        assert_eq!(error, Error::HeaderEncoding { place, source: cbor::Error::TooMany { limit: 32, at: 34 } });
    }
}

#[test]
fn one_flipped_bit_in_any_byte_is_refused() {
    let fleet = fleet();
    let bytes = seal(&manifest(), &[&fleet.operator]);
    let mut seen = std::collections::BTreeMap::new();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1 << bit;
            *seen.entry(refused::<Manifest>(&flipped, &fleet.anchors)).or_insert(0) += 1;
        }
    }
    // Each field of the envelope has its say, so the table is not all one early error.
    for name in [
        "envelope-malformed",
        "envelope-not-deterministic",
        "content-type-wrong",
        "algorithm-not-allowed",
        "header-not-allowed",
        "certificate-untrusted",
        "certificate-unreadable",
        "certificate-signature-wrong",
        "signature-wrong",
    ] {
        assert!(seen.contains_key(name), "no flip gave `{name}`: {seen:?}");
    }
    assert_eq!(seen.values().sum::<usize>(), bytes.len() * 8);
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

#[test]
fn headers_compare_as_coset_writes_them() {
    // What `custom` writes for a plain signer is byte for byte what `Draft` writes, so the rows above differ by their
    // one thing only.
    let fleet = fleet();
    let payload = cbor::encode(&manifest()).unwrap();
    assert_eq!(signed(payload, &fleet.operator), seal(&manifest(), &[&fleet.operator]));
    assert!(headers(&fleet.operator).to_vec().is_ok());
}

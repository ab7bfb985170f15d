//! Envelopes that are not of our form.

use catenoid_envelope::open;
use catenoid_schema::{
    cbor,
    document::{Document, Role},
    guest::Guest,
    manifest::Manifest,
};
use ciborium::value::Value;
use coset::{ContentType, CoseSign, Header, HeaderBuilder, Label, TaggedCborSerializable, iana};

use crate::{
    bent,
    common::{self, anchors, fleet, guest, leaf, manifest, now, seal},
    custom, headers, refused,
};

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

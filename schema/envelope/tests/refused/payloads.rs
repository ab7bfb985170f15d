//! What was signed, but is no document.

use catenoid_envelope::{NEWER_AGENT_HINT, open};
use catenoid_schema::{cbor, document::Document, manifest::Manifest, status::Blame};
use ciborium::value::Value;

use crate::{
    common::{Issued, fleet, key, manifest, now},
    refused, signed,
};

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

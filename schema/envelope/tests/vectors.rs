//! Envelopes of this format as files: whatever changes here later, these must open as they do now. They are also the
//! seeds of the fuzz targets. Written anew with `UPDATE_GOLDEN=1`, for a new version of the format only.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use catenoid_envelope::open;
use catenoid_schema::{anchors::Anchors, cbor, document::Document, guest::Guest, manifest::Manifest};
use common::{fleet, frame, good_headers, guest, manifest, nested_in_bytes, now, seal, wide_header};

fn vector(name: &str, made: &[u8]) -> Vec<u8> {
    let path = Path::new("tests/vectors").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    std::fs::read(path).unwrap()
}

#[test]
fn envelopes_of_version_1_open() {
    let fleet = fleet();
    let made = cbor::encode(&fleet.anchors).unwrap();
    let anchors: Anchors = cbor::decode(&vector("anchors.cbor", &made), Anchors::LIMITS).unwrap();
    assert_eq!(anchors, fleet.anchors);
    let made = seal(&manifest(), &[&fleet.operator, &fleet.second_operator]);
    let bytes = vector("manifest.cose", &made);
    assert_eq!(open::<Manifest>(&bytes, &anchors, now()).unwrap().into_document(), manifest());
    assert_eq!(bytes, made, "signing is deterministic, so the bytes are the same");
    let made = seal(&guest(), &[&fleet.software]);
    let bytes = vector("guest.cose", &made);
    assert_eq!(open::<Guest>(&bytes, &anchors, now()).unwrap().into_document(), guest());
    assert_eq!(bytes, made);
}

/// Envelopes that once cost a decoder its stack or the device its memory, kept as further seeds.
#[test]
fn envelopes_that_cost_too_much_are_refused() {
    let [body, signer] = good_headers(&fleet().operator);
    let nested = nested_in_bytes(1_000);
    for (name, headers, error) in [
        ("nested-body.cose", [nested.as_slice(), &[0xa0], &signer, &[0xa0]], "header-not-allowed"),
        ("nested-signature.cose", [&body, &[0xa0], nested.as_slice(), &[0xa0]], "header-not-allowed"),
        ("nested-unprotected.cose", [&body, nested.as_slice(), &signer, &[0xa0]], "unprotected-header"),
        ("wide-body.cose", [&wide_header(20_000), &[0xa0], &signer, &[0xa0]], "envelope-too-large"),
    ] {
        let made = frame(headers);
        let bytes = vector(&format!("refused/{name}"), &made);
        assert_eq!(bytes, made, "{name}");
        assert_eq!(open::<Manifest>(&bytes, &fleet().anchors, now()).unwrap_err().name(), error, "{name}");
    }
}

/// The frame of an envelope, item by item (RFC 8949 notation on the right).
#[test]
fn the_frame_is_these_bytes() {
    let bytes = seal(&manifest(), &[&fleet().operator]);
    let payload = cbor::encode(&manifest()).unwrap();
    let leaf = &fleet().operator.chain[0];
    let text = Manifest::CONTENT_TYPE.as_bytes();
    let long = |major: u8, length: usize| -> Vec<u8> {
        let length = u16::try_from(length).unwrap();
        if length < 256 {
            vec![major | 24, length.to_be_bytes()[1]]
        } else {
            [&[major | 25], &length.to_be_bytes()[..]].concat()
        }
    };
    let header = [&[0xa2, 0x01, 0x38, 0x22, 0x18, 0x21][..], &long(0x40, leaf.len()), leaf].concat();
    let expected = [
        &[0xd8, 0x62][..],           // 98(
        &[0x84],                     //   [
        &long(0x40, text.len() + 4), //     <<
        &[0xa1, 0x03],
        &long(0x60, text.len()),
        text,    //       {3: "application/vnd.catenoid..."} >>
        &[0xa0], //     {}
        &long(0x40, payload.len()),
        &payload, //     h'...' the manifest
        &[0x81],  //     [
        &[0x83],  //       [
        &long(0x40, header.len()),
        &header,                    //         << {1: -35, 33: h'...' the certificate} >>
        &[0xa0],                    //         {}
        &[0x58, 96],                //         h'...' the signature
        &bytes[bytes.len() - 96..], //       ] ] ] )
    ]
    .concat();
    assert_eq!(hex::encode(&bytes), hex::encode(expected));
}

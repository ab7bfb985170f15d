//! Every envelope that must not open, each with its own error. [req->TSF-UPDATE] [req->COM-06]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod floods;
mod forms;
mod payloads;
mod signers;

use catenoid_envelope::open;
use catenoid_schema::{anchors::Anchors, cbor, document::Document, guest::Guest, manifest::Manifest};
use ciborium::value::Value;
use common::{DAY, Issued, NOW, at, fleet, guest, manifest, now, seal, sign};
use coset::{
    CborSerializable, CoseSignBuilder, CoseSignature, Header, HeaderBuilder, Label, TaggedCborSerializable, iana,
};

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
fn headers_compare_as_coset_writes_them() {
    // What `custom` writes for a plain signer is byte for byte what `Draft` writes, so the rows above differ by their
    // one thing only.
    let fleet = fleet();
    let payload = cbor::encode(&manifest()).unwrap();
    assert_eq!(signed(payload, &fleet.operator), seal(&manifest(), &[&fleet.operator]));
    assert!(headers(&fleet.operator).to_vec().is_ok());
}

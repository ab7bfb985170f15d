//! Documents: whatever bytes were signed, decoding answers, what it takes encodes to the same bytes, and the rules can be
//! asked of it.

use catenoid_schema::{
    allocate,
    anchors::Anchors,
    cbor,
    document::Document,
    guest::{self, Guest},
    manifest::{Manifest, check},
};

pub(crate) fn decode_any(bytes: &[u8]) {
    if let Some(manifest) = decode::<Manifest>(bytes) {
        let _ = check::check(&manifest, check::Stage::Signed);
        let _ = allocate::id_ranges(&manifest);
    }
    if let Some(descriptor) = decode::<Guest>(bytes) {
        let _ = guest::check(&descriptor);
    }
    decode::<Anchors>(bytes);
}

fn decode<T: Document>(bytes: &[u8]) -> Option<T> {
    let document: T = cbor::decode(bytes, T::LIMITS).ok()?;
    assert_eq!(cbor::encode(&document).expect("it was decoded"), bytes, "a document has one byte form");
    Some(document)
}

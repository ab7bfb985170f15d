//! Envelopes: whatever bytes come from c0, opening answers, and opens nothing but what was signed.

use std::sync::LazyLock;

use catenoid_envelope::open;
use catenoid_schema::{anchors::Anchors, cbor, document::Document, guest::Guest, manifest::Manifest, units::Timestamp};

static ANCHORS: LazyLock<Anchors> = LazyLock::new(|| {
    let vector = include_bytes!("../../../schema/envelope/tests/vectors/anchors.cbor");
    cbor::decode(vector, Anchors::LIMITS).expect("the vector is anchors")
});
const MANIFEST: &[u8] = include_bytes!("../../../schema/envelope/tests/vectors/manifest.cose");
const GUEST: &[u8] = include_bytes!("../../../schema/envelope/tests/vectors/guest.cose");

pub(crate) fn open_any(bytes: &[u8]) {
    let at = Timestamp::from_seconds(1_780_272_000).expect("2026 can be written");
    assert!(open::<Manifest>(bytes, &ANCHORS, at).is_err() || bytes == MANIFEST);
    assert!(open::<Guest>(bytes, &ANCHORS, at).is_err() || bytes == GUEST);
    assert!(open::<Anchors>(bytes, &ANCHORS, at).is_err());
}

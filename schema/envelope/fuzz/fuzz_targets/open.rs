//! Whatever bytes come from c0: `open` answers, and opens nothing but the seeds.
//!
//! `cargo +nightly fuzz run open fuzz/corpus/open tests/vectors` in the folder of the crate.
#![no_main]

use std::sync::LazyLock;

use catenoid_envelope::open;
use catenoid_schema::{anchors::Anchors, cbor, document::Document, guest::Guest, manifest::Manifest, units::Timestamp};
use libfuzzer_sys::fuzz_target;

static ANCHORS: LazyLock<Anchors> = LazyLock::new(|| {
    cbor::decode(include_bytes!("../../tests/vectors/anchors.cbor"), Anchors::LIMITS).expect("a vector is anchors")
});
const MANIFEST: &[u8] = include_bytes!("../../tests/vectors/manifest.cose");
const GUEST: &[u8] = include_bytes!("../../tests/vectors/guest.cose");

fuzz_target!(|bytes: &[u8]| {
    let at = Timestamp::from_seconds(1_780_272_000).expect("2026 can be written");
    assert!(open::<Manifest>(bytes, &ANCHORS, at).is_err() || bytes == MANIFEST);
    assert!(open::<Guest>(bytes, &ANCHORS, at).is_err() || bytes == GUEST);
    assert!(open::<Anchors>(bytes, &ANCHORS, at).is_err());
});

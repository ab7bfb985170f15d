//! Whatever bytes were signed: decoding answers, what it takes encodes to the same bytes, and the rules can be asked of it.
//!
//! `cargo +nightly fuzz run document` in the folder of the crate.
#![no_main]

use catenoid_schema::{
    allocate, cbor,
    document::Document,
    guest::{self, Guest},
    manifest::{Manifest, check},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = cbor::decode::<Manifest>(bytes, Manifest::LIMITS) {
        assert_eq!(cbor::encode(&manifest).expect("it was decoded"), bytes);
        let _ = check::check(&manifest, check::Stage::Signed);
        let _ = allocate::id_ranges(&manifest);
    }
    if let Ok(descriptor) = cbor::decode::<Guest>(bytes, Guest::LIMITS) {
        assert_eq!(cbor::encode(&descriptor).expect("it was decoded"), bytes);
        let _ = guest::check(&descriptor);
    }
});

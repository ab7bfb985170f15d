//! Documents: whatever bytes were signed, decoding answers, what it takes encodes to the same bytes, the rules can be asked of
//! it, and the rooms plan for it whether it keeps them or not: what was accepted before a rule was tightened is not asked again.

use std::collections::BTreeMap;

use catenoid_house::{DesiredState, Observed, Paths, forecast};
use catenoid_schema::{
    anchors::Anchors,
    cbor,
    document::{self, Document},
    guest::{self, Guest},
    manifest::{Manifest, check},
};

pub(crate) fn decode_any(bytes: &[u8]) {
    if let Some(manifest) = decode::<Manifest>(bytes) {
        let lawful = check::check(&manifest, check::Stage::Signed).is_empty();
        let bounded = check::bounds(&manifest).is_none();
        assert!(bounded || !lawful, "whatever is taken is within the bounds");
        let guests =
            manifest.guests.iter().filter_map(|(name, guest)| Some((name.clone(), (guest.descriptor?, tiny()))));
        if !bounded {
            return;
        }
        let wanted = DesiredState::new(&manifest, &guests.collect::<BTreeMap<_, _>>(), &Paths::default());
        let _ = forecast(&wanted, &Observed::default());
    }
    if let Some(descriptor) = decode::<Guest>(bytes) {
        let _ = guest::check(&descriptor);
    }
    decode::<Anchors>(bytes);
}

/// A guest that breaks every rule that there is.
fn tiny() -> Guest {
    let digest = "sha256:".to_owned() + &"0".repeat(64);
    serde_json::from_value(serde_json::json!({
        "apiVersion": "catenoid.dev/v1", "kind": "Guest", "metadata": {"name": "tiny", "version": "1"},
        "architecture": "x86_64", "defaults": {"command": [], "workingDirectory": ""}, "root": {"tmpfs": {"size": "0B"}},
        "image": {"digest": digest, "size": "0B", "verity": {"rootHash": digest, "salt": digest, "dataBlocks": 0}},
    }))
    .expect("it is of this form")
}

fn decode<T: Document>(bytes: &[u8]) -> Option<T> {
    let document: T = document::decode(bytes).ok()?;
    assert_eq!(cbor::encode(&document).expect("it was decoded"), bytes, "a document has one byte form");
    Some(document)
}

//! `manifests/golden`: from what an author writes to what is written out and what is signed, byte for byte.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use catenoid_schema::{
    cbor,
    document::Document,
    manifest::{
        Manifest,
        check::{self, Stage},
    },
};
use common::{cases, golden, manifests, succeed};

fn hex_lines(bytes: &[u8]) -> String {
    bytes.chunks(40).map(|chunk| hex::encode(chunk) + "\n").collect()
}

#[test]
fn authors_text_becomes_these_bytes() {
    let folder = manifests().join("golden");
    let cases = cases(&folder, None);
    assert!(cases.len() >= 4, "only {} cases", cases.len());
    for case in cases {
        let folder = folder.join(&case);
        let rendered = succeed(&folder, &["check", "--rendered", "manifest.yaml"]);
        golden(&folder.join("rendered.yaml"), &rendered);
        let manifest: Manifest = serde_saphyr::from_str(&rendered).unwrap();
        assert_eq!(check::check(&manifest, Stage::Signed), [], "{case}");
        assert_eq!(check::bounds(&manifest), None, "{case}");
        let bytes = cbor::encode(&manifest).unwrap();
        golden(&folder.join("manifest.cbor.hex"), &hex_lines(&bytes));
        assert_eq!(cbor::decode::<Manifest>(&bytes, Manifest::LIMITS).unwrap(), manifest, "{case}");
        golden(&folder.join("flows.txt"), &succeed(&folder, &["check", "--flows", "manifest.yaml"]));
        // What is written out is a fixed point: it renders to itself.
        std::fs::write(folder.join("again.yaml"), &rendered).unwrap();
        let again = succeed(&folder, &["check", "--rendered", "again.yaml"]);
        std::fs::remove_file(folder.join("again.yaml")).unwrap();
        assert_eq!(again, rendered, "{case}");
    }
}

#[test]
fn schemas_in_the_tree_are_what_the_tool_prints() {
    for kind in ["manifest", "guest", "anchors", "status"] {
        let text = succeed(&manifests(), &["schema", kind]);
        golden(&manifests().join(format!("../schema/{kind}.schema.json")), &text);
    }
}

/// What `check` refuses by a rule of later can have been accepted by a device, which reads it again.
#[test]
fn a_name_that_was_reserved_later_is_still_read() {
    let text = std::fs::read_to_string(manifests().join("refused/container-named-root.yaml")).unwrap();
    let manifest: Manifest = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(check::check(&manifest, Stage::Authored).len(), 1);
    assert_eq!(check::bounds(&manifest), None);
}

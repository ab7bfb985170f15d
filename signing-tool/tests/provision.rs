//! docs/provision.md does what it says: every `sh` block is run, in order. [req->SF-21] [req->SF-16] [req->NDR-3.13]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;

use catenoid_envelope::open;
use catenoid_schema::{anchors::Anchors, cbor, document::Document, manifest::Manifest};
use common::{manifests, seen};

#[test]
fn tool_the_documented_steps_run() {
    let text = std::fs::read_to_string(manifests().join("../docs/provision.md")).unwrap();
    let blocks: Vec<_> = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 7, "{} blocks", blocks.len());
    let folder = tempfile::tempdir().unwrap();
    let tool = Path::new(env!("CARGO_BIN_EXE_catenoid-sign")).parent().unwrap();
    let path = format!("{}:{}", tool.display(), std::env::var("PATH").unwrap());
    let script = blocks.concat();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", seen(&output));
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let anchors: Anchors = cbor::decode(&read("anchors.cbor"), Anchors::LIMITS).unwrap();
    let now = "2027-01-01T00:00:00Z".parse().unwrap();
    let verified = open::<Manifest>(&read("press.manifest.cose"), &anchors, now).unwrap();
    assert_eq!(verified.signers().len(), 2);
    assert_eq!(open::<Manifest>(&read("half.manifest.cose"), &anchors, now).unwrap_err().name(), "signers-too-few");
}

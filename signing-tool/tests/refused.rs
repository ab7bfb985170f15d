//! Every manifest of `manifests/refused`, with the message that stands beside it. [req->TSF-UPDATE]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{cases, manifests, run, seen};

#[test]
fn every_refused_manifest_says_why_and_where() {
    let folder = manifests().join("refused");
    let cases = cases(&folder, Some("yaml"));
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for case in cases {
            let output = run(&folder, &["check", &format!("{case}.yaml")]);
            assert_eq!(output.status.code(), Some(1), "{case}: {}", seen(&output));
            insta::assert_snapshot!(case, seen(&output));
        }
    });
}

//! Every document of `manifests/refused` and `manifests/accepted`, with what its author sees. [req->TSF-UPDATE]
//!
//! A case joins with one file: a manifest, a guest's descriptor or a recipe, by its `kind`. What is said of it is written
//! beside it (`cargo insta review`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{cases, manifests, run, seen};

/// What is said of `case`: who must act, and what that person sees.
fn said(folder: &Path, case: &str) -> (Option<i32>, String) {
    let file = format!("{case}.yaml");
    let text = std::fs::read_to_string(folder.join(&file)).unwrap();
    let kind = text.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap_or("Manifest");
    let output = match kind {
        "Guest" => run(folder, &["guest", "sign", "--key", "none", "--chain", "none", &file]),
        "GuestRecipe" => run(folder, &["guest", "build", "--out", "none", "--cache", "none", &file]),
        _ => run(folder, &["check", &file]),
    };
    let who = match output.status.code() {
        Some(0) => "nobody",
        Some(1) => "the author of the document",
        Some(2) => "whoever typed the command",
        _ => "the administrator of the build host",
    };
    (output.status.code(), format!("to act: {who}\n{}", seen(&output)))
}

fn acceptance_table(folder: &str, least: usize, code: i32) {
    let folder = manifests().join(folder);
    let cases = cases(&folder, Some("yaml"));
    assert!(cases.len() >= least, "only {} cases", cases.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        let (mut other, mut seen) = (Vec::new(), Vec::new());
        for case in cases {
            let (found, said) = said(&folder, &case);
            if found != Some(code) {
                other.push(format!("{case}: {said}"));
            }
            seen.push((case, said));
        }
        assert!(other.is_empty(), "exit code {code} is expected:\n{}", other.join("\n"));
        for (case, said) in seen {
            insta::assert_snapshot!(case, said);
        }
    });
}

#[test]
fn acceptance_table_of_what_is_refused() {
    acceptance_table("refused", 190, 1);
}

#[test]
fn acceptance_table_of_what_is_taken() {
    acceptance_table("accepted", 7, 0);
}

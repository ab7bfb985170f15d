//! The program that cargo built for one checkout and runs for a copy of it: it must work on the copy.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A checkout with one requirement, which no other checkout has.
fn checkout() -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary folder");
    let requirements = "| id | group | requirement |\n|---|---|---|\n| COPY-1 | copy | only here |\n";
    for (path, text) in
        [("Cargo.lock", ""), ("docs/requirements.md", requirements), ("e2e/xtask/Cargo.toml", "[package]\n")]
    {
        let path = copy.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it is in the checkout")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    copy
}

fn requirements(prepare: impl FnOnce(&mut Command)) -> String {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    prepare(xtask.arg("requirements").env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_TARGET_DIR"));
    let output = xtask.output().expect("xtask runs");
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("it is text"));
    assert!(output.status.success(), "{stderr}");
    stdout
}

#[test]
fn a_copied_checkout_is_worked_on_itself() {
    let copy = checkout();
    let original = Path::new(env!("CARGO_BIN_EXE_xtask")).ancestors().nth(2).expect("<target>/<profile>/xtask");
    // As `cargo xtask` says it from anywhere in the copy, with a target directory of its own or that of the original.
    let by_cargo = |xtask: &mut Command| {
        xtask.env("CARGO_MANIFEST_DIR", copy.path().join("e2e/xtask"));
    };
    // As somebody starts the program who is no cargo.
    let alone = |xtask: &mut Command| {
        xtask.current_dir(copy.path().join("docs"));
    };
    let shown = [
        requirements(by_cargo),
        requirements(|xtask| by_cargo(xtask.env("CARGO_TARGET_DIR", original))),
        requirements(alone),
    ];
    for shown in shown {
        assert!(shown.contains("COPY-1"), "{shown}");
    }
}

#[test]
fn outside_of_a_checkout_there_is_nothing_to_work_on() {
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = xtask.arg("requirements").env_remove("CARGO_MANIFEST_DIR").current_dir(&elsewhere).output();
    let output = output.expect("xtask runs");
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).expect("it is text");
    let place = elsewhere.path().display();
    let expected = format!("error: `{place}` is in no checkout of catenoid (hint: run `cargo xtask` in one)\n");
    assert_eq!(said, expected);
}

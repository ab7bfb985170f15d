//! The program as a person meets it: what is typed, what is seen, how it ends. Against a device made of scripted answers.

mod fake;
mod hostile;
mod samples;
mod snapshots;

use std::{ffi::OsStr, process::Command};

use fake::Fake;

/// Runs the program and shows what a person sees, without what differs from run to run.
fn catenoid(fake: &Fake, arguments: &[&str]) -> String {
    let typed = arguments.join(" ");
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_catenoid"))
        .args(&arguments)
        .current_dir(fake.directory.path())
        .env_clear()
        .env("CATENOID_SOCKET", fake.socket())
        .output()
        .expect("the program can be run");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the program writes utf-8");
    let seen = format!(
        "$ catenoid {typed}\n{}--- error stream ---\n{}--- exit code {} ---\n",
        text(&output.stdout),
        text(&output.stderr),
        output.status.code().expect("the program ends by itself")
    );
    seen.replace(&fake.directory.path().display().to_string(), "DIR")
}

/// Compares what a person sees with the snapshot, leaving out measured times.
macro_rules! assert_seen {
    ($seen:expr) => {
        insta::with_settings!({
            filters => vec![
                (r"in \d+\.\d s \([0-9.]+ [KMGT]?i?B/s\)", "in TIME (RATE)"),
                (r"after \d+\.\d s", "after TIME"),
            ],
            omit_expression => true,
        }, { insta::assert_snapshot!($seen) })
    };
}
use assert_seen;

//! What others wrote does not act on a terminal, whichever way it comes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{fs, path::Path};

use catenoid_schema::foreign::is_foreign;
use common::{Desk, manifest, run, seen};

/// What opens the way to a terminal.
const WAYS: [&str; 9] =
    ["println!", "print!", "eprintln!", "eprint!", "dbg!", "stdout()", "stderr()", "anstream::std", "/dev/tty"];
/// Where that may stand: a file, and why.
const DOORS: [(&str, &str); 4] = [
    ("agent/src/console.rs", "the door"),
    ("c0/cli/src/terminal.rs", "the door"),
    ("reconcilers/containers/launcher/src/main.rs", "answers to the agent, through a pipe"),
    ("signing-tool/src/terminal.rs", "the door"),
];

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix("..").unwrap().to_str().unwrap().to_owned();
            found.push((shown, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Every place of what is shipped that does not print through [`catenoid_schema::foreign`].
#[test]
fn foreign_text_is_escaped() {
    let mut files = Vec::new();
    for folder in
        ["../agent/src", "../c0/client/src", "../c0/cli/src", "../reconcilers", "../schema", "../signing-tool/src"]
    {
        sources(Path::new(folder), &mut files);
    }
    assert!(files.len() > 30, "only {} files", files.len());
    let mut beside = Vec::new();
    for (path, text) in &files {
        let shipped = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let hits = (1..).zip(shipped.lines()).filter(|(_, line)| {
            let code = line.split("//").next().unwrap();
            WAYS.iter().any(|way| code.contains(way))
        });
        if path.contains("/tests/") || path.contains("/benches/") {
            continue;
        }
        let door = DOORS.iter().any(|(door, _)| door == path);
        match (door, hits.map(|(line, _)| format!("{path}:{line}")).collect::<Vec<_>>()) {
            (true, hits) if hits.is_empty() => beside.push(format!("{path} is no door any more")),
            (true, _) => {}
            (false, hits) => beside.extend(hits),
        }
    }
    assert!(beside.is_empty(), "print through `terminal.rs`: {}", beside.join(", "));
}

/// A line end, an escape sequence, a control of C1, one that reorders, two that nobody sees.
const EVIL: &str = "a\nerror: b\u{1b}[2J\u{9b}31m\u{7f}\u{202e}c\u{200b}\u{e0041}";
/// The same between double quotes of YAML.
const QUOTED: &str = r#""a\nerror: b\e[2J\x9B31m\x7F\u202Ec\u200B\U000E0041""#;

#[test]
fn what_others_wrote_does_not_act_on_the_terminal() {
    let desk = Desk::new();
    let good = manifest();
    let command = good.replace("guest: core", &format!("guest: core, command: [/sbin/init, {QUOTED}]"));
    assert_ne!(command, good);
    desk.write("command.yaml", &command);
    desk.write("key.yaml", &good.replace("kind: Manifest", &format!("kind: Manifest\n{QUOTED}: 1")));
    desk.write("value.yaml", &good.replace("kind: Manifest", &format!("kind: {QUOTED}")));
    desk.write("raw.yaml", &good.replace("kind: Manifest", "kind: Manifest # \u{202e}\u{200b}\nwrong: 1"));
    desk.write("recipe.yaml", &format!("apiVersion: catenoid.dev/v1\nkind: {QUOTED}\n"));
    let name = EVIL.replace('\n', "");
    desk.write(&name, "kind: 1");
    assert!(desk.sign("command.yaml", "command.cose").status.success());
    fs::write(desk.path().join("broken.cose"), EVIL).unwrap();
    desk.write("archive.yaml", RECIPE);
    fs::create_dir(desk.path().join("root")).unwrap();
    fs::write(desk.path().join("root").join(&name), "").unwrap();

    let table: [&[&str]; 12] = [
        &["check", "command.yaml"],
        &["check", "--rendered", "command.yaml"],
        &["check", "key.yaml"],
        &["check", "value.yaml"],
        &["check", "raw.yaml"],
        &["check", &name],
        &["check", "no\u{1b}[2J\u{202e}such"],
        &["inspect", "command.cose"],
        &["inspect", "--output", "json", "command.cose"],
        &["inspect", "broken.cose"],
        &["guest", "build", "recipe.yaml"],
        &["guest", "build", "archive.yaml"],
    ];
    for arguments in table {
        let output = run(desk.path(), arguments);
        let seen = seen(&output);
        let raw: Vec<char> = seen.chars().filter(|c| *c != '\n' && is_foreign(*c)).collect();
        assert!(raw.is_empty(), "{arguments:?} writes {raw:?}: {seen}");
        let faked = seen.lines().any(|line| line.starts_with("error: b"));
        assert!(!faked, "{arguments:?} has a line of somebody else: {seen}");
    }
}

const RECIPE: &str = "apiVersion: catenoid.dev/v1\nkind: GuestRecipe\nname: a\nversion: 1.0.0\narchitecture: x86_64\n\
    source: { directory: root }\ndefaults: { command: [/bin/a] }\nroot: readOnly\n";

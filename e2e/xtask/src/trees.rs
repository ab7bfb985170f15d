//! The device's programs as other source trees have them, for tests of what one version leaves to another.
//!
//! ```text
//! target/catenoid/trees/
//!   yesterday/    commit YESTERDAY, out of the history of this checkout
//!   tomorrow/     this tree with one more optional field in each document: see FIELDS
//! ```
//!
//! They are built into the target folder of this tree: dependencies are the same and are there already. Their packages have
//! another version, or cargo would take one tree's for the other's. Their programs lie where this tree's do, until the next
//! are built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_e2e::Artefacts;

use crate::image::Programs;
use crate::run;

/// The commit that devices in the field are taken to run.
const YESTERDAY: &str = "c2f899d";
/// What tomorrow's tree has of this one: all that the programs are built of.
const SOURCES: [&str; 5] = ["Cargo.toml", "Cargo.lock", "schema", "reconcilers", "agent"];
/// Members of the workspace that it leaves out, by the beginnings of their lines.
const OTHERS: [&str; 3] = ["  \"c0", "  \"signing-tool", "  \"e2e"];

/// Behind this stands what another tree's version ends with.
const VERSION: &str = "\nversion = \"0.1.0";

/// The field, as CONTRIBUTING.md asks for it.
const FIELD: &str = "\n    /// Of tomorrow.\n    #[serde(default, skip_serializing_if = \"Option::is_none\")]\n    pub tomorrow: Option<u64>,";
/// The same where a value is made.
const NONE: &str = " tomorrow: None,";
/// Where it is put: file, text before it, and which of the two. One line for each document, and for what a document has in it.
const FIELDS: [(&str, &str, &str); 21] = [
    ("schema/src/manifest/mod.rs", "pub struct Manifest {", FIELD),
    ("schema/src/manifest/metadata.rs", "pub struct Metadata {", FIELD),
    ("schema/src/manifest/target.rs", "pub struct Target {", FIELD),
    ("schema/src/manifest/guests.rs", "pub struct GuestReference {", FIELD),
    ("schema/src/manifest/container.rs", "pub struct Container {", FIELD),
    ("schema/src/manifest/zone.rs", "pub struct Zone {", FIELD),
    ("schema/src/manifest/zone.rs", "pub struct Flow {", FIELD),
    ("schema/src/guest.rs", "pub struct Guest {", FIELD),
    ("schema/src/guest.rs", "pub struct Defaults {", FIELD),
    ("schema/src/anchors.rs", "pub struct Anchors {", FIELD),
    ("schema/src/anchors.rs", "pub struct RoleAnchors {", FIELD),
    ("schema/src/control.rs", "pub struct Event {", FIELD),
    ("schema/src/status.rs", "pub struct Status {", FIELD),
    ("agent/src/accept/ledger.rs", "pub(crate) struct Entry {", FIELD),
    ("reconcilers/containers/src/order.rs", "pub struct LaunchOrder {", FIELD),
    ("reconcilers/containers/src/exit.rs", "pub struct Exit {", FIELD),
    ("agent/src/record/audit/mod.rs", "Event { number,", NONE),
    ("agent/src/pass/status.rs", "        Status {\n", NONE),
    ("agent/src/accept/ledger.rs", "let entry = Entry {", NONE),
    ("reconcilers/containers/src/desired.rs", "    LaunchOrder {\n", NONE),
    ("reconcilers/containers/src/exit.rs", "        Exit {\n", NONE),
];

/// The programs of [`YESTERDAY`].
pub(crate) fn yesterday(artefacts: &Artefacts) -> Result<Programs> {
    let tree = folder(artefacts, "yesterday")?.join(YESTERDAY);
    if !tree.exists() {
        // Beside it, so that one that was not unpacked to its end is not taken for it.
        let part = tree.with_extension("part");
        fs::create_dir_all(&part).with_context(|| format!("failed to make `{}`", part.display()))?;
        let mut archive = Command::new("git")
            .args(["archive", YESTERDAY])
            .current_dir(artefacts.workspace())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to run `git`")?;
        let stream = archive.stdout.take().expect("stdout is piped");
        run::output(Command::new("tar").arg("-x").arg("-C").arg(&part).stdin(stream))
            .with_context(|| format!("this checkout has no commit {YESTERDAY} (hint: `git fetch --unshallow`)"))?;
        ensure!(archive.wait().context("failed to wait for `git`")?.success(), "`git archive {YESTERDAY}` failed");
        let manifest = part.join("Cargo.toml");
        let fail = || format!("failed to write `{}`", manifest.display());
        let text = fs::read_to_string(&manifest).with_context(fail)?;
        fs::write(&manifest, with(&text, VERSION, "+yesterday")?).with_context(fail)?;
        fs::rename(&part, &tree).with_context(|| format!("failed to make `{}`", tree.display()))?;
    }
    build(artefacts, &tree)
}

/// The programs of this tree with [`FIELDS`].
pub(crate) fn tomorrow(artefacts: &Artefacts) -> Result<Programs> {
    let tree = folder(artefacts, "tomorrow")?;
    for name in SOURCES {
        mirror(&artefacts.workspace().join(name), &tree.join(name), Path::new(name))?;
    }
    build(artefacts, &tree)
}

fn folder(artefacts: &Artefacts, name: &str) -> Result<PathBuf> {
    let tree = artefacts.state().join("trees").join(name);
    fs::create_dir_all(&tree).with_context(|| format!("failed to make `{}`", tree.display()))?;
    Ok(tree)
}

/// Makes `to` what `from` is, with the fields; what is so already is not written, so that cargo builds it once.
fn mirror(from: &Path, to: &Path, name: &Path) -> Result<()> {
    let fail = || format!("failed to mirror `{}`", from.display());
    if from.is_dir() {
        fs::create_dir_all(to).with_context(fail)?;
        for entry in fs::read_dir(to).with_context(fail)? {
            let left = entry.with_context(fail)?;
            if !from.join(left.file_name()).exists() {
                let removed =
                    if left.path().is_dir() { fs::remove_dir_all(left.path()) } else { fs::remove_file(left.path()) };
                removed.with_context(fail)?;
            }
        }
        for entry in fs::read_dir(from).with_context(fail)? {
            let entry = entry.with_context(fail)?;
            // Stored files are no sources, and take room.
            if entry.file_name() != "compat" {
                mirror(&entry.path(), &to.join(entry.file_name()), &name.join(entry.file_name()))?;
            }
        }
        return Ok(());
    }
    let mut content = fs::read(from).with_context(fail)?;
    if name == Path::new("Cargo.toml") {
        let text = String::from_utf8(content).with_context(fail)?;
        let kept = |line: &&str| !OTHERS.iter().any(|other| line.starts_with(other));
        let text: String = text.split_inclusive('\n').filter(kept).collect();
        content = with(&text, VERSION, "+tomorrow")?.into_bytes();
    }
    for (_, before, added) in FIELDS.iter().filter(|(file, ..)| Path::new(file) == name) {
        let text = String::from_utf8(content).with_context(fail)?;
        content = with(&text, before, added).with_context(fail)?.into_bytes();
    }
    if fs::read(to).ok().as_ref() != Some(&content) {
        fs::write(to, content).with_context(fail)?;
    }
    Ok(())
}

/// `text` with `added` behind `before`, which stands in it once outside of tests.
fn with(text: &str, before: &str, added: &str) -> Result<String> {
    let code = text.find("#[cfg(test)]").unwrap_or(text.len());
    let found: Vec<usize> = text[..code].match_indices(before).map(|(at, _)| at + before.len()).collect();
    let [at] = found[..] else {
        bail!("`{before}` stands there {} times (hint: the table in e2e/xtask/src/trees.rs)", found.len());
    };
    Ok([&text[..at], added, &text[at..]].concat())
}

fn build(artefacts: &Artefacts, tree: &Path) -> Result<Programs> {
    let mut cargo = run::cargo_static(artefacts)?;
    cargo.args(["-p", "catenoid-agent", "-p", "catenoid-launcher"]);
    cargo.arg("--target-dir").arg(artefacts.target()).current_dir(tree);
    run::visibly(&mut cargo)?;
    let [agent, launcher] = ["catenoid-agent", "catenoid-launcher"].map(|name| artefacts.static_binary(name));
    Ok(Programs { agent, launcher })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_put_where_it_belongs_or_not_at_all() {
        let text = "struct A {\n}\nlet a = A { x };\n#[cfg(test)]\nlet a = A { y };\n";
        assert_eq!(with(text, "let a = A {", NONE).unwrap(), text.replacen("A { x", "A { tomorrow: None, x", 1));
        assert!(with(text, "A {", NONE).is_err(), "twice");
        assert!(with(text, "B {", NONE).is_err(), "not there");
    }

    #[test]
    fn every_place_is_in_this_tree() {
        let workspace = Artefacts::new();
        for (file, before, added) in FIELDS.into_iter().chain([("Cargo.toml", VERSION, "")]) {
            let text = fs::read_to_string(workspace.workspace().join(file)).unwrap();
            with(&text, before, added).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
    }
}

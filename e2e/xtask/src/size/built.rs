//! What the device's programs are built of: the crates and their sources, as cargo and the compiler report them. A file that
//! no feature and no platform of the device asks for is not read by the compiler, and so not counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;
use catenoid_e2e::artefacts::STATIC_TARGET;
use serde_json::Value;

use crate::image::PROGRAMS;
use crate::run;
use crate::walls::tree::Source;

/// A crate that a program of the device has in it, whatever its version.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Crate {
    /// Whether it is of this workspace.
    pub(super) ours: bool,
    /// Lines of Rust without tests, comments and blank lines.
    pub(super) lines: usize,
}

/// The crates by the names of their packages.
pub(super) type Crates = BTreeMap<String, Crate>;

/// A library or a program that cargo built.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) package: String,
    /// As the compiler names it in symbols and files.
    pub(super) name: String,
    ours: bool,
    folder: PathBuf,
    /// The list of its sources.
    dependencies: PathBuf,
    /// Whether it is of a package that cargo was asked for. Cargo puts such a file beside `deps` and lists its sources with those
    /// of all libraries of ours in it; the list of any other is the compiler's.
    asked_for: bool,
}

#[cfg(test)]
impl Unit {
    pub(super) fn of(package: &str, name: &str) -> Self {
        let (package, name) = (package.to_owned(), name.to_owned());
        Self { package, name, ours: false, folder: PathBuf::new(), dependencies: PathBuf::new(), asked_for: false }
    }
}

/// Asks cargo for everything that the device's programs are made of; builds what is not built.
pub(super) fn units(artefacts: &Artefacts) -> Result<Vec<Unit>> {
    let mut cargo = run::cargo_static(artefacts)?;
    cargo.args(PROGRAMS.into_iter().flat_map(|program| ["-p", program]));
    let messages = run::output(cargo.args(["--message-format", "json"]))?;
    let built_for = artefacts.target().join(STATIC_TARGET);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let units: Vec<_> = messages.filter_map(|message| unit(&message, &built_for)).collect();
    ensure!(!units.is_empty(), "cargo names nothing that it built for `{}`", built_for.display());
    Ok(units)
}

/// A message of cargo about what is in a program: build scripts and macros are built for this machine, and are not.
fn unit(message: &Value, built_for: &Path) -> Option<Unit> {
    let file = Path::new(message["filenames"][0].as_str()?);
    if message["reason"] != "compiler-artifact" || !file.starts_with(built_for) {
        return None;
    }
    let id = message["package_id"].as_str()?;
    let (source, fragment) = id.split_once('#')?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let package = match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => source.rsplit('/').next()?.to_owned(),
    };
    let asked_for = file.parent()?.file_name()? != "deps";
    let dependencies = if asked_for {
        file.with_extension("d")
    } else {
        file.with_file_name(file.file_stem()?.to_str()?.strip_prefix("lib")?).with_extension("d")
    };
    Some(Unit {
        package,
        name: message["target"]["name"].as_str()?.replace('-', "_"),
        ours: id.starts_with("path+"),
        folder,
        dependencies,
        asked_for,
    })
}

/// The crates with the lines of their sources.
pub(super) fn crates(artefacts: &Artefacts, units: &[Unit]) -> Result<Crates> {
    let mut crates = Crates::new();
    let mut counted = BTreeSet::new();
    for unit in units {
        let one = crates.entry(unit.package.clone()).or_default();
        one.ours = unit.ours;
        let path = &unit.dependencies;
        let listed = fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
        for source in sources(&listed) {
            let path = artefacts.workspace().join(source);
            let of_it = !unit.asked_for || path.starts_with(&unit.folder);
            if of_it && path.extension().is_some_and(|extension| extension == "rs") && counted.insert(path.clone()) {
                one.lines += lines(&path)?;
            }
        }
    }
    Ok(crates)
}

/// What the first rule of a dependency file names behind its colon; a space in a path has a backslash before it.
fn sources(listed: &str) -> Vec<String> {
    let rule = listed.lines().find_map(|line| line.split_once(": ")).map_or("", |(_, sources)| sources);
    let spaces = rule.replace("\\ ", "\0");
    spaces.split_whitespace().map(|path| path.replace('\0', " ")).collect()
}

fn lines(path: &Path) -> Result<usize> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    Ok(Source { path: path.display().to_string(), text }.lines_of_code())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(id: &str, file: &str) -> Value {
        json!({
            "reason": "compiler-artifact",
            "package_id": id,
            "manifest_path": "/w/a-b/Cargo.toml",
            "target": {"name": "a-b"},
            "filenames": [file],
        })
    }

    #[test]
    fn what_is_in_a_program_is_found() {
        let built_for = Path::new("/w/target/x");
        let as_a_b = |ours, dependencies: &str, asked_for| {
            let (package, name, folder) = ("a-b".to_owned(), "a_b".to_owned(), PathBuf::from("/w/a-b"));
            Some(Unit { package, name, ours, folder, dependencies: dependencies.into(), asked_for })
        };
        let (ours, theirs) = ("path+file:///w/a-b#0.1.0", "registry+https://x/index#a-b@0.1.0");
        for (id, file, found) in [
            (ours, "device/deps/liba_b-1f.rlib", as_a_b(true, "/w/target/x/device/deps/a_b-1f.d", false)),
            (
                "path+file:///w/other#a-b@0.1.0",
                "device/deps/liba_b-1f.rlib",
                as_a_b(true, "/w/target/x/device/deps/a_b-1f.d", false),
            ),
            (theirs, "device/deps/liba_b-1f.rlib", as_a_b(false, "/w/target/x/device/deps/a_b-1f.d", false)),
            (ours, "device/liba_b.rlib", as_a_b(true, "/w/target/x/device/liba_b.d", true)),
            (ours, "device/a-b", as_a_b(true, "/w/target/x/device/a-b.d", true)),
            (theirs, "../device/deps/liba_b-1f.so", None),
        ] {
            let file = built_for.join(file);
            let file = file.display().to_string().replace("x/../", "");
            assert_eq!(unit(&message(id, &file), built_for), found, "{file}");
        }
        let mut other = message(ours, "/w/target/x/device/a-b");
        other["reason"] = json!("build-script-executed");
        assert_eq!(unit(&other, built_for), None);
    }

    #[test]
    fn sources_are_those_of_the_first_rule() {
        let listed = "/t/a.d: src/lib.rs src/with\\ space.rs /r/b.rs\n\n/t/a.rlib: src/lib.rs\n\nsrc/lib.rs:\n";
        assert_eq!(sources(listed), ["src/lib.rs", "src/with space.rs", "/r/b.rs"]);
        assert_eq!(sources(""), Vec::<String>::new());
    }
}

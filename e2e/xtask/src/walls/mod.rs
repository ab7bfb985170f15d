//! The walls of the house (docs/architecture.md): who may depend on whom, where `unsafe` may stand, where effects may, and
//! where a file may be opened; that the files of a crate are no circle and none is too long, that there is one list of rooms
//! and one word for each thing; that the libraries which the mission names have their places; and that documents say what is so.
//!
//! Each wall is a pure function over source texts, so that its tests plant what it must find. One question only cargo can
//! answer, whether a feature pulls a door or a library in behind somebody's back, and [`check`] asks it.

mod circles;
mod documents;
mod excerpts;
mod facts;
mod files;
mod lengths;
mod libraries;
mod rooms;
mod safety;
pub(crate) mod tree;
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;
use std::sync::LazyLock;

use anyhow::{Context as _, Result};
use catenoid_e2e::Artefacts;
use catenoid_house::ROOMS;

use crate::run;
use tree::Source;

/// A place that breaks a wall.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Breach {
    /// `path:line`.
    pub(crate) place: String,
    /// Which wall, and what was found.
    pub(crate) why: String,
}

fn at(path: &str, line: usize, why: String) -> Breach {
    Breach { place: format!("{path}:{line}"), why }
}

/// A crate of ours: its directory, and which others of ours it may name in `[dependencies]`.
struct Crate {
    name: String,
    dir: String,
    may_use: &'static [&'static str],
    /// Whether it may name every room as well.
    may_use_rooms: bool,
    may_do: Effects,
}

impl Crate {
    fn may_use(&self, other: &str) -> bool {
        self.may_use.contains(&other) || self.may_use_rooms && ROOMS.iter().any(|room| package(room) == other)
    }
}

/// What a crate's code may touch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effects {
    /// Nothing outside its memory.
    None,
    /// The kernel through the doors, and nothing by itself.
    Doors,
    /// Files and processes by the standard library, but no network.
    NoNetwork,
    /// What it likes.
    Any,
}

const SCHEMA: &str = "catenoid-schema";
const ENVELOPE: &str = "catenoid-envelope";
const CORE: &str = "catenoid-core";
const NAMES: &str = "catenoid-names";
/// What the packages of doors begin with.
const DOOR: &str = "catenoid-kernel-";
const BASE: &str = "catenoid-kernel-base";
const CGROUP: &str = "catenoid-kernel-cgroup";
const NET: &str = "catenoid-kernel-net";
const STORAGE: &str = "catenoid-kernel-storage";
const BOOT: &str = "catenoid-kernel-boot";
const HOUSE: &str = "catenoid-house";
const LAUNCHER: &str = "catenoid-launcher";
const ROOM: &[&str] = &[CORE, SCHEMA, NAMES, BASE, CGROUP, NET, STORAGE];
/// Programs that may have some doors only, by way of whatever they use.
const DOORS: &[(&str, &[&str])] = &[("catenoid", &[]), ("catenoid-sign", &[]), (LAUNCHER, &[BASE])];

/// The package of a room.
pub(crate) fn package(room: &str) -> String {
    format!("catenoid-{room}")
}

/// Those that are no rooms; the rooms are those of the house.
#[rustfmt::skip]
const OTHERS: &[(&str, &str, &[&str], bool, Effects)] = &[
    (SCHEMA, "schema", &[], false, Effects::None),
    (ENVELOPE, "schema/envelope", &[SCHEMA], false, Effects::None),
    (NAMES, "schema/names", &[SCHEMA], false, Effects::None),
    (CORE, "reconcilers/core", &[SCHEMA], false, Effects::None),
    (BASE, "reconcilers/kernel/base", &[NAMES], false, Effects::Any),
    (CGROUP, "reconcilers/kernel/cgroup", &[NAMES, BASE], false, Effects::Any),
    (NET, "reconcilers/kernel/net", &[NAMES, BASE], false, Effects::Any),
    (STORAGE, "reconcilers/kernel/storage", &[NAMES, BASE], false, Effects::Any),
    (BOOT, "reconcilers/kernel/boot", &[NAMES, BASE], false, Effects::Any),
    (HOUSE, "reconcilers/house", &[SCHEMA, CORE], true, Effects::None),
    (LAUNCHER, "reconcilers/containers/launcher", &[SCHEMA, NAMES, BASE, "catenoid-containers"], false, Effects::NoNetwork),
    ("catenoid-agent", "agent", &[SCHEMA, ENVELOPE, NAMES, CORE, BASE, CGROUP, NET, STORAGE, BOOT, HOUSE], true, Effects::NoNetwork),
    ("catenoid-client", "c0/client", &[SCHEMA, ENVELOPE], false, Effects::Any),
    ("catenoid", "c0/cli", &[SCHEMA, "catenoid-client"], false, Effects::Any),
    ("catenoid-sign", "signing-tool", &[SCHEMA, ENVELOPE, CORE, HOUSE], true, Effects::Any),
    ("catenoid-e2e", "e2e", &[], false, Effects::Any),
    ("catenoid-probe", "e2e/probe", &[], false, Effects::Any),
    ("catenoid-fuzz", "e2e/fuzz", &[SCHEMA, ENVELOPE, STORAGE, HOUSE, "catenoid-agent", "catenoid-sign"], false, Effects::Any),
    ("xtask", "e2e/xtask", &["catenoid-e2e", HOUSE], false, Effects::Any),
];

static CRATES: LazyLock<Vec<Crate>> = LazyLock::new(|| {
    let room = |room: &&str| {
        let (name, dir) = (package(room), format!("reconcilers/{room}"));
        Crate { name, dir, may_use: ROOM, may_use_rooms: false, may_do: Effects::Doors }
    };
    let other = |&(name, dir, may_use, may_use_rooms, may_do): &(&str, &str, _, bool, Effects)| Crate {
        name: name.to_owned(),
        dir: dir.to_owned(),
        may_use,
        may_use_rooms,
        may_do,
    };
    OTHERS.iter().map(other).chain(ROOMS.iter().map(room)).collect()
});

/// Crates of others that are effects by themselves: behind a door or nowhere.
#[rustfmt::skip]
const EFFECT_CRATES: &[&str] = &[
    "caps", "cgroups-rs", "devicemapper", "libc", "nftables", "nix", "pcsc", "rtnetlink", "rustix", "seccompiler", "syscalls",
    "tempfile", "tss-esapi",
];

/// Support for the tests of other crates, behind the feature `testing`, which only a development dependency may name, or
/// what tests from outside (`e2e/`).
const TEST_SUPPORT: &str = "reconcilers/core/src/testing.rs";

/// Checks the checkout; prints each breach as `file:line: why`.
pub(crate) fn check(artefacts: &Artefacts) -> Result<ExitCode> {
    let sources = tree::read(artefacts.workspace())?;
    let mut breaches = breaches(&sources);
    breaches.extend(files::stale(files::BESIDE, &sources));
    let (texts, paths) = tree::documents(artefacts.workspace())?;
    breaches.extend(documents::breaches(&sources, &texts, &paths));
    breaches.extend(texts.iter().flat_map(|document| excerpts::breaches(document, &sources)));
    breaches.extend(words::breaches(&sources, &texts));
    let lock = fs::read_to_string(artefacts.workspace().join("Cargo.lock")).context("failed to read `Cargo.lock`")?;
    breaches.extend(libraries::breaches(&lock, &texts));
    for (program, doors) in DOORS {
        breaches.extend(doors_behind(program, doors, &dependency_tree(artefacts, program)?));
    }
    let ship = libraries::SHIP.iter().map(|program| dependency_tree(artefacts, program)).collect::<Result<Vec<_>>>()?;
    breaches.extend(libraries::misplaced(&ship));
    for breach in &breaches {
        eprintln!("error: {}: {}", breach.place, breach.why);
    }
    if breaches.is_empty() {
        println!("walls: {} crates, {} files, nothing to report", CRATES.len(), sources.len());
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// Everything that `program` is made of and built by, a line each.
fn dependency_tree(artefacts: &Artefacts, program: &str) -> Result<String> {
    let mut tree = run::cargo();
    tree.current_dir(artefacts.workspace());
    tree.args(["tree", "--package", program, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    run::output(&mut tree).context("failed to ask cargo for the dependency tree")
}

/// All walls that source text can show.
fn breaches(sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for source in sources {
        if source.path.ends_with("Cargo.toml") {
            breaches.extend(manifest_breaches(source));
        } else {
            breaches.extend(safety::breaches(source));
            breaches.extend(effect_breaches(source));
            breaches.extend(files::breaches(source));
            breaches.extend(lengths::breach(source));
        }
    }
    breaches.extend(circles::breaches(sources));
    breaches.extend(rooms::breaches(sources));
    breaches.sort();
    breaches
}

/// The crate a path belongs to: the longest directory that holds it.
fn owner(path: &str) -> Option<&'static Crate> {
    CRATES
        .iter()
        .filter(|one| path.strip_prefix(one.dir.as_str()).is_some_and(|rest| rest.starts_with('/')))
        .max_by_key(|one| one.dir.len())
}

fn manifest_breaches(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let at = |line: usize, why: String| at(&source.path, line, why);
    let mut section = String::new();
    let mut inherits_lints = false;
    let mut is_package = false;
    for (line, text) in (1..).zip(source.text.lines()) {
        let text = text.trim();
        if text.starts_with('[') {
            section = text.trim_matches(['[', ']']).to_owned();
        }
        is_package |= section == "package";
        inherits_lints |= section == "lints" && text.replace(' ', "") == "workspace=true";
        let Some(dependency) = dependency(&section, text) else { continue };
        let Some(one) = owner(&source.path) else { continue };
        if CRATES.iter().any(|ours| ours.name == dependency) && !one.may_use(&dependency) {
            breaches.push(at(line, format!("wall `dependencies`: {} must not use {dependency}", one.name)));
        }
        if one.may_do != Effects::Any && EFFECT_CRATES.contains(&dependency.as_str()) {
            breaches.push(at(line, format!("wall `effects`: {} must not use {dependency}", one.name)));
        }
        if text.contains("\"testing\"") && !source.path.starts_with("e2e/") {
            breaches.push(at(line, "wall `effects`: the feature `testing` is for [dev-dependencies]".to_owned()));
        }
    }
    if is_package {
        if owner(&source.path).is_none() {
            breaches.push(at(1, "wall `dependencies`: the walls do not know this crate".to_owned()));
        }
        if !inherits_lints {
            breaches.push(at(1, "wall `lints`: no `[lints] workspace = true`".to_owned()));
        }
    }
    breaches
}

/// The package that a line of a manifest depends on, if it does. Development dependencies are free: a test may use what
/// the code may not.
fn dependency(section: &str, line: &str) -> Option<String> {
    let (before, table) = section.rsplit_once("dependencies")?;
    if before.ends_with("dev-") || before.starts_with("workspace") {
        return None;
    }
    if line.starts_with('[') {
        return table.strip_prefix('.').map(str::to_owned);
    }
    if let Some((_, renamed)) = line.split_once("package") {
        return renamed.split('"').nth(1).map(str::to_owned);
    }
    if !table.is_empty() {
        return None;
    }
    let name: String = line.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

fn effect_breaches(source: &Source) -> Vec<Breach> {
    let Some(one) = owner(&source.path) else { return Vec::new() };
    if !source.path.starts_with(&format!("{}/src/", one.dir)) || source.path == TEST_SUPPORT {
        return Vec::new();
    }
    let banned: &[&str] = match one.may_do {
        Effects::None | Effects::Doors => {
            &["std::fs", "std::process", "std::net", "std::os::unix::net", "tokio::fs", "tokio::net", "tokio::process"]
        }
        Effects::NoNetwork => &["std::net", "tokio::net"],
        Effects::Any => return Vec::new(),
    };
    // Addresses are data, and a unix socket is no network.
    let innocent = ["IpAddr", "Ipv4Addr", "Ipv6Addr", "AddrParseError", "UnixListener", "UnixStream", "unix"];
    let code = source.shipped_code();
    tree::paths(&code)
        .filter_map(|(line, path)| {
            let hit = banned.iter().find(|banned| path == **banned || path.starts_with(&format!("{banned}::")))?;
            let last = path[hit.len()..].trim_start_matches("::").split("::").next().unwrap_or_default();
            let data = hit.ends_with("::net") && *hit != "std::os::unix::net" && innocent.contains(&last);
            let exit = *hit == "std::process" && ["ExitCode", "ExitStatus"].contains(&last);
            let why = format!("wall `effects`: {} must not use `{path}`", one.name);
            (!data && !exit).then(|| at(&source.path, line, why))
        })
        .collect()
}

/// Other doors in the full dependency tree of a program than it may have; `listed` is what `cargo tree` printed.
fn doors_behind(program: &str, may_have: &[&str], listed: &str) -> BTreeSet<Breach> {
    let packages = listed.lines().filter_map(|line| line.split(' ').next());
    let doors = packages.filter(|package| package.starts_with(DOOR) && !may_have.contains(package));
    let breach = |door| Breach {
        place: format!("cargo tree --package {program}"),
        why: format!("wall `dependencies`: {door} is in the tree of {program}"),
    };
    doors.map(breach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(path: &str, text: &str) -> Vec<String> {
        let sources = [Source { path: path.to_owned(), text: text.to_owned() }];
        breaches(&sources).into_iter().map(|breach| format!("{}: {}", breach.place, breach.why)).collect()
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn wrong_dependency_is_found() {
        let manifest = |dependency: &str| {
            format!(
                "[package]\nname = \"x\"\n[lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\n{dependency}\n"
            )
        };
        let zones = "reconcilers/zones/Cargo.toml";
        let breach =
            ["reconcilers/zones/Cargo.toml:7: wall `dependencies`: catenoid-zones must not use catenoid-limits"];
        for spelling in [
            "catenoid-limits.workspace = true",
            "catenoid-limits = { path = \"../limits\" }",
            "[target.'cfg(unix)'.dependencies.catenoid-limits]",
            "other = { package = \"catenoid-limits\", path = \"../limits\" }",
        ] {
            assert_eq!(planted(zones, &manifest(spelling)), breach, "{spelling}");
        }
        assert_eq!(planted(zones, &manifest("catenoid-kernel-net.workspace = true")), NONE);
        assert_eq!(planted(zones, &manifest("[dev-dependencies]\ncatenoid-limits.workspace = true")), NONE);
        assert_eq!(
            planted("schema/Cargo.toml", &manifest("catenoid-kernel-base.workspace = true")),
            ["schema/Cargo.toml:7: wall `dependencies`: catenoid-schema must not use catenoid-kernel-base"]
        );
        assert_eq!(
            planted("reconcilers/kernel/base/Cargo.toml", &manifest("catenoid-kernel-net.workspace = true")),
            [
                "reconcilers/kernel/base/Cargo.toml:7: wall `dependencies`: catenoid-kernel-base must not use catenoid-kernel-net"
            ]
        );
        assert_eq!(
            planted(zones, &manifest("rustix.workspace = true")),
            ["reconcilers/zones/Cargo.toml:7: wall `effects`: catenoid-zones must not use rustix"]
        );
        assert_eq!(
            planted("agent/Cargo.toml", &manifest("nix.workspace = true")),
            ["agent/Cargo.toml:7: wall `effects`: catenoid-agent must not use nix"]
        );
        assert_eq!(planted("signing-tool/Cargo.toml", &manifest("rustix.workspace = true")), NONE);
    }

    #[test]
    fn test_support_in_shipped_code_is_found() {
        let manifest = |section: &str| {
            format!(
                "[package]\n[lints]\nworkspace = true\n[{section}]\n\
                 catenoid-core = {{ workspace = true, features = [\"testing\"] }}\n"
            )
        };
        assert_eq!(
            planted("reconcilers/zones/Cargo.toml", &manifest("dependencies")),
            ["reconcilers/zones/Cargo.toml:5: wall `effects`: the feature `testing` is for [dev-dependencies]"]
        );
        assert_eq!(planted("reconcilers/zones/Cargo.toml", &manifest("dev-dependencies")), NONE);
        assert_eq!(
            planted("e2e/fuzz/Cargo.toml", &manifest("dependencies")).len(),
            1,
            "not even there may it use core"
        );
    }

    #[test]
    fn missing_lints_and_unknown_crates_are_found() {
        assert_eq!(
            planted("agent/Cargo.toml", "[package]\nname = \"x\"\n"),
            ["agent/Cargo.toml:1: wall `lints`: no `[lints] workspace = true`"]
        );
        assert_eq!(
            planted("new/Cargo.toml", "[package]\n[lints]\nworkspace = true\n"),
            ["new/Cargo.toml:1: wall `dependencies`: the walls do not know this crate"]
        );
    }

    #[test]
    fn planted_effect_in_a_room_is_found() {
        let room = "reconcilers/guests/src/apply.rs";
        let breach = |line: usize, path: &str| {
            vec![format!("{room}:{line}: wall `effects`: catenoid-guests must not use `{path}`")]
        };
        assert_eq!(
            planted(room, "//! x\nfn f() {\n    std::fs::File::from(fd);\n}\n"),
            breach(3, "std::fs::File::from")
        );
        assert_eq!(planted(room, "use std::{\n    collections::BTreeMap,\n    fs::{self, File},\n};\n").len(), 2);
        assert_eq!(planted(room, "use std::process::Command;\n"), breach(1, "std::process::Command"));
        assert_eq!(planted(room, "use tokio::net::UnixStream as S;\n"), NONE);
        assert_eq!(planted(room, "use std::net::{IpAddr, Ipv4Addr};\nuse std::process::ExitCode;\n"), NONE);
        assert_eq!(planted(room, "// std::fs::read\nconst A: &str = r#\"std::fs::read\"#;\n"), NONE);
        assert_eq!(planted(room, "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"), NONE);
        assert_eq!(planted(room, "#[cfg(test)]\nmod tests {\n}\nuse std::fs;\n"), breach(4, "std::fs"));
        assert_eq!(planted("reconcilers/guests/tests/mountns.rs", "use std::fs;\n"), NONE);
        assert_eq!(planted("reconcilers/kernel/base/src/file.rs", "use std::fs;\n"), NONE);
    }

    #[test]
    fn network_socket_in_the_agent_is_found() {
        let text = "use tokio::net::{TcpListener, UnixListener};\n";
        assert_eq!(
            planted("agent/src/control.rs", text),
            ["agent/src/control.rs:1: wall `effects`: catenoid-agent must not use `tokio::net::TcpListener`"]
        );
        assert_eq!(planted("agent/src/boot.rs", "use std::fs;\n"), NONE);
    }

    #[test]
    fn door_behind_a_feature_is_found() {
        let listed = "catenoid-launcher v0.1.0 (/x)\ncatenoid-kernel-base v0.1.0 (/x/base)\n\
                      catenoid-kernel-net v0.1.0 (/x/net)\ncatenoid-kernel-net v0.1.0 (/x/net) (*)\n";
        let found = |may_have: &[&str]| {
            let breaches = doors_behind(LAUNCHER, may_have, listed).into_iter();
            breaches.map(|breach| format!("{}: {}", breach.place, breach.why)).collect::<Vec<_>>()
        };
        let behind = |door| {
            format!(
                "cargo tree --package catenoid-launcher: wall `dependencies`: {door} is in the tree of catenoid-launcher"
            )
        };
        assert_eq!(found(&[BASE]), [behind(NET)]);
        assert_eq!(found(&[]), [behind(BASE), behind(NET)]);
        assert_eq!(found(&[BASE, NET]), NONE);
    }
}

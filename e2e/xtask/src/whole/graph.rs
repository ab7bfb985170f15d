//! Which files a set's outcome depends on: the folders of its packages and of everything in the workspace below them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use catenoid_e2e::Artefacts;
use serde_json::Value;

use super::sets::{ALL, Runs, SETS, Set};
use crate::run;

/// The package of the scenarios, and of what they are made with.
const TESTS: &str = "catenoid-e2e";
/// Where a package has what nothing but its own tests and benches is built of.
const OF_ITS_TESTS: [&str; 3] = ["tests", "benches", "src/pass/tests"];
/// What no device is built of besides.
const NOT_ON_A_DEVICE: [&str; 1] = ["src/testing.rs"];

/// The packages of the workspace and their dependencies on each other.
#[derive(Debug)]
pub(crate) struct Graph(BTreeMap<String, Package>);

#[derive(Debug)]
struct Package {
    /// Relative to the workspace, with `/`.
    folder: String,
    uses: Vec<Use>,
}

#[derive(Debug)]
struct Use {
    name: String,
    /// Only the package's own tests use it.
    tests_only: bool,
}

impl Graph {
    /// As cargo reports it of this checkout.
    pub(crate) fn ask(artefacts: &Artefacts) -> Result<Self> {
        let mut cargo = run::cargo();
        cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(artefacts.workspace());
        let metadata = serde_json::from_str(&run::output(&mut cargo)?).context("cargo's metadata is no JSON")?;
        Self::of(&metadata)
    }

    fn of(metadata: &Value) -> Result<Self> {
        let root = metadata["workspace_root"].as_str().context("cargo's metadata names no workspace")?;
        let packages = metadata["packages"].as_array().context("cargo's metadata names no packages")?;
        let package = |package: &Value| {
            let name = package["name"].as_str()?.to_owned();
            let manifest = Path::new(package["manifest_path"].as_str()?).strip_prefix(root).ok()?;
            let uses = package["dependencies"].as_array()?.iter().filter(|one| one["path"].is_string());
            let uses = uses.filter_map(|one| {
                Some(Use { name: one["name"].as_str()?.to_owned(), tests_only: one["kind"] == "dev" })
            });
            let folder = manifest.parent()?.to_str()?.to_owned();
            Some((name, Package { folder, uses: uses.collect() }))
        };
        let packages = packages.iter().map(|one| package(one).with_context(|| format!("no package of ours: {one}")));
        packages.collect::<Result<_>>().map(Self)
    }

    /// The packages that a set depends on: its own, what their tests use, and what all of these are made of.
    fn reach(&self, set: &Set) -> Result<BTreeSet<&str>> {
        let (mut reached, mut next) = (BTreeSet::new(), set.packages.to_vec());
        while let Some(name) = next.pop() {
            let (name, package) = self.0.get_key_value(name).with_context(|| {
                format!("the set `{}` names the package `{name}`, which is not in the workspace", set.name)
            })?;
            if !reached.insert(name.as_str()) {
                continue;
            }
            let own = set.packages.contains(&name.as_str());
            let uses = package.uses.iter().filter(|one| (own || !one.tests_only) && self.0.contains_key(&one.name));
            next.extend(uses.map(|one| one.name.as_str()));
        }
        Ok(reached)
    }

    /// The package that a file belongs to: that of the innermost folder.
    fn owner(&self, path: &str) -> Option<&str> {
        let holders = self.0.iter().filter(|(_, package)| is_below(path, &package.folder));
        holders.max_by_key(|(_, package)| package.folder.len()).map(|(name, _)| name.as_str())
    }

    /// Those of `paths` that the outcome of `set` depends on.
    pub(crate) fn touching(&self, set: &Set, paths: &[String]) -> Result<Vec<String>> {
        let reached = self.reach(set)?;
        let of_another = |path: &str| !set.has(path) && SETS.iter().any(|other| other.has(path));
        // What a device or a fuzz target is made of has none of the tests of its packages.
        let built = |path: &str, owner: &str| match set.runs {
            Runs::Mutants | Runs::MutantsOfRooms => true,
            Runs::Fuzz => set.packages.contains(&owner) || !self.is_in(path, owner, &OF_ITS_TESTS),
            Runs::Scenario(_) => {
                owner == TESTS || !self.is_in(path, owner, &[&OF_ITS_TESTS[..], &NOT_ON_A_DEVICE].concat())
            }
        };
        let touches = |path: &&String| {
            self.owner(path).is_some_and(|owner| reached.contains(owner) && !of_another(path) && built(path, owner))
                || is_in_one_of(path, ALL)
                || is_in_one_of(path, set.paths)
        };
        Ok(paths.iter().filter(touches).cloned().collect())
    }

    /// Whether a file of the package `owner` is in one of these `parts` of it.
    fn is_in(&self, path: &str, owner: &str, parts: &[&str]) -> bool {
        let inside = path.strip_prefix(self.0[owner].folder.as_str()).and_then(|rest| rest.strip_prefix('/'));
        inside.is_some_and(|rest| is_in_one_of(rest, parts))
    }

    /// Those of them of which what is tested is made: all but the tests, with the package of the scenarios.
    pub(crate) fn made_of(&self, set: &Set, paths: &[String]) -> Result<Vec<String>> {
        let mut touching = self.touching(set, paths)?;
        touching.retain(|path| {
            is_in_one_of(path, set.paths)
                || self.owner(path).is_none_or(|owner| owner != TESTS && !self.is_in(path, owner, &OF_ITS_TESTS))
        });
        Ok(touching)
    }

    /// The names of all packages.
    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// A file of a package.
    #[cfg(test)]
    pub(super) fn file(&self, package: &str) -> String {
        format!("{}/src/any.rs", self.0[package].folder)
    }
}

/// Whether it is one of these files, or lies below one of these folders.
fn is_in_one_of(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path == *place || is_below(path, place))
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `tool -> base`, `tool -> door`, and the tests of `tool` and `base` have helpers.
    fn graph() -> Graph {
        let uses = |name: &str, kind: Value| json!({"name": name, "path": "/w/x", "kind": kind});
        let other = json!({"name": "serde", "kind": null});
        let package = |name: &str, folder: &str, dependencies: Value| json!({"name": name, "manifest_path": format!("/w/{folder}/Cargo.toml"), "dependencies": dependencies});
        let packages = json!([
            package("base", "base", json!([uses("base-helper", json!("dev"))])),
            package("base-helper", "base/helper", json!([])),
            package("door", "door", json!([])),
            package("tool-helper", "helper", json!([])),
            package(
                "tool",
                "tool",
                json!([other, uses("base", Value::Null), uses("door", Value::Null), uses("tool-helper", json!("dev"))])
            ),
        ]);
        Graph::of(&json!({"workspace_root": "/w", "packages": packages})).unwrap()
    }

    fn set(runs: Runs) -> Set {
        Set {
            name: "any",
            shows: "",
            runs,
            packages: &["tool"],
            paths: &["data"],
            shared: false,
            resumed: false,
            minutes: 1,
        }
    }

    #[test]
    fn a_set_depends_on_what_its_packages_are_made_of() {
        let all =
            ["tool/src/a.rs", "base/src/a.rs", "base/helper/a.rs", "helper/a.rs", "door/a.rs", "data/x", "database"];
        let all = all.map(str::to_owned);
        let touching = graph().touching(&set(Runs::Fuzz), &all).unwrap();
        assert_eq!(touching, ["tool/src/a.rs", "base/src/a.rs", "helper/a.rs", "door/a.rs", "data/x"]);
    }

    #[test]
    fn a_scenario_does_not_depend_on_those_of_other_sets() {
        let folder = "e2e/tests/scenarios";
        let package = json!({"name": TESTS, "manifest_path": "/w/e2e/Cargo.toml", "dependencies": []});
        let graph = Graph::of(&json!({"workspace_root": "/w", "packages": [package]})).unwrap();
        let all = ["soak", "power_cut", "crash_points/round", "confined", "bench/mod"];
        let all = all.map(|name| format!("{folder}/{name}.rs"));
        let touching = |runs| graph.touching(&Set { packages: &[TESTS], ..set(runs) }, &all).unwrap();
        assert_eq!(touching(Runs::Scenario("soak::vm_soak")), [&all[..1], &all[3..]].concat());
        assert_eq!(touching(Runs::Scenario("crash_points::vm_every_crash_point")), all[2..]);
        assert_eq!(touching(Runs::Fuzz), all[3..]);
    }

    #[test]
    fn only_mutants_depend_on_the_tests_of_what_is_built() {
        let all = [
            "tool/tests/a.rs",
            "tool/benches/a.rs",
            "base/src/pass/tests/a.rs",
            "base/src/testing.rs",
            "base/src/tests.rs",
            "base/teststand/a",
        ];
        let all = all.map(str::to_owned);
        let touching = |runs| graph().touching(&set(runs), &all).unwrap();
        assert_eq!(touching(Runs::Mutants), all);
        assert_eq!(touching(Runs::Fuzz), [&all[..2], &all[3..]].concat());
        assert_eq!(touching(Runs::Scenario("soak::vm_soak")), all[4..]);
        assert_eq!(graph().made_of(&set(Runs::Mutants), &all).unwrap(), all[3..]);
    }

    #[test]
    fn a_package_that_is_gone_is_an_error() {
        let gone = Set { packages: &["tool", "gone"], ..set(Runs::Fuzz) };
        assert!(graph().touching(&gone, &[]).unwrap_err().to_string().contains("`gone`"));
    }
}

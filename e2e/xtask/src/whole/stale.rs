//! Which sets have to run again: a pure function of the last records, the dependencies and the files that changed.

use std::fmt;

use anyhow::Result;

use super::graph::Graph;
use super::record::Record;
use super::sets::Set;

/// Why a set has to run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stale {
    /// No run of it is known.
    Never,
    /// Shares of it are missing, and it was never whole before.
    NotWhole { commit: String, missing: Vec<String> },
    /// Cases of its last run failed.
    Red { commit: String, failed: usize },
    /// Its last run was of a tree with changes, which nobody can name.
    WithChanges { commit: String },
    /// This clone does not have the commit of its last run.
    Unknown { commit: String },
    /// What it depends on was changed since.
    Touched { commit: String, paths: Vec<String> },
}

/// Why `set` has to run again, if it has to. `changed` gives the files that are not as in a commit, and nothing if the
/// commit is not known.
pub(crate) fn stale(
    set: &Set,
    record: &Record,
    graph: &Graph,
    changed: impl FnOnce(&str) -> Result<Option<Vec<String>>>,
) -> Result<Option<Stale>> {
    let Some(last) = record.last() else { return Ok(Some(Stale::Never)) };
    let failed = last.failed().len();
    if failed > 0 {
        return Ok(Some(Stale::Red { commit: last.commit().to_owned(), failed }));
    }
    let Some(whole) = record.whole() else {
        return Ok(Some(Stale::NotWhole { commit: last.commit().to_owned(), missing: last.missing() }));
    };
    let (commit, failed) = (whole.commit().to_owned(), whole.failed().len());
    if failed > 0 {
        return Ok(Some(Stale::Red { commit, failed }));
    }
    if whole.changed() {
        return Ok(Some(Stale::WithChanges { commit }));
    }
    let Some(changed) = changed(&commit)? else { return Ok(Some(Stale::Unknown { commit })) };
    let paths = graph.touching(set, &changed)?;
    Ok((!paths.is_empty()).then_some(Stale::Touched { commit, paths }))
}

impl Stale {
    /// The name of the reason, for programs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::NotWhole { .. } => "not-whole",
            Self::Red { .. } => "red",
            Self::WithChanges { .. } => "with-changes",
            Self::Unknown { .. } => "unknown-commit",
            Self::Touched { .. } => "touched",
        }
    }

    /// The files that were changed since.
    pub(crate) fn paths(&self) -> &[String] {
        match self {
            Self::Touched { paths, .. } => paths,
            Self::Never
            | Self::NotWhole { .. }
            | Self::Red { .. }
            | Self::WithChanges { .. }
            | Self::Unknown { .. } => &[],
        }
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => write!(f, "it never ran"),
            Self::NotWhole { commit, missing } => write!(f, "shares {} are missing at {commit}", missing.join(", ")),
            Self::Red { commit, failed } => write!(f, "{failed} failed at {commit}"),
            Self::WithChanges { commit } => write!(f, "it ran on a tree with changes to {commit}"),
            Self::Unknown { commit } => write!(f, "it ran at {commit}, which this clone does not have"),
            Self::Touched { commit, paths } => {
                write!(f, "changed since {commit}: {}", paths[0])?;
                if paths.len() > 1 { write!(f, " and {} others", paths.len() - 1) } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use catenoid_house::ROOMS;

    use Expected::{AllBut, Only};

    use super::*;
    use crate::walls::package;
    use crate::whole::record::Share;
    use crate::whole::record::tests::{record, share};
    use crate::whole::sets::{Runs, SETS};

    /// Which sets are stale: these, or all others.
    #[derive(Clone, Copy)]
    enum Expected {
        Only(&'static [&'static str]),
        AllBut(&'static [&'static str]),
    }

    const ALL: Expected = AllBut(&[]);
    const NONE: Expected = Only(&[]);
    const MUTANTS: Expected = Only(&["mutants", "mutants-rooms", "mutants-documents"]);
    const DEVICE: Expected = AllBut(&["fuzz", "mutants", "mutants-rooms", "mutants-documents"]);
    const OF_AGENT: Expected = AllBut(&["mutants-rooms", "mutants-documents"]);
    const ALL_BUT_DOCUMENTS: Expected = AllBut(&["mutants-documents"]);
    /// No room sees an envelope.
    const OF_ENVELOPE: Expected = AllBut(&["mutants-rooms"]);

    impl Expected {
        fn sets(self) -> Vec<&'static str> {
            let is_stale = |name: &&str| match self {
                Only(these) => these.contains(name),
                AllBut(others) => !others.contains(name),
            };
            SETS.iter().map(|set| set.name).filter(is_stale).collect()
        }
    }

    /// What is stale after a change in each package of the workspace, but for rooms: after those all but documents are. A new package joins with
    /// a row.
    const PACKAGES: &[(&str, Expected)] = &[
        ("catenoid", DEVICE),
        ("catenoid-agent", OF_AGENT),
        ("catenoid-client", DEVICE),
        ("catenoid-core", ALL_BUT_DOCUMENTS),
        ("catenoid-e2e", DEVICE),
        ("catenoid-envelope", OF_ENVELOPE),
        ("catenoid-fuzz", Only(&["fuzz", "mutants"])),
        ("catenoid-house", ALL_BUT_DOCUMENTS),
        ("catenoid-kernel-base", ALL_BUT_DOCUMENTS),
        ("catenoid-kernel-boot", OF_AGENT),
        ("catenoid-kernel-cgroup", ALL_BUT_DOCUMENTS),
        ("catenoid-kernel-net", ALL_BUT_DOCUMENTS),
        ("catenoid-kernel-storage", ALL_BUT_DOCUMENTS),
        ("catenoid-launcher", DEVICE),
        ("catenoid-names", ALL_BUT_DOCUMENTS),
        ("catenoid-probe", Only(&["hostility", "exhaustion", "neighbours"])),
        ("catenoid-schema", ALL),
        ("catenoid-sign", OF_AGENT),
        ("xtask", NONE),
    ];

    /// The same after a change outside of packages, or in a part of one that is more than the whole.
    const PATHS: &[(&str, Expected)] = &[
        ("Cargo.lock", ALL),
        ("Cargo.toml", ALL),
        ("docs/testing.md", NONE),
        ("docs/figures/whole-soak.json", NONE),
        ("manifests/demo.yaml", DEVICE),
        ("agent/src/pass/tests/rules.rs", Only(&["mutants"])),
        ("agent/src/testing.rs", Only(&["fuzz", "mutants"])),
        ("reconcilers/zones/tests/plan/main.rs", Only(&["mutants", "mutants-rooms"])),
        ("e2e/tests/scenarios/bench/mod.rs", DEVICE),
        ("e2e/xtask/src/image/uki.rs", DEVICE),
        ("e2e/xtask/src/development.rs", DEVICE),
        ("e2e/xtask/src/fuzz.rs", Only(&["fuzz"])),
        ("e2e/xtask/src/whole/explained.rs", NONE),
        ("e2e/fuzz/tests/intake/main.rs", Only(&["fuzz", "mutants"])),
        ("schema/envelope/tests/vectors/guest.cose", Only(&["fuzz", "mutants", "mutants-documents"])),
        ("e2e/xtask/src/whole/mutants.rs", MUTANTS),
        ("rust-toolchain.toml", ALL),
    ];

    fn workspace() -> Graph {
        Graph::ask(&catenoid_e2e::Artefacts::new()).unwrap()
    }

    /// The sets that are stale if this file was changed since all of them ran.
    fn stale_after(graph: &Graph, path: &str) -> Vec<&'static str> {
        let fresh = record(&[share("a", (1, 1))]);
        let changed = |_: &str| Ok(Some(vec![path.to_owned()]));
        SETS.iter().filter(|set| stale(set, &fresh, graph, changed).unwrap().is_some()).map(|set| set.name).collect()
    }

    #[test]
    fn the_right_sets_are_stale_after_a_change_in_each_package() {
        let graph = workspace();
        let rooms = ROOMS.iter().map(|room| (package(room), ALL_BUT_DOCUMENTS));
        for (package, sets) in PACKAGES.iter().map(|(package, sets)| (package.to_string(), *sets)).chain(rooms) {
            assert_eq!(stale_after(&graph, &graph.file(&package)), sets.sets(), "after a change in {package}");
        }
        for (path, sets) in PATHS {
            assert_eq!(stale_after(&graph, path), sets.sets(), "after a change of {path}");
        }
    }

    #[test]
    fn each_package_of_the_workspace_has_a_row() {
        let rows = PACKAGES.iter().map(|(package, _)| package.to_string());
        let rows: BTreeSet<_> = rows.chain(ROOMS.iter().map(|room| package(room))).collect();
        assert_eq!(
            workspace().names().into_iter().map(str::to_owned).collect::<BTreeSet<_>>(),
            rows,
            "a new package joins `PACKAGES` with the sets that depend on it"
        );
    }

    #[test]
    fn what_a_set_names_is_there() {
        let root = catenoid_e2e::Artefacts::new().workspace().to_owned();
        for path in SETS.iter().flat_map(|set| set.paths).chain(super::super::sets::ALL) {
            assert!(root.join(path).exists(), "{path}");
        }
    }

    #[test]
    fn a_set_runs_again_for_these_reasons() {
        let (graph, set) = (workspace(), Set::of("fuzz").unwrap());
        assert_eq!(set.runs, Runs::Fuzz);
        let red = Share { failed: vec!["disk".to_owned()], ..share("b", (1, 2)) };
        let with_changes = Share { changed: true, ..share("a", (1, 1)) };
        let touched = Stale::Touched { commit: "a".to_owned(), paths: vec!["e2e/fuzz/src/lib.rs".to_owned()] };
        let commit = || "a".to_owned();
        /// What is recorded, what was changed since (nothing: the commit is not known), and what follows.
        type Row<'a> = (&'a [Share], Option<&'a [&'a str]>, Option<Stale>);
        let table: [Row<'_>; 9] = [
            (&[], Some(&[]), Some(Stale::Never)),
            (&[share("a", (1, 1))], Some(&[]), None),
            (&[share("a", (1, 1))], Some(&["README.md", "e2e/fuzz/src/lib.rs"]), Some(touched.clone())),
            (&[share("a", (1, 1))], None, Some(Stale::Unknown { commit: commit() })),
            (&[with_changes], Some(&[]), Some(Stale::WithChanges { commit: commit() })),
            (
                &[share("a", (1, 2))],
                Some(&[]),
                Some(Stale::NotWhole { commit: commit(), missing: vec!["2/2".to_owned()] }),
            ),
            // What was whole before still counts while the next run is under way.
            (&[share("a", (1, 1)), share("b", (1, 2))], Some(&[]), None),
            (&[share("a", (1, 1)), share("b", (1, 2))], Some(&["e2e/fuzz/src/lib.rs"]), Some(touched)),
            (&[share("a", (1, 1)), red], Some(&[]), Some(Stale::Red { commit: "b".to_owned(), failed: 1 })),
        ];
        for (shares, changed, wanted) in table {
            let changed = changed.map(|paths| paths.iter().map(ToString::to_string).collect());
            assert_eq!(stale(set, &record(shares), &graph, |_| Ok(changed)).unwrap(), wanted, "{shares:?}");
        }
    }
}

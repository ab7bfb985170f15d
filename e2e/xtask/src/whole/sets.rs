//! The whole sets: what each one runs, and what its outcome depends on. A new set joins with one entry in [`SETS`].

/// A set that runs on demand, because it takes longer than a run of all tests may.
#[derive(Debug)]
pub(crate) struct Set {
    /// As it is called on the command line and in the marks of tests.
    pub(crate) name: &'static str,
    /// What it shows, in a few words.
    pub(crate) shows: &'static str,
    pub(crate) runs: Runs,
    /// The packages that it runs or tests. What they depend on in the workspace counts as well: cargo knows it.
    pub(crate) packages: &'static [&'static str],
    /// Files and folders outside of these packages on which the outcome depends too.
    pub(crate) paths: &'static [&'static str],
    /// Whether several machines can do a share of it each.
    pub(crate) shared: bool,
    /// Whether a run that was stopped can be gone on with.
    pub(crate) resumed: bool,
    /// About how long all of it takes on one machine, in minutes.
    pub(crate) minutes: u32,
}

/// What a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// This test of `e2e/tests/scenarios`.
    Scenario(&'static str),
    /// Every fuzz target, one after the other.
    Fuzz,
    /// A mutant of every function of the packages, which their tests have to notice.
    Mutants,
    /// The same of every room's pure half.
    MutantsOfRooms,
}

/// What is on the device, what makes it, and what boots it.
const DEVICE: &[&str] = &["catenoid-agent", "catenoid-launcher", "catenoid", "catenoid-sign", "catenoid-e2e"];
/// The same with the attacker.
const DEVICE_AND_PROBE: &[&str] =
    &["catenoid-agent", "catenoid-launcher", "catenoid", "catenoid-sign", "catenoid-e2e", "catenoid-probe"];
/// What the image and the guests are made by and of.
const IMAGE: &[&str] = &["e2e/xtask/src/image", "e2e/xtask/src/development.rs", "manifests"];
/// On these every set depends: compiler, and the versions of everything that is not ours.
pub(super) const ALL: &[&str] = &["Cargo.lock", "Cargo.toml", "rust-toolchain.toml"];

/// A set that is one test of `e2e/tests/scenarios`, which does all of it at once.
const fn scenario(
    name: &'static str,
    shows: &'static str,
    test: &'static str,
    packages: &'static [&'static str],
    minutes: u32,
) -> Set {
    let runs = Runs::Scenario(test);
    Set { name, shows, runs, packages, paths: IMAGE, shared: false, resumed: false, minutes }
}

/// All of them, in the order in which they are shown.
pub(crate) const SETS: &[Set] = &[
    Set {
        shared: true,
        resumed: true,
        ..scenario(
            "crash-points",
            "the agent or a launcher crashes or fails at every point that matters, and the device converges",
            "crash_points::vm_every_crash_point",
            DEVICE,
            100,
        )
    },
    Set {
        shared: true,
        resumed: true,
        ..scenario(
            "power-cuts",
            "the power goes at any moment, and the device comes back with what it acknowledged",
            "power_cut::vm_power_cut",
            DEVICE,
            40,
        )
    },
    scenario("soak", "nothing grows over 200 manifests and 30 idle minutes", "soak::vm_soak", DEVICE, 65),
    scenario(
        "kills",
        "an agent that is killed again and again, idle or in an update, is back in time and touches nothing",
        "agent_restart::vm_agent_killed",
        DEVICE,
        5,
    ),
    scenario(
        "hostility",
        "every call in every hostile form, as root of c0 and as a user",
        "hostile_c0::vm_control_calls_survive_hostility",
        DEVICE_AND_PROBE,
        8,
    ),
    scenario(
        "no-inodes",
        "a file system without a free inode disturbs nothing that runs",
        "disasters::vm_disk_full",
        DEVICE,
        10,
    ),
    scenario(
        "entries",
        "ten million names among the blobs keep nobody from starting",
        "disk_holder::vm_crowded_data_partition",
        DEVICE,
        10,
    ),
    scenario(
        "shapes",
        "whatever has the place of a file of the device on its disk, the agent goes on and says so",
        "disk_holder::vm_bent_data_partition",
        DEVICE,
        10,
    ),
    scenario(
        "exhaustion",
        "a container takes all that it gets of each resource, without a capability and with all, and nobody else suffers",
        "exhaustion::vm_resource_exhaustion",
        DEVICE_AND_PROBE,
        50,
    ),
    scenario(
        "neighbours",
        "a neighbour waits no longer beside one that takes time of everybody than beside one that computes",
        "exhaustion::vm_neighbour_keeps_its_time",
        DEVICE_AND_PROBE,
        8,
    ),
    Set {
        name: "fuzz",
        shows: "any bytes, 15 minutes for each way in",
        runs: Runs::Fuzz,
        packages: &["catenoid-fuzz"],
        // The vectors are what a target begins with.
        paths: &["e2e/xtask/src/fuzz.rs", "schema/envelope/tests/vectors"],
        shared: true,
        resumed: true,
        minutes: 90,
    },
    Set {
        name: "mutants",
        shows: "tests notice each change of what all rooms share, of the house and of the agent's pass and intake",
        runs: Runs::Mutants,
        // The last one has the fleet that signs for the tests of intake.
        packages: &["catenoid-core", "catenoid-house", "catenoid-agent", "catenoid-fuzz"],
        paths: &["e2e/xtask/src/whole/mutants.rs"],
        shared: true,
        resumed: true,
        minutes: 90,
    },
    Set {
        name: "mutants-rooms",
        shows: "tests notice each change of a room's planner",
        runs: Runs::MutantsOfRooms,
        packages: &["catenoid-house"],
        paths: &["e2e/xtask/src/whole/mutants.rs"],
        shared: true,
        resumed: true,
        minutes: 60,
    },
    Set {
        name: "mutants-documents",
        shows: "tests notice each change of a function that documents are read and verified by",
        runs: Runs::Mutants,
        packages: &["catenoid-schema", "catenoid-envelope"],
        paths: &["e2e/xtask/src/whole/mutants.rs"],
        shared: true,
        resumed: true,
        minutes: 120,
    },
];

impl Set {
    /// The set of this name.
    pub(crate) fn of(name: &str) -> Option<&'static Self> {
        SETS.iter().find(|set| set.name == name)
    }

    /// The scenario that it is, without its module.
    pub(crate) fn scenario(&self) -> Option<&'static str> {
        match self.runs {
            Runs::Scenario(test) => Some(test.rsplit("::").next().unwrap_or(test)),
            Runs::Fuzz | Runs::Mutants | Runs::MutantsOfRooms => None,
        }
    }

    /// The shares that a machine with so many processors runs at once. A scenario keeps one of them busy, and what is not a
    /// scenario uses all of them by itself.
    pub(super) fn at_once(&self, processors: usize) -> Vec<(usize, usize)> {
        let shares = if self.shared && self.scenario().is_some() { processors } else { 1 };
        (1..=shares).map(|share| (share, shares)).collect()
    }

    /// Whether its scenario lies in this file, or in a folder with it: that has nothing to do with those of others.
    pub(super) fn has(&self, path: &str) -> bool {
        let Runs::Scenario(test) = self.runs else { return false };
        let Some((module, _)) = test.split_once("::") else { return false };
        let behind = path.strip_prefix("e2e/tests/scenarios/").and_then(|rest| rest.strip_prefix(module));
        behind.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }
}

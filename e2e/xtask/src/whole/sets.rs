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

/// All of them, in the order in which they are shown.
pub(crate) const SETS: &[Set] = &[
    Set {
        name: "crash-points",
        shows: "the agent or a launcher crashes or fails at every point that matters, and the device converges",
        runs: Runs::Scenario("crash_points::vm_every_crash_point"),
        packages: DEVICE,
        paths: IMAGE,
        shared: true,
        resumed: true,
        minutes: 175,
    },
    Set {
        name: "power-cuts",
        shows: "the power goes at any moment, and the device comes back with what it acknowledged",
        runs: Runs::Scenario("power_cut::vm_power_cut"),
        packages: DEVICE,
        paths: IMAGE,
        shared: true,
        resumed: true,
        minutes: 40,
    },
    Set {
        name: "soak",
        shows: "nothing grows over 200 manifests and 30 idle minutes",
        runs: Runs::Scenario("soak::vm_soak"),
        packages: DEVICE,
        paths: IMAGE,
        shared: false,
        resumed: false,
        minutes: 65,
    },
    Set {
        name: "kills",
        shows: "an agent that is killed again and again, idle or in an update, is back in time and touches nothing",
        runs: Runs::Scenario("agent_restart::vm_agent_killed"),
        packages: DEVICE,
        paths: IMAGE,
        shared: false,
        resumed: false,
        minutes: 5,
    },
    Set {
        name: "hostility",
        shows: "every call in every hostile form, as root of c0 and as a user",
        runs: Runs::Scenario("hostile_c0::vm_control_calls_survive_hostility"),
        packages: DEVICE_AND_PROBE,
        paths: IMAGE,
        shared: false,
        resumed: false,
        minutes: 8,
    },
    Set {
        name: "no-inodes",
        shows: "a file system without a free inode disturbs nothing that runs",
        runs: Runs::Scenario("disasters::vm_disk_full"),
        packages: DEVICE,
        paths: IMAGE,
        shared: false,
        resumed: false,
        minutes: 10,
    },
    Set {
        name: "entries",
        shows: "ten million names among the blobs keep nobody from starting",
        runs: Runs::Scenario("disk_holder::vm_crowded_data_partition"),
        packages: DEVICE,
        paths: IMAGE,
        shared: false,
        resumed: false,
        minutes: 10,
    },
    Set {
        name: "shapes",
        shows: "whatever has the place of a file of the device on its disk, the agent goes on and says so",
        runs: Runs::Scenario("disk_holder::vm_bent_data_partition"),
        packages: DEVICE,
        paths: IMAGE,
        shared: false,
        resumed: false,
        minutes: 10,
    },
    Set {
        name: "exhaustion",
        shows: "a container without a capability takes all that it gets of each resource, and nobody else suffers",
        runs: Runs::Scenario("exhaustion::vm_resource_exhaustion"),
        packages: DEVICE_AND_PROBE,
        paths: IMAGE,
        shared: false,
        resumed: false,
        minutes: 50,
    },
    Set {
        name: "neighbours",
        shows: "a neighbour waits no longer beside one that takes time of everybody than beside one that computes",
        runs: Runs::Scenario("exhaustion::vm_neighbour_keeps_its_time"),
        packages: DEVICE_AND_PROBE,
        paths: IMAGE,
        shared: false,
        resumed: false,
        minutes: 8,
    },
    Set {
        name: "fuzz",
        shows: "any bytes, 15 minutes for each way in",
        runs: Runs::Fuzz,
        packages: &["catenoid-fuzz"],
        paths: &["e2e/xtask/src/fuzz.rs"],
        shared: true,
        resumed: true,
        minutes: 90,
    },
    Set {
        name: "mutants",
        shows: "tests notice each change of a pure function",
        runs: Runs::Mutants,
        packages: &[
            "catenoid-schema",
            "catenoid-envelope",
            "catenoid-core",
            "catenoid-guests",
            "catenoid-limits",
            "catenoid-zones",
            "catenoid-containers",
            "catenoid-forecast",
        ],
        paths: &["e2e/xtask/src/whole/mutants.rs"],
        shared: true,
        resumed: false,
        minutes: 180,
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
            Runs::Fuzz | Runs::Mutants => None,
        }
    }

    /// Whether it is built with every optional dependency. Mutants are of the pure halves, which have none.
    pub(super) fn has_features(&self) -> bool {
        self.runs != Runs::Mutants
    }
}

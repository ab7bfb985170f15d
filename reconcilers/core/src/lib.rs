//! The shape of a room, and what the pass needs to run any of them.
//!
//! A room is one reconciler: desired -> observe -> plan -> apply -> status. Its [`Planner`] is the pure half: a plan is
//! made from two values, without `self` and without `async`, so it cannot reach the kernel; the build host runs the
//! same planner (`catenoid-sign plan`). Its [`Reconciler`] is the half with effects. A [`Slot`] is a room in one pass, behind a
//! trait that is the same for all ([`Room`]). This crate knows no room and no kernel. Start reading at [`Planner`].
//!
//! A room that holds folders, by their names; its plan, and what the models of its steps make of what is there:
//!
//! ```
//! use std::{collections::BTreeSet, fmt};
//!
//! use catenoid_core::{Asked, Plan, Planner, Step};
//! use catenoid_schema::status::{Kind, Subject, SubjectStatus};
//!
//! #[derive(Debug, Clone, PartialEq, serde::Serialize)]
//! enum Change {
//!     Make(String),
//!     Remove(String),
//! }
//!
//! impl fmt::Display for Change {
//!     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
//!         match self {
//!             Self::Make(name) => write!(f, "make folder `{name}`"),
//!             Self::Remove(name) => write!(f, "remove folder `{name}`"),
//!         }
//!     }
//! }
//!
//! impl Step for Change {
//!     type Observed = BTreeSet<String>;
//!
//!     fn subject(&self) -> Subject {
//!         let (Self::Make(name) | Self::Remove(name)) = self;
//!         Subject::new(Kind::State, name)
//!     }
//!
//!     // Twice is as good as once: a folder that is there stays, and one that is not needs no removal.
//!     fn effect_on(&self, observed: &mut BTreeSet<String>) {
//!         match self {
//!             Self::Make(name) => drop(observed.insert(name.clone())),
//!             Self::Remove(name) => drop(observed.remove(name)),
//!         }
//!     }
//! }
//!
//! enum FoldersPlanner {}
//!
//! impl Planner for FoldersPlanner {
//!     type Desired = BTreeSet<String>;
//!     type Observed = BTreeSet<String>;
//!     type Step = Change;
//!     const NAME: &'static str = "folders";
//!
//!     fn desired(asked: &Asked<'_>) -> BTreeSet<String> {
//!         asked.manifest.containers.keys().map(ToString::to_string).collect()
//!     }
//!
//!     fn satisfied(desired: &BTreeSet<String>, observed: &BTreeSet<String>) -> bool {
//!         desired == observed
//!     }
//!
//!     fn plan(desired: &BTreeSet<String>, observed: &BTreeSet<String>) -> Plan<Change> {
//!         let retire = observed.difference(desired).cloned().map(Change::Remove).collect();
//!         let establish = desired.difference(observed).cloned().map(Change::Make).collect();
//!         Plan { prepare: Vec::new(), retire, establish }
//!     }
//!
//!     fn status(_: &BTreeSet<String>, _: &BTreeSet<String>) -> Vec<SubjectStatus> {
//!         Vec::new()
//!     }
//! }
//!
//! let folders = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
//! let (desired, mut observed) = (folders(&["db", "web"]), folders(&["old", "web"]));
//! let plan = FoldersPlanner::plan(&desired, &observed);
//! let steps: Vec<_> = plan.steps().map(|(_, step)| step.to_string()).collect();
//! assert_eq!(steps, ["remove folder `old`", "make folder `db`"]);
//!
//! plan.steps().for_each(|(_, step)| step.effect_on(&mut observed));
//! assert!(FoldersPlanner::satisfied(&desired, &observed));
//! assert!(FoldersPlanner::plan(&desired, &observed).is_empty());
//! ```

mod door;
mod plan;
mod retry;
mod signal;
mod slot;
#[cfg(feature = "testing")]
pub mod testing;

pub use door::{Boxed, Door, RoomFault, chain};
pub use plan::Plan;
pub use retry::{Retries, Setback, Waiting};
pub use signal::{Readiness, Signals, Source, holds_until};
pub use slot::{Room, Slot, Task, Whose};

use std::{collections::BTreeMap, fmt, future::Future, path::PathBuf, sync::Arc, time::Duration};

use catenoid_schema::{
    digest::Digest,
    guest::Guest,
    manifest::Manifest,
    name::Name,
    status::{Blame, Subject, SubjectStatus},
};
use serde::{Serialize, de::DeserializeOwned};

/// The reason of the condition of a subject that must not run for now.
pub const HELD_BACK: &str = "HeldBack";
/// The reason of the condition of a subject that failed in a row, and works.
pub const RECOVERED: &str = "Recovered";

/// The reason of the condition of a subject that is there and does not work.
pub const UNHEALTHY: &str = "Unhealthy";
/// The reasons of conditions that are reported as an event when they are new, though nothing has to be done about them.
pub const NOTABLE_CONDITIONS: [&str; 2] = [RECOVERED, UNHEALTHY];

/// What every room makes its desired state from.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The guests that it names and whose descriptors were verified, by their name in it, each with its descriptor's digest.
    pub guests: &'a BTreeMap<Name, (Digest, Guest)>,
    /// Where things are on the device.
    pub paths: &'a Paths,
}

/// Where things are on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// State of this boot: `guests`, `namespaces`, `control`, `logs` and `exits` are in it.
    pub run: PathBuf,
    /// Where cgroup v2 is mounted.
    pub cgroup: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { run: "/run/catenoid".into(), cgroup: "/sys/fs/cgroup".into() }
    }
}

impl Paths {
    /// The folder in which PID 1 records the ends of containers.
    #[must_use]
    pub fn exits(&self) -> PathBuf {
        self.run.join("exits")
    }

    /// The folder in which the namespaces of `container` are pinned.
    #[must_use]
    pub fn namespaces(&self, container: &Name) -> PathBuf {
        self.run.join("namespaces").join(container.as_str())
    }
}

/// The pure half of a room.
pub trait Planner {
    /// What the manifest asks of this room.
    type Desired: Clone + fmt::Debug;
    /// What the room reads from the kernel: only what we own, and all of it.
    type Observed: Clone + fmt::Debug + Default + PartialEq + Serialize + DeserializeOwned;
    /// One effect.
    type Step: Step<Observed = Self::Observed>;
    /// The room's name, as in status and events.
    const NAME: &'static str;
    /// The rooms that give what subjects of this one cannot do without: see [`Planner::needs`].
    const NEEDS: &'static [&'static str] = &[];
    /// The rooms whose steps change what this one observes: it looks again after them.
    const AFFECTED_BY: &'static [&'static str] = &[];
    /// Of how many subjects it establishes steps at once: of more than one where those of each are independent of the others'.
    const BESIDE: usize = 1;
    /// Whether it lets nothing go before every room that needs it is as wanted.
    const LETS_GO_LAST: bool = false;

    /// What a manifest asks of this room, as if all that other rooms bring were there.
    fn desired(asked: &Asked<'_>) -> Self::Desired;

    /// Whether `observed` is all that `desired` asks for, and no more. Written apart from [`Planner::plan`]: it is the
    /// oracle that the plan is tested against.
    fn satisfied(desired: &Self::Desired, observed: &Self::Observed) -> bool;

    /// The steps from `observed` to `desired`; none exactly when satisfied (or when what is missing is waited for).
    fn plan(desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step>;

    /// What is wanted of this room and cannot be relied on yet, by the name that others need it by, and why, for people.
    fn lacking(_: &Self::Desired, _: &Self::Observed) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// What subjects of this room need of the room `of`, one of [`Planner::NEEDS`]: each by the name that room has for it.
    fn needs(_: &Self::Desired, _of: &str) -> Vec<(Subject, String)> {
        Vec::new()
    }

    /// Who goes first: what these need is set up before anything that only others of their kind need.
    fn urgent(_: &Self::Desired) -> Vec<Subject> {
        Vec::new()
    }

    /// Lets `subject` stay as it is, since something that it needs is lacking, for `reason`.
    fn let_wait(_: &mut Self::Desired, _subject: &Subject, _reason: &str) {}

    /// Takes `subject` away for now, whatever the manifest says, for `reason`.
    fn hold_back(_: &mut Self::Desired, _subject: &Subject, _reason: &str) {}

    /// What failed by itself and is to be set up again, by what was observed of its history.
    fn setbacks(_: &Self::Desired, _: &Self::Observed) -> Vec<Setback> {
        Vec::new()
    }

    /// What is reported of each subject of this room.
    fn status(desired: &Self::Desired, observed: &Self::Observed) -> Vec<SubjectStatus>;
}

/// The half of a room that has effects.
pub trait Reconciler {
    /// The other half.
    type Planner: Planner;
    /// What can go wrong.
    type Error: RoomError;

    /// Learns what is wanted, before it looks: a room that may hold more than can be listed looks for that.
    fn look_for(&self, _desired: &<Self::Planner as Planner>::Desired) {}

    /// What reports changes in this room from now on, with what is wanted of it and was observed last.
    fn signals(
        &self,
        _desired: &<Self::Planner as Planner>::Desired,
        _observed: &<Self::Planner as Planner>::Observed,
    ) -> Signals {
        Signals::default()
    }

    /// Reads the kernel; changes nothing.
    fn observe(&self) -> impl Future<Output = Result<<Self::Planner as Planner>::Observed, Self::Error>>;

    /// Does one step, or has it go on by itself. Doing it twice is as good as once: "already so" is success.
    fn apply(&self, step: &<Self::Planner as Planner>::Step) -> impl Future<Output = Result<Applied, Self::Error>>;
}

/// What came of a step that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// All that the step's model says is so.
    Done,
    /// It goes on by itself: no pass waits for it. What it has come to is observed, and its end wakes the pass.
    Underway {
        /// After what time it is to be looked at, if nothing wakes the pass before.
        look_in: Option<Duration>,
    },
}

/// For a room that others look into as well.
impl<R: Reconciler> Reconciler for Arc<R> {
    type Planner = R::Planner;
    type Error = R::Error;

    fn look_for(&self, desired: &<Self::Planner as Planner>::Desired) {
        R::look_for(self, desired);
    }

    fn signals(
        &self,
        desired: &<Self::Planner as Planner>::Desired,
        observed: &<Self::Planner as Planner>::Observed,
    ) -> Signals {
        R::signals(self, desired, observed)
    }

    fn observe(&self) -> impl Future<Output = Result<<Self::Planner as Planner>::Observed, Self::Error>> {
        R::observe(self)
    }

    fn apply(&self, step: &<Self::Planner as Planner>::Step) -> impl Future<Output = Result<Applied, Self::Error>> {
        R::apply(self, step)
    }
}

/// One effect, and the model of what it does. `Display` is a sentence for people, without a full stop.
pub trait Step: fmt::Display + fmt::Debug + Clone + PartialEq + Serialize {
    /// What the step changes.
    type Observed;

    /// Whom it is about: a failed step holds back the later steps of its own subject only.
    fn subject(&self) -> Subject;

    /// Changes `observed` as the step changes the kernel.
    fn effect_on(&self, observed: &mut Self::Observed);
}

/// What every room's error can say.
pub trait RoomError: std::error::Error + Send + Sync + 'static {
    /// Who must act. `Nobody` is tried again with growing pauses, like every other; the word is for people.
    fn blame(&self) -> Blame;
}

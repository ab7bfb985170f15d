//! The shape of a room, and what the pass needs to run any of them.
//!
//! A room is one reconciler: desired -> observe -> plan -> apply -> status. Its [`Planner`] is the pure half: a plan is
//! made from two values, without `self` and without `async`, so it cannot reach the kernel; the build host runs the
//! same planner (`catenoid-sign plan`). Its [`Reconciler`] is the half with effects. This crate knows no room and no
//! kernel. Start reading at [`Planner`].

mod plan;
mod retry;
#[cfg(feature = "testing")]
pub mod testing;

pub use plan::{Plan, simulate};
pub use retry::{Retries, Setback, Waiting};

use std::{fmt, future::Future};

use catenoid_schema::status::{Blame, Subject, SubjectStatus};
use serde::{Serialize, de::DeserializeOwned};

/// The pure half of a room.
pub trait Planner {
    /// What the manifest asks of this room.
    type Desired;
    /// What the room reads from the kernel: only what we own, and all of it.
    type Observed: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned;
    /// One effect.
    type Step: Step<Observed = Self::Observed>;
    /// The room's name, as in status and events.
    const NAME: &'static str;

    /// Whether `observed` is all that `desired` asks for, and no more. Written apart from [`Planner::plan`]: it is the
    /// oracle that the plan is tested against.
    fn satisfied(desired: &Self::Desired, observed: &Self::Observed) -> bool;

    /// The steps from `observed` to `desired`; none exactly when satisfied (or when what is missing is waited for).
    fn plan(desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step>;

    /// What failed by itself and is to be set up again, by what was observed of its history.
    fn setbacks(_: &Self::Desired, _: &Self::Observed) -> Vec<Setback> {
        Vec::new()
    }

    /// What to tell about each subject of this room.
    fn status(desired: &Self::Desired, observed: &Self::Observed) -> Vec<SubjectStatus>;
}

/// The half of a room that has effects.
pub trait Reconciler {
    /// The other half.
    type Planner: Planner;
    /// What can go wrong.
    type Error: RoomError;

    /// Reads the kernel; changes nothing.
    fn observe(&self) -> impl Future<Output = Result<<Self::Planner as Planner>::Observed, Self::Error>>;

    /// Does one step. Doing it twice is as good as once: "already so" is success.
    fn apply(&self, step: &<Self::Planner as Planner>::Step) -> impl Future<Output = Result<(), Self::Error>>;
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

/// What every room's error can tell.
pub trait RoomError: std::error::Error + Send + Sync + 'static {
    /// Who must act. `Nobody` is tried again with growing pauses, like every other; the word is for people.
    fn blame(&self) -> Blame;
}

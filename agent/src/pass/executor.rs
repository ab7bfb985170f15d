//! One run of all rooms, towards what was accepted.
//!
//! Every room is observed first, and again after steps were done; what counts is what the kernel then says. The order among
//! rooms and phases, and who waits for whom, is not said here but in `catenoid-house`: this is what a pass does with any
//! room. Who does the steps is not known here either: on a device the rooms' doors, in tests a kernel that holds what the
//! steps' models say.
//!
//! A failed step holds back the later steps of its own subject, in every room. It is tried again after a pause that
//! grows; a new manifest ends every pause, and the pass that it finds under way. A room that cannot be observed stops the
//! pass before it changes anything that depends on it: nothing that runs is retired because something could not be read.

use std::time::{Duration, Instant};

use catenoid_core::Signals;
use catenoid_house::{Observed, forecast, order};
use catenoid_schema::{
    control::{Outcome, PlannedStep},
    status::SubjectStatus,
};

use super::{
    hold::Holds,
    report::{self, Seen},
    state::{AcceptedReceiver, OBSERVE, Pass},
    status::Snapshot,
    steps::{Progress, Steps},
};
use crate::{accept::manifest::AcceptedManifest, record::event::NewEvent};

/// The least pause before a pass that is made only because something failed.
pub(super) const MOMENT: Duration = Duration::from_millis(500);

/// What one pass leaves behind.
pub(crate) struct PassOutcome {
    /// What it saw.
    pub snapshot: Snapshot,
    /// Whether the device is as it is to be, but for what is held back.
    pub as_it_is_to_be: bool,
    /// What to report once the snapshot is published.
    pub ended: Option<NewEvent>,
    /// What reports changes from now on, also where not everything could be seen.
    pub signals: Signals,
    /// When the next one is due at the latest, if a subject waits or something goes on by itself.
    pub again: Option<Instant>,
}

impl Pass {
    /// Runs one pass towards `target`, but for what `holds` holds back, as long as nothing else is `accepted`. `own` is what is
    /// wrong with the agent's own state.
    pub(crate) async fn run(
        &mut self,
        target: &AcceptedManifest,
        holds: &Holds,
        own: Vec<SubjectStatus>,
        accepted: &AcceptedReceiver,
    ) -> PassOutcome {
        if self.digest != Some(target.digest) {
            self.retries.reset_all();
            self.failures.clear();
            self.digest = Some(target.digest);
        }
        let (wanted, held_back) = holds.apply(target);
        let Self { doors, gate, audit, retries, failures, snapshot: before, digest } = self;
        let previously_converged =
            before.reconciling.is_none() && before.converged.as_ref().map(|state| state.digest) == *digest;
        let (towards, progress) = (target.digest, Progress::default());
        let mut steps = Steps { audit, retries, failures, towards, accepted, gate, progress };
        let mut house = wanted.enter(doors);
        let went = async {
            steps.look_at_all(&mut house).await?;
            house.plan();
            if previously_converged {
                report::drifted(before, &house).into_iter().for_each(|drift| audit.note(drift));
            }
            order::go_through(&mut house, &mut steps).await
        };
        let went = went.await;
        if went.is_ok() {
            steps.recovered(OBSERVE);
        }
        let (done, look) = steps.end();
        let signals = house.signals();
        let seen = went.is_ok().then(|| Seen::of(house, &wanted));
        let (mut snapshot, as_it_is_to_be) = self.report(target, held_back, own, seen);
        snapshot.keep_since(&self.snapshot, Some(target.manifest.metadata.sequence));
        let ended = self.ended(&snapshot, done);
        self.changed(&snapshot).for_each(|changed| self.audit.note(changed));
        self.snapshot = snapshot.clone();
        PassOutcome { snapshot, as_it_is_to_be, ended, signals, again: self.again().into_iter().chain(look).min() }
    }

    /// When the next failed subject is due. One that fell due in the pass itself is due in a moment.
    pub(super) fn again(&self) -> Option<Instant> {
        let soonest = Instant::now() + MOMENT;
        self.retries.all().map(|(_, until)| until.max(soonest)).min()
    }
}

/// What a pass towards `target` would do, from what was observed last and from the images that the intake found there
/// since.
pub(crate) fn plan_for(target: &AcceptedManifest, outcome: Outcome, mut observed: Observed) -> Vec<PlannedStep> {
    for (_, guest) in target.guests.values() {
        let blob = catenoid_guests::Blob { size: guest.image.size.bytes(), fresh: true };
        observed.guests.blobs.entry(guest.image.digest).or_insert(blob);
    }
    if outcome != Outcome::Unchanged {
        observed.guests.settle();
    }
    forecast(&target.wanted, &observed)
}

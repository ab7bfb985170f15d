//! What is reported after a pass, and what it found changed.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Instant,
};

use catenoid_core::{HELD_BACK, NOTABLE_CONDITIONS};
use catenoid_house::{DesiredState, House, Observed, forecast};
use catenoid_schema::{
    control::PlannedStep,
    status::{Condition, Facts, Health, Kind, ManifestState, Subject, SubjectStatus, Sync},
    units::Timestamp,
};

use super::{
    state::{OBSERVE, Pass, StepFailure},
    status::Snapshot,
};
use crate::{
    accept::manifest::AcceptedManifest,
    clock,
    record::event::{self, NewEvent},
};

/// The condition of a subject that a step failed on.
const STEP_FAILED: &str = "StepFailed";
/// The most bytes of what is reported of drift: a core container can cause it again and again, and says how much there is of
/// it.
const DRIFT_LIMIT: usize = 512;

/// What is reported of each subject.
type Subjects = BTreeMap<Subject, SubjectStatus>;

/// What a pass saw in the end.
pub(super) struct Seen {
    /// Whether all that is wanted is there.
    satisfied: bool,
    subjects: Subjects,
    plan: Vec<PlannedStep>,
    observed: Observed,
}

impl Seen {
    /// Of `house`, in which all was seen and planned towards what is `wanted`.
    pub(super) fn of(house: House<'_>, wanted: &DesiredState) -> Self {
        let (satisfied, is_idle, subjects) = (house.satisfied(), house.is_idle(), subjects(&house));
        let observed = house.into_observed();
        let plan = if is_idle { Vec::new() } else { forecast(wanted, &observed) };
        Self { satisfied, subjects, plan, observed }
    }
}

impl Pass {
    /// What is reported after a pass towards `target`, whether anything was `held_back` or not; and whether all is as it is to
    /// be but for that.
    pub(super) fn report(
        &mut self,
        target: &AcceptedManifest,
        held_back: bool,
        own: Vec<SubjectStatus>,
        seen: Option<Seen>,
    ) -> (Snapshot, bool) {
        let now = Instant::now();
        let mut snapshot = Snapshot { passes: self.snapshot.passes + 1, at: Some(clock::now()), ..Snapshot::default() };
        let state = |since| ManifestState { since, ..target.state() };
        let mut matches = false;
        let mut statuses;
        match seen {
            Some(Seen { satisfied, subjects, plan, observed }) => {
                matches = satisfied;
                statuses = subjects;
                snapshot.plan = plan;
                snapshot.observed = Arc::new(observed);
                self.forget_settled(&snapshot.plan);
            }
            None => {
                let before = self.snapshot.subjects.iter().map(|status| (status.subject.clone(), status.clone()));
                statuses = before.filter(|(subject, _)| !subject.is(Kind::State)).collect();
                for status in statuses.values_mut() {
                    status.sync = Sync::Unknown;
                    status.conditions.retain(|condition| condition.reason != STEP_FAILED);
                }
                snapshot.observed = self.snapshot.observed.clone();
                snapshot.plan = self.snapshot.plan.clone();
            }
        }
        own.into_iter().for_each(|status| join(&mut statuses, status));
        for (subject, failure) in &self.failures {
            failure.show(&mut statuses, subject);
        }
        for (subject, until) in self.retries.all() {
            let wait = until.saturating_duration_since(now).as_secs();
            let at = clock::now().seconds().saturating_add_unsigned(wait);
            snapshot.retries.extend(Timestamp::from_seconds(at).map(|at| (subject.clone(), at)));
        }
        snapshot.subjects = statuses.into_values().collect();
        let before = self.snapshot.converged.clone();
        let as_it_is_to_be = matches && self.failures.is_empty();
        if as_it_is_to_be && !held_back {
            snapshot.converged = match before {
                Some(before) if before.digest == target.digest => Some(before),
                _ => Some(state(clock::now())),
            };
        } else {
            snapshot.converged = before;
            snapshot.reconciling = Some(match &self.snapshot.reconciling {
                Some(before) if before.digest == target.digest => before.clone(),
                _ => state(clock::now()),
            });
        }
        (snapshot, as_it_is_to_be)
    }

    /// Forgets the failures of subjects that nothing has to be done about any more.
    fn forget_settled(&mut self, plan: &[PlannedStep]) {
        let open = |subject: &Subject| plan.iter().any(|step| step.subject == *subject);
        self.failures.retain(|subject, failure| failure.room == OBSERVE || open(subject));
        self.retries.retain(|subject| self.failures.contains_key(subject) || open(subject));
    }

    /// What to report at the end of a pass that did or found something.
    pub(super) fn ended(&self, snapshot: &Snapshot, done: usize) -> Option<NewEvent> {
        let converged = snapshot.converged.as_ref();
        if converged != self.snapshot.converged.as_ref() {
            let state = converged?;
            let message = format!("`{}` sequence {} ({})", state.name, state.sequence, state.digest);
            return Some(NewEvent::by_device("Converged", None, message));
        }
        let same = snapshot.subjects == self.snapshot.subjects && snapshot.reconciling == self.snapshot.reconciling;
        let pass_ended = || {
            let open = if snapshot.reconciling.is_some() { "not converged" } else { "converged" };
            NewEvent::by_device("PassEnded", None, format!("{done} steps done, {open}"))
        };
        (done > 0 || !same).then(pass_ended)
    }

    /// What was seen in the last pass already, and has failed or recovered since.
    pub(super) fn changed<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = NewEvent> + 'a {
        fn condition_of<'a>(status: &'a SubjectStatus, reason: &str) -> Option<&'a Condition> {
            status.conditions.iter().find(|condition| condition.reason == reason)
        }
        let notable = |status: &'a SubjectStatus| NOTABLE_CONDITIONS.into_iter().map(move |reason| (status, reason));
        snapshot.subjects.iter().flat_map(notable).filter_map(|(status, reason)| {
            let condition = condition_of(status, reason)?;
            let is_new =
                self.snapshot.subject(&status.subject).is_some_and(|before| condition_of(before, reason).is_none());
            is_new.then(|| NewEvent::by_device(reason, Some(status.subject.clone()), condition.message.clone()))
        })
    }
}

/// The subjects that were as wanted `before_pass` and are not any more: what each is, and what is wanted of it.
pub(super) fn drifted(before_pass: &Snapshot, house: &House<'_>) -> Vec<NewEvent> {
    if house.satisfied() {
        return Vec::new();
    }
    let was_synced =
        |now: &SubjectStatus| before_pass.subject(&now.subject).is_none_or(|before| before.sync == Sync::Synced);
    subjects(house)
        .into_values()
        .filter(|now| now.sync != Sync::Synced && was_synced(now))
        // Not somebody else, but the device itself.
        .filter(|now| now.conditions.iter().all(|condition| condition.reason != HELD_BACK))
        .map(|now| {
            let message: Vec<_> = now.conditions.into_iter().map(|condition| condition.message).collect();
            let mut message = message.join("; ");
            event::cut(&mut message, DRIFT_LIMIT);
            NewEvent::by_device("DriftFound", Some(now.subject), message)
        })
        .collect()
}

/// What the rooms report of every subject.
fn subjects(house: &House<'_>) -> Subjects {
    let mut subjects = Subjects::new();
    house.status().into_iter().for_each(|status| join(&mut subjects, status));
    subjects
}

/// Several rooms report one subject: it is as good as the worst of them says, for all their reasons.
fn join(subjects: &mut Subjects, status: SubjectStatus) {
    match subjects.entry(status.subject.clone()) {
        Entry::Vacant(place) => drop(place.insert(status)),
        Entry::Occupied(held) => {
            let held = held.into_mut();
            held.sync = held.sync.max(status.sync);
            held.health = held.health.max(status.health);
            held.conditions.extend(status.conditions);
            held.facts.join(status.facts);
        }
    }
}

impl StepFailure {
    fn show(&self, subjects: &mut Subjects, subject: &Subject) {
        let condition = Condition::new(STEP_FAILED, format!("{}: {}", self.room, self.message), Some(self.blame));
        let status = SubjectStatus {
            subject: subject.clone(),
            sync: Sync::OutOfSync,
            health: Health::Degraded,
            conditions: vec![condition],
            facts: Facts::default(),
        };
        join(subjects, status);
    }
}

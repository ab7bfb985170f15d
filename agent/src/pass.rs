//! One run of all rooms, and the order among them.
//!
//! prepare (guests) -> retire (containers, limits, zones) -> establish (zones, limits, containers) -> and, once everything
//! is as wanted, retire (guests): what nothing runs from any more. Every room is observed first, and again after
//! steps were done; what counts is what the kernel then says.
//!
//! A failed step holds back the later steps of its own subject, in every room. It is tried again after a pause that
//! grows; a new manifest ends every pause. A room that cannot be observed stops the pass before it changes anything
//! that depends on it: nothing that runs is retired because something could not be read.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use catenoid_containers::{Containers, HELD_BACK, RECOVERED};
use catenoid_core::{Planner, Reconciler, Retries, RoomError as _, Setback, Step as _};
use catenoid_forecast::{Observed, Wanted, forecast};
use catenoid_guests::{Generation, Guests};
use catenoid_kernel::netlink::Announcements;
use catenoid_limits::Limits;
use catenoid_schema::{
    control::{Outcome, PlannedStep},
    manifest::ContainerRole,
    name::Name,
    status::{Blame, Condition, Facts, Health, Kind, ManifestState, Subject, SubjectStatus, Sync},
    units::Timestamp,
};
use catenoid_zones::{Inside, Zones};
use tokio::sync::watch;

use crate::{
    audit::{self, Audit, Happening},
    clock,
    hold::Holds,
    intake::{Target, chain},
    paths::{CGROUP, DATA, EXITS, NAMESPACES, RUN},
    status::Snapshot,
};

/// Whether the agent ends: no step is begun any more.
static ENDS: AtomicBool = AtomicBool::new(false);

/// The condition of a subject that a step failed on.
const STEP_FAILED: &str = "StepFailed";
/// As the room of a failure: that a room could not be observed.
const OBSERVE: &str = "observe";
/// The most bytes of what is told of drift: a core container can cause it again and again, and says how much there is of it.
const DRIFT_LIMIT: usize = 512;
/// The least pause before a pass that is made only because something failed.
const MOMENT: Duration = Duration::from_millis(500);

/// The rooms with their doors, and what is remembered between passes: failures to pause after, never facts.
pub(crate) struct Pass {
    rooms: Rooms,
    gate: Gate,
    audit: Arc<Audit>,
    retries: Retries,
    failures: BTreeMap<Subject, Failure>,
    /// The manifest of the last pass.
    digest: Option<catenoid_schema::digest::Digest>,
    snapshot: Snapshot,
}

/// Closed while a manifest is accepted: see [`crate::intake::Intake`].
type Gate = Arc<tokio::sync::Mutex<()>>;

/// What is told of each subject.
type Subjects = BTreeMap<Subject, SubjectStatus>;

/// All rooms.
pub(crate) struct Rooms {
    /// Blobs, verity devices, images.
    pub guests: Guests,
    /// Control groups.
    pub limits: Limits,
    /// Namespaces, links, firewall.
    pub zones: Zones,
    /// Processes. The control interface reads their output.
    pub containers: Arc<Containers>,
}

#[derive(Debug, Clone)]
struct Failure {
    room: &'static str,
    message: String,
    blame: Blame,
}

/// What one pass leaves behind.
pub(crate) struct Turn {
    /// What it saw.
    pub snapshot: Snapshot,
    /// Whether the device is as it is to be, but for what is held back.
    pub as_it_is_to_be: bool,
    /// What to tell once the snapshot is published.
    pub ended: Option<Happening>,
    /// When the next one is due at the latest, if a subject waits.
    pub again: Option<Instant>,
}

/// What one pass has done so far.
struct Progress<'a> {
    audit: &'a Audit,
    retries: &'a mut Retries,
    failures: &'a mut BTreeMap<Subject, Failure>,
    held: BTreeSet<Subject>,
    /// Subjects of which a step was done and none failed.
    worked: BTreeSet<Subject>,
    done: usize,
}

/// Why the rooms cannot be entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Limits.
    #[error(transparent)]
    Limits(#[from] catenoid_limits::Error),
    /// Zones.
    #[error(transparent)]
    Zones(#[from] catenoid_zones::Error),
}

impl Pass {
    /// Enters the rooms. To be called on the thread that runs the passes.
    ///
    /// # Errors
    /// The first room that cannot be entered.
    pub(crate) fn open(
        audit: Arc<Audit>,
        containers: Arc<Containers>,
        generation: Generation,
        gate: Gate,
    ) -> Result<Self, OpenError> {
        let (data, run, cgroup) = (Path::new(DATA), Path::new(RUN), Path::new(CGROUP));
        let rooms = Rooms {
            guests: Guests::new(&catenoid_guests::Paths { data: data.to_owned(), run: run.to_owned() }, generation),
            limits: Limits::open(cgroup)?,
            zones: Zones::open(Path::new(NAMESPACES))?,
            containers,
        };
        Ok(Self {
            rooms,
            gate,
            audit,
            retries: Retries::default(),
            failures: BTreeMap::new(),
            digest: None,
            snapshot: Snapshot::default(),
        })
    }

    /// What the kernel announces of links and of rules in the root namespace.
    ///
    /// # Errors
    /// If it cannot be listened to.
    pub(crate) fn announcements(&self) -> Result<[Announcements; 2], OpenError> {
        Ok(self.rooms.zones.watch()?)
    }

    /// Runs one pass towards `target`, but for what `holds` holds back. `own` is what is wrong with the agent's own state.
    pub(crate) async fn run(
        &mut self,
        target: &Target,
        holds: &Holds,
        own: Vec<SubjectStatus>,
        accepted: &watch::Receiver<Option<Arc<Target>>>,
    ) -> Turn {
        if self.digest != Some(target.digest) {
            self.retries.reset_all();
            self.failures.clear();
            self.digest = Some(target.digest);
        }
        let (wanted, held_back) = holds.apply(target);
        let wanted = &*wanted;
        let mut progress = Progress {
            audit: &self.audit,
            retries: &mut self.retries,
            failures: &mut self.failures,
            held: BTreeSet::new(),
            worked: BTreeSet::new(),
            done: 0,
        };
        let before = &self.snapshot;
        let stood = before.reconciling.is_none() && before.converged.as_ref().map(|state| state.digest) == self.digest;
        let stood = stood.then_some(before);
        let mut seen = reconcile(&self.rooms, wanted, stood, &mut progress).await;
        if let Ok(observed) = &mut seen {
            // Until another manifest is accepted: it may need what this one does not.
            let _gate = self.gate.lock().await;
            let current = accepted.borrow().as_ref().is_some_and(|current| current.digest == target.digest);
            if current && let Err(unobserved) = collect(&self.rooms, wanted, &mut progress, observed).await {
                seen = Err(unobserved);
            }
        }
        let observed = match seen {
            Ok(observed) => {
                progress.recovered(OBSERVE);
                Some(observed)
            }
            Err(unobserved) => {
                progress.failed(
                    Subject::new(Kind::Room, unobserved.room),
                    OBSERVE,
                    unobserved.message,
                    unobserved.blame,
                );
                None
            }
        };
        let done = progress.end();
        let (mut snapshot, as_it_is_to_be) = self.tell(target, (wanted, held_back), own, observed);
        snapshot.keep_since(&self.snapshot, Some(target.manifest.metadata.sequence));
        let ended = self.ended(&snapshot, done);
        self.recovered(&snapshot).for_each(|recovered| self.audit.note(recovered));
        self.snapshot = snapshot.clone();
        Turn { snapshot, as_it_is_to_be, ended, again: self.again() }
    }

    /// Forgets the failures of subjects that nothing has to be done about any more.
    fn forget_settled(&mut self, plan: &[PlannedStep]) {
        let open = |subject: &Subject| plan.iter().any(|step| step.subject == *subject);
        self.failures.retain(|subject, failure| failure.room == OBSERVE || open(subject));
        self.retries.retain(|subject| self.failures.contains_key(subject) || open(subject));
    }

    /// When the next failed subject is due. One that fell due in the pass itself is due in a moment.
    fn again(&self) -> Option<Instant> {
        let soonest = Instant::now() + MOMENT;
        self.retries.all().map(|(_, until)| until.max(soonest)).min()
    }

    /// What to tell at the end of a pass that did or found something.
    fn ended(&self, snapshot: &Snapshot, done: usize) -> Option<Happening> {
        let converged = snapshot.converged.as_ref();
        if converged != self.snapshot.converged.as_ref() {
            let state = converged?;
            let message = format!("`{}` sequence {} ({})", state.name, state.sequence, state.digest);
            return Some(Happening::by_device("Converged", None, message));
        }
        let same = snapshot.subjects == self.snapshot.subjects && snapshot.reconciling == self.snapshot.reconciling;
        let told = || {
            let open = if snapshot.reconciling.is_some() { "not converged" } else { "converged" };
            Happening::by_device("PassEnded", None, format!("{done} steps done, {open}"))
        };
        (done > 0 || !same).then(told)
    }

    /// What was seen in the last pass, and had not recovered yet.
    fn recovered<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = Happening> + 'a {
        let told = |status: &'a SubjectStatus| status.conditions.iter().find(|condition| condition.reason == RECOVERED);
        snapshot.subjects.iter().filter_map(move |status| {
            let condition = told(status)?;
            let is_new = self.snapshot.subject(&status.subject).is_some_and(|before| told(before).is_none());
            is_new.then(|| Happening::by_device(RECOVERED, Some(status.subject.clone()), condition.message.clone()))
        })
    }

    /// The files whose changes should wake the next pass.
    pub(crate) fn watched(&self, target: &Target) -> BTreeSet<PathBuf> {
        watched(target.manifest.containers.keys(), &self.snapshot.observed.containers)
    }

    /// What is announced inside of the core containers, and whether any of that was not `held` before. What cannot be
    /// listened to is left to the timer.
    pub(crate) fn listen_inside(
        &self,
        target: &Target,
        mut held: BTreeMap<Name, Inside>,
    ) -> (BTreeMap<Name, Inside>, bool) {
        let before: BTreeMap<Name, u64> = held.iter().map(|(name, inside)| (name.clone(), inside.namespace)).collect();
        let containers = target.manifest.containers.iter();
        let core = containers.filter(|(_, container)| container.role == ContainerRole::Core).map(|(name, _)| name);
        let mut listened = BTreeMap::new();
        for name in core {
            match self.rooms.zones.watch_inside(name, held.remove(name)) {
                Ok(inside) => listened.extend(inside.map(|inside| (name.clone(), inside))),
                Err(error) => tracing::warn!(container = %name, error = %chain(&error), "not listened to inside"),
            }
        }
        let any_new = listened.iter().any(|(name, inside)| before.get(name) != Some(&inside.namespace));
        (listened, any_new)
    }

    /// What is told after a pass towards `target`, of which `wanted` is what is not held back; and whether all of that is there.
    fn tell(
        &mut self,
        target: &Target,
        (wanted, held_back): (&Wanted, bool),
        own: Vec<SubjectStatus>,
        observed: Option<Observed>,
    ) -> (Snapshot, bool) {
        let now = Instant::now();
        let mut snapshot = Snapshot { passes: self.snapshot.passes + 1, at: Some(clock::now()), ..Snapshot::default() };
        let state = |since| ManifestState { since, ..target.state() };
        let mut matches = false;
        let mut told;
        match observed {
            Some(observed) => {
                matches = satisfied(wanted, &observed);
                told = subjects(wanted, &observed);
                snapshot.plan = forecast(wanted, &observed);
                snapshot.observed = Arc::new(observed);
                self.forget_settled(&snapshot.plan);
            }
            None => {
                let before = self.snapshot.subjects.iter().map(|status| (status.subject.clone(), status.clone()));
                told = before.filter(|(subject, _)| !subject.is(Kind::State)).collect();
                for status in told.values_mut() {
                    status.sync = Sync::Unknown;
                    status.conditions.retain(|condition| condition.reason != STEP_FAILED);
                }
                snapshot.observed = self.snapshot.observed.clone();
                snapshot.plan = self.snapshot.plan.clone();
            }
        }
        own.into_iter().for_each(|status| join(&mut told, status));
        for (subject, failure) in &self.failures {
            failure.show(&mut told, subject);
        }
        for (subject, until) in self.retries.all() {
            let wait = until.saturating_duration_since(now).as_secs();
            let at = clock::now().seconds().saturating_add_unsigned(wait);
            snapshot.retries.extend(Timestamp::from_seconds(at).map(|at| (subject.clone(), at)));
        }
        snapshot.subjects = told.into_values().collect();
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
}

/// The files of the device, and of `containers` with what was `observed` of them, whose changes tell of something.
fn watched<'a>(
    containers: impl Iterator<Item = &'a Name>,
    observed: &catenoid_containers::Observed,
) -> BTreeSet<PathBuf> {
    let groups = Path::new(CGROUP).join(catenoid_kernel::name::CGROUP);
    let data = [DATA.into(), Path::new(DATA).join("blobs"), Path::new(DATA).join("ledger")];
    let mut paths = BTreeSet::from([PathBuf::from(EXITS), groups.clone()]);
    paths.extend(data);
    for name in containers {
        let group = groups.join(name.as_str());
        let runs = observed.containers.get(name).into_iter().flat_map(|container| container.runs.keys());
        paths.extend(runs.map(|launch| group.join(catenoid_kernel::name::leaf(launch))));
        paths.insert(group);
    }
    paths
}

/// What a pass towards `target` would do, from what was observed last and from the images that the intake found there
/// since.
pub(crate) fn foresee(target: &Target, outcome: Outcome, mut observed: Observed) -> Vec<PlannedStep> {
    for (_, guest) in target.guests.values() {
        let blob = catenoid_guests::Blob { size: guest.image.size.bytes(), fresh: true };
        observed.guests.blobs.entry(guest.image.digest).or_insert(blob);
    }
    if outcome != Outcome::Unchanged {
        observed.guests.settle();
    }
    forecast(&target.wanted, &observed)
}

/// No step is begun from now on: what ends with the device is not set up again.
pub(crate) fn begin_no_more() {
    ENDS.store(true, Ordering::Relaxed);
}

/// What is told of a step that was done.
pub(crate) fn step_done<P: Planner>(step: &P::Step) -> Happening {
    Happening::by_device("StepDone", Some(step.subject()), format!("{}: {step}", P::NAME))
}

/// A room that could not be observed.
struct Unobserved {
    room: &'static str,
    message: String,
    blame: Blame,
}

async fn observe<R: Reconciler>(room: &R) -> Result<<R::Planner as Planner>::Observed, Unobserved> {
    let name = <R::Planner as Planner>::NAME;
    room.observe().await.map_err(|e| Unobserved { room: name, message: chain(&e), blame: e.blame() })
}

/// One pass. Observes every room before the first step, and every room that had steps after its last. If the device
/// `stood` as it is wanted, and this was told of it, what is otherwise now was changed by somebody else: that is told.
async fn reconcile(
    rooms: &Rooms,
    wanted: &Wanted,
    stood: Option<&Snapshot>,
    progress: &mut Progress<'_>,
) -> Result<Observed, Unobserved> {
    rooms.guests.look_for(wanted.guests());
    let mut seen = Observed {
        guests: observe(&rooms.guests).await?,
        limits: observe(&rooms.limits).await?,
        zones: observe(&rooms.zones).await?,
        containers: observe(&*rooms.containers).await?,
    };
    if let Some(stood) = stood {
        drifted(stood, wanted, &seen).into_iter().for_each(|drift| progress.audit.note(drift));
    }
    let desired = wanted.guests();
    let guests = catenoid_guests::Planning::plan(desired, &seen.guests);
    if progress.run(&rooms.guests, &guests.prepare).await {
        seen.guests = observe(&rooms.guests).await?;
    }
    let containers = wanted.containers(&seen.guests);
    let plan = (
        catenoid_containers::Planning::plan(&containers, &seen.containers),
        catenoid_limits::Planning::plan(wanted.limits(), &seen.limits),
        catenoid_zones::Planning::plan(wanted.zones(), &seen.zones),
    );
    let setbacks = [
        catenoid_guests::Planning::setbacks(wanted.guests(), &seen.guests),
        catenoid_limits::Planning::setbacks(wanted.limits(), &seen.limits),
        catenoid_zones::Planning::setbacks(wanted.zones(), &seen.zones),
        catenoid_containers::Planning::setbacks(&containers, &seen.containers),
    ];
    progress.set_back(setbacks.concat());
    let mut changed = (false, false, false);
    changed.0 |= progress.run(&*rooms.containers, &plan.0.retire).await;
    changed.1 |= progress.run(&rooms.limits, &plan.1.retire).await;
    changed.2 |= progress.run(&rooms.zones, &plan.2.retire).await;
    changed.2 |= progress.run(&rooms.zones, &plan.2.establish).await;
    changed.1 |= progress.run(&rooms.limits, &plan.1.establish).await;
    changed.0 |= progress.run(&*rooms.containers, &plan.0.establish).await;
    // Who lives in namespaces that were just made anew is outside of them.
    if changed.0 || changed.2 {
        seen.containers = observe(&*rooms.containers).await?;
    }
    if changed.1 {
        seen.limits = observe(&rooms.limits).await?;
    }
    if changed.2 {
        seen.zones = observe(&rooms.zones).await?;
    }
    Ok(seen)
}

/// Takes away the guests that nothing runs from any more, once nothing does.
async fn collect(
    rooms: &Rooms,
    wanted: &Wanted,
    progress: &mut Progress<'_>,
    seen: &mut Observed,
) -> Result<(), Unobserved> {
    let containers = wanted.containers(&seen.guests);
    let nothing_old_runs = catenoid_containers::Planning::satisfied(&containers, &seen.containers)
        && catenoid_containers::Planning::plan(&containers, &seen.containers).is_empty();
    if !nothing_old_runs || !all_ready(wanted, seen) {
        return Ok(());
    }
    let guests = catenoid_guests::Planning::plan(wanted.guests(), &seen.guests);
    if progress.run(&rooms.guests, &guests.retire).await {
        seen.guests = observe(&rooms.guests).await?;
    }
    Ok(())
}

/// Whether every guest that the manifest names is there to be run from.
fn all_ready(wanted: &Wanted, observed: &Observed) -> bool {
    let desired = wanted.guests();
    desired.unread.is_empty() && desired.guests.keys().all(|guest| desired.ready(guest, &observed.guests).is_ok())
}

/// The subjects that `stood` as they are wanted and do not any more: what each is, and what is wanted of it.
fn drifted(stood: &Snapshot, wanted: &Wanted, observed: &Observed) -> Vec<Happening> {
    if satisfied(wanted, observed) {
        return Vec::new();
    }
    let was_synced = |now: &SubjectStatus| stood.subject(&now.subject).is_none_or(|before| before.sync == Sync::Synced);
    let now = subjects(wanted, observed);
    now.into_values()
        .filter(|now| now.sync != Sync::Synced && was_synced(now))
        // Not somebody else, but the device itself.
        .filter(|now| now.conditions.iter().all(|condition| condition.reason != HELD_BACK))
        .map(|now| {
            let told: Vec<_> = now.conditions.into_iter().map(|condition| condition.message).collect();
            let mut told = told.join("; ");
            audit::cut(&mut told, DRIFT_LIMIT);
            Happening::by_device("DriftFound", Some(now.subject), told)
        })
        .collect()
}

/// Whether everything is as wanted.
fn satisfied(wanted: &Wanted, observed: &Observed) -> bool {
    catenoid_guests::Planning::satisfied(wanted.guests(), &observed.guests)
        && catenoid_limits::Planning::satisfied(wanted.limits(), &observed.limits)
        && catenoid_zones::Planning::satisfied(wanted.zones(), &observed.zones)
        && catenoid_containers::Planning::satisfied(&wanted.containers(&observed.guests), &observed.containers)
        && all_ready(wanted, observed)
}

/// What the rooms tell of every subject.
fn subjects(wanted: &Wanted, observed: &Observed) -> Subjects {
    let mut subjects = Subjects::new();
    let rooms = [
        catenoid_guests::Planning::status(wanted.guests(), &observed.guests),
        catenoid_limits::Planning::status(wanted.limits(), &observed.limits),
        catenoid_zones::Planning::status(wanted.zones(), &observed.zones),
        catenoid_containers::Planning::status(&wanted.containers(&observed.guests), &observed.containers),
    ];
    rooms.into_iter().flatten().for_each(|status| join(&mut subjects, status));
    subjects
}

/// Several rooms tell of one subject: it is as good as the worst of them says, for all their reasons.
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

impl Failure {
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

impl Progress<'_> {
    /// Does `steps` in their order, but those of subjects that failed or wait; whether any was tried.
    async fn run<R: Reconciler>(&mut self, room: &R, steps: &[<R::Planner as Planner>::Step]) -> bool {
        let mut tried = false;
        for step in steps {
            let subject = step.subject();
            if ENDS.load(Ordering::Relaxed) {
                break;
            }
            if self.held.contains(&subject) {
                continue;
            }
            if self.retries.waiting(&subject, Instant::now()).is_some() {
                self.held.insert(subject);
                continue;
            }
            tried = true;
            match room.apply(step).await {
                Ok(()) => {
                    self.done += 1;
                    self.worked.insert(subject);
                    self.audit.note(step_done::<R::Planner>(step));
                }
                Err(error) => {
                    self.failed(
                        subject,
                        <R::Planner as Planner>::NAME,
                        format!("{step}: {}", chain(&error)),
                        error.blame(),
                    );
                }
            }
        }
        tried
    }

    fn failed(&mut self, subject: Subject, room: &'static str, message: String, blame: Blame) {
        self.retries.failed(subject.clone(), Instant::now());
        self.worked.remove(&subject);
        let told = self.failures.get(&subject).is_some_and(|known| known.message == message);
        if !told {
            let event = Happening::by_device("StepFailed", Some(subject.clone()), format!("{room}: {message}"));
            self.audit.note(event);
        }
        self.failures.insert(subject.clone(), Failure { room, message, blame });
        self.held.insert(subject);
    }

    /// Pauses for what failed by itself, and tells of it.
    fn set_back(&mut self, setbacks: Vec<Setback>) {
        for Setback { subject, pause, message, .. } in self.retries.set_back(setbacks, Instant::now()) {
            let message = if pause.is_zero() { message } else { format!("{message}; tried again in {pause:?}") };
            self.audit.note(Happening::by_device("SubjectFailed", Some(subject), message));
        }
    }

    /// Forgets the failures of subjects of which all that was tried worked; how many steps were done.
    fn end(self) -> usize {
        for subject in &self.worked {
            self.failures.remove(subject);
            self.retries.reset(subject);
        }
        self.done
    }

    /// Forgets the failures that `room` told of.
    fn recovered(&mut self, room: &'static str) {
        let retries = &mut self.retries;
        self.failures.retain(|subject, failure| {
            let stays = failure.room != room;
            if !stays {
                retries.reset(subject);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use catenoid_containers::{Container, Observed, Planning, Run, State, Step};
    use catenoid_kernel::wait::Bell;

    use super::*;

    /// A room in which asking works, and waiting for an end does not.
    struct Stubborn;

    impl Reconciler for Stubborn {
        type Planner = Planning;
        type Error = catenoid_containers::Error;

        async fn observe(&self) -> Result<Observed, Self::Error> {
            Ok(Observed::default())
        }

        async fn apply(&self, step: &Step) -> Result<(), Self::Error> {
            let ends = matches!(step, Step::End { .. });
            if ends { Err(Self::Error::StillAlive { container: step.container().clone() }) } else { Ok(()) }
        }
    }

    #[tokio::test]
    async fn what_failed_by_itself_waits_and_what_worked_in_part_has_not_recovered() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path(), "boot", Bell::new().unwrap()).unwrap();
        let (mut retries, mut failures) = (Retries::default(), BTreeMap::new());
        let (container, launch) = ("web".parse::<Name>().unwrap(), "00000000000000aa".to_owned());
        let thaw = Step::Thaw { container: container.clone(), launch: launch.clone() };
        let end = Step::End { container, launch, grace: catenoid_schema::units::Span::from_milliseconds(0) };
        let subject = Subject::new(Kind::Container, "web");
        let setback = |id, seconds| {
            let pause = Duration::from_secs(seconds);
            Setback { subject: subject.clone(), id, pause, message: "it ended; 9 failures in a row".to_owned() }
        };
        let hour = 3600;
        // What is set back, whether another manifest was accepted, the steps; how many are done, and whether it waits from then on.
        for (row, (setbacks, is_new, steps, done, waits)) in [
            (vec![setback(7, hour)], false, vec![thaw.clone()], 0, true),
            (vec![setback(7, hour)], false, vec![thaw.clone()], 0, true),
            // Its pause is over; what is found at the same place is the same.
            (vec![setback(7, hour)], true, vec![thaw.clone()], 1, false),
            (vec![setback(8, 0)], false, vec![thaw.clone()], 1, false),
            (vec![setback(9, hour)], false, vec![thaw.clone()], 0, true),
            (vec![], true, vec![thaw.clone(), end.clone()], 1, true),
            (vec![], true, vec![thaw.clone()], 1, false),
        ]
        .into_iter()
        .enumerate()
        {
            if is_new {
                retries.reset_all();
            }
            let (held, worked) = (BTreeSet::new(), BTreeSet::new());
            let (audit, retries_of, failures) = (&audit, &mut retries, &mut failures);
            let mut progress = Progress { audit, retries: retries_of, failures, held, worked, done: 0 };
            progress.set_back(setbacks);
            progress.run(&Stubborn, &steps).await;
            assert_eq!((progress.end(), retries.all().count()), (done, usize::from(waits)), "row {row}");
        }
        assert_eq!(failures.len(), 0);
        let told = audit.watch(0).0;
        let told: Vec<_> = told.iter().filter(|event| event.kind != "StepDone").map(|event| &*event.kind).collect();
        assert_eq!(told, ["SubjectFailed", "SubjectFailed", "SubjectFailed", "StepFailed"]);
    }

    /// Also one of which nothing is shown as a fact: its first process is gone, and its end is to wake the pass.
    #[test]
    fn every_leaf_that_was_observed_is_watched() {
        let (frozen, astray, outdated, steady) = (false, false, false, false);
        let run = |state| Run { leaf: 7, state, frozen, astray, outdated, stop: None, ends: 0, steady };
        let running = State::Running { pid: 70, started: 5, since: None };
        let runs = [("00000000000000aa", run(running)), ("00000000000000bb", run(State::Headless))];
        let runs = runs.map(|(launch, run)| (launch.to_owned(), run)).into();
        let name = |text: &str| text.parse::<Name>().unwrap();
        let observed = Observed { containers: [(name("web"), Container { runs, last_exit: None })].into() };
        let watched = watched([name("web"), name("db")].iter(), &observed);
        let groups = Path::new("/sys/fs/cgroup/catenoid");
        let found: Vec<_> = watched.iter().filter_map(|path| path.strip_prefix(groups).ok()?.to_str()).collect();
        assert_eq!(found, ["", "db", "web", "web/run.00000000000000aa", "web/run.00000000000000bb"]);
    }
}

//! Does the steps of a pass, and says which are held back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use catenoid_core::{Applied, Retries, Room, RoomFault, Setback, Task, Whose};
use catenoid_house::{House, order::Hands};
use catenoid_schema::{
    control::Phase,
    digest::Digest,
    status::{Blame, Health, Kind, Subject},
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::OwnedMutexGuard;

use super::state::{AcceptedReceiver, ENDS, Gate, OBSERVE, StepFailure};
use crate::record::{
    audit::Audit,
    event::{NewEvent, step_done},
};

/// Who does the steps of one pass.
pub(super) struct Steps<'a> {
    pub(super) audit: &'a Audit,
    pub(super) retries: &'a mut Retries,
    pub(super) failures: &'a mut BTreeMap<Subject, StepFailure>,
    /// What the pass leads to, and what was accepted last.
    pub(super) towards: Digest,
    pub(super) accepted: &'a AcceptedReceiver,
    pub(super) gate: &'a Gate,
    pub(super) progress: Progress,
}

/// What one pass has done so far.
#[derive(Default)]
pub(super) struct Progress {
    /// Subjects of which no step is done any more.
    held: BTreeSet<Subject>,
    /// Subjects of which a step was done and none failed.
    worked: BTreeSet<Subject>,
    done: usize,
    /// When something that goes on by itself is to be looked at.
    look: Option<Instant>,
    /// Whether something is being prepared, and goes on by itself.
    prepares: bool,
    /// Closed until the pass has ended.
    closed: Option<OwnedMutexGuard<()>>,
}

/// A room that could not be observed: the pass ends.
#[derive(Debug)]
pub(super) struct Unobserved;

/// The tasks that are done one after the other: all of a subject's where those of others may be done beside them, else each
/// alone.
fn rows(tasks: Vec<Task<'_>>, by_subject: bool) -> VecDeque<VecDeque<Task<'_>>> {
    if !by_subject {
        return tasks.into_iter().map(|task| VecDeque::from([task])).collect();
    }
    let mut rows: VecDeque<VecDeque<Task<'_>>> = VecDeque::new();
    for task in tasks {
        let same = |row: &&mut VecDeque<Task<'_>>| row.front().is_some_and(|first| first.subject == task.subject);
        match rows.iter_mut().find(same) {
            Some(row) => row.push_back(task),
            None => rows.push_back(VecDeque::from([task])),
        }
    }
    rows
}

impl Steps<'_> {
    /// Looks at every room.
    pub(super) async fn look_at_all(&mut self, house: &mut House<'_>) -> Result<(), Unobserved> {
        for room in house.rooms_mut() {
            self.look(room).await?;
        }
        Ok(())
    }

    /// Forgets the failures of subjects of which all that was tried worked; how many steps were done, and when what goes on is
    /// to be looked at.
    pub(super) fn end(self) -> (usize, Option<Instant>) {
        for subject in &self.progress.worked {
            self.failures.remove(subject);
            self.retries.reset(subject);
        }
        (self.progress.done, self.progress.look)
    }

    /// Forgets the failures that `room` reported.
    pub(super) fn recovered(&mut self, room: &'static str) {
        let retries = &mut self.retries;
        self.failures.retain(|subject, failure| {
            let stays = failure.room != room;
            if !stays {
                retries.reset(subject);
            }
            stays
        });
    }

    /// Whether no step is begun any more: the agent ends, or the pass leads to what is not wanted any more.
    fn is_over(&self) -> bool {
        ENDS.load(Ordering::Relaxed) || !self.is_current()
    }

    fn is_current(&self) -> bool {
        self.accepted.borrow().as_ref().is_some_and(|accepted| accepted.digest == self.towards)
    }

    /// Whether a step of `subject` is begun now.
    fn may_begin(&mut self, subject: &Subject) -> bool {
        if self.is_over() || self.progress.held.contains(subject) {
            return false;
        }
        let waits = self.retries.waiting(subject, Instant::now()).is_some();
        if waits {
            self.progress.held.insert(subject.clone());
        }
        !waits
    }

    /// Takes in what came of a step.
    fn came(&mut self, room: &'static str, came: Result<Applied, RoomFault>, subject: Subject, step: &str) {
        match came {
            Ok(Applied::Done) => {
                self.progress.done += 1;
                self.audit.note(step_done(room, subject.clone(), step));
                self.progress.worked.insert(subject);
            }
            // What comes after it waits for its end, and no pass does.
            Ok(Applied::Underway { look_in }) => {
                self.progress.look =
                    self.progress.look.into_iter().chain(look_in.map(|time| Instant::now() + time)).min();
                self.progress.held.insert(subject);
            }
            Err(RoomFault { message, blame }) => self.failed(subject, room, format!("{step}: {message}"), blame),
        }
    }

    fn failed(&mut self, subject: Subject, room: &'static str, message: String, blame: Blame) {
        self.retries.failed(subject.clone(), Instant::now());
        self.progress.worked.remove(&subject);
        let is_known = self.failures.get(&subject).is_some_and(|known| known.message == message);
        if !is_known {
            let event = NewEvent::by_device("StepFailed", Some(subject.clone()), format!("{room}: {message}"));
            self.audit.note(event);
        }
        self.failures.insert(subject.clone(), StepFailure { room, message, blame });
        self.progress.held.insert(subject);
    }

    /// Pauses for what failed by itself, and reports it.
    fn set_back(&mut self, setbacks: Vec<Setback>) {
        for Setback { subject, pause, message, .. } in self.retries.set_back(setbacks, Instant::now()) {
            let message = if pause.is_zero() { message } else { format!("{message}; tried again in {pause:?}") };
            self.audit.note(NewEvent::by_device("SubjectFailed", Some(subject), message));
        }
    }
}

impl Hands for Steps<'_> {
    type Halt = Unobserved;

    /// Does the steps in their order, but those of subjects that failed or wait. Those of several subjects are done beside each
    /// other where the room says that their order is of no account.
    async fn act(&mut self, room: &mut dyn Room, phase: Phase, whose: Whose<'_>) -> bool {
        let name = room.name();
        let beside = if phase == Phase::Establish { room.beside() } else { 1 };
        let mut rows = rows(room.tasks(phase, whose), beside > 1);
        let (mut begun, mut tried) = (FuturesUnordered::new(), false);
        loop {
            while begun.len() < beside {
                let Some(mut row) = rows.pop_front() else { break };
                let Some(Task { subject, description, work }) = row.pop_front() else { continue };
                if self.may_begin(&subject) {
                    tried = true;
                    begun.push(async move { (work().await, subject, description, row) });
                }
            }
            let Some((came, subject, description, row)) = begun.next().await else { break };
            self.progress.prepares |= phase == Phase::Prepare && matches!(came, Ok(Applied::Underway { .. }));
            self.came(name, came, subject, &description);
            rows.push_front(row);
        }
        tried
    }

    async fn look(&mut self, room: &mut dyn Room) -> Result<(), Unobserved> {
        let looked = room.look().await;
        looked.map_err(|RoomFault { message, blame }| {
            self.failed(Subject::new(Kind::Room, room.name()), OBSERVE, message, blame);
            Unobserved
        })
    }

    fn prepared(&mut self, house: &House<'_>) {
        // What runs and waits for what is being prepared is left as it is in every room: its limits and its network are for the
        // version to come.
        if self.progress.prepares {
            for room in house.rooms() {
                let (waiting, status) = (room.waiting(), room.status());
                let runs = status.into_iter().filter(|status| status.health != Health::Missing);
                self.progress
                    .held
                    .extend(runs.map(|status| status.subject).filter(|subject| waiting.contains(subject)));
            }
        }
        self.set_back(house.rooms().iter().flat_map(|room| room.setbacks()).collect());
    }

    /// Not while another manifest is accepted: it may need what this one does not.
    async fn may_let_go(&mut self) -> bool {
        self.progress.closed = Some(Arc::clone(self.gate).lock_owned().await);
        self.is_current()
    }
}

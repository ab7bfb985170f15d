//! Does the steps of a pass, and says which are held back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use catenoid_core::{Fault, Retries, Room, Setback, Task};
use catenoid_house::{House, order::Hands};
use catenoid_schema::{
    control::Phase,
    digest::Digest,
    status::{Blame, Kind, Subject},
};
use tokio::sync::OwnedMutexGuard;

use super::{Accepted, ENDS, Failure, Gate, OBSERVE};
use crate::{
    audit::{Audit, Happening},
    intake::Target,
};

/// What one pass has done so far.
pub(super) struct Steps<'a> {
    audit: &'a Audit,
    retries: &'a mut Retries,
    failures: &'a mut BTreeMap<Subject, Failure>,
    /// Subjects of which no step is done any more.
    held: BTreeSet<Subject>,
    /// Subjects of which a step was done and none failed.
    worked: BTreeSet<Subject>,
    done: usize,
    /// What the pass leads to, and what was accepted last.
    towards: Digest,
    accepted: &'a Accepted,
    gate: &'a Gate,
    /// Closed until the pass has ended.
    closed: Option<OwnedMutexGuard<()>>,
}

/// A room that could not be observed: the pass ends.
#[derive(Debug)]
pub(super) struct Unobserved;

/// What is told of a step that was done.
pub(crate) fn step_done(room: &str, subject: Subject, description: &str) -> Happening {
    Happening::by_device("StepDone", Some(subject), format!("{room}: {description}"))
}

impl<'a> Steps<'a> {
    pub(super) fn new(
        (audit, gate): (&'a Audit, &'a Gate),
        retries: &'a mut Retries,
        failures: &'a mut BTreeMap<Subject, Failure>,
        (target, accepted): (&Target, &'a Accepted),
    ) -> Self {
        let (held, worked) = (BTreeSet::new(), BTreeSet::new());
        let towards = target.digest;
        Self { audit, retries, failures, held, worked, done: 0, towards, accepted, gate, closed: None }
    }

    /// Looks at every room.
    pub(super) async fn look_at_all(&mut self, house: &mut House<'_>) -> Result<(), Unobserved> {
        for room in house.rooms_mut() {
            self.look(room).await?;
        }
        Ok(())
    }

    /// Forgets the failures of subjects of which all that was tried worked; how many steps were done.
    pub(super) fn end(self) -> usize {
        for subject in &self.worked {
            self.failures.remove(subject);
            self.retries.reset(subject);
        }
        self.done
    }

    /// Forgets the failures that `room` told of.
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
}

impl Hands for Steps<'_> {
    type Halt = Unobserved;

    /// Does the steps in their order, but those of subjects that failed or wait.
    async fn act(&mut self, room: &mut dyn Room, phase: Phase) -> bool {
        let name = room.name();
        let mut tried = false;
        for Task { subject, description, work } in room.tasks(phase) {
            if self.is_over() {
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
            match work().await {
                Ok(()) => {
                    self.done += 1;
                    self.audit.note(step_done(name, subject.clone(), &description));
                    self.worked.insert(subject);
                }
                Err(Fault { message, blame }) => self.failed(subject, name, format!("{description}: {message}"), blame),
            }
        }
        tried
    }

    async fn look(&mut self, room: &mut dyn Room) -> Result<(), Unobserved> {
        let looked = room.look().await;
        looked.map_err(|Fault { message, blame }| {
            self.failed(Subject::new(Kind::Room, room.name()), OBSERVE, message, blame);
            Unobserved
        })
    }

    fn prepared(&mut self, house: &House<'_>) {
        self.set_back(house.rooms().iter().flat_map(|room| room.setbacks()).collect());
    }

    /// Not while another manifest is accepted: it may need what this one does not.
    async fn may_let_go(&mut self) -> bool {
        self.closed = Some(Arc::clone(self.gate).lock_owned().await);
        self.is_current()
    }
}

//! A room in its slot says and does what its planner and its door do.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    future::ready,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use catenoid_core::{Applied, Asked, Boxed, Door, Plan, Planner, Room, RoomFault, Setback, Signals, Slot, Step, Task};
use catenoid_schema::{
    control::Phase,
    status::{Blame, Facts, Health, Kind, Subject, SubjectStatus, Sync},
};
use serde::Serialize;

use crate::now;

/// A room that says of itself all that a room can say.
struct Numbers;

/// Adds a number, for the subject that is called so.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Add(u32);

impl fmt::Display for Add {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "add {}", self.0)
    }
}

impl Step for Add {
    type Observed = u32;

    fn subject(&self) -> Subject {
        number(self.0)
    }

    fn effect_on(&self, observed: &mut u32) {
        *observed += self.0;
    }
}

impl Planner for Numbers {
    type Desired = u32;
    type Observed = u32;
    type Step = Add;
    const NAME: &'static str = "numbers";
    const NEEDS: &'static [&'static str] = &["letters"];
    const AFFECTED_BY: &'static [&'static str] = &["words"];
    const BESIDE: usize = 3;
    const LETS_GO_LAST: bool = true;

    fn desired(_: &Asked<'_>) -> u32 {
        0
    }

    fn satisfied(desired: &u32, observed: &u32) -> bool {
        desired == observed
    }

    /// Nothing where it is satisfied; else a number in each phase, and two in the last.
    fn plan(desired: &u32, observed: &u32) -> Plan<Add> {
        if desired == observed {
            return Plan::default();
        }
        Plan { prepare: vec![Add(1)], retire: vec![Add(2)], establish: vec![Add(3), Add(*desired)] }
    }

    fn lacking(desired: &u32, observed: &u32) -> BTreeMap<String, String> {
        [(desired.to_string(), observed.to_string())].into()
    }

    fn needs(desired: &u32, of: &str) -> Vec<(Subject, String)> {
        vec![(number(*desired), of.to_owned())]
    }

    fn urgent(desired: &u32) -> Vec<Subject> {
        vec![number(*desired)]
    }

    fn let_wait(desired: &mut u32, _: &Subject, reason: &str) {
        *desired -= reason.parse::<u32>().unwrap();
    }

    fn setbacks(desired: &u32, observed: &u32) -> Vec<Setback> {
        let (pause, message) = (Duration::from_secs(1), observed.to_string());
        vec![Setback { subject: number(*desired), id: 1, pause, message }]
    }

    fn status(desired: &u32, observed: &u32) -> Vec<SubjectStatus> {
        let mut facts = Facts::default();
        facts.add("observed", observed);
        let (sync, health) = (Sync::Synced, Health::Healthy);
        vec![SubjectStatus { subject: number(*desired), sync, health, conditions: Vec::new(), facts }]
    }
}

/// Holds a number; whoever takes 7 from it or adds it fails.
struct Held(AtomicU32);

impl Door<Numbers> for Held {
    fn observe<'a>(&'a self, _: &'a u32) -> Boxed<'a, Result<u32, RoomFault>> {
        let held = self.0.load(Ordering::Relaxed);
        Box::pin(ready(if held == 7 { Err(fault()) } else { Ok(held) }))
    }

    fn apply<'a>(&'a self, step: &'a Add) -> Boxed<'a, Result<Applied, RoomFault>> {
        self.0.fetch_add(step.0, Ordering::Relaxed);
        Box::pin(ready(Ok(Applied::Done)))
    }

    fn signals(&self, desired: &u32, observed: &u32) -> Signals {
        Signals { files: [format!("/{desired}/{observed}").into()].into(), ..Signals::default() }
    }
}

fn fault() -> RoomFault {
    RoomFault { message: "7".to_owned(), blame: Blame::Nobody }
}

fn number(number: u32) -> Subject {
    Subject::new(Kind::Room, number.to_string())
}

fn is_any(_: &Subject) -> bool {
    true
}

fn planned(slot: &Slot<'_, Numbers>, phase: Phase) -> Vec<String> {
    slot.described(phase, &is_any).into_iter().map(|step| step.description).collect()
}

#[test]
fn a_slot_says_what_its_planner_says() {
    let slot = Slot::<Numbers>::new(&5, Cow::Owned(4), None);
    assert_eq!((slot.name(), slot.needs_rooms(), slot.affected_by()), ("numbers", &["letters"][..], &["words"][..]));
    assert_eq!((slot.beside(), slot.lets_go_last()), (3, true));
    assert!(!Slot::<crate::Numbers>::new(&5, Cow::Owned(4), None).lets_go_last());
    assert_eq!(slot.lacking(), [("5".to_owned(), "4".to_owned())].into());
    assert_eq!((slot.needs("letters"), slot.urgent()), (vec![(number(5), "letters".to_owned())], vec![number(5)]));
    assert_eq!((slot.setbacks(), slot.status()), (Numbers::setbacks(&5, &4), Numbers::status(&5, &4)));
    assert!(!slot.satisfied() && Slot::<Numbers>::new(&5, Cow::Owned(5), None).satisfied());
    assert_eq!(slot.into_observed(), 4);
}

#[test]
fn a_plan_is_made_once_and_again_where_something_changed() {
    let held = Held(AtomicU32::new(4));
    let mut slot = Slot::<Numbers>::new(&5, Cow::Owned(4), Some(&held));
    // Nothing is planned yet, which is not the same as nothing to do.
    assert!(!slot.is_idle() && planned(&slot, Phase::Establish).is_empty());
    slot.plan();
    assert_eq!(planned(&slot, Phase::Prepare), ["add 1"]);
    assert_eq!(planned(&slot, Phase::Retire), ["add 2"]);
    assert_eq!(planned(&slot, Phase::Establish), ["add 3", "add 5"]);
    let one = slot.described(Phase::Establish, &|subject| *subject == number(3));
    assert_eq!(one.iter().map(|step| (&*step.room, step.phase)).collect::<Vec<_>>(), [("numbers", Phase::Establish)]);
    // What is seen is the same: the plan stays. It is another: the plan goes.
    now(slot.look()).unwrap();
    assert_eq!(planned(&slot, Phase::Prepare), ["add 1"]);
    held.0.store(5, Ordering::Relaxed);
    now(slot.look()).unwrap();
    assert!(planned(&slot, Phase::Prepare).is_empty() && !slot.is_idle());
    slot.plan();
    assert!(slot.is_idle() && slot.satisfied());
    held.0.store(7, Ordering::Relaxed);
    assert_eq!(now(slot.look()).unwrap_err().message, "7");
    assert_eq!(slot.into_observed(), 5, "what was seen last stays");
}

#[test]
fn who_waits_is_left_out_of_what_is_asked() {
    let mut slot = Slot::<Numbers>::new(&5, Cow::Owned(5), None);
    slot.plan();
    let waits = vec![(number(1), "2".to_owned()), (number(2), "1".to_owned())];
    slot.let_wait(waits.clone());
    assert_eq!((slot.waiting(), slot.satisfied(), slot.is_idle()), (vec![number(1), number(2)], false, false));
    slot.plan();
    assert_eq!(planned(&slot, Phase::Establish), ["add 3", "add 2"], "5 without 2 and 1");
    // The same again changes nothing; others begin with all that is asked.
    slot.let_wait(waits);
    assert_eq!(planned(&slot, Phase::Establish), ["add 3", "add 2"]);
    slot.let_wait(vec![(number(1), "4".to_owned())]);
    assert!(planned(&slot, Phase::Establish).is_empty());
    slot.plan();
    assert_eq!(planned(&slot, Phase::Establish), ["add 3", "add 1"]);
    slot.let_wait(Vec::new());
    assert!(slot.satisfied() && slot.waiting().is_empty());
    // What is needed and urgent is asked of everybody, who waits included.
    slot.let_wait(vec![(number(1), "4".to_owned())]);
    assert_eq!((slot.urgent(), slot.needs("letters").len()), (vec![number(5)], 1));
}

#[test]
fn what_is_imagined_is_there_and_only_a_door_does_anything() {
    let mut slot = Slot::<Numbers>::new(&5, Cow::Owned(4), None);
    slot.plan();
    assert!(slot.tasks(Phase::Prepare, &is_any).is_empty() && slot.signals().files.is_empty());
    slot.imagine(Phase::Establish, &|subject| *subject == number(3));
    assert_eq!(slot.lacking(), [("5".to_owned(), "7".to_owned())].into(), "4 and 3");
    // Without a door it looks at what was imagined, and plans anew.
    now(slot.look()).unwrap();
    assert!(planned(&slot, Phase::Prepare).is_empty());

    let held = Held(AtomicU32::new(4));
    let mut slot = Slot::<Numbers>::new(&5, Cow::Owned(4), Some(&held));
    slot.plan();
    let done = |tasks: Vec<Task<'_>>| {
        let done = tasks.into_iter().map(|task| {
            assert_eq!(now((task.work)()).unwrap(), Applied::Done);
            (task.subject, task.description)
        });
        done.collect::<Vec<_>>()
    };
    assert_eq!(done(slot.tasks(Phase::Prepare, &is_any)), [(number(1), "add 1".to_owned())]);
    assert_eq!(done(slot.tasks(Phase::Establish, &|subject| *subject == number(5))), [(number(5), "add 5".to_owned())]);
    assert_eq!(held.0.load(Ordering::Relaxed), 10);
    assert_eq!(slot.signals().files, [PathBuf::from("/5/4")].into());
}

//! What every room relies on, seen from outside: a door behind a shared pointer, signals, plans, pauses, names of folders.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod slot;

use std::{
    collections::BTreeSet,
    fmt,
    future::{Future, ready},
    io,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use catenoid_core::{
    Applied, Asked, Door, Paths, Plan, Planner, Readiness, Reconciler, Retries, RoomError, Setback, Signals, Source,
    Step, holds_until,
};
use catenoid_schema::{
    control::Phase,
    status::{Blame, Kind, Subject, SubjectStatus},
};
use serde::Serialize;

/// A room that holds a number.
struct Numbers;

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Set(u32);

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {}", self.0)
    }
}

impl Step for Set {
    type Observed = u32;

    fn subject(&self) -> Subject {
        Subject::new(Kind::Room, "numbers")
    }

    fn effect_on(&self, observed: &mut u32) {
        *observed = *observed * 10 + self.0;
    }
}

impl Planner for Numbers {
    type Desired = u32;
    type Observed = u32;
    type Step = Set;
    const NAME: &'static str = "numbers";

    fn desired(_: &Asked<'_>) -> u32 {
        0
    }

    fn satisfied(desired: &u32, observed: &u32) -> bool {
        desired == observed
    }

    fn plan(desired: &u32, _: &u32) -> Plan<Set> {
        Plan { establish: vec![Set(*desired)], ..Plan::default() }
    }

    fn status(_: &u32, _: &u32) -> Vec<SubjectStatus> {
        Vec::new()
    }
}

#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is broken")
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&fmt::Error)
    }
}

impl RoomError for Broken {
    fn blame(&self) -> Blame {
        Blame::Administrator
    }
}

/// What it is to look for; it fails where that is 7.
#[derive(Default)]
struct Room(AtomicU32);

impl Reconciler for Room {
    type Planner = Numbers;
    type Error = Broken;

    fn look_for(&self, desired: &u32) {
        self.0.store(*desired, Ordering::Relaxed);
    }

    fn signals(&self, desired: &u32, observed: &u32) -> Signals {
        Signals { files: [format!("/{desired}/{observed}").into()].into(), ..Signals::default() }
    }

    fn observe(&self) -> impl Future<Output = Result<u32, Broken>> {
        let wanted = self.0.load(Ordering::Relaxed);
        ready(if wanted == 7 { Err(Broken) } else { Ok(wanted) })
    }

    fn apply(&self, step: &Set) -> impl Future<Output = Result<Applied, Broken>> {
        ready(if step.0 == 7 { Err(Broken) } else { Ok(Applied::Done) })
    }
}

/// What is ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it is not ready"),
    }
}

#[test]
fn a_door_says_what_its_room_says_also_behind_a_shared_pointer() {
    let (room, shared) = (Room::default(), Arc::new(Room::default()));
    let doors: [&dyn Door<Numbers>; 2] = [&room, &shared];
    for door in doors {
        // It learns what is wanted before it looks.
        assert_eq!(now(door.observe(&3)).unwrap(), 3);
        let fault = now(door.observe(&7)).unwrap_err();
        let all = "it is broken: an error occurred when formatting an argument";
        assert_eq!((fault.message.as_str(), fault.blame), (all, Blame::Administrator));
        assert_eq!(now(door.apply(&Set(1))).unwrap(), Applied::Done);
        assert_eq!(now(door.apply(&Set(7))).unwrap_err().message, all);
        assert_eq!(door.signals(&1, &2).files, BTreeSet::from([PathBuf::from("/1/2")]));
    }
}

/// A room that has nothing to say about others says nothing.
#[test]
fn a_room_needs_nobody_unless_it_says_so() {
    assert!(Numbers::lacking(&1, &2).is_empty() && Numbers::needs(&1, "other").is_empty());
    assert!(Numbers::urgent(&1).is_empty() && Numbers::setbacks(&1, &2).is_empty());
    assert!(Numbers::NEEDS.is_empty() && Numbers::AFFECTED_BY.is_empty() && !Numbers::LETS_GO_LAST);
}

#[test]
fn a_plan_is_done_in_the_order_of_its_phases() {
    let plan = Plan { prepare: vec![Set(1)], retire: vec![Set(2)], establish: vec![Set(3), Set(4)] };
    let phases = [Phase::Prepare, Phase::Retire, Phase::Establish, Phase::Establish];
    assert!(plan.steps().map(|(phase, _)| phase).eq(phases));
    let mut number = 9;
    plan.steps().for_each(|(_, step)| step.effect_on(&mut number));
    assert_eq!(number, 91_234);
    let one = |plan: fn() -> Plan<Set>| !plan().is_empty();
    assert!(one(|| Plan { prepare: vec![Set(1)], ..Plan::default() }));
    assert!(one(|| Plan { retire: vec![Set(1)], ..Plan::default() }));
    assert!(one(|| Plan { establish: vec![Set(1)], ..Plan::default() }));
    assert!(Plan::<Set>::default().is_empty());
}

#[derive(Debug)]
struct Plain(io::PipeReader);

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Source for Plain {
    fn drain(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn signals_of_rooms_are_joined() {
    let source: Arc<dyn Source> = Arc::new(Plain(io::pipe().unwrap().0));
    assert_eq!((source.readiness(), source.is_shaken()), (Readiness::Input, false));
    let of = |name: &str| Signals {
        files: [name.into()].into(),
        sources: vec![source.clone()],
        unheard: vec![name.to_owned()],
    };
    let mut all = of("a");
    all.join(of("b"));
    assert_eq!(all.files, ["a", "b"].map(PathBuf::from).into());
    assert_eq!((all.sources.len(), all.unheard), (2, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn what_was_read_holds_for_five_minutes_and_not_all_of_it_ends_at_once() {
    let before = Instant::now();
    let holds: Vec<_> = (0..100).map(holds_until).collect();
    let after = Instant::now();
    let (least, most) = (Duration::from_secs(300), Duration::from_secs(360));
    assert!(holds.iter().all(|until| *until >= before + least && *until < after + most));
    let (first, last) = (holds.iter().min().unwrap(), holds.iter().max().unwrap());
    assert!(*last - *first > Duration::from_secs(50));
    // A number near the end of all is as good.
    assert!(holds_until(u64::MAX) >= before + least);
}

#[test]
fn a_pause_begins_now_and_is_over_at_its_end() {
    let (mut retries, now) = (Retries::default(), Instant::now());
    let subject = Subject::new(Kind::Container, "web");
    for _ in 0..100 {
        assert!(retries.failed(subject.clone(), now) >= now);
    }
    let until = retries.waiting(&subject, now).map_or(now, |waiting| waiting.until);
    assert_eq!(retries.all().collect::<Vec<_>>(), [(&subject, until)]);
    assert_eq!(retries.waiting(&subject, until), None);
    if until > now {
        let waiting = retries.waiting(&subject, until.checked_sub(Duration::from_nanos(1)).unwrap()).unwrap();
        assert_eq!(waiting.failures, 100);
    }
    retries.retain(|_| true);
    assert_eq!(retries.all().count(), 1);
    retries.retain(|_| false);
    assert_eq!(retries.all().count(), 0);
    // What failed by itself says for how long, and how often it had failed before stays known.
    let setback = |id| Setback { subject: subject.clone(), id, pause: Duration::from_secs(5), message: String::new() };
    retries.failed(subject.clone(), now);
    assert_eq!(retries.set_back(vec![setback(1)], now), [setback(1)]);
    let waiting = retries.waiting(&subject, now).unwrap();
    assert_eq!((waiting.failures, waiting.until), (1, now + Duration::from_secs(5)));
    retries.reset(&subject);
    assert_eq!(retries.all().count(), 0);
}

#[test]
fn folders_are_where_others_look_for_them() {
    let paths = Paths::default();
    assert_eq!(paths.exits(), PathBuf::from("/run/catenoid/exits"));
    assert_eq!(paths.namespaces(&"web".parse().unwrap()), PathBuf::from("/run/catenoid/namespaces/web"));
}

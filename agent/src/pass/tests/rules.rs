//! The rules of the pass, each in milliseconds.

use std::{
    panic::catch_unwind,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use catenoid_core::{HELD_BACK, Planner, RECOVERED, testing::LOOK_IN};
use catenoid_guests::Blob;
use catenoid_house::{ROOMS, imagine};
use catenoid_limits::{Control, Value};
use catenoid_schema::{
    digest::Digest,
    manifest::Restart,
    name::Name,
    status::{Health, Kind, Subject, Sync},
};
use serde_json::json;

use super::{Device, base, contain, reasons, status, stored, target, with};

/// A rule of the pass, and a device on which it shows; each begins with [`base`], settled.
type Rule = (&'static str, fn(&mut Device));

const RULES: &[Rule] = &[
    ("where nothing changed, nothing is done or recorded", |device| {
        let outcome = device.pass();
        assert!(outcome.as_it_is_to_be && outcome.ended.is_none() && outcome.again.is_none());
        assert_eq!((device.steps(), device.recorded()), (vec![], vec![]));
    }),
    ("a new manifest is reached in one pass, and that is recorded once", |device| {
        device.accept(target(2, with(&[("web", json!({"command": ["/bin/other"]}))])));
        let outcome = device.pass();
        assert!(outcome.as_it_is_to_be && outcome.snapshot.plan.is_empty());
        assert_eq!(outcome.ended.map(|ended| ended.kind), Some("Converged"));
        assert_eq!(outcome.snapshot.converged.map(|state| state.sequence), Some(2));
        assert!(contain(&device.steps(), "containers: start container `web`"));
        assert!(device.pass().ended.is_none());
        assert_eq!(device.recorded(), Vec::<String>::new(), "nobody else changed anything");
    }),
    ("a manifest that cannot be read may need any blob", |device| {
        let stray = (Digest::of(b"stray"), Blob { size: 1, fresh: false });
        let mut unread = target(2, base());
        unread.wanted.keep_all_blobs(Digest::of(b"envelope"));
        device.world.guests.model().observed.blobs.extend([stray]);
        device.accept(unread);
        device.pass();
        assert!(!contain(&device.steps(), "guests: remove blob"));
        device.accept(target(3, base()));
        device.pass();
        assert!(contain(&device.steps(), "guests: remove blob"));
    }),
    ("a failed step holds back its own subject, in every room, and nobody else", |device| {
        let changed = json!({"command": ["/bin/other"], "limits": {"pids": 99}});
        device.accept(target(2, with(&[("db", changed.clone()), ("web", changed)])));
        device.world.limits.model().fails = Some("of `web`");
        let outcome = device.pass();
        let steps = device.steps();
        assert!(contain(&steps, "start container `db`") && !contain(&steps, "start container `web`"), "{steps:#?}");
        assert_eq!((outcome.as_it_is_to_be, outcome.snapshot.converged.as_ref().unwrap().sequence), (false, 1));
        let web = status(&outcome, "container/web");
        assert_eq!((web.sync, web.health), (Sync::OutOfSync, Health::Degraded));
        assert!(reasons(&outcome, "container/web").contains(&"StepFailed".to_owned()));
        assert_eq!(status(&outcome, "container/db").health, Health::Healthy);
        assert_eq!(device.recorded(), ["StepFailed container/web"]);
    }),
    ("what a failed step of a subject leads to is not begun beside it", |device| {
        device.accept(target(2, with(&[("web", json!({"guest": "other"}))])));
        device.world.guests.model().fails = Some("map image");
        device.pass();
        let steps = device.steps();
        assert!(contain(&steps, "map image") && !contain(&steps, "mount guest `other@1`"), "{steps:#?}");
        // Nor in a room that does one step after the other.
        device.world.guests.model().fails = None;
        device.world.limits.model().fails = Some("of `web`");
        device.accept(target(3, with(&[("web", json!({"limits": {"pids": 99, "memory": "32MiB"}}))])));
        device.pass();
        let steps = device.steps();
        assert_eq!(steps.iter().filter(|step| step.starts_with("limits: ")).count(), 1, "{steps:#?}");
        // Nor in one that does those of several subjects beside each other.
        device.world.limits.model().fails = None;
        device.world.containers.model().fails = Some("let frozen");
        device.change_run_of_web(|run| run.frozen = true);
        device.accept(target(4, with(&[("web", json!({"stop": {"grace": "9s"}}))])));
        device.pass();
        let steps = device.steps();
        assert!(contain(&steps, "let frozen") && !contain(&steps, "from now on container `web`"), "{steps:#?}");
    }),
    ("as many containers start beside each other as the room allows, and no more", |device| {
        let mut containers = base();
        (0..40).for_each(|number| containers[format!("more{number}")] = json!({}));
        device.accept(target(2, containers));
        // All but the starts is there.
        let target = device.accepted.borrow().clone().unwrap();
        let (_, mut observed) = imagine(&target.wanted, &device.world.observed());
        observed.containers.containers.retain(|name, _| !name.as_str().starts_with("more"));
        device.world.put(&observed);
        device.world.record.end_after(Some(0));
        {
            let accepted = device.accepted.subscribe();
            let mut pass = pin!(device.pass.run(&target, &device.holds, Vec::new(), &accepted));
            let mut context = Context::from_waker(Waker::noop());
            (0..100).for_each(|_| assert!(pass.as_mut().poll(&mut context).is_pending()));
        }
        let beside = <catenoid_containers::ContainersPlanner as Planner>::BESIDE;
        let waiting = device.world.record.waiting();
        assert!(beside > 1 && waiting.len() == beside, "{waiting:#?}");
        assert_eq!(device.steps(), Vec::<String>::new());
    }),
    ("what failed is tried again when its pause is over, not before, and recorded once", |device| {
        device.world.limits.model().fails = Some("of `web`");
        device.accept(target(2, with(&[("web", json!({"limits": {"pids": 99}}))])));
        let (first, subject) = (device.pass(), Subject::new(Kind::Container, "web"));
        assert!(first.again.is_some() && first.snapshot.retries.contains_key(&subject));
        // Until the pause is one that this test does not outlast.
        let lasts = |until: Instant| until > Instant::now() + Duration::from_secs(60);
        while !lasts(device.pass.retries.failed(subject.clone(), Instant::now())) {}
        device.steps();
        // However often others are looked after meanwhile.
        for _ in 0..3 {
            device.pass();
            assert_eq!(device.steps(), Vec::<String>::new());
        }
        device.pass.retries.reset_all();
        device.world.limits.model().fails = None;
        let outcome = device.pass();
        assert_eq!(device.steps(), ["limits: set pids of `web` to 99 (was 128)"]);
        assert!(outcome.as_it_is_to_be && outcome.snapshot.retries.is_empty());
        assert_eq!(device.recorded(), ["StepFailed container/web"]);
    }),
    ("a new manifest ends every pause", |device| {
        device.world.limits.model().fails = Some("of `web`");
        device.accept(target(2, with(&[("web", json!({"limits": {"pids": 99}}))])));
        device.pass();
        let now = Instant::now();
        for _ in 0..20 {
            device.pass.retries.failed(Subject::new(Kind::Container, "web"), now);
        }
        device.world.limits.model().fails = None;
        device.accept(target(3, with(&[("web", json!({"limits": {"pids": 98}}))])));
        assert!(device.pass().as_it_is_to_be);
    }),
    ("a new manifest ends the pass that it finds under way", |device| {
        device.accept(target(
            2,
            with(&[("db", json!({"limits": {"pids": 99}})), ("web", json!({"limits": {"pids": 99}}))]),
        ));
        let accepted = device.accepted.subscribe();
        let current = accepted.borrow().clone().unwrap();
        device.world.record.end_after(Some(0));
        {
            let mut pass = pin!(device.pass.run(&current, &device.holds, Vec::new(), &accepted));
            let mut context = Context::from_waker(Waker::noop());
            assert!(pass.as_mut().poll(&mut context).is_pending(), "its first step takes long");
            device.accepted.send_replace(Some(Arc::new(target(3, base()))));
            device.world.record.end_after(None);
            let Poll::Ready(outcome) = pass.poll(&mut context) else { panic!("it is over") };
            assert!(!outcome.as_it_is_to_be);
        }
        assert_eq!(device.steps(), ["limits: set pids of `db` to 99 (was 128)"]);
        assert!(device.pass().as_it_is_to_be);
        assert_eq!(device.steps(), ["limits: set pids of `db` to 128 (was 99)"]);
    }),
    ("a room that cannot be read keeps the pass from changing anything", |device| {
        device.accept(target(2, json!({"core0": {"role": "core"}})));
        device.world.zones.model().is_unreadable = true;
        let outcome = device.pass();
        assert_eq!(device.steps(), Vec::<String>::new());
        assert_eq!(status(&outcome, "container/web").sync, Sync::Unknown);
        assert_eq!(reasons(&outcome, "room/zones"), ["StepFailed"]);
        device.pass();
        assert_eq!(device.recorded(), ["StepFailed room/zones"], "once");
        device.world.zones.model().is_unreadable = false;
        let outcome = device.pass();
        assert!(outcome.as_it_is_to_be && outcome.snapshot.subject(&Subject::new(Kind::Room, "zones")).is_none());
    }),
    ("what somebody else changed is recorded, and healed", |device| {
        let web: Name = "web".parse().unwrap();
        device.world.limits.model().observed.groups.get_mut("web").unwrap().insert(Control::PIDS, Value::At(7));
        device.world.containers.model().observed.containers.get_mut(&web).unwrap().runs.clear();
        assert!(device.pass().as_it_is_to_be);
        assert_eq!(device.recorded(), ["DriftFound container/web"]);
        let steps = device.steps();
        assert!(contain(&steps, "(was 7)") && contain(&steps, "start container `web`"), "{steps:#?}");
    }),
    ("what needs something that is lacking waits as it is, and goes on as soon as it is there", |device| {
        let moved = target(2, with(&[("web", json!({"guest": "other"}))]));
        let image = moved.guests[&"other".parse::<Name>().unwrap()].1.image.digest;
        device.accept(moved);
        let blob = device.world.guests.model().observed.blobs.remove(&image).unwrap();
        let outcome = device.pass();
        assert!(!outcome.as_it_is_to_be && !contain(&device.steps(), "`web`"));
        assert_eq!(status(&outcome, "guest/other@1").health, Health::Missing);
        assert!(reasons(&outcome, "container/web").contains(&"Waiting".to_owned()));
        assert_eq!(status(&outcome, "container/web").health, Health::Healthy, "what ran runs");
        device.world.guests.model().observed.blobs.insert(image, blob);
        assert!(device.pass().as_it_is_to_be);
        assert!(contain(&device.steps(), "start container `web`"));
    }),
    ("who runs and waits for what failed has its limits all the same", |device| {
        device.accept(target(2, with(&[("web", json!({"guest": "other", "limits": {"pids": 99}}))])));
        device.world.guests.model().fails = Some("map image");
        device.pass();
        let steps = device.steps();
        assert!(contain(&steps, "pids of `web` to 99") && !contain(&steps, "start container"), "{steps:#?}");
    }),
    ("what nobody needs any more goes once all who needed it are as wanted", |device| {
        device.accept(target(2, with(&["core0", "db", "web"].map(|container| (container, json!({"guest": "other"}))))));
        device.world.containers.model().fails = Some("start container `web`");
        device.pass();
        assert!(!contain(&device.steps(), "guests: unmount"));
        device.world.containers.model().fails = None;
        device.pass.retries.reset_all();
        assert!(device.pass().as_it_is_to_be);
        let steps = device.steps();
        let (start, unmount) = ("containers: start container `web`", "guests: unmount guest");
        let place = |part: &str| steps.iter().position(|step| step.contains(part)).unwrap_or_else(|| panic!("{part}"));
        assert!(place(start) < place(unmount), "{steps:#?}");
        assert!(contain(&steps, "guests: remove blob"));
    }),
    ("nothing goes while another manifest is accepted", |device| {
        device.accept(target(2, with(&["core0", "db", "web"].map(|container| (container, json!({"guest": "other"}))))));
        let accepting = Arc::clone(&device.gate).try_lock_owned().unwrap();
        assert!(device.try_pass().is_none(), "it waits");
        assert!(!contain(&device.steps(), "guests: unmount"));
        drop(accepting);
        assert!(device.pass().as_it_is_to_be);
        assert!(contain(&device.steps(), "guests: unmount"));
    }),
    ("who is held back is ended, which is neither drift nor a difference to be healed", |device| {
        device.holds.hold_back(&"web".parse().unwrap(), "it took all".to_owned(), Restart::Always);
        let outcome = device.pass();
        assert!(outcome.as_it_is_to_be && outcome.snapshot.reconciling.is_some());
        assert!(contain(&device.steps(), "container `web` to end"));
        assert_eq!((reasons(&outcome, "container/web"), device.recorded()), (vec![HELD_BACK.to_owned()], vec![]));
        device.holds.resume();
        assert!(device.pass().snapshot.reconciling.is_none());
        assert!(contain(&device.steps(), "start container `web`"));
    }),
    ("what failed by itself waits for its pause, and is recorded once", |device| {
        let end = |device: &Device, leaf, ends| {
            device.change_run_of_web(|run| {
                (run.state, run.leaf, run.ends) = (catenoid_containers::RunState::Ended { exit: None }, leaf, ends);
            });
        };
        end(device, 7, 0);
        assert!(device.pass().as_it_is_to_be, "the first time there is no pause");
        assert!(contain(&device.steps(), "after 1 failure in a row"));
        end(device, 8, 20);
        let outcome = device.pass();
        assert!(outcome.again.is_some() && !contain(&device.steps(), "start"));
        assert!(reasons(&outcome, "container/web").contains(&"CrashLoop".to_owned()));
        assert_eq!(status(&outcome, "container/web").health, Health::Degraded);
        device.pass();
        let recorded: Vec<_> =
            device.recorded().into_iter().filter(|recorded| !recorded.starts_with("DriftFound")).collect();
        assert_eq!(recorded, ["SubjectFailed container/web", "SubjectFailed container/web"]);
        device.pass.retries.reset_all();
        device.pass();
        assert!(contain(&device.steps(), "after 21 failures in a row"));
    }),
    ("who recovers is recorded to have recovered, once", |device| {
        let set =
            |device: &Device, ends, steady| device.change_run_of_web(|run| (run.ends, run.steady) = (ends, steady));
        set(device, 3, false);
        device.pass();
        set(device, 3, true);
        device.pass();
        device.pass();
        assert_eq!(device.recorded(), [format!("{RECOVERED} container/web")]);
    }),
    ("what goes on by itself keeps nobody else waiting, and what comes after it waits for its end", |device| {
        let changes =
            [("db", json!({"limits": {"pids": 99}})), ("web", json!({"guest": "other", "limits": {"pids": 98}}))];
        let mut containers = with(&changes);
        containers["new"] = json!({"guest": "other"});
        device.accept(target(2, containers));
        device.world.guests.model().is_slow = true;
        let before = Instant::now();
        let outcome = device.pass();
        let looks = before + LOOK_IN..=Instant::now() + LOOK_IN;
        assert!(outcome.again.is_some_and(|again| looks.contains(&again)), "{:?}", outcome.again);
        let steps = device.steps();
        assert!(contain(&steps, "guests: map image") && contain(&steps, "pids of `db`"), "{steps:#?}");
        assert!(!contain(&steps, "verify and mount guest") && !contain(&steps, "`web`"), "{steps:#?}");
        assert!(contain(&steps, "make the control group of `new`"), "what does not run yet is got ready: {steps:#?}");
        assert!(!outcome.as_it_is_to_be && outcome.snapshot.retries.is_empty());
        assert_eq!(reasons(&outcome, "guest/other@1"), ["Activating"], "it is no failure");
        device.accept(target(3, base()));
        device.pass();
        assert!(contain(&device.steps(), "pids of `db` to 128"), "another manifest does not wait for it");
        device.world.guests.model().is_slow = false;
        device.accept(target(4, with(&changes)));
        assert!(device.pass().as_it_is_to_be);
    }),
    ("the core container runs before anything is set up for others", |device| {
        let mut containers = base();
        containers["another"] = json!({});
        let all = target(2, containers);
        device.world.put(&stored(&all));
        device.accept(all);
        assert!(device.pass().as_it_is_to_be);
        let steps = device.steps();
        let start = steps.iter().position(|step| step.contains("start container `core0`")).unwrap();
        let of_others = |step: &&String| ["`another`", "`db`", "`web`"].iter().any(|name| step.contains(name));
        assert_eq!(steps[..start].iter().find(of_others), None, "{steps:#?}");
    }),
    ("what reports changes in each room is known after a pass, also after one that could not see all", |device| {
        for is_unreadable in [false, true] {
            device.world.zones.model().is_unreadable = is_unreadable;
            let files: Vec<_> = device.pass().signals.files.into_iter().collect();
            let mut rooms = ROOMS.to_vec();
            rooms.sort_unstable();
            assert_eq!(files, rooms.into_iter().map(PathBuf::from).collect::<Vec<_>>());
        }
    }),
    ("an agent that starts finds all as it is", |device| {
        device.restart_agent();
        assert!(device.pass().as_it_is_to_be);
        assert_eq!(device.steps(), Vec::<String>::new());
    }),
];

#[test]
fn every_rule_of_the_pass() {
    for (rule, show) in RULES {
        let shown = catch_unwind(|| show(&mut Device::settled(target(1, base()))));
        assert!(shown.is_ok(), "not so: {rule}");
    }
}

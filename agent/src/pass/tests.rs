//! The pass on a kernel that holds what the rooms' models say: its rules, that a forecast is what happens, and that every
//! crash is recovered from.

use std::{
    collections::BTreeMap,
    panic::catch_unwind,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use catenoid_core::{HELD_BACK, RECOVERED};
use catenoid_house::{Observed, Paths, Wanted, World, forecast, imagine};
use catenoid_kernel::wait::Bell;
use catenoid_limits::{Control, Value};
use catenoid_schema::{
    digest::Digest,
    guest::Guest,
    name::Name,
    status::{Health, Kind, Subject, SubjectStatus, Sync},
    units::Timestamp,
};
use futures::FutureExt as _;
use proptest::{collection, prelude::*, sample};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::{Pass, Turn};
use crate::{audit::Audit, hold::Holds, intake::Target};

/// An agent of which only the pass is there, on a modelled kernel.
struct Device {
    world: World,
    pass: Pass,
    gate: Arc<tokio::sync::Mutex<()>>,
    audit: Arc<Audit>,
    /// The last event that was asked for.
    last: u64,
    holds: Holds,
    accepted: watch::Sender<Option<Arc<Target>>>,
    _folder: TempDir,
}

impl Device {
    fn new(observed: &Observed) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let audit = Arc::new(Audit::open(&folder.path().join("audit"), "boot", Bell::new().unwrap()).unwrap());
        let holds = Holds::open(&folder.path().join("data"), &folder.path().join("run"), Bell::new().unwrap());
        let (world, gate) = (World::new(observed), Arc::default());
        let pass = Pass::new(world.doors(), audit.clone(), Arc::clone(&gate));
        Self { world, pass, gate, audit, last: 0, holds, accepted: watch::Sender::new(None), _folder: folder }
    }

    /// One that is as `target` wants it, and was seen to be.
    fn settled(target: Target) -> Self {
        let mut device = Self::new(&converged(&target));
        device.accept(target);
        let turn = device.pass();
        assert!(turn.as_it_is_to_be, "{:#?}", turn.snapshot.subjects);
        assert_eq!((device.steps(), device.told()), (vec![], vec![]));
        device
    }

    /// Has another agent, which knows nothing of what was before.
    fn restart_agent(&mut self) {
        self.pass = Pass::new(self.world.doors(), self.audit.clone(), self.gate.clone());
    }

    /// Has `target` accepted, with all that it needs.
    fn accept(&mut self, target: Target) {
        self.world.guests.model().observed.blobs.extend(stored(&target).guests.blobs);
        self.accepted.send_replace(Some(Arc::new(target)));
    }

    /// One whole pass.
    fn pass(&mut self) -> Turn {
        self.try_pass().expect("nothing keeps the pass from its end")
    }

    /// One pass; none if it did not come to its end.
    fn try_pass(&mut self) -> Option<Turn> {
        let accepted = self.accepted.subscribe();
        let target = accepted.borrow().clone().expect("a manifest was accepted");
        self.pass.run(&target, &self.holds, Vec::new(), &accepted).now_or_never()
    }

    /// Changes what runs of `web`.
    fn change_run_of_web(&self, change: impl FnOnce(&mut catenoid_containers::Run)) {
        let mut model = self.world.containers.model();
        let web = model.observed.containers.get_mut(&"web".parse::<Name>().unwrap()).unwrap();
        change(web.runs.values_mut().next().unwrap());
    }

    /// The steps since this was asked last.
    fn steps(&self) -> Vec<String> {
        self.world.record.take()
    }

    /// What was told since this was asked last, but of each step and pass: the kind, and whom it is about.
    fn told(&mut self) -> Vec<String> {
        let events = self.audit.watch(self.last).0;
        self.last = events.last().map_or(self.last, |event| event.number);
        let told = events.iter().filter(|event| !["StepDone", "PassEnded"].contains(&&*event.kind));
        let told = told.map(|event| match &event.subject {
            Some(subject) => format!("{} {}", event.kind, subject.as_str()),
            None => event.kind.clone(),
        });
        told.collect()
    }
}

/// A manifest of these containers, each with what is said of it beside its guest.
fn target(sequence: u64, containers: Json) -> Target {
    let mut containers: BTreeMap<String, Json> = serde_json::from_value(containers).unwrap();
    let mut guests = BTreeMap::new();
    let mut descriptors = BTreeMap::new();
    for container in containers.values_mut() {
        let container = container.as_object_mut().unwrap();
        let guest = container.entry("guest").or_insert("tiny".into()).as_str().unwrap().to_owned();
        container.entry("zones").or_insert(json!(["plant"]));
        let of = |what: &str| Digest::of(format!("{what} of {guest}").as_bytes());
        let descriptor: Guest = serde_json::from_value(json!({
            "apiVersion": "catenoid.dev/v1", "kind": "Guest", "metadata": {"name": guest, "version": "1"},
            "architecture": "x86_64", "defaults": {"command": ["/bin/run"]}, "root": "readOnly",
            "image": {
                "digest": of("image"), "size": "1312KiB",
                "verity": {"rootHash": of("root"), "salt": of("salt"), "dataBlocks": 324},
            },
        }))
        .unwrap();
        descriptors.insert(guest.clone(), json!({"ref": format!("{guest}@1"), "descriptor": of("descriptor")}));
        guests.insert(guest.parse::<Name>().unwrap(), (of("descriptor"), descriptor));
    }
    let manifest = serde_json::from_value(json!({
        "apiVersion": "catenoid.dev/v1", "kind": "Manifest",
        "metadata": {"name": "line", "sequence": sequence, "notAfter": "2036-01-01T00:00:00Z"},
        "target": {"serials": ["TEST-1"]},
        "guests": descriptors,
        "zones": {"plant": {"subnet": ["10.20.0.0/24"]}},
        "containers": containers,
    }))
    .unwrap();
    let wanted = Wanted::new(&manifest, &guests, &Paths::default());
    let digest = Digest::of(&catenoid_schema::cbor::encode(&manifest).unwrap());
    let accepted_at = Timestamp::from_seconds(1_800_000_000).unwrap();
    Target { manifest, digest, accepted_at, generation: sequence, guests, wanted }
}

/// A device on which nothing is but the blobs of `target`.
fn stored(target: &Target) -> Observed {
    let mut observed = Observed::default();
    observed.limits.offered = Control::ALL.into();
    for (descriptor, guest) in target.guests.values() {
        for (digest, size) in [(*descriptor, 1024), (guest.image.digest, guest.image.size.bytes())] {
            observed.guests.blobs.insert(digest, catenoid_guests::Blob { size, fresh: false });
        }
    }
    observed
}

/// A device that is as `target` wants it.
fn converged(target: &Target) -> Observed {
    let (_, observed) = imagine(&target.wanted, &stored(target));
    assert!(target.wanted.house(&observed).satisfied(), "{observed:#?}");
    observed
}

fn base() -> Json {
    json!({"core0": {"role": "core"}, "db": {}, "web": {}})
}

/// [`base`] with something else said of containers.
fn with(changes: &[(&str, Json)]) -> Json {
    let mut containers = base();
    for (container, change) in changes {
        containers[container].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    }
    containers
}

fn status(turn: &Turn, subject: &str) -> SubjectStatus {
    let (kind, name) = subject.split_once('/').unwrap();
    turn.snapshot.subject(&Subject::named(kind, name)).unwrap_or_else(|| panic!("nothing is told of {subject}")).clone()
}

fn reasons(turn: &Turn, subject: &str) -> Vec<String> {
    status(turn, subject).conditions.into_iter().map(|condition| condition.reason).collect()
}

fn contain(steps: &[String], part: &str) -> bool {
    steps.iter().any(|step| step.contains(part))
}

/// A rule of the pass, and a device on which it shows; each begins with [`base`], settled.
type Rule = (&'static str, fn(&mut Device));

const RULES: &[Rule] = &[
    ("where nothing changed, nothing is done or told", |device| {
        let turn = device.pass();
        assert!(turn.as_it_is_to_be && turn.ended.is_none() && turn.again.is_none());
        assert_eq!((device.steps(), device.told()), (vec![], vec![]));
    }),
    ("a new manifest is reached in one pass, and that is told once", |device| {
        device.accept(target(2, with(&[("web", json!({"command": ["/bin/other"]}))])));
        let turn = device.pass();
        assert!(turn.as_it_is_to_be && turn.snapshot.plan.is_empty());
        assert_eq!(turn.ended.map(|ended| ended.kind), Some("Converged"));
        assert_eq!(turn.snapshot.converged.map(|state| state.sequence), Some(2));
        assert!(contain(&device.steps(), "containers: start container `web`"));
        assert!(device.pass().ended.is_none());
        assert_eq!(device.told(), Vec::<String>::new(), "nobody else changed anything");
    }),
    ("a failed step holds back its own subject, in every room, and nobody else", |device| {
        let changed = json!({"command": ["/bin/other"], "limits": {"pids": 99}});
        device.accept(target(2, with(&[("db", changed.clone()), ("web", changed)])));
        device.world.limits.model().fails = Some("of `web`");
        let turn = device.pass();
        let steps = device.steps();
        assert!(contain(&steps, "start container `db`") && !contain(&steps, "start container `web`"), "{steps:#?}");
        assert_eq!((turn.as_it_is_to_be, turn.snapshot.converged.as_ref().unwrap().sequence), (false, 1));
        let web = status(&turn, "container/web");
        assert_eq!((web.sync, web.health), (Sync::OutOfSync, Health::Degraded));
        assert!(reasons(&turn, "container/web").contains(&"StepFailed".to_owned()));
        assert_eq!(status(&turn, "container/db").health, Health::Healthy);
        assert_eq!(device.told(), ["StepFailed container/web"]);
    }),
    ("what failed is tried again when its pause is over, not before, and told once", |device| {
        device.world.limits.model().fails = Some("of `web`");
        device.accept(target(2, with(&[("web", json!({"limits": {"pids": 99}}))])));
        let (first, subject) = (device.pass(), Subject::new(Kind::Container, "web"));
        assert!(first.again.is_some() && first.snapshot.retries.contains_key(&subject));
        // Until the pause is one that this test does not outlast.
        while device
            .pass
            .retries
            .waiting(&subject, std::time::Instant::now())
            .is_none_or(|waiting| waiting.failures < 9)
        {
            device.pass.retries.failed(subject.clone(), std::time::Instant::now());
        }
        device.steps();
        device.pass();
        assert_eq!(device.steps(), Vec::<String>::new());
        device.pass.retries.reset_all();
        device.world.limits.model().fails = None;
        let turn = device.pass();
        assert_eq!(device.steps(), ["limits: set pids of `web` to 99 (was 128)"]);
        assert!(turn.as_it_is_to_be && turn.snapshot.retries.is_empty());
        assert_eq!(device.told(), ["StepFailed container/web"]);
    }),
    ("a new manifest ends every pause", |device| {
        device.world.limits.model().fails = Some("of `web`");
        device.accept(target(2, with(&[("web", json!({"limits": {"pids": 99}}))])));
        device.pass();
        let now = std::time::Instant::now();
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
            let Poll::Ready(turn) = pass.poll(&mut context) else { panic!("it is over") };
            assert!(!turn.as_it_is_to_be);
        }
        assert_eq!(device.steps(), ["limits: set pids of `db` to 99 (was 128)"]);
        assert!(device.pass().as_it_is_to_be);
        assert_eq!(device.steps(), ["limits: set pids of `db` to 128 (was 99)"]);
    }),
    ("a room that cannot be read keeps the pass from changing anything", |device| {
        device.accept(target(2, json!({"core0": {"role": "core"}})));
        device.world.zones.model().is_unreadable = true;
        let turn = device.pass();
        assert_eq!(device.steps(), Vec::<String>::new());
        assert_eq!(status(&turn, "container/web").sync, Sync::Unknown);
        assert_eq!(reasons(&turn, "room/zones"), ["StepFailed"]);
        device.pass();
        assert_eq!(device.told(), ["StepFailed room/zones"], "once");
        device.world.zones.model().is_unreadable = false;
        let turn = device.pass();
        assert!(turn.as_it_is_to_be && turn.snapshot.subject(&Subject::new(Kind::Room, "zones")).is_none());
    }),
    ("what somebody else changed is told, and healed", |device| {
        let web: Name = "web".parse().unwrap();
        device.world.limits.model().observed.groups.get_mut("web").unwrap().insert(Control::Pids, Value::At(7));
        device.world.containers.model().observed.containers.get_mut(&web).unwrap().runs.clear();
        assert!(device.pass().as_it_is_to_be);
        assert_eq!(device.told(), ["DriftFound container/web"]);
        let steps = device.steps();
        assert!(contain(&steps, "(was 7)") && contain(&steps, "start container `web`"), "{steps:#?}");
    }),
    ("what needs something that is lacking waits as it is, and goes on as soon as it is there", |device| {
        let moved = target(2, with(&[("web", json!({"guest": "other"}))]));
        let image = moved.guests[&"other".parse::<Name>().unwrap()].1.image.digest;
        device.accept(moved);
        let blob = device.world.guests.model().observed.blobs.remove(&image).unwrap();
        let turn = device.pass();
        assert!(!turn.as_it_is_to_be && !contain(&device.steps(), "`web`"));
        assert_eq!(status(&turn, "guest/other@1").health, Health::Missing);
        assert!(reasons(&turn, "container/web").contains(&"Waiting".to_owned()));
        assert_eq!(status(&turn, "container/web").health, Health::Healthy, "what ran runs");
        device.world.guests.model().observed.blobs.insert(image, blob);
        assert!(device.pass().as_it_is_to_be);
        assert!(contain(&device.steps(), "start container `web`"));
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
        device.holds.take(&"web".parse().unwrap(), "it took all".to_owned(), false);
        let turn = device.pass();
        assert!(turn.as_it_is_to_be && turn.snapshot.reconciling.is_some());
        assert!(contain(&device.steps(), "container `web` to end"));
        assert_eq!((reasons(&turn, "container/web"), device.told()), (vec![HELD_BACK.to_owned()], vec![]));
        device.holds.resume();
        assert!(device.pass().snapshot.reconciling.is_none());
        assert!(contain(&device.steps(), "start container `web`"));
    }),
    ("what failed by itself waits for its pause, and is told once", |device| {
        let end = |device: &Device, leaf, ends| {
            device.change_run_of_web(|run| {
                (run.state, run.leaf, run.ends) = (catenoid_containers::State::Ended { exit: None }, leaf, ends);
            });
        };
        end(device, 7, 0);
        assert!(device.pass().as_it_is_to_be, "the first time there is no pause");
        assert!(contain(&device.steps(), "after 1 failure in a row"));
        end(device, 8, 20);
        let turn = device.pass();
        assert!(turn.again.is_some() && !contain(&device.steps(), "start"));
        assert!(reasons(&turn, "container/web").contains(&"CrashLoop".to_owned()));
        assert_eq!(status(&turn, "container/web").health, Health::Degraded);
        device.pass();
        let told: Vec<_> = device.told().into_iter().filter(|told| !told.starts_with("DriftFound")).collect();
        assert_eq!(told, ["SubjectFailed container/web", "SubjectFailed container/web"]);
        device.pass.retries.reset_all();
        device.pass();
        assert!(contain(&device.steps(), "after 21 failures in a row"));
    }),
    ("who recovers is told to have recovered, once", |device| {
        let set =
            |device: &Device, ends, steady| device.change_run_of_web(|run| (run.ends, run.steady) = (ends, steady));
        set(device, 3, false);
        device.pass();
        set(device, 3, true);
        device.pass();
        device.pass();
        assert_eq!(device.told(), [format!("{RECOVERED} container/web")]);
    }),
    ("what goes on by itself keeps nobody else waiting, and what comes after it waits for its end", |device| {
        let changes =
            [("db", json!({"limits": {"pids": 99}})), ("web", json!({"guest": "other", "limits": {"pids": 98}}))];
        let mut containers = with(&changes);
        containers["new"] = json!({"guest": "other"});
        device.accept(target(2, containers));
        device.world.guests.model().is_slow = true;
        let turn = device.pass();
        let steps = device.steps();
        assert!(contain(&steps, "guests: map image") && contain(&steps, "pids of `db`"), "{steps:#?}");
        assert!(!contain(&steps, "verify and mount guest") && !contain(&steps, "`web`"), "{steps:#?}");
        assert!(contain(&steps, "make the control group of `new`"), "what does not run yet is got ready: {steps:#?}");
        assert!(!turn.as_it_is_to_be && turn.snapshot.retries.is_empty());
        assert_eq!(reasons(&turn, "guest/other@1"), ["Activating"], "it is no failure");
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

/// Few names and values, so that what is there and what is wanted meet often.
fn containers() -> impl Strategy<Value = Json> {
    let container = (sample::select(&["tiny", "other"][..]), sample::select(&["/a", "/b"][..]), 64..66u32);
    let container = container
        .prop_map(|(guest, command, pids)| json!({"guest": guest, "command": [command], "limits": {"pids": pids}}));
    let of = collection::btree_map(sample::select(&["core0", "db", "web"][..]), container, 0..3);
    of.prop_map(|mut containers| {
        if let Some(core) = containers.get_mut("core0") {
            core["role"] = "core".into();
        }
        json!(containers)
    })
}

/// What becomes of a device that nobody looks after.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    LoseBlobs,
    LoseMounts,
    LoseNamespaces,
    LoseGroups,
    LoseRules,
    EndAll,
    Freeze,
}

impl Mishap {
    const ALL: [Self; 7] = [
        Self::LoseBlobs,
        Self::LoseMounts,
        Self::LoseNamespaces,
        Self::LoseGroups,
        Self::LoseRules,
        Self::EndAll,
        Self::Freeze,
    ];

    fn befall(self, observed: &mut Observed) {
        let runs = observed.containers.containers.values_mut().flat_map(|container| container.runs.values_mut());
        match self {
            Self::LoseBlobs => observed.guests.blobs.clear(),
            Self::LoseMounts => observed.guests.mounts.clear(),
            Self::LoseNamespaces => observed.zones.namespaces.clear(),
            Self::LoseGroups => observed.limits.groups.clear(),
            Self::LoseRules => observed.zones.firewalls.clear(),
            Self::EndAll => runs.for_each(|run| run.state = catenoid_containers::State::Ended { exit: None }),
            Self::Freeze => runs.for_each(|run| run.frozen = true),
        }
    }
}

/// A device that was as one manifest wants it until something befell it, and is to be as another one wants it.
fn devices() -> impl Strategy<Value = (Observed, Json)> {
    let mishaps = collection::vec(sample::select(&Mishap::ALL[..]), 0..3);
    (containers(), mishaps, containers()).prop_map(|(before, mishaps, after)| {
        let mut observed = converged(&target(1, before));
        mishaps.into_iter().for_each(|mishap| mishap.befall(&mut observed));
        (observed, after)
    })
}

fn rows(plan: Vec<catenoid_schema::control::PlannedStep>) -> Vec<String> {
    plan.into_iter().map(|step| format!("{}: {}", step.room, step.description)).collect()
}

/// Without how often a container failed in a row: an agent that is killed after it cleared the last run away, and before the next
/// start, begins anew.
fn uncounted(mut observed: Observed) -> Observed {
    let containers = observed.containers.containers.values_mut();
    containers.flat_map(|container| container.runs.values_mut()).for_each(|run| run.ends = 0);
    observed
}

proptest! {
    // 256 of each; more with `PROPTEST_CASES`.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn forecast_is_what_happens((observed, after) in devices()) {
        let mut device = Device::new(&observed);
        let target = target(2, after);
        let plan = forecast(&target.wanted, &{
            let mut observed = observed;
            observed.guests.blobs.extend(stored(&target).guests.blobs);
            observed
        });
        device.accept(target);
        let turn = device.pass();
        prop_assert_eq!(rows(plan), device.steps());
        prop_assert!(turn.as_it_is_to_be, "{:#?}", turn.snapshot.plan);
        device.pass();
        prop_assert_eq!(device.steps(), Vec::<String>::new());
    }

    /// Kills the agent before each of its steps. The next one leads to the same from there.
    #[test]
    fn crash_at_each_step_converges((observed, after) in devices()) {
        let mut device = Device::new(&observed);
        device.accept(target(2, after));
        let (start, target) = (device.world.observed(), device.accepted.borrow().clone().unwrap());
        let (plan, end) = imagine(&target.wanted, &start);
        let end = uncounted(end);
        for killed in 0..plan.len() {
            device.world.put(&start);
            device.restart_agent();
            device.world.record.end_after(Some(killed));
            prop_assert!(device.try_pass().is_none());
            device.restart_agent();
            device.world.record.end_after(None);
            // What the next pass does is what is forecast; that it does is seen of one crash of each plan.
            let there = if killed == plan.len() / 2 {
                let turn = device.pass();
                prop_assert!(turn.as_it_is_to_be, "killed before step {} of {:#?}\n{:#?}", killed, plan, turn.snapshot.plan);
                device.world.observed()
            } else {
                imagine(&target.wanted, &device.world.observed()).1
            };
            prop_assert!(uncounted(there) == end, "killed before step {} of {:#?}", killed, plan);
        }
    }
}

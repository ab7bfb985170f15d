//! The pass on a kernel that holds what the rooms' models say: its rules, that a forecast is what happens, and that every
//! crash is recovered from.

mod properties;
mod reports;
mod rules;

use std::{collections::BTreeMap, sync::Arc};

use catenoid_house::{DesiredState, Observed, Paths, World, imagine};
use catenoid_kernel_base::wait::Notify;
use catenoid_limits::Control;
use catenoid_schema::{
    digest::Digest,
    guest::Guest,
    name::Name,
    status::{Subject, SubjectStatus},
    units::Timestamp,
};
use futures::FutureExt as _;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::{executor::PassOutcome, hold::Holds, state::Pass};
use crate::{accept::manifest::AcceptedManifest, record::audit::Audit};

/// An agent of which only the pass is there, on a modelled kernel.
struct Device {
    world: World,
    pass: Pass,
    gate: Arc<tokio::sync::Mutex<()>>,
    audit: Arc<Audit>,
    /// The last event that was asked for.
    last: u64,
    holds: Holds,
    accepted: watch::Sender<Option<Arc<AcceptedManifest>>>,
    _folder: TempDir,
}

impl Device {
    fn new(observed: &Observed) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let audit = Arc::new(Audit::open(&folder.path().join("audit"), "boot", Notify::new().unwrap()).unwrap());
        let holds = Holds::open(&folder.path().join("data"), &folder.path().join("run"), Notify::new().unwrap());
        let (world, gate) = (World::new(observed), Arc::default());
        let pass = Pass::new(world.doors(), audit.clone(), Arc::clone(&gate));
        Self { world, pass, gate, audit, last: 0, holds, accepted: watch::Sender::new(None), _folder: folder }
    }

    /// One that is as `target` wants it, and was seen to be.
    fn settled(target: AcceptedManifest) -> Self {
        let mut device = Self::new(&converged(&target));
        device.accept(target);
        let outcome = device.pass();
        assert!(outcome.as_it_is_to_be, "{:#?}", outcome.snapshot.subjects);
        assert_eq!((device.steps(), device.recorded()), (vec![], vec![]));
        device
    }

    /// Has another agent, which knows nothing of what was before.
    fn restart_agent(&mut self) {
        self.pass = Pass::new(self.world.doors(), self.audit.clone(), self.gate.clone());
    }

    /// Has `target` accepted, with all that it needs.
    fn accept(&mut self, target: AcceptedManifest) {
        self.world.guests.model().observed.blobs.extend(stored(&target).guests.blobs);
        self.accepted.send_replace(Some(Arc::new(target)));
    }

    /// One whole pass.
    fn pass(&mut self) -> PassOutcome {
        self.try_pass().expect("nothing keeps the pass from its end")
    }

    /// One pass; none if it did not come to its end.
    fn try_pass(&mut self) -> Option<PassOutcome> {
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

    /// What was reported since this was asked last, but of each step and pass: the kind, and whom it is about.
    fn recorded(&mut self) -> Vec<String> {
        let events = self.audit.watch(self.last).0;
        self.last = events.last().map_or(self.last, |event| event.number);
        let recorded = events.iter().filter(|event| !["StepDone", "PassEnded"].contains(&&*event.kind));
        let recorded = recorded.map(|event| match &event.subject {
            Some(subject) => format!("{} {}", event.kind, subject.as_str()),
            None => event.kind.clone(),
        });
        recorded.collect()
    }
}

/// A manifest of these containers, each with what is said of it beside its guest.
fn target(sequence: u64, containers: Json) -> AcceptedManifest {
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
    let wanted = DesiredState::new(&manifest, &guests, &Paths::default());
    let digest = Digest::of(&catenoid_schema::cbor::encode(&manifest).unwrap());
    let accepted_at = Timestamp::from_seconds(1_800_000_000).unwrap();
    AcceptedManifest { manifest, digest, accepted_at, generation: sequence, guests, wanted }
}

/// A device on which nothing is but the blobs of `target`.
fn stored(target: &AcceptedManifest) -> Observed {
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
fn converged(target: &AcceptedManifest) -> Observed {
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

fn status(outcome: &PassOutcome, subject: &str) -> SubjectStatus {
    let (kind, name) = subject.split_once('/').unwrap();
    outcome
        .snapshot
        .subject(&Subject::named(kind, name))
        .unwrap_or_else(|| panic!("nothing is recorded of {subject}"))
        .clone()
}

fn reasons(outcome: &PassOutcome, subject: &str) -> Vec<String> {
    status(outcome, subject).conditions.into_iter().map(|condition| condition.reason).collect()
}

fn contain(steps: &[String], part: &str) -> bool {
    steps.iter().any(|step| step.contains(part))
}

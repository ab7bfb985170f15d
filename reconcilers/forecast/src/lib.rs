//! What a pass does, without doing it: the pure halves of all rooms, wired in the order of a pass.
//!
//! Owns what no room can know alone: how one manifest becomes the desired state of each room, and which room waits for
//! which. The agent's pass takes its desired states from here; `catenoid plan`, a dry run and `catenoid-sign plan` take
//! the whole forecast. Needs the rooms without their doors. Start reading at [`forecast`].

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

pub use catenoid_containers::Paths;
use catenoid_core::{Plan, Planner, simulate};
use catenoid_schema::{
    control::{Phase, PlannedStep},
    digest::Digest,
    guest::Guest,
    manifest::Manifest,
    name::Name,
};
use serde::Deserialize as _;
use serde_json::Value;

/// What a manifest asks of every room. It is worked out once, however often it is compared with what is there.
#[derive(Debug, Clone)]
pub struct Wanted {
    guests: catenoid_guests::Desired,
    limits: catenoid_limits::Desired,
    zones: catenoid_zones::Desired,
    /// As if every guest were ready to be run from.
    containers: catenoid_containers::Desired,
}

/// What each room observed.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "one for each room, by its name")]
pub struct Observed {
    pub guests: catenoid_guests::Observed,
    pub limits: catenoid_limits::Observed,
    pub zones: catenoid_zones::Observed,
    pub containers: catenoid_containers::Observed,
}

impl Observed {
    /// Reads what a status carries. A room that it does not carry observed nothing.
    ///
    /// # Errors
    /// What is wrong with the first room that cannot be read.
    pub fn from_status(observed: &BTreeMap<String, Value>) -> Result<Self, serde_json::Error> {
        fn room<P: Planner>(observed: &BTreeMap<String, Value>) -> Result<P::Observed, serde_json::Error>
        where
            P::Observed: Default,
        {
            observed.get(P::NAME).map_or_else(|| Ok(P::Observed::default()), P::Observed::deserialize)
        }
        Ok(Self {
            guests: room::<catenoid_guests::Planning>(observed)?,
            limits: room::<catenoid_limits::Planning>(observed)?,
            zones: room::<catenoid_zones::Planning>(observed)?,
            containers: room::<catenoid_containers::Planning>(observed)?,
        })
    }

    /// What a status carries of it.
    #[must_use]
    pub fn to_status(&self) -> BTreeMap<String, Value> {
        fn room<P: Planner>(observed: &P::Observed) -> (String, Value) {
            (P::NAME.to_owned(), serde_json::to_value(observed).expect("what was observed has text keys"))
        }
        BTreeMap::from([
            room::<catenoid_guests::Planning>(&self.guests),
            room::<catenoid_limits::Planning>(&self.limits),
            room::<catenoid_zones::Planning>(&self.zones),
            room::<catenoid_containers::Planning>(&self.containers),
        ])
    }
}

impl Wanted {
    /// What `manifest` asks. `guests` are those that it names, by their name in it, each with the digest of its
    /// descriptor; one that could not be read is not among them. `paths` is where things are on the device.
    #[must_use]
    pub fn new(manifest: &Manifest, guests: &BTreeMap<Name, (Digest, Guest)>, paths: &Paths) -> Self {
        let read: BTreeMap<Digest, Guest> = guests.values().cloned().collect();
        let named = manifest.guests.values().filter_map(|reference| reference.descriptor);
        let unread: BTreeSet<Digest> = named.filter(|descriptor| !read.contains_key(descriptor)).collect();
        Self {
            guests: catenoid_guests::desired(&read, &unread),
            limits: catenoid_limits::desired(manifest),
            zones: catenoid_zones::desired(manifest),
            containers: catenoid_containers::desired(manifest, guests, paths),
        }
    }

    /// Lets every blob stay: a manifest that this version cannot read, known by `envelope`, may need any of them.
    pub fn keep_all_blobs(&mut self, envelope: Digest) {
        self.guests.unread.insert(envelope);
    }

    /// Lets `container` not run, for `reason`.
    pub fn hold_back(&mut self, container: &Name, reason: &str) {
        self.containers.hold_back(container, reason);
    }

    /// What it asks of the room of guests.
    #[must_use]
    pub fn guests(&self) -> &catenoid_guests::Desired {
        &self.guests
    }

    /// What it asks of the room of limits.
    #[must_use]
    pub fn limits(&self) -> &catenoid_limits::Desired {
        &self.limits
    }

    /// What it asks of the room of zones.
    #[must_use]
    pub fn zones(&self) -> &catenoid_zones::Desired {
        &self.zones
    }

    /// What it asks of the room of containers, given what the room of guests has ready.
    #[must_use]
    pub fn containers(&self, guests: &catenoid_guests::Observed) -> Cow<'_, catenoid_containers::Desired> {
        let mut containers = Cow::Borrowed(&self.containers);
        for descriptor in self.guests.guests.keys() {
            if let Err(reason) = self.guests.ready(descriptor, guests) {
                containers.to_mut().let_wait(descriptor, &reason);
            }
        }
        containers
    }
}

/// The steps that lead from `observed` to what is `wanted`, in the order of a pass.
#[must_use]
pub fn forecast(wanted: &Wanted, observed: &Observed) -> Vec<PlannedStep> {
    let guests = catenoid_guests::Planning::plan(wanted.guests(), &observed.guests);
    let prepared = simulate::<catenoid_guests::Planning>(&guests, &observed.guests);
    let containers = catenoid_containers::Planning::plan(&wanted.containers(&prepared), &observed.containers);
    let limits = catenoid_limits::Planning::plan(wanted.limits(), &observed.limits);
    let zones = catenoid_zones::Planning::plan(wanted.zones(), &observed.zones);
    let mut steps = Vec::new();
    let mut add = |phase, rooms: [Vec<PlannedStep>; 4]| {
        steps.extend(rooms.into_iter().flatten().filter(|step| step.phase == phase));
    };
    let guests: Vec<_> = described::<catenoid_guests::Planning>(&guests);
    let limits: Vec<_> = described::<catenoid_limits::Planning>(&limits);
    let zones: Vec<_> = described::<catenoid_zones::Planning>(&zones);
    let containers: Vec<_> = described::<catenoid_containers::Planning>(&containers);
    let forward = [guests.clone(), zones.clone(), limits.clone(), containers.clone()];
    add(Phase::Prepare, forward.clone());
    add(Phase::Retire, [containers, limits, zones, guests]);
    add(Phase::Establish, forward);
    steps
}

fn described<P: Planner>(plan: &Plan<P::Step>) -> Vec<PlannedStep> {
    plan.described(P::NAME).collect()
}

//! All rooms: the only list of them, the order among them, and what a pass would do.
//!
//! Owns what no room can know alone: how one manifest becomes the desired state of each room, who comes before whom, and who
//! waits for what another room lacks. The agent's pass goes through the rooms as [`order::go_through`] says, with its doors;
//! `catenoid plan`, a dry run and `catenoid-sign plan` take the [`forecast()`], which goes the same way with the rooms' models.
//! Needs the rooms without their doors. Start reading at the list of rooms in this file.
//!
//! A new room joins with one line here. Its planner says the rest: what it needs of which rooms, and by which of their steps
//! it is affected.

mod forecast;
pub mod order;
mod rooms;

#[cfg(feature = "testing")]
use std::sync::Arc;
use std::{borrow::Cow, collections::BTreeMap};

pub use catenoid_core::Paths;
#[cfg(feature = "testing")]
use catenoid_core::testing::{Modelled, Record};
use catenoid_core::{Asked, Door, Planner, Room, Signals, Slot};
use catenoid_schema::{
    digest::Digest,
    guest::Guest,
    manifest::Manifest,
    name::Name,
    status::{Subject, SubjectStatus},
};
pub use forecast::{forecast, imagine, imagine_in};
use serde::Deserialize as _;
use serde_json::Value;

// In the order in which they prepare and establish; they retire the other way round.
rooms::rooms! {
    guests: catenoid_guests as GuestsPlanner,
    zones: catenoid_zones as ZonesPlanner,
    limits: catenoid_limits as LimitsPlanner,
    containers: catenoid_containers as ContainersPlanner,
}

impl DesiredState {
    /// What `manifest` asks. `guests` are those that it names, by their name in it, each with the digest of its
    /// descriptor; one that could not be read is not among them. `paths` is where things are on the device.
    #[must_use]
    pub fn new(manifest: &Manifest, guests: &BTreeMap<Name, (Digest, Guest)>, paths: &Paths) -> Self {
        Self::of(&Asked { manifest, guests, paths })
    }

    /// Lets every blob stay: a manifest that this version cannot read, known by `envelope`, may need any of them.
    pub fn keep_all_blobs(&mut self, envelope: Digest) {
        self.guests.unread.insert(envelope);
    }
}

impl House<'_> {
    /// Lets wait what needs something that is lacking, and plans where that, or what was seen, has changed.
    pub fn plan(&mut self) {
        let rooms = self.rooms();
        let lacking: BTreeMap<_, _> = rooms.iter().map(|room| (room.name(), room.lacking())).collect();
        for room in self.rooms_mut() {
            let mut waits = Vec::new();
            for of in room.needs_rooms() {
                let Some(lacking) = lacking.get(of).filter(|lacking| !lacking.is_empty()) else { continue };
                let needs = room.needs(of).into_iter();
                waits.extend(needs.filter_map(|(subject, what)| Some((subject, lacking.get(&what)?.clone()))));
            }
            room.let_wait(waits);
            room.plan();
        }
    }

    /// Whether everything is there, and nothing that is wanted is waited for.
    #[must_use]
    pub fn satisfied(&self) -> bool {
        self.rooms().iter().all(|room| room.satisfied() && room.lacking().is_empty())
    }

    /// Whether no room plans anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.rooms().iter().all(|room| room.is_idle())
    }

    /// What reports changes in any room.
    #[must_use]
    pub fn signals(&self) -> Signals {
        let mut all = Signals::default();
        self.rooms().iter().for_each(|room| all.join(room.signals()));
        all
    }

    /// What the rooms report of every subject, each room for itself.
    #[must_use]
    pub fn status(&self) -> Vec<SubjectStatus> {
        self.rooms().iter().flat_map(|room| room.status()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a room needs, and what it is affected by, is there before it: then a pass sees it in its own turn.
    #[test]
    fn every_room_comes_after_those_that_it_depends_on() {
        let (wanted, observed) = (testing_wanted(), Observed::default());
        let house = wanted.house(&observed);
        let mut before: Vec<&str> = Vec::new();
        for room in house.rooms() {
            for of in room.needs_rooms().iter().chain(room.affected_by()) {
                assert!(before.contains(of), "`{}` depends on `{of}`, which is no room before it", room.name());
            }
            before.push(room.name());
        }
        assert_eq!(before, ROOMS);
    }

    fn testing_wanted() -> DesiredState {
        let manifest = serde_json::from_value(serde_json::json!({
            "apiVersion": "catenoid.dev/v1", "kind": "Manifest",
            "metadata": {"name": "none", "sequence": 1, "notAfter": "2036-01-01T00:00:00Z"},
            "target": {"serials": ["TEST-1"]}, "guests": {}, "zones": {}, "containers": {},
        }));
        DesiredState::new(&manifest.expect("a manifest of nothing"), &BTreeMap::new(), &Paths::default())
    }
}

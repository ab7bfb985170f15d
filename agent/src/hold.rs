//! What is held back for the sake of the device, and why: all services after boots that went wrong in a row, and who took what
//! belongs to all ([`crate::guard`]).

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use catenoid_containers::HELD_BACK;
use catenoid_forecast::Wanted;
use catenoid_kernel::{machine, wait::Bell};
use catenoid_schema::{manifest::ContainerRole, name::Name, status::Condition};

use crate::{
    boots::{Boots, Level},
    intake::{Target, condition, lock},
};

/// The first time for which one that took too much is held back; each further one is twice as long, up to the longest.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// A container that took what belongs to all.
#[derive(Debug)]
struct Taker {
    reason: String,
    until: Instant,
    pause: Duration,
}

/// One lock for both: who asks for the one asks for the other.
#[derive(Debug)]
struct Held {
    boots: Boots,
    takers: BTreeMap<Name, Taker>,
}

/// Everything that is held back.
#[derive(Debug)]
pub(crate) struct Holds {
    held: Mutex<Held>,
    /// Wakes the pass when it is over.
    bell: Bell,
}

impl Holds {
    /// With the records in the folders `data` and `run`.
    pub(crate) fn open(data: &Path, run: &Path, bell: Bell) -> Self {
        Self { held: Mutex::new(Held { boots: Boots::open(data, run), takers: BTreeMap::new() }), bell }
    }

    /// What is started in this boot.
    pub(crate) fn level(&self) -> Level {
        self.held().boots.level()
    }

    /// What `target` asks of the rooms, without what is held back; whether anything is.
    pub(crate) fn apply<'a>(&self, target: &'a Target) -> (Cow<'a, Wanted>, bool) {
        let now = Instant::now();
        let Held { boots, takers } = &*self.held();
        let mut held: BTreeMap<&Name, String> = BTreeMap::new();
        for (name, taker) in takers.iter().filter(|(_, taker)| taker.until > now) {
            let minutes = taker.pause.as_secs() / 60;
            held.insert(name, format!("{}; it is held back for {minutes} min", taker.reason));
        }
        if let Some(reason) = boots.level().reason() {
            let containers = target.manifest.containers.iter();
            let services = containers.filter(|(_, container)| container.role == ContainerRole::Service);
            held.extend(services.map(|(name, _)| (name, reason.clone())));
        }
        if held.is_empty() {
            return (Cow::Borrowed(&target.wanted), false);
        }
        let mut wanted = target.wanted.clone();
        held.iter().for_each(|(name, reason)| wanted.hold_back(name, reason));
        (Cow::Owned(wanted), true)
    }

    /// Holds `container` back for a while: a minute, and longer each time.
    pub(crate) fn take(&self, container: &Name, reason: String) {
        let takers = &mut self.held().takers;
        let pause = takers.get(container).map_or(FIRST, |taker| (taker.pause * 2).min(LONGEST));
        takers.insert(container.clone(), Taker { reason, until: Instant::now() + pause, pause });
        self.bell.ring();
    }

    /// When the next one is no longer held back.
    pub(crate) fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        self.held().takers.values().map(|taker| taker.until).filter(|until| *until > now).min()
    }

    /// To be called after each pass, with whether it left the device as it is to be.
    pub(crate) fn look(&self, as_it_is_to_be: bool) {
        self.held().boots.look(as_it_is_to_be, machine::since_boot());
    }

    /// What is told of the device as a whole.
    pub(crate) fn told(&self) -> Option<Condition> {
        self.level().reason().map(|reason| condition(HELD_BACK, reason))
    }

    /// Holds nothing back any more; why what was held back.
    pub(crate) fn resume(&self) -> Vec<String> {
        let Held { boots, takers } = &mut *self.held();
        let was = boots.level().reason();
        boots.resume();
        let now = Instant::now();
        let held = takers.iter_mut().filter(|(_, taker)| taker.until > now);
        // The next time is longer all the same.
        let told = held.map(|(name, taker)| {
            taker.until = now;
            format!("container/{name}: {}", taker.reason)
        });
        let told = was.into_iter().chain(told).collect();
        self.bell.ring();
        told
    }

    /// There is another manifest: nothing that was before counts.
    pub(crate) fn begin_anew(&self) {
        let Held { boots, takers } = &mut *self.held();
        boots.begin_anew();
        takers.clear();
        self.bell.ring();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }
}

//! What is held back for the sake of the device, and why: all services after boots that went wrong in a row, and who took what
//! belongs to all ([`super::guard`]).

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use catenoid_core::HELD_BACK;
use catenoid_house::DesiredState;
use catenoid_kernel_base::{lock, machine, wait::Notify};
use catenoid_schema::{
    manifest::{ContainerRole, Restart},
    name::Name,
    status::{Condition, Kind, Subject},
};

use crate::{
    accept::manifest::AcceptedManifest,
    init::boots::{Boots, Level},
    record::condition::condition,
};

/// The first time for which one that took too much is held back; each further one is twice as long, up to the longest.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// A container that took what belongs to all.
#[derive(Debug)]
struct Taker {
    reason: String,
    /// None for one that is to run once only: it has.
    until: Option<Instant>,
    pause: Duration,
}

impl Taker {
    fn is_held(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until > now)
    }

    fn reason_and_pause(&self) -> String {
        match self.until {
            Some(_) => format!("{}; it is held back for {} min", self.reason, self.pause.as_secs() / 60),
            None => format!("{}; it is not to be started again", self.reason),
        }
    }
}

/// Everything that is held back. Nobody has both locks at once, and nobody waits for the disk with that of the takers: the
/// guard needs it while memory is short.
#[derive(Debug)]
pub(crate) struct Holds {
    boots: Mutex<Boots>,
    takers: Mutex<BTreeMap<Name, Taker>>,
    /// Wakes the pass when it is over.
    notify: Notify,
}

impl Holds {
    /// With the records in the folders `data` and `run`.
    pub(crate) fn open(data: &Path, run: &Path, notify: Notify) -> Self {
        Self { boots: Mutex::new(Boots::open(data, run)), takers: Mutex::default(), notify }
    }

    /// What is started in this boot.
    pub(crate) fn level(&self) -> Level {
        self.boots().level()
    }

    /// What `target` asks of the rooms, without what is held back; whether anything is.
    pub(crate) fn apply<'a>(&self, target: &'a AcceptedManifest) -> (Cow<'a, DesiredState>, bool) {
        let now = Instant::now();
        let mut held: BTreeMap<Name, String> = BTreeMap::new();
        for (name, taker) in self.takers().iter().filter(|(_, taker)| taker.is_held(now)) {
            held.insert(name.clone(), taker.reason_and_pause());
        }
        if let Some(reason) = self.level().reason() {
            let containers = target.manifest.containers.iter();
            let services = containers.filter(|(_, container)| container.role == ContainerRole::Service);
            held.extend(services.map(|(name, _)| (name.clone(), reason.clone())));
        }
        if held.is_empty() {
            return (Cow::Borrowed(&target.wanted), false);
        }
        let mut wanted = target.wanted.clone();
        held.iter().for_each(|(name, reason)| wanted.hold_back(&Subject::new(Kind::Container, name), reason));
        (Cow::Owned(wanted), true)
    }

    /// Holds `container` back for a while: a minute, and longer each time. One that is never restarted is held back until there
    /// is another manifest, or somebody says that the device is to go on.
    pub(crate) fn hold_back(&self, container: &Name, reason: String, restart: Restart) {
        let mut takers = self.takers();
        let pause = takers.get(container).map_or(FIRST, |taker| (taker.pause * 2).min(LONGEST));
        let until = (restart != Restart::Never).then(|| Instant::now() + pause);
        takers.insert(container.clone(), Taker { reason, until, pause });
        drop(takers);
        self.notify.notify();
    }

    /// When the next one is no longer held back.
    pub(crate) fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        self.takers().values().filter_map(|taker| taker.until).filter(|until| *until > now).min()
    }

    /// To be called after each pass, with whether it left the device as it is to be.
    pub(crate) fn look(&self, as_it_is_to_be: bool) {
        self.boots().look(as_it_is_to_be, machine::since_boot());
    }

    /// What is reported of the device as a whole.
    pub(crate) fn boot_condition(&self) -> Option<Condition> {
        self.level().reason().map(|reason| condition(HELD_BACK, reason))
    }

    /// Holds nothing back any more; why what was held back.
    pub(crate) fn resume(&self) -> Vec<String> {
        let mut boots = self.boots();
        let was = boots.level().reason();
        boots.resume();
        drop(boots);
        let now = Instant::now();
        let mut takers = self.takers();
        let held = takers.iter_mut().filter(|(_, taker)| taker.is_held(now));
        // The next time is longer all the same.
        let released = held.map(|(name, taker)| {
            taker.until = Some(now);
            format!("container/{name}: {}", taker.reason)
        });
        let released = was.into_iter().chain(released).collect();
        drop(takers);
        self.notify.notify();
        released
    }

    /// There will be another manifest, once it is written: the boots before it do not count for the next one.
    pub(crate) fn forget_boots(&self) {
        self.boots().forget();
    }

    /// There is another manifest: nothing that was before counts.
    pub(crate) fn begin_anew(&self) {
        self.boots().begin_anew();
        self.takers().clear();
        self.notify.notify();
    }

    fn boots(&self) -> MutexGuard<'_, Boots> {
        lock(&self.boots)
    }

    fn takers(&self) -> MutexGuard<'_, BTreeMap<Name, Taker>> {
        lock(&self.takers)
    }
}

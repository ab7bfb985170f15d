//! The guard: no container uses up the memory of the device by a way that no control group counts.
//!
//! The kernel reports when memory becomes short. Then the guard looks for who is to blame, by evidence (locks of files, what
//! waits in sockets), and where there is none by experiment: it lets one container after the other stand still, the one
//! for which the kernel works most first, and sees whether memory still shrinks. Who is found is ended and held back, one at
//! a time. The core container is the last to be tried.

mod blame;
mod suspicion;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    os::fd::AsFd as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use catenoid_core::chain;
use catenoid_kernel_base::wait::{For, Notify, wait};
use catenoid_kernel_cgroup::{
    self as cgroup, Hierarchy,
    shortage::{self, Memory, Pressure},
};
use catenoid_kernel_net::namespace;
use catenoid_schema::{
    manifest::{ContainerRole, Restart},
    name::Name,
    status::{Kind, Subject},
};
use tokio::sync::watch;

use super::hold::Holds;
use crate::{
    accept::manifest::AcceptedManifest,
    paths::{CGROUP, NAMESPACES},
    record::{audit::Audit, event::NewEvent},
};
use blame::{blame, fewest};
use suspicion::{Evidence, Suspect, Suspicion};

/// Memory is short when less than this share of it, in thousandths, is available.
const SHORT: u64 = 120;
/// And low below this: then it is looked at by the clock as well.
const LOW: u64 = 240;
const LOW_LOOK: Duration = Duration::from_millis(500);
const NO_LOOK: Duration = Duration::from_secs(86_400);
/// So much of all memory in its queues is evidence, in thousandths.
const MUCH_QUEUED: u64 = 20;
/// How long the device is looked at, and what memory may shrink in that time by itself: this part of it.
const LOOK: Duration = Duration::from_millis(300);
const STEADY: u64 = 1000;
/// How often memory is read while containers stand still, which is no longer than it has to be.
const STEP: Duration = Duration::from_millis(100);
/// The same, where nothing is seen in so short a time: as long as memory took to shrink by more than this part of it, which is
/// more than programs that come and go make of it; and no longer than this.
const LONG_LOOK: Duration = Duration::from_secs(10);
const STEADY_LONG: u64 = 250;
/// When less than this part of it is left to be freed there is no time for that.
const URGENT: u64 = 25;
/// So much of all memory, in thousandths, has to be gone in no group before the last resort is taken.
const GONE: u64 = 100;
/// How often a suspicion is tried again before somebody is ended for it.
const CONFIRM: usize = 2;
/// How long a container's processes may take to be gone, with all that they held.
const END: Duration = Duration::from_secs(20);

/// How the memory that no group counts is looked at.
#[derive(Debug, Clone, Copy)]
struct Look {
    step: Duration,
    longest: Duration,
    /// What it may shrink by itself, in bytes.
    much: u64,
}

/// Why there is no guard, or none any more. Us: the device's kernel has all that it needs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The hierarchy of control groups could not be opened.
    #[error(transparent)]
    Open(#[from] cgroup::Error),
    /// The kernel does not say when memory becomes short.
    #[error("the kernel does not report pressure")]
    NoPressure(#[source] io::Error),
    /// It said so before.
    #[error("the kernel does not report pressure any more")]
    NoMorePressure(#[source] io::Error),
    /// There is nobody to watch.
    #[error("no thread for the guard")]
    NoThread(#[source] io::Error),
}

/// What the guard works with.
pub(crate) struct Guard {
    hierarchy: Hierarchy,
    pressure: Pressure,
    /// Notified by who finds little memory by chance.
    alarm: Notify,
    accepted: watch::Receiver<Option<Arc<AcceptedManifest>>>,
    holds: Arc<Holds>,
    audit: Arc<Audit>,
    /// When it last ended somebody.
    ended: Cell<Option<Instant>>,
    /// When it last found nobody to blame, and how much memory that no group counts there was then.
    fruitless: Cell<Option<(Instant, u64)>>,
    /// The most memory that no group counts that there was.
    most: Cell<u64>,
    suspicion: RefCell<Suspicion>,
}

/// Lets go on whoever an agent before this one let stand still. Before anything that may take long, or fail.
pub(crate) fn let_all_go_on() {
    let go_on = || -> Result<(), cgroup::Error> {
        let hierarchy = Hierarchy::open(Path::new(CGROUP))?;
        let each = |group: String| hierarchy.thaw_group(&group);
        hierarchy.groups()?.into_iter().map(each).fold(Ok(()), Result::and)
    };
    if let Err(error) = go_on() {
        tracing::warn!(error = chain(&error), "somebody may still stand still");
    }
}

impl Guard {
    /// Listens to the kernel from now on.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::NoPressure`].
    pub(crate) fn open(
        accepted: watch::Receiver<Option<Arc<AcceptedManifest>>>,
        holds: Arc<Holds>,
        audit: Arc<Audit>,
        alarm: Notify,
    ) -> Result<Self, Error> {
        let hierarchy = Hierarchy::open(Path::new(CGROUP))?;
        let pressure = Pressure::listen().map_err(Error::NoPressure)?;
        Ok(Self {
            hierarchy,
            pressure,
            alarm,
            accepted,
            holds,
            audit,
            ended: Cell::new(None),
            fruitless: Cell::new(None),
            most: Cell::new(0),
            suspicion: RefCell::default(),
        })
    }

    /// Watches for ever; gives why it cannot any more.
    pub(crate) fn watch(self) -> Error {
        loop {
            let sources = [(self.pressure.as_fd(), For::Change), (self.alarm.as_fd(), For::Input)];
            // The kernel gives up looking, and so reporting, where it finds nothing that can be freed: then the guard looks.
            let low = is_low();
            if !low {
                self.fruitless.set(None);
                self.suspicion.take();
            }
            let until = Instant::now() + if low { LOW_LOOK } else { NO_LOOK };
            if let Err(error) = wait(&sources, until) {
                return Error::NoMorePressure(error);
            }
            self.alarm.clear();
            if let Err(error) = self.look() {
                tracing::warn!(error = chain(&error), "the guard could not act");
            }
        }
    }

    fn look(&self) -> Result<(), cgroup::Error> {
        let ((left, total), suspects) = (self.uncounted()?, self.suspects()?);
        self.most.set(self.most.get().max(left));
        self.suspicion.borrow_mut().look(left, self.work(&suspects), total / STEADY);
        if is_short() { self.act((left, total), &suspects) } else { Ok(()) }
    }

    /// With what was just seen: the memory that no group counts, all of it, and who has processes.
    fn act(&self, (left, total): (u64, u64), suspects: &[Suspect]) -> Result<(), cgroup::Error> {
        let short = Look { step: LOOK, longest: LOOK, much: total / STEADY };
        // What was ended may give its memory back slowly: nobody else is to blame for that.
        if self.ended.get().is_some_and(|ended| ended.elapsed() < END) && self.loss(short)?.is_none() {
            return Ok(());
        }
        // A device that is always so full is looked at again when less is left: for as long as it took to become less.
        let long = |at: Instant| {
            let longest = at.elapsed().clamp(LOOK, LONG_LOOK);
            Look { step: LOOK, longest, much: total / STEADY_LONG }
        };
        let look = match self.fruitless.get() {
            Some((at, before)) if left + long(at).much <= before => long(at),
            Some(_) => return Ok(()),
            None => short,
        };
        let much = total / 1000 * MUCH_QUEUED;
        let queued = |pid| shortage::socket_queues(pid).ok();
        if let Some((suspect, evidence)) = blame(suspects, &shortage::locks().unwrap_or_default(), queued, much) {
            return self.end(suspect, &evidence);
        }
        let now = Instant::now();
        let found = self.experiment(suspects, look)?.map(|suspect| (suspect, Evidence::Standstill));
        // Where groups count what is taken, nobody takes what is not his.
        let gone = self.most.get().saturating_sub(left) > total / 1000 * GONE;
        let last_resort = || (is_urgent() && gone).then(|| self.hardest(suspects)).flatten();
        let Some((suspect, evidence)) = found.or_else(last_resort) else {
            self.fruitless.set(Some((now, left)));
            return Ok(());
        };
        self.fruitless.set(None);
        self.end(suspect, &evidence)
    }

    /// For whom the kernel worked most while memory shrank; if it was not seen to, the service for which it worked most: the
    /// last resort.
    fn hardest<'a>(&self, suspects: &'a [Suspect]) -> Option<(&'a Suspect, Evidence)> {
        let work = self.work(suspects);
        let suspicion = self.suspicion.borrow();
        let seen = |suspect: &&Suspect| suspect.role == ContainerRole::Service || suspicion.of(&suspect.name) > 0;
        let by = |suspect: &&Suspect| (suspicion.of(&suspect.name), work.get(&suspect.name).copied());
        suspects.iter().filter(seen).max_by_key(by).map(|suspect| (suspect, Evidence::Work))
    }

    /// All containers that have processes; also those that are on their way out, which no manifest knows any more.
    fn suspects(&self) -> Result<Vec<Suspect>, cgroup::Error> {
        let Some(target) = self.accepted.borrow().clone() else { return Ok(Vec::new()) };
        let mut suspects = Vec::new();
        for name in self.hierarchy.groups()?.into_iter().filter_map(|group| group.parse::<Name>().ok()) {
            // One that cannot be read hides nobody else.
            let leaves = self.hierarchy.leaves(name.as_str()).unwrap_or_default();
            let leaves = leaves.into_iter().filter(|leaf| leaf.populated);
            let (launches, pids): (Vec<_>, Vec<_>) = leaves.map(|leaf| (leaf.launch_id, leaf.pids)).unzip();
            if !launches.is_empty() {
                let known = target.manifest.containers.get(&name).map(|container| (container.role, container.restart));
                let (role, restart) = known.unwrap_or((ContainerRole::Service, Restart::Always));
                let pids = pids.into_iter().flatten().collect();
                suspects.push(Suspect { name, role, restart, launches, pids });
            }
        }
        Ok(suspects)
    }

    /// Lets containers stand still, services first and of them the one for which the kernel works most, as many as it takes for
    /// memory to shrink less than half as fast; who is the last of them, if it shrinks again as soon as that one goes on. All
    /// others go on then.
    fn experiment<'a>(&self, suspects: &'a [Suspect], mut look: Look) -> Result<Option<&'a Suspect>, cgroup::Error> {
        let before = self.work(suspects);
        let Some(loss) = self.loss(look)? else { return Ok(None) };
        // Until as much is lost at half of that pace.
        look.longest = Duration::from_millis(2000 * look.much / loss.max(1)).clamp(STEP, LONG_LOOK);
        look.step = STEP;
        let after = self.work(suspects);
        let worked = |suspect: &Suspect| {
            let time = after.get(&suspect.name).zip(before.get(&suspect.name));
            time.map(|(after, before)| after.saturating_sub(*before))
        };
        let mut all: Vec<_> = suspects.iter().collect();
        all.sort_by_key(|suspect| (suspect.role == ContainerRole::Core, std::cmp::Reverse(worked(suspect))));
        let services = all.iter().filter(|suspect| suspect.role == ContainerRole::Service).count();
        let loses_less = |still: usize| {
            for (at, suspect) in all.iter().enumerate() {
                let name = suspect.name.as_str();
                if at < still { self.hierarchy.freeze_group(name)? } else { self.hierarchy.thaw_group(name)? }
            }
            Ok(self.loss(look)?.is_none_or(|now| now < loss / 2))
        };
        let mut found = fewest(services, all.len(), loses_less).and_then(|still| {
            let Some(suspect) = still.and_then(|still| all.get(still - 1)) else { return Ok(None) };
            Ok(self.is_it(&all, suspect, look)?.then_some(*suspect))
        });
        for suspect in &all {
            let stays = matches!(&found, Ok(Some(found)) if found.name == suspect.name);
            if !stays && let Err(error) = self.hierarchy.thaw_group(suspect.name.as_str()) {
                found = found.and(Err(error));
            }
        }
        found
    }

    /// Whether memory shrinks whenever this one goes on, and less whenever it stands still, which it does in the end: whoever
    /// stops taking while another stands still does not bring that one down by it once. All other services stand still
    /// meanwhile: whoever takes only while that one goes on does not bring it down either.
    fn is_it(&self, all: &[&Suspect], suspect: &Suspect, look: Look) -> Result<bool, cgroup::Error> {
        for other in all.iter().filter(|other| other.name != suspect.name) {
            match other.role {
                ContainerRole::Service => self.hierarchy.freeze_group(other.name.as_str())?,
                ContainerRole::Core => self.hierarchy.thaw_group(other.name.as_str())?,
            }
        }
        // It may be one of several, and has to come to run first.
        let longer = Look { longest: (look.longest * 2).max(LOOK), ..look };
        for _ in 0..CONFIRM {
            if is_urgent() {
                return Ok(false);
            }
            self.hierarchy.thaw_group(suspect.name.as_str())?;
            let Some(goes_on) = self.loss(longer)? else { return Ok(false) };
            self.hierarchy.freeze_group(suspect.name.as_str())?;
            if self.loss(look)?.is_some_and(|still| still >= goes_on / 2) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How much memory that no group counts is lost in a second, as soon as that is seen; none where it is not more than by
    /// itself.
    fn loss(&self, look: Look) -> Result<Option<u64>, cgroup::Error> {
        let (begun, (before, _)) = (Instant::now(), self.uncounted()?);
        loop {
            #[expect(
                clippy::disallowed_methods,
                reason = "nobody reports when memory shrinks: this is a look, not a wait"
            )]
            std::thread::sleep(look.step);
            let lost = before.saturating_sub(self.uncounted()?.0);
            let elapsed = begun.elapsed();
            if lost > look.much {
                return Ok(Some(lost * 1000 / u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1)));
            }
            if elapsed >= look.longest {
                return Ok(None);
            }
        }
    }

    /// What is free or can be freed, and what containers' groups count, together: it stays where they only take what is theirs.
    /// And all memory.
    fn uncounted(&self) -> Result<(u64, u64), cgroup::Error> {
        let memory = Memory::read().map_err(|source| cgroup::Error::Read { path: "/proc/meminfo".into(), source })?;
        Ok((memory.free + self.hierarchy.memory_in_use()?, memory.total))
    }

    /// How long processors worked in the kernel for each.
    fn work(&self, suspects: &[Suspect]) -> BTreeMap<Name, u64> {
        let time = |suspect: &Suspect| self.hierarchy.system_time(suspect.name.as_str()).ok();
        suspects.iter().filter_map(|suspect| Some((suspect.name.clone(), time(suspect)?))).collect()
    }

    /// Ends everything of a container at once and, if it is a service, holds it back. Its namespaces go with it: what it put
    /// into them (neighbours, routes, interfaces) would outlive it. The pass makes them anew.
    fn end(&self, suspect: &Suspect, evidence: &Evidence) -> Result<(), cgroup::Error> {
        let name = suspect.name.as_str();
        let message = format!("it used up memory of the whole device that no limit counts: {evidence}");
        // Before it ends, so that the pass that sees the end does not start it again.
        if suspect.role == ContainerRole::Service {
            self.holds.hold_back(&suspect.name, message.clone(), suspect.restart);
        }
        let killed = suspect.launches.iter().map(|launch| self.hierarchy.kill(name, launch)).fold(Ok(()), Result::and);
        if let Err(error) = namespace::remove(&Path::new(NAMESPACES).join(name)) {
            tracing::warn!(container = name, error = chain(&error), "its namespaces outlive it");
        }
        let released = self.hierarchy.thaw_group(name);
        self.ended.set(Some(Instant::now()));
        let subject = Some(Subject::new(Kind::Container, &suspect.name));
        self.audit.note(NewEvent::by_device("ContainerEndedByGuard", subject, message));
        killed.and(released)
    }
}

fn is_short() -> bool {
    is_below(SHORT)
}

/// Whether memory may soon be short.
pub(crate) fn is_low() -> bool {
    is_below(LOW)
}

fn is_below(thousandths: u64) -> bool {
    Memory::read().is_ok_and(|memory| memory.available < memory.total / 1000 * thousandths)
}

fn is_urgent() -> bool {
    Memory::read().is_ok_and(|memory| memory.free < memory.total / URGENT)
}

#[cfg(test)]
mod tests;

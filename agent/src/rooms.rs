//! The rooms of the device: where each acts, and what tells of changes in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use catenoid_containers::Containers;
use catenoid_core::chain;
use catenoid_guests::{Generation, Guests};
use catenoid_house::Doors;
use catenoid_kernel::{netlink::Announcements, wait::Bell};
use catenoid_limits::Limits;
use catenoid_schema::{manifest::ContainerRole, name::Name};
use catenoid_zones::{Inside, Zones};

use crate::{
    intake::Target,
    paths::{CGROUP, DATA, EXITS, NAMESPACES, RUN},
};

/// Why the rooms cannot be entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Limits.
    #[error(transparent)]
    Limits(#[from] catenoid_limits::Error),
    /// Zones.
    #[error(transparent)]
    Zones(#[from] catenoid_zones::Error),
}

/// What tells of changes in the rooms of this device.
pub(crate) struct Signals {
    zones: Zones,
}

/// Enters the rooms; `bell` wakes the pass. To be called on the thread that runs the passes: its network namespace is the root one.
///
/// # Errors
/// The first room that cannot be entered.
pub(crate) fn open(
    containers: Arc<Containers>,
    generation: Generation,
    bell: Bell,
) -> Result<(Doors, Signals), OpenError> {
    let paths = catenoid_guests::Paths { data: DATA.into(), run: RUN.into() };
    let zones = Zones::open(Path::new(NAMESPACES))?;
    let doors = Doors {
        guests: Box::new(Guests::new(&paths, generation, bell)),
        limits: Box::new(Limits::open(Path::new(CGROUP))?),
        zones: Box::new(zones.clone()),
        containers: Box::new(containers),
    };
    Ok((doors, Signals { zones }))
}

impl Signals {
    /// What the kernel announces of links and of rules in the root namespace.
    ///
    /// # Errors
    /// If it cannot be listened to.
    pub(crate) fn announcements(&self) -> Result<[Announcements; 2], OpenError> {
        Ok(self.zones.watch()?)
    }

    /// What is announced inside of the core containers, and whether any of that was not `held` before. What cannot be
    /// listened to is left to the timer.
    pub(crate) fn listen_inside(
        &self,
        target: &Target,
        mut held: BTreeMap<Name, Inside>,
    ) -> (BTreeMap<Name, Inside>, bool) {
        let before: BTreeMap<Name, u64> = held.iter().map(|(name, inside)| (name.clone(), inside.namespace)).collect();
        let containers = target.manifest.containers.iter();
        let core = containers.filter(|(_, container)| container.role == ContainerRole::Core).map(|(name, _)| name);
        let mut listened = BTreeMap::new();
        for name in core {
            match self.zones.watch_inside(name, held.remove(name)) {
                Ok(inside) => listened.extend(inside.map(|inside| (name.clone(), inside))),
                Err(error) => tracing::warn!(container = %name, error = %chain(&error), "not listened to inside"),
            }
        }
        let any_new = listened.iter().any(|(name, inside)| before.get(name) != Some(&inside.namespace));
        (listened, any_new)
    }
}

/// The files of the device, and of `containers` with what was `observed` of them, whose changes tell of something.
pub(crate) fn watched<'a>(
    containers: impl Iterator<Item = &'a Name>,
    observed: &'a catenoid_containers::Observed,
) -> BTreeSet<PathBuf> {
    let groups = Path::new(CGROUP).join(catenoid_kernel::name::CGROUP);
    let data = [DATA.into(), Path::new(DATA).join("blobs"), Path::new(DATA).join("ledger")];
    let mut paths = BTreeSet::from([PathBuf::from(EXITS), groups.clone()]);
    paths.extend(data);
    // Also of those that are not in the manifest any more, and end.
    let names: BTreeSet<&Name> = containers.chain(observed.containers.keys()).collect();
    for name in names {
        let group = groups.join(name.as_str());
        let runs = observed.containers.get(name).into_iter().flat_map(|container| container.runs.keys());
        paths.extend(runs.map(|launch| group.join(catenoid_kernel::name::leaf(launch))));
        paths.insert(group);
    }
    paths
}

#[cfg(test)]
mod tests {
    use catenoid_containers::{Container, Observed, Run, State};

    use super::*;

    /// Also one of which nothing is shown as a fact: its first process is gone, and its end is to wake the pass.
    #[test]
    fn every_leaf_that_was_observed_is_watched() {
        let (frozen, astray, outdated, steady) = (false, false, false, false);
        let run = |state| Run {
            leaf: 7,
            state,
            frozen,
            astray,
            outdated,
            stop: None,
            ends: 0,
            steady,
            stopping: None,
            ending: false,
        };
        let running = State::Running { pid: 70, started: 5, since: None };
        let runs = [("00000000000000aa", run(running)), ("00000000000000bb", run(State::Headless))];
        let runs = runs.map(|(launch, run)| (launch.to_owned(), run)).into();
        let name = |text: &str| text.parse::<Name>().unwrap();
        let observed = Observed { containers: [(name("web"), Container { runs, last_exit: None })].into() };
        let watched = watched([name("web"), name("db")].iter(), &observed);
        let groups = Path::new("/sys/fs/cgroup/catenoid");
        let found: Vec<_> = watched.iter().filter_map(|path| path.strip_prefix(groups).ok()?.to_str()).collect();
        assert_eq!(found, ["", "db", "web", "web/run.00000000000000aa", "web/run.00000000000000bb"]);
    }
}

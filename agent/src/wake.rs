//! What wakes the pass. An event only wakes; the pass looks.
//!
//! | source | what it tells of |
//! |---|---|
//! | the intake | a new manifest |
//! | `exits/` (inotify) | a container ended, and PID 1 wrote down how |
//! | `blobs/` (inotify) | a blob was pushed or altered |
//! | control groups (inotify) | a group, a limit or a freezer was changed by hand, or emptied |
//! | the mount table (`POLLPRI`) | something was mounted or unmounted |
//! | a timer that is cancelled | the wall clock was set |
//! | uevents | a device came or went, dm-verity found a corrupt block |
//! | rtnetlink, nftables | a link, address, route, rule or forwarding changed in the root namespace, or in a core container's |
//! | a timer | a failed subject is due; and every [`LOOK_ANYWAY`] all the same |
//!
//! What no event tells of is found by the timer: what is changed inside of a service container's network namespace (no
//! process of its own may), and what is written below `/proc/sys/net`, but for forwarding.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::fd::AsFd as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use catenoid_kernel::{
    changes::{Changes, mount_table},
    netlink,
    uevent::Announcements,
    wait::{Bell, ClockSet, For, wait},
};
use catenoid_schema::name::Name;
use catenoid_zones::Inside;

/// How long the pass goes without a look when nothing wakes it.
pub(crate) const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// The least time between two passes that nobody rang for.
const PACE: Duration = Duration::from_millis(100);
/// The same where only a container's own doing woke: a core container that shakes its links costs two passes a second.
const PACE_INSIDE: Duration = Duration::from_millis(500);

/// Everything that wakes.
pub(crate) struct Wake {
    bell: Bell,
    files: Changes,
    watched: BTreeSet<PathBuf>,
    devices: Announcements,
    mounts: File,
    clock: ClockSet,
    network: [netlink::Announcements; 2],
    inside: BTreeMap<Name, Inside>,
}

impl Wake {
    /// Listens from now on; `bell` is the intake's, `network` the announcements of links and of rules.
    ///
    /// # Errors
    /// If a source cannot be opened.
    pub(crate) fn listen(bell: Bell, network: [netlink::Announcements; 2]) -> io::Result<Self> {
        Ok(Self {
            bell,
            files: Changes::new()?,
            watched: BTreeSet::new(),
            devices: Announcements::listen()?,
            mounts: mount_table()?,
            clock: ClockSet::listen()?,
            network,
            inside: BTreeMap::new(),
        })
    }

    /// Watches these files and folders from now on, as far as they are there; whether one is watched that was not before.
    /// What cannot be watched is left to the timer.
    pub(crate) fn watch(&mut self, paths: BTreeSet<PathBuf>) -> bool {
        let mut watched = BTreeSet::new();
        for path in paths {
            match self.files.watch(&path) {
                Ok(true) => drop(watched.insert(path)),
                Ok(false) => {}
                Err(error) => tracing::warn!(path = %path.display(), %error, "not watched; the timer looks at it"),
            }
        }
        let any_new = !watched.is_subset(&self.watched);
        self.watched = watched;
        any_new
    }

    /// Gives back what was listened to inside of containers, to be put in again with what is new.
    pub(crate) fn take_inside(&mut self) -> BTreeMap<Name, Inside> {
        std::mem::take(&mut self.inside)
    }

    /// Listens inside of containers from now on.
    pub(crate) fn listen_inside(&mut self, inside: BTreeMap<Name, Inside>) {
        self.inside = inside;
    }

    /// Waits until something wakes, for `until` at most. All that came until then is one wake-up.
    ///
    /// # Errors
    /// If a source broke.
    pub(crate) fn next(&self, until: Option<Instant>) -> io::Result<()> {
        let begun = Instant::now();
        let latest = begun + LOOK_ANYWAY;
        let input = |source| (source, For::Input);
        let ours = [
            input(self.bell.as_fd()),
            input(self.files.as_fd()),
            input(self.devices.as_fd()),
            input(self.clock.as_fd()),
            input(self.network[0].as_fd()),
            input(self.network[1].as_fd()),
            // The kernel remembers what this open file was told of: polling it is what clears the condition.
            (self.mounts.as_fd(), For::Change),
        ];
        let inside = self.inside.values().flat_map(|inside| &inside.announcements);
        let all: Vec<_> = ours.into_iter().chain(inside.map(|announcements| input(announcements.as_fd()))).collect();
        let woke = wait(&all, until.map_or(latest, |until| until.min(latest)))?;
        // Whoever shakes a link without end gets ten passes a second; a new manifest does not wait.
        wait(&ours[..1], begun + PACE)?;
        if woke.iter().position(|woke| *woke).is_some_and(|first| first >= ours.len()) {
            wait(&ours, begun + PACE_INSIDE)?;
        }
        self.bell.hush();
        self.files.drain()?;
        self.devices.drain()?;
        self.clock.drain();
        let inside = self.inside.values().flat_map(|inside| &inside.announcements);
        self.network.iter().chain(inside).try_for_each(|announcements| announcements.drain().map(drop))
    }
}

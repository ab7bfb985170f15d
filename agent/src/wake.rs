//! What wakes the pass. An event only wakes; the pass looks.
//!
//! | source | what it tells of |
//! |---|---|
//! | the bell | a new manifest, an image that was read, a container that works or does not |
//! | a timer that is cancelled | the wall clock was set |
//! | `ledger/` (inotify) | the ledger was written to |
//! | the rooms' signals | whatever each room declares |
//! | a timer | a failed subject is due; and every [`LOOK_ANYWAY`] all the same |
//!
//! | room | signals |
//! |---|---|
//! | guests | `blobs/` (inotify): a blob was pushed or altered; uevents: a device came or went, dm-verity found a corrupt block; the mount table |
//! | limits, containers | control groups (inotify): a group, a limit or a freezer was changed by hand, or emptied; `exits/`: PID 1 wrote down an end |
//! | zones | rtnetlink, nftables: a link, address, route, rule or forwarding changed in the root namespace, or in a core container's |
//!
//! What no event tells of is found by the timer: what is changed inside of a service container's network namespace (no
//! process of its own may), and what is written below `/proc/sys/net`, but for forwarding.

use std::{
    collections::BTreeSet,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use catenoid_core::{Readiness, Signals, Source};
use catenoid_kernel::{
    changes::Changes,
    wait::{Bell, ClockSet, For, wait},
};

use crate::paths::DATA;

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
    clock: ClockSet,
    /// Of the rooms; what containers can shake comes last.
    sources: Vec<Arc<dyn Source>>,
    /// What could not be listened to, as it was told last.
    unheard: Vec<String>,
}

impl Wake {
    /// Listens from now on; `bell` is what others wake the pass by.
    ///
    /// # Errors
    /// If a source cannot be opened.
    pub(crate) fn listen(bell: Bell) -> io::Result<Self> {
        let (files, clock) = (Changes::new()?, ClockSet::listen()?);
        let (watched, sources, unheard) = (BTreeSet::new(), Vec::new(), Vec::new());
        let mut wake = Self { bell, files, watched, clock, sources, unheard };
        // The ledger's folder is watched whatever becomes of the rooms.
        wake.hear(Signals::default());
        Ok(wake)
    }

    /// Listens to these from now on, and to nothing else of rooms; whether there is one that was not listened to before. What
    /// cannot be listened to is left to the timer.
    pub(crate) fn hear(&mut self, signals: Signals) -> bool {
        let Signals { files, mut sources, mut unheard } = signals;
        let mut watched = BTreeSet::new();
        for path in files.into_iter().chain([Path::new(DATA).join("ledger")]) {
            match self.files.watch(&path) {
                Ok(Some(_)) => drop(watched.insert(path)),
                Ok(None) => {}
                Err(error) => unheard.push(format!("`{}`: {error}", path.display())),
            }
        }
        if unheard != self.unheard {
            unheard.iter().for_each(|what| tracing::warn!(what, "not listened to; the timer looks at it"));
            self.unheard = unheard;
        }
        sources.sort_by_key(|source| source.is_shaken());
        let is_new = |source: &Arc<dyn Source>| !self.sources.iter().any(|before| Arc::ptr_eq(before, source));
        let any_new = !watched.is_subset(&self.watched) || sources.iter().any(is_new);
        (self.watched, self.sources) = (watched, sources);
        any_new
    }

    /// Waits until something wakes, for `until` at most. All that came until then is one wake-up.
    ///
    /// # Errors
    /// If a source broke.
    pub(crate) fn next(&self, until: Option<Instant>) -> io::Result<()> {
        let begun = Instant::now();
        let latest = begun + LOOK_ANYWAY;
        let own = [self.bell.as_fd(), self.files.as_fd(), self.clock.as_fd()].map(|fd| (fd, For::Input));
        let of_rooms = self.sources.iter().map(|source| (source.as_fd(), condition(source.readiness())));
        let all: Vec<_> = own.into_iter().chain(of_rooms).collect();
        let woke = wait(&all, until.map_or(latest, |until| until.min(latest)))?;
        // Whoever shakes a link without end gets ten passes a second; a new manifest does not wait.
        wait(&all[..1], begun + PACE)?;
        let shaken = self.sources.iter().filter(|source| source.is_shaken()).count();
        let calm = all.len() - shaken;
        if woke.iter().position(|woke| *woke).is_some_and(|first| first >= calm) {
            wait(&all[..calm], begun + PACE_INSIDE)?;
        }
        self.bell.hush();
        self.files.drain()?;
        self.clock.drain();
        self.sources.iter().try_for_each(|source| source.drain())
    }
}

fn condition(readiness: Readiness) -> For {
    match readiness {
        Readiness::Input => For::Input,
        Readiness::Exception => For::Change,
    }
}

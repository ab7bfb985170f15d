//! What wakes the pass. An event only wakes; the pass looks.
//!
//! | source | what it reports |
//! |---|---|
//! | [`Notify`] | a new manifest, an image that was read, a container that works or does not |
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
//! What no event reports is found by the timer: what is changed inside of a service container's network namespace (no
//! process of its own may), and what is written below `/proc/sys/net`, but for forwarding.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use catenoid_core::{Readiness, Signals, Source};
use catenoid_kernel_base::{
    changes::{Changes, Watch},
    wait::{ClockSet, For, Notify, wait},
};

use crate::paths::DATA;

/// How long the pass goes without a look when nothing wakes it.
pub(crate) const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// The least time between two passes that nobody asked for.
const PACE: Duration = Duration::from_millis(100);
/// The same where only a container's own doing woke: a core container that shakes its links costs two passes a second.
const PACE_INSIDE: Duration = Duration::from_millis(500);

/// Everything that wakes.
pub(crate) struct Wake {
    notify: Notify,
    files: Changes,
    watched: BTreeMap<PathBuf, Watch>,
    clock: ClockSet,
    /// Of the rooms; what containers can shake comes last.
    sources: Vec<Arc<dyn Source>>,
    /// What could not be listened to, as it was reported last.
    unheard: Vec<String>,
}

impl Wake {
    /// Listens from now on; `notify` is what others wake the pass by.
    ///
    /// # Errors
    /// If a source cannot be opened.
    pub(crate) fn listen(notify: Notify) -> io::Result<Self> {
        let (files, clock) = (Changes::new()?, ClockSet::listen()?);
        let (watched, sources, unheard) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut wake = Self { notify, files, watched, clock, sources, unheard };
        // The ledger's folder is watched whatever becomes of the rooms.
        wake.hear(Signals::default());
        Ok(wake)
    }

    /// Listens to these from now on, and to nothing else of rooms; whether something may have been missed: one was not listened
    /// to before, or what came was forgotten with one that is not any more. What cannot be listened to is left to the timer.
    pub(crate) fn hear(&mut self, signals: Signals) -> bool {
        let Signals { files, mut sources, mut unheard } = signals;
        let mut watched = BTreeMap::new();
        for path in files.into_iter().chain([Path::new(DATA).join("ledger")]) {
            match self.files.watch(&path) {
                Ok(Some(watch)) => drop(watched.insert(path, watch)),
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
        // Under a name that was there before there may be another one.
        let is_known = |(path, watch): (&PathBuf, &Watch)| self.watched.get(path) == Some(watch);
        let mut missed = !watched.iter().all(is_known) || sources.iter().any(is_new);
        // The kernel itself never ends the watch of a control group that is gone.
        let now: BTreeSet<_> = watched.values().copied().collect();
        let over: Vec<_> = self.watched.values().copied().filter(|watch| !now.contains(watch)).collect();
        if !over.is_empty() {
            over.into_iter().for_each(|watch| self.files.forget(watch));
            // That a watch ended is reported as well, and nobody waits for that.
            missed |= self.files.drain().is_ok();
        }
        (self.watched, self.sources) = (watched, sources);
        missed
    }

    /// Waits until something wakes, for `until` at most. All that came until then is one wake-up.
    ///
    /// # Errors
    /// If a source broke.
    pub(crate) fn next(&self, until: Option<Instant>) -> io::Result<()> {
        let begun = Instant::now();
        let latest = begun + LOOK_ANYWAY;
        let own = [self.notify.as_fd(), self.files.as_fd(), self.clock.as_fd()].map(|fd| (fd, For::Input));
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
        self.notify.clear();
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

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::AsRawFd as _};

    use super::*;

    #[test]
    fn what_is_listened_to_no_more_is_let_go_of_and_another_one_of_its_name_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, aside] = ["a", "b", "aside"].map(|name| folder.path().join(name));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        let mut wake = Wake::listen(Notify::new().unwrap()).unwrap();
        let watches = |wake: &Wake| {
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", wake.files.as_fd().as_raw_fd())).unwrap();
            text.lines().filter(|line| line.starts_with("inotify")).count()
        };
        let before = watches(&wake);
        let signals = |paths: &[&PathBuf]| Signals {
            files: paths.iter().map(|path| (*path).clone()).collect(),
            ..Signals::default()
        };
        assert!(wake.hear(signals(&[&a, &b])));
        assert!(!wake.hear(signals(&[&a, &b])));
        assert_eq!(watches(&wake), before + 2);

        // As with a control group, whose watch does not end when it is removed.
        fs::rename(&a, &aside).unwrap();
        fs::create_dir(&a).unwrap();
        assert!(wake.hear(signals(&[&a, &b])), "it is another one");
        assert!(!wake.hear(signals(&[&a, &b])));
        assert_eq!(watches(&wake), before + 2);
        assert!(wake.hear(signals(&[&b])), "what came since was forgotten with it");
        assert!(!wake.hear(signals(&[&b])));
        assert_eq!(watches(&wake), before + 1);

        let begun = Instant::now();
        wake.next(Some(begun + Duration::from_millis(300))).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(300), "nobody is woken by what ended");
        fs::write(b.join("file"), "").unwrap();
        let begun = Instant::now();
        wake.next(Some(begun + Duration::from_secs(60))).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}

//! Starts containers through the launcher, and ends them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use catenoid_core::{Applied, Reconciler, Signals};
use catenoid_kernel_base::{
    lock, machine,
    process::{self, TICK_MILLISECONDS},
    wait::Notify,
};
use catenoid_kernel_cgroup::{self as cgroup, Hierarchy, Mark};
use catenoid_names::objects;
use catenoid_schema::{
    manifest::{Stop, StopSignal},
    name::Name,
    units::{Span, Timestamp},
};

use crate::{
    ContainersPlanner, Desired, Error, Observed, Paths, Step,
    check::Checks,
    error::ObserveError,
    log::{Follower, Tail},
    observe::{self, KILL_TIMEOUT},
    order::{LaunchAnswer, LaunchOrder, Request},
};

/// How long a step waits for an end: most are there sooner, and cost no second pass.
const MOMENT: Duration = Duration::from_millis(250);

/// The half of this room that has effects.
#[derive(Debug)]
pub struct Containers {
    shared: Arc<Shared>,
    /// Who reads the output of what runs.
    followers: Mutex<BTreeMap<Name, Follower>>,
    /// Who asks what runs whether it works.
    checks: Mutex<Checks>,
    /// What is wanted, as the pass gave it last.
    wanted: Mutex<Desired>,
}

#[derive(Debug)]
struct Shared {
    hierarchy: Hierarchy,
    paths: Paths,
    launcher: PathBuf,
    /// What distinguishes that launcher from others, with the filter that it sets.
    identity: String,
    /// The moment of boot by the wall clock of when the agent started.
    booted: Timestamp,
    waited: Mutex<observe::Waited>,
}

/// What became of the end of a run.
enum Ending {
    Ended,
    /// It goes on for so long before there is something else to do.
    Ends {
        left: Duration,
    },
    /// It was killed, and is there.
    Stays,
}

impl Containers {
    /// Opens the hierarchy of control groups; `launcher` is the path of the launcher, `notify` wakes the pass.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(paths: Paths, launcher: &Path, notify: Notify) -> Result<Self, Error> {
        let hierarchy = Hierarchy::open(&paths.cgroup).map_err(Error::Open)?;
        let up = i64::try_from(process::ticks_since_boot() * TICK_MILLISECONDS / 1000).unwrap_or_default();
        let now = Timestamp::from(SystemTime::now());
        let booted = Timestamp::from_seconds(now.seconds() - up).unwrap_or(now);
        let waited = Mutex::default();
        let (identity, launcher) = (process::program(launcher), launcher.to_owned());
        let checks = Checks::new(Hierarchy::open(&paths.cgroup).map_err(Error::Open)?, launcher.clone(), notify);
        let shared = Arc::new(Shared { hierarchy, paths, launcher, identity, booted, waited });
        Ok(Self { shared, followers: Mutex::default(), checks: Mutex::new(checks), wanted: Mutex::default() })
    }

    /// The last part of what `container` wrote to its standard output and error, since the agent started; `None` if it
    /// does not run, and did not since then.
    #[must_use]
    pub fn output(&self, container: &Name) -> Option<Tail> {
        self.followers().get(container).map(Follower::tail)
    }

    /// Follows the output of everything that runs, also of what another agent started.
    fn follow(&self, observed: &Observed) -> Result<(), Error> {
        let mut followers = self.followers();
        followers.retain(|name, _| observed.containers.contains_key(name));
        for (name, container) in &observed.containers {
            if container.runs.is_empty() || followers.contains_key(name) {
                continue;
            }
            let path = self.shared.paths.run.join("logs").join(name.as_str());
            followers.extend(Follower::follow(&path).map_err(Error::ObserveProcesses)?.map(|f| (name.clone(), f)));
        }
        Ok(())
    }

    fn followers(&self) -> MutexGuard<'_, BTreeMap<Name, Follower>> {
        lock(&self.followers)
    }

    /// Does blocking work on a thread for that, so that the agent keeps answering.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || work(&shared)).await.unwrap_or(Err(Error::Stopped))
    }
}

impl Reconciler for Containers {
    type Planner = ContainersPlanner;
    type Error = Error;

    fn look_for(&self, desired: &Desired) {
        let mut wanted = lock(&self.wanted);
        if *wanted != *desired {
            wanted.clone_from(desired);
        }
    }

    /// A container that ended, by what PID 1 writes down, and by its leaf that became empty; one that was frozen by hand.
    fn signals(&self, _: &Desired, observed: &Observed) -> Signals {
        Signals { files: files(&self.shared.paths, observed), ..Signals::default() }
    }

    async fn observe(&self) -> Result<Observed, Error> {
        let observed = self.blocking(|shared| {
            let mut waited = lock(&shared.waited);
            observe::observe(&shared.hierarchy, &shared.paths, (shared.booted, &shared.identity), &mut waited).map_err(
                |error| match error {
                    ObserveError::Groups(source) => Error::ObserveGroups(source),
                    ObserveError::Processes(source) => Error::ObserveProcesses(source),
                    ObserveError::Namespaces(source) => Error::ObserveNamespaces(source),
                },
            )
        });
        let observed = observed.await?;
        self.follow(&observed)?;
        lock(&self.checks).follow(&lock(&self.wanted), &observed);
        Ok(observed)
    }

    // [req->APS-05]
    async fn apply(&self, step: &Step) -> Result<Applied, Error> {
        let step = step.clone();
        self.blocking(move |shared| {
            match step {
                Step::End { container, launch, grace } => return shared.end(container, &launch, grace),
                Step::Thaw { container, launch } => shared
                    .hierarchy
                    .thaw(container.as_str(), &launch)
                    .map_err(|source| Error::Thaw { container, source }),
                Step::Ask { container, launch, pid, started, stop } => {
                    shared.ask(container, &launch, (pid, started), stop)
                }
                Step::Clear { container, launch } => shared
                    .hierarchy
                    .remove_leaf(container.as_str(), &launch)
                    .map_err(|source| Error::End { container, source }),
                Step::Agree { container, launch, stop } => shared.agree(&container, &launch, stop),
                Step::Start { launch, order, stop, ends, .. } => shared.start(launch, *order, stop, ends),
            }
            .map(|()| Applied::Done)
        })
        .await
    }
}

impl Shared {
    /// Asks the first process to end, and writes down when everything in the leaf is killed, unless that stands there. One that
    /// neither catches nor blocks the signal does not even get it (pid_namespaces(7)): waiting for it would be in vain.
    fn ask(&self, container: Name, launch: &str, (pid, started): (u32, u64), stop: Stop) -> Result<(), Error> {
        let number = number(stop.signal);
        let asked = || {
            let handled = process::identity(pid)?.map_or(0, |identity| identity.handled);
            process::signal(pid, started, number)?;
            Ok(handled & (1 << (number - 1)) != 0)
        };
        let heeds = asked().map_err(|source| Error::Ask { container: container.clone(), source })?;
        let grace = if heeds || stop.signal == StopSignal::Kill { stop.grace.duration() } else { Duration::ZERO };
        let at = self.noted(&container, launch, (Mark::Deadline, machine::since_boot() + grace));
        at.map(drop).map_err(|source| Error::End { container, source })
    }

    /// The time since boot that is noted with a leaf; `new` from now on, where none is.
    fn noted(&self, container: &Name, launch: &str, new: (Mark, Duration)) -> Result<Duration, cgroup::Error> {
        let (mark, time) = new;
        if let Some(noted) = self.read_noted(container, launch, mark)? {
            return Ok(noted);
        }
        match self.hierarchy.mark(container.as_str(), launch, mark, &time.as_millis().to_string()) {
            Err(cgroup::Error::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(time),
            written => written.map(|()| time),
        }
    }

    fn read_noted(&self, container: &Name, launch: &str, mark: Mark) -> Result<Option<Duration>, cgroup::Error> {
        let [noted] = self.hierarchy.marked(container.as_str(), launch, [mark])?;
        Ok(noted.and_then(|noted| noted.parse().ok()).map(Duration::from_millis))
    }

    /// Ends what lives in a leaf, and removes it. It waits for a moment; then the end goes on by itself.
    fn end(&self, container: Name, launch: &str, grace: Span) -> Result<Applied, Error> {
        let ended = self.try_to_end(&container, launch, grace.duration());
        match ended {
            Ok(Ending::Ended) => Ok(Applied::Done),
            Ok(Ending::Ends { left }) => Ok(Applied::Underway { look_in: Some(left) }),
            Ok(Ending::Stays) => Err(Error::StillAlive { container }),
            Err(source) => Err(Error::End { container, source }),
        }
    }

    fn try_to_end(&self, container: &Name, launch: &str, grace: Duration) -> Result<Ending, cgroup::Error> {
        let (groups, name, now) = (&self.hierarchy, container.as_str(), machine::since_boot());
        let left = |until: Duration| until.saturating_sub(machine::since_boot());
        // Nobody asked what has no first process: nothing of it would heed.
        let deadline = match grace {
            Duration::ZERO => now,
            grace => self.noted(container, launch, (Mark::Deadline, now + grace))?,
        };
        // A moment from when it was asked: several end at the same time, and are waited for together.
        let moment = deadline.min(deadline.saturating_sub(grace) + MOMENT);
        if !groups.wait_empty(name, launch, left(moment))? {
            if left(deadline) > Duration::ZERO {
                return Ok(Ending::Ends { left: left(deadline) });
            }
            let before = self.read_noted(container, launch, Mark::Killed)?;
            groups.kill(name, launch)?;
            let moment = if before.is_none() { MOMENT } else { Duration::ZERO };
            if !groups.wait_empty(name, launch, moment)? {
                let killed = self.noted(container, launch, (Mark::Killed, now))?;
                let left = left(killed + KILL_TIMEOUT);
                return Ok(if left.is_zero() { Ending::Stays } else { Ending::Ends { left } });
            }
        }
        groups.remove_leaf(name, launch).map(|()| Ending::Ended)
    }

    /// Writes down how the container is asked to end, whatever becomes of its manifest.
    fn agree(&self, container: &Name, launch: &str, stop: Stop) -> Result<(), Error> {
        let stop = serde_json::to_string(&stop).expect("a signal and a time");
        let agreed = self.hierarchy.mark(container.as_str(), launch, Mark::Stop, &stop);
        agreed.map_err(|source| Error::Agree { container: container.clone(), source })
    }

    // [req->TSF-INIT] [req->APS-05]
    fn start(&self, launch: String, order: LaunchOrder, stop: Stop, ends: u32) -> Result<(), Error> {
        let container = order.container.clone();
        let name = container.as_str();
        let leaves = self.hierarchy.leaves(name);
        let leaves = leaves.map_err(|source| Error::MakeLeaf { container: container.clone(), source })?;
        if leaves.iter().any(|leaf| leaf.launch_id == launch && leaf.populated) {
            return Ok(());
        }
        process::make_fifo(&order.log).map_err(|source| Error::MakeOutput { container: container.clone(), source })?;
        self.hierarchy
            .make_leaf(name, &launch)
            .map_err(|source| Error::MakeLeaf { container: container.clone(), source })?;
        self.hierarchy
            .mark(name, &launch, Mark::Launcher, &self.identity)
            .map_err(|source| Error::MakeLeaf { container: container.clone(), source })?;
        if ends > 0 {
            let marked = self.hierarchy.mark(name, &launch, Mark::Ends, &ends.to_string());
            marked.map_err(|source| Error::MakeLeaf { container: container.clone(), source })?;
        }
        self.agree(&container, &launch, stop)?;
        let request = Request { launch, order, check: None };
        let answer = self.launch(&request, &container);
        if answer.is_err() {
            // An empty leaf would look like a run that never was. If it cannot be removed, it shows what is left in it.
            let _ = self.hierarchy.kill(name, &request.launch);
            let _ = self.hierarchy.wait_empty(name, &request.launch, MOMENT);
            let _ = self.hierarchy.remove_leaf(name, &request.launch);
        }
        answer
    }

    fn launch(&self, request: &Request, container: &Name) -> Result<(), Error> {
        let container = || container.clone();
        let text = serde_json::to_vec(request).expect("a request has only text keys");
        let output =
            process::run(&self.launcher, &text).map_err(|source| Error::Launcher { container: container(), source })?;
        match serde_json::from_slice(&output.stdout) {
            Ok(LaunchAnswer::Started { .. }) => Ok(()),
            Ok(LaunchAnswer::Failed(failure)) => Err(Error::Start { container: container(), failure }),
            Ok(LaunchAnswer::Checked { .. }) | Err(_) => Err(Error::NoAnswer { container: container() }),
        }
    }
}

/// The files and folders of what was `observed`, also of those that are not in the manifest any more, and end.
fn files(paths: &Paths, observed: &Observed) -> BTreeSet<PathBuf> {
    let groups = paths.cgroup.join(objects::CGROUP);
    let mut files = BTreeSet::from([paths.exits()]);
    for (container, there) in &observed.containers {
        let group = groups.join(container.as_str());
        files.extend(there.runs.keys().map(|launch| group.join(objects::leaf(launch))));
        files.insert(group);
    }
    files
}

/// signal(7).
fn number(signal: StopSignal) -> i32 {
    match signal {
        StopSignal::Int => 2,
        StopSignal::Quit => 3,
        StopSignal::Kill => 9,
        StopSignal::Term => 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ObservedContainer, Run, RunState};

    /// Also one of which nothing is shown as a fact: its first process is gone, and its end is to wake the pass.
    #[test]
    fn every_leaf_that_was_observed_is_watched() {
        let run = |state| Run::new(7, state);
        let running = RunState::Running { pid: 70, started: 5, since: None };
        let runs = [("00000000000000aa", run(running)), ("00000000000000bb", run(RunState::InitExited))];
        let runs = runs.map(|(launch, run)| (launch.to_owned(), run)).into();
        let name = |text: &str| text.parse::<Name>().unwrap();
        let (web, db) = (ObservedContainer { runs, last_exit: None }, ObservedContainer::default());
        let observed = Observed { containers: [(name("web"), web), (name("db"), db)].into() };
        let files = files(&Paths::default(), &observed);
        let groups = Path::new("/sys/fs/cgroup/catenoid");
        let found: Vec<_> = files.iter().filter_map(|path| path.strip_prefix(groups).ok()?.to_str()).collect();
        assert_eq!(found, ["db", "web", "web/run.00000000000000aa", "web/run.00000000000000bb"]);
        assert!(files.contains(&Paths::default().exits()));
    }
}

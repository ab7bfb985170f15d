//! Asks containers again and again whether they work, and writes down what that came to.
//!
//! Nobody waits for a check: each runs beside the passes, by the launcher, and of each run no more than one at a time. What it
//! came to is written down with the run's leaf, so that it is observed like all else and outlives the agent; the pass is woken
//! when that changed.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use catenoid_kernel_base::{
    lock,
    process::{self, TICK_MILLISECONDS},
    wait::Notify,
};
use catenoid_kernel_cgroup::{Hierarchy, MARK_BYTES, Mark};
use catenoid_names::objects;
use catenoid_schema::{manifest::HealthCheck, name::Name};
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::{
    Checked, Desired, Observed, Run, RunState, WantedContainer,
    order::{CheckOrder, LaunchAnswer, LaunchOrder, Request},
};

/// How many checks run at once: each is a process that computes for a moment, and then waits.
const AT_ONCE: usize = 4;
/// From one check to the next of a container that has passed none yet.
const BEFORE_THE_FIRST: Duration = Duration::from_secs(1);
/// From one time that checks wake the pass to the next: containers decide how often they pass and fail.
const PACE: Duration = Duration::from_millis(500);
/// The most bytes that are kept of what a failed check said: with the rest they fit into a mark, each as an escape of JSON.
const SAID_LIMIT: usize = 200;

/// What is checked of a run: as long as all of it stays the same, it is checked in one row.
#[derive(Debug, Clone, PartialEq)]
struct CheckedRun {
    container: Name,
    launch: String,
    leaf: u64,
    /// [`crate::Launch::check`].
    name: String,
    check: CheckOrder,
    order: LaunchOrder,
}

/// The checks that go on.
#[derive(Debug)]
pub(crate) struct Checks {
    ground: Arc<Ground>,
    going_on: BTreeMap<Name, (CheckedRun, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Ground {
    hierarchy: Hierarchy,
    launcher: PathBuf,
    notify: Notify,
    /// When the pass is notified, or was last.
    notified_at: Mutex<Option<Instant>>,
    turns: Semaphore,
}

impl Ground {
    /// Wakes the pass, in a moment if it was woken just now.
    fn wake(&self) {
        let now = Instant::now();
        let mut notified_at = lock(&self.notified_at);
        if notified_at.is_some_and(|at| at > now) {
            // The pass will be notified of all that was written down by then.
            return;
        }
        let at = notified_at.map_or(now, |at| now.max(at + PACE));
        *notified_at = Some(at);
        let notify = self.notify.clone();
        tokio::spawn(async move {
            #[expect(clippy::disallowed_methods, reason = "what containers can do without end has a pace")]
            tokio::time::sleep(at.saturating_duration_since(now)).await;
            notify.notify();
        });
    }
}

impl Checks {
    /// By this launcher; `notify` wakes the pass.
    pub(crate) fn new(hierarchy: Hierarchy, launcher: PathBuf, notify: Notify) -> Self {
        let (notified_at, turns) = (Mutex::default(), Semaphore::new(AT_ONCE));
        let ground = Arc::new(Ground { hierarchy, launcher, notify, notified_at, turns });
        Self { ground, going_on: BTreeMap::new() }
    }

    /// Checks what runs and is `wanted` to be checked, and nothing else. Needs a tokio runtime.
    pub(crate) fn follow(&mut self, wanted: &Desired, observed: &Observed) {
        let runs_to_check: BTreeMap<Name, CheckedRun> = runs_to_check(wanted, observed).collect();
        self.going_on.retain(|name, (run, task)| {
            let stays = runs_to_check.get(name).is_some_and(|now| now == run) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for (name, run) in runs_to_check {
            let ground = &self.ground;
            self.going_on.entry(name).or_insert_with(|| {
                let task = tokio::spawn(again_and_again(Arc::clone(ground), run.clone()));
                (run, task)
            });
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.going_on.values().for_each(|(_, task)| task.abort());
    }
}

fn runs_to_check(wanted: &Desired, observed: &Observed) -> impl Iterator<Item = (Name, CheckedRun)> {
    wanted.containers.iter().filter_map(|(name, wanted)| {
        let WantedContainer::Ready(launch) = wanted else { return None };
        let (health, check_name) = (launch.health.clone()?, launch.check.clone()?);
        let run = observed.containers.get(name)?.runs.get(&launch.id)?;
        let Run { state: RunState::Running { pid, started, .. }, leaf, stopping: None, .. } = run else { return None };
        let check = CheckOrder { pid: *pid, started: *started, health };
        let (container, launch, order) = (name.clone(), launch.id.clone(), launch.order.clone());
        Some((name.clone(), CheckedRun { container, launch, leaf: *leaf, name: check_name, check, order }))
    })
}

/// Ends with the run, or when whoever asked for it lets it go.
async fn again_and_again(ground: Arc<Ground>, run: CheckedRun) {
    let run = Arc::new(run);
    let mut pause = Duration::ZERO;
    loop {
        #[expect(clippy::disallowed_methods, reason = "a check is due by time, and by nothing else")]
        tokio::time::sleep(pause).await;
        let Ok(turn) = ground.turns.acquire().await else { return };
        let begun = Instant::now();
        let checked = tokio::task::spawn_blocking({
            let (ground, run) = (Arc::clone(&ground), Arc::clone(&run));
            move || once(&ground, &run)
        });
        let checked = checked.await;
        drop(turn);
        let Ok(Some((next, is_news))) = checked else { return };
        if is_news {
            ground.wake();
        }
        // Whoever takes long leaves as much time to others.
        let took = begun.elapsed();
        pause = next.saturating_sub(took).max(took);
    }
}

/// One check; the time from its begin to that of the next, and whether it came to something else than before. Nothing once the
/// run is over, or asked to end.
fn once(ground: &Ground, run: &CheckedRun) -> Option<(Duration, bool)> {
    let (container, launch) = (run.container.as_str(), run.launch.as_str());
    // Nothing where another run has the leaf's name by now.
    let frozen = || {
        let folder = run.order.group.join(objects::leaf(launch));
        process::folder_id(&folder).ok()?.filter(|id| *id == run.leaf)?;
        let leaves = ground.hierarchy.leaves(container).ok()?;
        let leaf = leaves.into_iter().find(|leaf| leaf.launch_id == launch && leaf.populated)?;
        Some(leaf.frozen)
    };
    let written = || {
        let [checked, deadline] = ground.hierarchy.marked(container, launch, [Mark::Checked, Mark::Deadline]).ok()?;
        deadline.is_none().then_some(checked)
    };
    let health = &run.check.health;
    let soon = BEFORE_THE_FIRST.min(health.every.duration());
    let mark = written()?;
    // Who is held still can neither answer nor help it.
    if frozen()? {
        return Some((soon, false));
    }
    let (passed, said) = ask(ground, run);
    if frozen()? || written()? != mark {
        return Some((soon, false));
    }
    let ran = process::ticks_since_boot().saturating_sub(run.check.started) * TICK_MILLISECONDS;
    let before = read(mark.as_deref(), &run.name);
    let after = next(health, &before, (passed, said), Duration::from_millis(ran));
    if after != before || mark.is_none() {
        let text = serde_json::to_string(&after).expect("a record has only text keys");
        // What cannot be written is found again by the next one.
        let _ = ground.hierarchy.mark(container, launch, Mark::Checked, &text);
    }
    // Other words alone wake nobody.
    let shown = |checked: &Checked| (checked.passed, checked.failures > 0, checked.failures >= health.failures);
    let is_clear = after.passed || after.failures >= health.failures;
    Some((if is_clear { health.every.duration() } else { soon }, shown(&after) != shown(&before)))
}

/// Asks by the launcher; whether the check passed, and what it said.
fn ask(ground: &Ground, run: &CheckedRun) -> (bool, String) {
    let request = Request { launch: run.launch.clone(), order: run.order.clone(), check: Some(run.check.clone()) };
    let text = serde_json::to_vec(&request).expect("a request has only text keys");
    let failed = |why: &str| (false, format!("it could not be asked: {why}"));
    match process::run(&ground.launcher, &text).map(|output| serde_json::from_slice(&output.stdout)) {
        Ok(Ok(LaunchAnswer::Checked { passed, said })) => (passed, said),
        Ok(Ok(LaunchAnswer::Failed(failure))) => failed(&failure.message),
        Ok(Ok(LaunchAnswer::Started { .. }) | Err(_)) => failed("the launcher gave no answer"),
        Err(error) => failed(&error.to_string()),
    }
}

/// What was written down of a run, if it is of the check of this name.
fn read(mark: Option<&str>, name: &str) -> Checked {
    let written = mark.and_then(|mark| serde_json::from_str(mark).ok());
    let of_now = written.filter(|checked: &Checked| checked.check == name);
    of_now.unwrap_or_else(|| Checked { check: name.to_owned(), ..Checked::default() })
}

/// What the checks of a run that has `run` for so long have come to, with one more.
fn next(health: &HealthCheck, before: &Checked, (passed, said): (bool, String), ran: Duration) -> Checked {
    let check = before.check.clone();
    if passed {
        let failed = before.failures >= health.failures;
        let recovered = if failed { before.failures } else { before.recovered };
        return Checked { check, passed: true, failures: 0, recovered, said: String::new() };
    }
    let counts = before.passed || ran >= health.start.duration();
    let failures = before.failures.saturating_add(u32::from(counts)).min(health.failures);
    let recovered = if failures >= health.failures { 0 } else { before.recovered };
    Checked { check, passed: before.passed, failures, recovered, said: cut(said) }
}

/// As much of it as is kept.
fn cut(said: String) -> String {
    let mut said: String = said.chars().take(SAID_LIMIT).collect();
    let fits = |said: &str| serde_json::to_string(said).is_ok_and(|text| text.len() <= SAID_LIMIT);
    while !fits(&said) {
        said.pop();
    }
    said
}

const _: () = assert!(SAID_LIMIT + 200 < MARK_BYTES, "a record fits into a mark");

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> HealthCheck {
        serde_json::from_str(r#"{"tcp": 80, "failures": 2, "start": "10s"}"#).unwrap()
    }

    /// Row by row: how long it has run, whether the check passed, and what all came to.
    #[test]
    fn checks_come_to_what_they_say() {
        let health = health();
        let mut checked = Checked::default();
        for (row, (ran, passed, expected)) in [
            (1, false, (false, 0, 0, "no")),
            (9, false, (false, 0, 0, "no")),
            // It was to work by now.
            (10, false, (false, 1, 0, "no")),
            (11, false, (false, 2, 0, "no")),
            (12, true, (true, 0, 2, "")),
            (13, false, (true, 1, 2, "no")),
            (14, true, (true, 0, 2, "")),
            (15, false, (true, 1, 2, "no")),
            (16, false, (true, 2, 0, "no")),
            // It is known.
            (17, false, (true, 2, 0, "no")),
            (18, true, (true, 0, 2, "")),
        ]
        .into_iter()
        .enumerate()
        {
            checked = next(&health, &checked, (passed, "no".to_owned()), Duration::from_secs(ran));
            let Checked { passed, failures, recovered, said, .. } = &checked;
            assert_eq!((*passed, *failures, *recovered, said.as_str()), expected, "row {row}");
        }
        let early = next(&health, &Checked::default(), (true, String::new()), Duration::ZERO);
        let failed = next(&health, &early, (false, String::new()), Duration::from_secs(1));
        assert_eq!(failed.failures, 1, "once it passed, failures count at any time");
    }

    #[test]
    fn what_came_of_another_check_says_nothing() {
        let of = |check: &str| Checked { check: check.to_owned(), ..Checked::default() };
        let text = serde_json::to_string(&Checked { passed: true, failures: 2, ..of("a") }).unwrap();
        assert_eq!(read(Some(&text), "a").failures, 2);
        assert_eq!(read(Some(&text), "b"), of("b"));
        assert_eq!((read(Some("{"), "a"), read(None, "a")), (of("a"), of("a")));
    }

    #[test]
    fn a_record_fits_into_a_mark_whatever_is_said() {
        for said in ["\u{1}".repeat(5000), "ä".repeat(5000), "\"".repeat(300), "short".to_owned()] {
            let (check, most) = ("0123456789abcdef".to_owned(), u32::MAX);
            let checked = Checked { check, passed: true, failures: most, recovered: most, said: cut(said) };
            assert!(serde_json::to_string(&checked).unwrap().len() < MARK_BYTES);
        }
        assert_eq!(cut("short".to_owned()), "short");
    }
}

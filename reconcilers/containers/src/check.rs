//! Asks containers again and again whether they work, and writes down what that came to.
//!
//! Nobody waits for a check: each runs beside the passes, by the launcher, and of each run no more than one at a time. What it
//! came to is written down with the run's leaf, so that it is observed like all else and outlives the agent; the pass is woken
//! when that changed.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use catenoid_kernel::{
    cgroup::{Hierarchy, MARK_BYTES, Mark},
    name,
    process::{self, TICK_MILLISECONDS},
    wait::Bell,
};
use catenoid_schema::{manifest::HealthCheck, name::Name};
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::{
    Checked, Desired, Observed, Run, State, Wanted,
    order::{Answer, Check, LaunchOrder, Request},
};

/// How many checks run at once: each is a process that computes for a moment, and then waits.
const AT_ONCE: usize = 4;
/// From one check to the next of a container that has passed none yet.
const BEFORE_THE_FIRST: Duration = Duration::from_secs(1);
/// The most bytes that are kept of what a failed check said: with the rest they fit into a mark, each as an escape of JSON.
const SAID_LIMIT: usize = 200;

/// What is checked of a run: as long as all of it stays the same, it is checked in one row.
#[derive(Debug, Clone, PartialEq)]
struct Subject {
    container: Name,
    launch: String,
    leaf: u64,
    check: Check,
    order: LaunchOrder,
}

/// The checks that go on.
#[derive(Debug)]
pub(crate) struct Checks {
    ground: Arc<Ground>,
    going_on: BTreeMap<Name, (Subject, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Ground {
    hierarchy: Hierarchy,
    launcher: PathBuf,
    bell: Bell,
    turns: Semaphore,
}

impl Checks {
    /// By this launcher; `bell` wakes the pass.
    pub(crate) fn new(hierarchy: Hierarchy, launcher: PathBuf, bell: Bell) -> Self {
        let ground = Arc::new(Ground { hierarchy, launcher, bell, turns: Semaphore::new(AT_ONCE) });
        Self { ground, going_on: BTreeMap::new() }
    }

    /// Checks what runs and is `wanted` to be checked, and nothing else. Needs a tokio runtime.
    pub(crate) fn follow(&mut self, wanted: &Desired, observed: &Observed) {
        let subjects: BTreeMap<Name, Subject> = subjects(wanted, observed).collect();
        self.going_on.retain(|name, (subject, task)| {
            let stays = subjects.get(name).is_some_and(|now| now == subject) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for (name, subject) in subjects {
            let ground = &self.ground;
            self.going_on.entry(name).or_insert_with(|| {
                let task = tokio::spawn(again_and_again(Arc::clone(ground), subject.clone()));
                (subject, task)
            });
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.going_on.values().for_each(|(_, task)| task.abort());
    }
}

fn subjects(wanted: &Desired, observed: &Observed) -> impl Iterator<Item = (Name, Subject)> {
    wanted.containers.iter().filter_map(|(name, wanted)| {
        let Wanted::Ready(launch) = wanted else { return None };
        let health = launch.health.clone()?;
        let run = observed.containers.get(name)?.runs.get(&launch.id)?;
        let Run { state: State::Running { pid, started, .. }, leaf, stopping: None, .. } = run else { return None };
        let check = Check { pid: *pid, started: *started, health };
        let (container, order) = (name.clone(), launch.order.clone());
        Some((name.clone(), Subject { container, launch: launch.id.clone(), leaf: *leaf, check, order }))
    })
}

/// Ends with the run, or when whoever asked for it lets it go.
async fn again_and_again(ground: Arc<Ground>, subject: Subject) {
    let subject = Arc::new(subject);
    let mut pause = Duration::ZERO;
    loop {
        #[expect(clippy::disallowed_methods, reason = "a check is due by time, and by nothing else")]
        tokio::time::sleep(pause).await;
        let Ok(turn) = ground.turns.acquire().await else { return };
        let (ground, subject) = (Arc::clone(&ground), Arc::clone(&subject));
        let begun = Instant::now();
        let checked = tokio::task::spawn_blocking(move || once(&ground, &subject)).await;
        drop(turn);
        let Ok(Some(next)) = checked else { return };
        pause = next.saturating_sub(begun.elapsed());
    }
}

/// One check; the time from its begin to that of the next. Nothing once the run is over.
fn once(ground: &Ground, subject: &Subject) -> Option<Duration> {
    let (container, launch) = (subject.container.as_str(), subject.launch.as_str());
    // Nothing where another run has the leaf's name by now.
    let frozen = || {
        let folder = subject.order.group.join(name::leaf(launch));
        process::folder_id(&folder).ok()?.filter(|id| *id == subject.leaf)?;
        let leaves = ground.hierarchy.leaves(container).ok()?;
        let leaf = leaves.into_iter().find(|leaf| leaf.launch_id == launch && leaf.populated)?;
        Some(leaf.frozen)
    };
    let health = &subject.check.health;
    let before = read(&ground.hierarchy, container, launch)?;
    // Who is held still can neither answer nor help it.
    if frozen()? {
        return Some(BEFORE_THE_FIRST.min(health.every.duration()));
    }
    let request =
        Request { launch: subject.launch.clone(), order: subject.order.clone(), check: Some(subject.check.clone()) };
    let text = serde_json::to_vec(&request).expect("a request has only text keys");
    let (passed, said) =
        match process::run(&ground.launcher, &text).map(|output| serde_json::from_slice(&output.stdout)) {
            Ok(Ok(Answer::Checked { passed, said })) => (passed, said),
            Ok(Ok(Answer::Failed(failure))) => (false, format!("it could not be asked: {}", failure.message)),
            Ok(Ok(Answer::Started { .. }) | Err(_)) => {
                (false, "it could not be asked: the launcher gave no answer".to_owned())
            }
            Err(error) => (false, format!("it could not be asked: {error}")),
        };
    if frozen()? {
        return Some(BEFORE_THE_FIRST.min(health.every.duration()));
    }
    let ran = process::ticks_since_boot().saturating_sub(subject.check.started) * TICK_MILLISECONDS;
    let after = next(health, &before, (passed, said), Duration::from_millis(ran));
    if after != before {
        let text = serde_json::to_string(&after).expect("a record has only text keys");
        // What cannot be written is found again by the next one. Other words alone wake nobody.
        let written = ground.hierarchy.mark(container, launch, Mark::Checked, &text);
        if written.is_ok()
            && (Checked { said: String::new(), ..after.clone() }) != (Checked { said: String::new(), ..before })
        {
            ground.bell.ring();
        }
    }
    Some(if after.passed { health.every.duration() } else { BEFORE_THE_FIRST.min(health.every.duration()) })
}

/// What was written down of a run. Nothing if the run is over.
pub(crate) fn read(hierarchy: &Hierarchy, container: &str, launch: &str) -> Option<Checked> {
    let [mark] = hierarchy.marked(container, launch, [Mark::Checked]).ok()?;
    Some(mark.and_then(|mark| serde_json::from_str(&mark).ok()).unwrap_or_default())
}

/// What the checks of a run that has `run` for so long have come to, with one more.
fn next(health: &HealthCheck, before: &Checked, (passed, said): (bool, String), ran: Duration) -> Checked {
    if passed {
        let failed = before.failures >= health.failures;
        let recovered = if failed { before.failures } else { before.recovered };
        return Checked { passed: true, failures: 0, recovered, said: String::new() };
    }
    let counts = before.passed || ran >= health.start.duration();
    let failures = before.failures.saturating_add(u32::from(counts));
    let recovered = if failures >= health.failures { 0 } else { before.recovered };
    Checked { passed: before.passed, failures, recovered, said: cut(said) }
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

const _: () = assert!(SAID_LIMIT + 150 < MARK_BYTES, "a record fits into a mark");

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
            (17, false, (true, 3, 0, "no")),
            (18, true, (true, 0, 3, "")),
        ]
        .into_iter()
        .enumerate()
        {
            checked = next(&health, &checked, (passed, "no".to_owned()), Duration::from_secs(ran));
            let Checked { passed, failures, recovered, said } = &checked;
            assert_eq!((*passed, *failures, *recovered, said.as_str()), expected, "row {row}");
        }
        let early = next(&health, &Checked::default(), (true, String::new()), Duration::ZERO);
        let failed = next(&health, &early, (false, String::new()), Duration::from_secs(1));
        assert_eq!(failed.failures, 1, "once it passed, failures count at any time");
    }

    #[test]
    fn a_record_fits_into_a_mark_whatever_is_said() {
        for said in ["\u{1}".repeat(5000), "ä".repeat(5000), "\"".repeat(300), "short".to_owned()] {
            let checked = Checked { passed: true, failures: u32::MAX, recovered: u32::MAX, said: cut(said) };
            assert!(serde_json::to_string(&checked).unwrap().len() < MARK_BYTES);
        }
        assert_eq!(cut("short".to_owned()), "short");
    }
}

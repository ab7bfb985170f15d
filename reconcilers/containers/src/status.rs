//! What is reported of each container.

use catenoid_core::{HELD_BACK, RECOVERED, UNHEALTHY};
use catenoid_schema::{
    name::Name,
    status::{Blame, Condition, Facts, Health, SubjectStatus, Sync},
};

use crate::{
    Checked, Desired, Launch, Observed, ObservedContainer, Run, RunState, Stopping, WantedContainer,
    exit::{Exit, RunEnd},
    history::{self, LOOP, STEADY},
    judge::{self, Works, checked, failed, fits, rests},
    model::subject,
    words::{counted, ran, unhealthy, words},
};

pub(crate) fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let nothing = ObservedContainer::default();
    let wanted = desired.containers.iter().map(|(name, wanted)| {
        let container = observed.containers.get(name).unwrap_or(&nothing);
        match wanted {
            WantedContainer::Ready(launch) => ready(name, launch, container),
            WantedContainer::Waiting { reason } => waiting(name, reason, container),
            WantedContainer::HeldBack { reason, .. } => held_back(name, reason, container),
        }
    });
    let unwanted = observed
        .containers
        .iter()
        .filter(|(name, container)| !container.runs.is_empty() && !desired.containers.contains_key(*name));
    wanted.chain(unwanted.map(|(name, container)| superfluous(name, container))).collect()
}

fn ready(name: &Name, launch: &Launch, container: &ObservedContainer) -> SubjectStatus {
    let others = container.runs.keys().any(|id| *id != launch.id);
    let Some(run) = container.runs.get(&launch.id) else {
        let (health, condition) = if others {
            (Health::Progressing, Condition::new("Replacing", "another launch of it is still there".to_owned(), None))
        } else {
            (Health::Missing, Condition::new("NotStarted", "it does not run".to_owned(), None))
        };
        return status_of(name, Sync::OutOfSync, health, vec![condition], container);
    };
    let sync = if fits(launch, run) && !others { Sync::Synced } else { Sync::OutOfSync };
    let (health, first) = match &run.state {
        _ if run.stopping.is_some() => {
            (Health::Progressing, Condition::new("Replacing", "it ends, and is started again".to_owned(), None))
        }
        RunState::Running { .. } if run.wrong_namespace => {
            let message = "it runs outside of the namespaces that are its own; it is to be started again".to_owned();
            (Health::Degraded, Condition::new("WrongNamespace", message, None))
        }
        RunState::Running { .. } if run.outdated => {
            let message =
                "another version's launcher started it, with that one's system call filter; it is started again";
            (Health::Degraded, Condition::new("Outdated", message.to_owned(), None))
        }
        RunState::Running { .. } if run.frozen => {
            (Health::Suspended, Condition::new("Frozen", "its processes are frozen, not running".to_owned(), None))
        }
        RunState::Running { pid, .. } => {
            let health = match judge::health(launch, run) {
                Works::No => Health::Degraded,
                _ if run.ends >= LOOP && !run.steady => Health::Degraded,
                Works::NotYet => Health::Progressing,
                Works::Yes => Health::Healthy,
            };
            (health, Condition::new("Running", format!("it runs as process {pid}"), None))
        }
        RunState::InitExited if run.ending => {
            let message = "its first process ended; others of it were killed, and are not gone yet".to_owned();
            (Health::Progressing, Condition::new("Ending", message, None))
        }
        RunState::InitExited => (
            Health::Degraded,
            Condition::new("InitExited", "its first process is gone, but others of it live".to_owned(), None),
        ),
        RunState::Ended { exit } => ended(launch, exit.as_ref()),
    };
    let mut conditions = vec![first];
    if matches!(run.state, RunState::Running { .. }) {
        conditions.extend(of_checks(launch, run));
    }
    if matches!(run.state, RunState::Running { .. })
        && let Some(exit) = &container.last_exit
    {
        conditions.push(Condition::new("LastExit", format!("the run before {}", ran(exit)), None));
    }
    let failures = if matches!(run.state, RunState::Running { .. }) { run.ends } else { history::after(launch, run) };
    if run.steady && failures > 0 && judge::health(launch, run) == Works::Yes {
        let message = format!("it has run for {STEADY}, after {}", counted(failures));
        conditions.push(Condition::new(RECOVERED, message, None));
    } else if failures >= LOOP
        && !matches!(&run.state, RunState::Ended { exit } if rests(launch.restart, exit.as_ref()))
    {
        let message = format!("{}; `catenoid logs {name}` shows what it wrote", counted(failures));
        conditions.push(Condition::new("CrashLoop", message, Some(Blame::ManifestAuthor)));
    }
    status_of(name, sync, health, conditions, container)
}

/// What the health checks of a run have come to, where there is something to report.
fn of_checks(launch: &Launch, run: &Run) -> Option<Condition> {
    launch.health.as_ref()?;
    let nothing = Checked::default();
    let checked = checked(launch, run).unwrap_or(&nothing);
    match judge::health(launch, run) {
        Works::No => {
            let again = if failed(launch, run) { "; it is to be started again" } else { "" };
            let message = format!("{}{again}", unhealthy(Some(checked)));
            Some(Condition::new(UNHEALTHY, message, Some(Blame::ManifestAuthor)))
        }
        Works::NotYet => {
            let said = if checked.said.is_empty() { String::new() } else { format!(": {}", checked.said) };
            let message = format!("its health check has not passed yet{said}");
            Some(Condition::new("NotReady", message, None))
        }
        Works::Yes if checked.failures > 0 => Some(Condition::new("HealthCheckFailed", unhealthy(Some(checked)), None)),
        Works::Yes if checked.recovered > 0 => {
            let message = format!("its health check passes again, after {}", counted(checked.recovered));
            Some(Condition::new(RECOVERED, message, None))
        }
        Works::Yes => None,
    }
}

fn ended(launch: &Launch, exit: Option<&Exit>) -> (Health, Condition) {
    let words = words(exit);
    if !rests(launch.restart, exit) {
        return (Health::Degraded, Condition::new("Ended", format!("{words}; it is to be started again"), None));
    }
    match exit.map(|exit| exit.end) {
        Some(RunEnd::Code(0)) => (Health::Healthy, Condition::new("Completed", words, None)),
        _ => (Health::Degraded, Condition::new("Ended", words, Some(Blame::Administrator))),
    }
}

fn waiting(name: &Name, reason: &str, container: &ObservedContainer) -> SubjectStatus {
    let runs = container.runs.values().any(|run| matches!(run.state, RunState::Running { .. }) && !run.frozen);
    let health = if runs { Health::Healthy } else { Health::Missing };
    status_of(name, Sync::OutOfSync, health, vec![Condition::new("Waiting", reason.to_owned(), None)], container)
}

fn held_back(name: &Name, reason: &str, container: &ObservedContainer) -> SubjectStatus {
    let condition = Condition::new(HELD_BACK, reason.to_owned(), Some(Blame::Administrator));
    status_of(name, Sync::OutOfSync, Health::Degraded, vec![condition], container)
}

fn superfluous(name: &Name, container: &ObservedContainer) -> SubjectStatus {
    let message = "no container of the manifest is called so; it is to be ended".to_owned();
    status_of(name, Sync::OutOfSync, Health::Progressing, vec![Condition::new("Superfluous", message, None)], container)
}

/// That a run was asked to end, and until when it may.
fn stopping(stopping: &Stopping) -> Condition {
    let until = stopping.until.map_or_else(String::new, |until| format!("; what is left of it at {until} is killed"));
    Condition::new("Stopping", format!("it was asked to end{until}"), None)
}

fn status_of(
    name: &Name,
    sync: Sync,
    health: Health,
    mut conditions: Vec<Condition>,
    container: &ObservedContainer,
) -> SubjectStatus {
    conditions.extend(container.runs.values().find_map(|run| Some(stopping(run.stopping.as_ref()?))));
    let mut facts = Facts::default();
    let running = container.runs.iter().find_map(|(id, run)| match &run.state {
        RunState::Running { pid, started, since } => Some((id, pid, started, since)),
        _ => None,
    });
    if let Some((id, pid, started, since)) = running {
        facts.add("launch", id);
        facts.add("pid", pid);
        facts.add("startTicks", started);
        since.iter().for_each(|since| facts.add("startedAt", since));
    }
    if let Some(exit) = &container.last_exit {
        facts.add("lastExit", exit.end);
        facts.add("lastExitAt", exit.at);
    }
    SubjectStatus { subject: subject(name), sync, health, conditions, facts }
}

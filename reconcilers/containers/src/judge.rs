//! Judges a run by the launch that is wanted: whether it is right, works, failed, or rests.

use catenoid_schema::manifest::Restart;

use crate::{
    Checked, Launch, Run, RunState,
    exit::{Exit, RunEnd},
};

/// Whether `run`, which is of `launch`, is all that is wanted.
pub(crate) fn fits(launch: &Launch, run: &Run) -> bool {
    match &run.state {
        RunState::Running { .. } => !run.frozen && !over(launch, run) && agrees(launch, run),
        RunState::InitExited => false,
        RunState::Ended { exit } => run.stopping.is_none() && rests(launch.restart, exit.as_ref()),
    }
}

/// Whether `run` would be asked to end as its manifest says now.
pub(crate) fn agrees(launch: &Launch, run: &Run) -> bool {
    run.stop.is_none_or(|stop| stop == launch.stop)
}

/// Whether `run`, which is of `launch`, is to make room for another one. Who was asked to end is: that it was, and ended,
/// is nothing that its manifest says, however it ended.
pub(crate) fn over(launch: &Launch, run: &Run) -> bool {
    match &run.state {
        RunState::Running { .. } => {
            run.wrong_namespace || run.outdated || run.stopping.is_some() || failed(launch, run)
        }
        RunState::InitExited => !run.ending,
        RunState::Ended { exit } => run.stopping.is_some() || !rests(launch.restart, exit.as_ref()),
    }
}

/// Whether a container that runs works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Works {
    /// It does, as far as it is asked.
    Yes,
    /// No check of it passed yet.
    NotYet,
    /// As many checks in a row failed as its manifest says.
    No,
}

/// What came of the checks of `run`, which is of `launch`, as far as they were those of now.
pub(crate) fn checked<'a>(launch: &Launch, run: &'a Run) -> Option<&'a Checked> {
    run.checked.as_ref().filter(|checked| launch.check.as_ref() == Some(&checked.check))
}

/// What the checks of `run`, which is of `launch`, have come to.
pub(crate) fn health(launch: &Launch, run: &Run) -> Works {
    match (&launch.health, checked(launch, run)) {
        (None, _) => Works::Yes,
        (Some(health), Some(checked)) if checked.failures >= health.failures => Works::No,
        (Some(_), Some(checked)) if checked.passed => Works::Yes,
        (Some(_), _) => Works::NotYet,
    }
}

/// Whether `run`, which is of `launch`, does not work and is to be started again for that: as systemd has it with what its
/// watchdog finds.
pub(crate) fn failed(launch: &Launch, run: &Run) -> bool {
    launch.restart != Restart::Never && health(launch, run) == Works::No
}

/// Whether a container that ended by itself stays so. An end that nobody recorded is no success.
pub(crate) fn rests(restart: Restart, exit: Option<&Exit>) -> bool {
    match restart {
        Restart::Always => false,
        Restart::OnFailure => exit.is_some_and(|exit| exit.end == RunEnd::Code(0)),
        Restart::Never => true,
    }
}

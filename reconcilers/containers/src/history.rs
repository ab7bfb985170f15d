//! How often in a row a container failed, and for how long its next start waits.
//!
//! A run fails when it ends in any way but by itself with 0, or sooner than [`EARLY`] after its start, or when its health
//! checks fail and it is started again for that. The count is written
//! down with each run as it is started (an attribute of its leaf), so it is observed, and outlives the agent. It is of one
//! launch: another version of the container, one that was ordered to end, and a device that was booted begin anew. So does a
//! run that lasted for [`STEADY`].

use std::time::Duration;

use catenoid_core::Setback;
use catenoid_schema::units::Span;

use crate::{
    Desired, Launch, Observed, Run, RunState, WantedContainer,
    exit::{Exit, RunEnd},
    judge::{checked, failed, rests},
    model::subject,
    words::{counted, unhealthy, words},
};

/// A container that ends sooner than this after its start did not work, whatever it says: as docker has it.
const EARLY: Span = Span::from_milliseconds(10_000);
/// One that runs for this long works: as kubelet has it, twice the longest pause. In a shorter time a loop would pass for
/// recovered whose runs last no longer than what it is paused for.
pub(crate) const STEADY: Span = Span::from_milliseconds(600_000);
/// Failures in a row from which on it is reported as a loop. One can be an accident, and two an accident and its heal.
pub(crate) const LOOP: u32 = 3;
/// The pause after the second failure in a row; each further one doubles it. After the first there is none: it worked.
const FIRST: Duration = Duration::from_millis(500);
/// No pause is longer: as every other of the device.
const LONGEST: Duration = Duration::from_secs(300);
/// The same of a core container, by which alone the device can be spoken to.
const LONGEST_OF_CORE: Duration = Duration::from_secs(10);

/// The failures in a row once `run`, which is of `launch`, is over.
pub(crate) fn after(launch: &Launch, run: &Run) -> u32 {
    let worked = checked(launch, run).is_some_and(|checked| checked.passed);
    let steady = run.steady || matches!(&run.state, RunState::Ended { exit: Some(exit) } if exit.ran >= STEADY);
    match &run.state {
        // Also while it ends: that is why it was asked to.
        _ if failed(launch, run) && steady && worked => 1,
        _ if failed(launch, run) => run.ends.saturating_add(1),
        // On purpose, too: however it ended.
        _ if run.stopping.is_some() => 0,
        // It is replaced, on purpose.
        RunState::Running { .. } => 0,
        RunState::InitExited => run.ends.saturating_add(1),
        RunState::Ended { exit } if !ended_ill(exit.as_ref()) => 0,
        RunState::Ended { exit: Some(exit) } if exit.ran >= STEADY => 1,
        RunState::Ended { .. } => run.ends.saturating_add(1),
    }
}

fn ended_ill(exit: Option<&Exit>) -> bool {
    exit.is_none_or(|exit| exit.end != RunEnd::Code(0) || exit.ran < EARLY)
}

/// How long the next start of `launch` waits after so many failures in a row.
pub(crate) fn pause(launch: &Launch, failures: u32) -> Duration {
    let longest = if launch.order.control.is_some() { LONGEST_OF_CORE } else { LONGEST };
    let doublings = failures.checked_sub(2);
    doublings.map_or(Duration::ZERO, |doublings| {
        let times = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        FIRST.saturating_mul(times).min(longest)
    })
}

/// The containers that failed and are to be started again.
pub(crate) fn setbacks(desired: &Desired, observed: &Observed) -> Vec<Setback> {
    let mut setbacks = Vec::new();
    for (name, wanted) in &desired.containers {
        let WantedContainer::Ready(launch) = wanted else { continue };
        let run = observed.containers.get(name).and_then(|container| container.runs.get(&launch.id));
        let Some(run) = run.filter(|run| run.stopping.is_none()) else { continue };
        let what = match &run.state {
            RunState::Running { .. } if failed(launch, run) => unhealthy(checked(launch, run)),
            RunState::Running { .. } => continue,
            RunState::Ended { exit } if rests(launch.restart, exit.as_ref()) || !ended_ill(exit.as_ref()) => continue,
            RunState::Ended { exit } => words(exit.as_ref()),
            RunState::InitExited if run.ending => continue,
            // Whose end takes long fails like any other.
            RunState::InitExited => "its first process ended, and others of it did not".to_owned(),
        };
        let failures = after(launch, run);
        let message = format!("{what}; {}", counted(failures));
        setbacks.push(Setback { subject: subject(name), id: run.leaf, pause: pause(launch, failures), message });
    }
    setbacks
}

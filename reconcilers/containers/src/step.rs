//! One effect of this room, and what is there once it is done.

use std::fmt;

use catenoid_schema::{
    manifest::{Stop, StopSignal},
    name::Name,
    status::Subject,
    units::Span,
};
use serde::Serialize;

use crate::{Checked, Observed, Run, RunState, Stopping, model::subject, order::LaunchOrder, words::counted};

/// One effect of this room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Step {
    /// Lets frozen processes go on.
    Thaw {
        /// The container whose processes are frozen.
        container: Name,
        /// Of which launch.
        launch: String,
    },
    /// Asks the first process to end.
    Ask {
        /// The container that is to end.
        container: Name,
        /// Of which launch.
        launch: String,
        /// Its pid.
        pid: u32,
        /// When it started.
        started: u64,
        /// By which signal, and how long after that everything is killed.
        stop: Stop,
    },
    /// Ends everything in the leaf: what is left when its time is over is killed. Proves that nothing lives, and removes it.
    End {
        /// The container that is to end.
        container: Name,
        /// Of which launch.
        launch: String,
        /// How long after the asking everything is killed.
        grace: Span,
    },
    /// Removes a leaf in which nothing lives.
    Clear {
        /// The container that ended.
        container: Name,
        /// Of which launch.
        launch: String,
    },
    /// Writes down how what runs is asked to end from now on.
    Agree {
        /// The container that runs.
        container: Name,
        /// Of which launch.
        launch: String,
        /// By which signal, and how long after that everything is killed.
        stop: Stop,
    },
    /// Starts the container.
    Start {
        /// The name of the launch.
        launch: String,
        /// How to start it.
        order: Box<LaunchOrder>,
        /// How it is asked to end.
        stop: Stop,
        /// How often in a row the runs before it failed.
        ends: u32,
        /// By which check it is asked whether it works.
        #[serde(skip_serializing_if = "Option::is_none")]
        check: Option<String>,
    },
}

impl catenoid_core::Step for Step {
    type Observed = Observed;

    fn subject(&self) -> Subject {
        subject(self.container())
    }

    fn effect_on(&self, observed: &mut Observed) {
        let container = observed.containers.entry(self.container().clone()).or_default();
        match self {
            Self::Thaw { launch, .. } => {
                if let Some(run) = container.runs.get_mut(launch) {
                    run.frozen = false;
                }
            }
            // Whether it heeds is its own affair.
            Self::Ask { launch, .. } => {
                if let Some(run) = container.runs.get_mut(launch) {
                    run.stopping = Some(Stopping { until: None });
                }
            }
            Self::End { launch, .. } | Self::Clear { launch, .. } => {
                container.runs.remove(launch);
            }
            Self::Agree { launch, stop, .. } => {
                if let Some(run) = container.runs.get_mut(launch) {
                    run.stop = Some(*stop);
                }
            }
            Self::Start { launch, stop, ends, check, .. } => {
                // The kernel will say which pid, leaf and moment.
                let state = RunState::Running { pid: 0, started: 0, since: None };
                // As if it worked: that is what it is started for.
                let works = |check: &String| Checked { check: check.clone(), passed: true, ..Checked::default() };
                let checked = check.as_ref().map(works);
                let run = Run { stop: Some(*stop), ends: *ends, checked, ..Run::new(0, state) };
                container.runs.insert(launch.clone(), run);
            }
        }
    }
}

impl Step {
    /// The container it is about.
    #[must_use]
    pub fn container(&self) -> &Name {
        match self {
            Self::Thaw { container, .. }
            | Self::Ask { container, .. }
            | Self::End { container, .. }
            | Self::Clear { container, .. }
            | Self::Agree { container, .. } => container,
            Self::Start { order, .. } => &order.container,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let container = self.container();
        match self {
            Self::Thaw { .. } => write!(f, "let frozen container `{container}` go on"),
            Self::Ask { stop, .. } => write!(f, "ask container `{container}` to end with {}", signal_name(stop.signal)),
            Self::End { grace, .. } if grace.milliseconds() == 0 => {
                write!(f, "kill what is left of container `{container}`")
            }
            Self::End { grace, .. } => write!(f, "wait {grace} for the end of container `{container}`, then kill it"),
            Self::Clear { .. } => write!(f, "clear away the last run of container `{container}`"),
            Self::Agree { stop: Stop { signal, grace }, .. } => {
                write!(f, "from now on container `{container}` ends by {} within {grace}", signal_name(*signal))
            }
            Self::Start { launch, ends: 0, .. } => write!(f, "start container `{container}` as launch {launch}"),
            Self::Start { launch, ends, .. } => {
                write!(f, "start container `{container}` as launch {launch}, after {}", counted(*ends))
            }
        }
    }
}

fn signal_name(signal: StopSignal) -> &'static str {
    match signal {
        StopSignal::Term => "SIGTERM",
        StopSignal::Int => "SIGINT",
        StopSignal::Quit => "SIGQUIT",
        StopSignal::Kill => "SIGKILL",
    }
}

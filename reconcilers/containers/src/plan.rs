//! From the runs that are there to those that are wanted.

use std::{collections::BTreeMap, fmt};

use catenoid_core::{Asked, Plan, Planner, Setback};
use catenoid_schema::{
    manifest::{Restart, Stop, StopSignal},
    name::Name,
    status::{Subject, SubjectStatus},
    units::{Span, Timestamp},
};
use serde::{Deserialize, Serialize};

use crate::{
    Desired, Launch, WantedContainer,
    desired::desired,
    exit::{End, Exit},
    history,
    order::LaunchOrder,
    status::{status, subject},
};

/// What is there: the containers that have a control group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Observed {
    /// By name.
    pub containers: BTreeMap<Name, Container>,
}

/// What is there of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its leaves, by launch.
    #[serde(default)]
    pub runs: BTreeMap<String, Run>,
    /// Its last end that was recorded, of whichever launch.
    #[serde(default)]
    pub last_exit: Option<Exit>,
}

/// One leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The id (inode) of the leaf.
    pub leaf: u64,
    /// What lives in it.
    pub state: State,
    /// Whether its processes are frozen.
    pub frozen: bool,
    /// Whether its first process is outside of the namespaces that are pinned for the container: they were removed by hand.
    #[serde(default, alias = "astray")]
    pub wrong_namespace: bool,
    /// Whether another launcher started it than the device has now: its system call filter may be another one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub outdated: bool,
    /// How it is asked to end, as was written down when it was started. Of what an earlier version started nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// How often in a row the runs before it failed ([`crate::history`]), as was written down when it was started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ends: u32,
    /// Whether it has run for so long that it counts as recovered.
    #[serde(default, skip_serializing_if = "is_false")]
    pub steady: bool,
    /// That it was asked to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Stopping>,
    /// Whether its first process is gone, all others were killed with it, and are not gone yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ending: bool,
    /// What came of asking it whether it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

/// What came of the checks of a run so far, as it is written down with its leaf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Which check it was ([`Launch::check`]): what came of another one says nothing.
    #[serde(default)]
    pub check: String,
    /// Whether one passed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub passed: bool,
    /// How many failed since then, of those that count, up to so many that it does not work.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// After how many failures, of a run that did not work any more, the last one passed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recovered: u32,
    /// What the last one that failed said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
}

/// A run that was asked to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopping {
    /// When what is left of it is killed, by the wall clock, as far as that is right.
    pub until: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What lives in a leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// The container's first process, and what it started.
    Running {
        /// Its pid on the device.
        pid: u32,
        /// When it started, in clock ticks (1/100 s) after boot: with the pid this names a process for good.
        started: u64,
        /// The same by the wall clock, as far as that is right.
        since: Option<Timestamp>,
    },
    /// Something, but not the first process: what a start left that was cut short.
    #[serde(alias = "headless")]
    InitExited,
    /// Nothing any more.
    Ended {
        /// How it ended, if that was recorded.
        exit: Option<Exit>,
    },
}

/// One effect of this room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Step {
    /// Lets frozen processes go on.
    Thaw {
        /// Whose.
        container: Name,
        /// Of which launch.
        launch: String,
    },
    /// Asks the first process to end.
    Ask {
        /// Whose.
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
        /// Whose.
        container: Name,
        /// Of which launch.
        launch: String,
        /// How long after the asking everything is killed.
        grace: Span,
    },
    /// Removes a leaf in which nothing lives.
    Clear {
        /// Whose.
        container: Name,
        /// Of which launch.
        launch: String,
    },
    /// Writes down how what runs is asked to end from now on.
    Agree {
        /// Whose.
        container: Name,
        /// Of which launch.
        launch: String,
        /// How.
        stop: Stop,
    },
    /// Starts the container.
    Start {
        /// The name of the launch.
        launch: String,
        /// How.
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
                let state = State::Running { pid: 0, started: 0, since: None };
                let (frozen, wrong_namespace, outdated, steady) = (false, false, false, false);
                let (leaf, stop, ends, stopping) = (0, Some(*stop), *ends, None);
                // As if it worked: that is what it is started for.
                let works = |check: &String| Checked { check: check.clone(), passed: true, ..Checked::default() };
                let checked = check.as_ref().map(works);
                let ending = false;
                let run = Run {
                    leaf,
                    state,
                    frozen,
                    wrong_namespace,
                    outdated,
                    stop,
                    ends,
                    steady,
                    stopping,
                    ending,
                    checked,
                };
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
                write!(f, "start container `{container}` as launch {launch}, after {}", history::counted(*ends))
            }
        }
    }
}

pub(crate) fn signal_name(signal: StopSignal) -> &'static str {
    match signal {
        StopSignal::Term => "SIGTERM",
        StopSignal::Int => "SIGINT",
        StopSignal::Quit => "SIGQUIT",
        StopSignal::Kill => "SIGKILL",
    }
}

/// The room that containers are run from.
const GUESTS: &str = "guests";

/// The pure half of this room.
#[derive(Debug, Clone, Copy)]
pub enum ContainersPlanner {}

impl Planner for ContainersPlanner {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    const NAME: &'static str = "containers";
    const NEEDS: &'static [&'static str] = &[GUESTS];
    /// A start computes, and waits for the kernel in between: twice the processors of the smallest device.
    const BESIDE: usize = 4;
    /// Who lives in namespaces that were just made anew is outside of them.
    const AFFECTED_BY: &'static [&'static str] = &["zones"];

    fn desired(asked: &Asked<'_>) -> Desired {
        desired(asked.manifest, asked.guests, asked.paths)
    }

    fn satisfied(desired: &Desired, observed: &Observed) -> bool {
        let each_wanted_is_there = desired.containers.iter().all(|(name, wanted)| match wanted {
            WantedContainer::Waiting { .. } => true,
            WantedContainer::HeldBack { .. } => {
                observed.containers.get(name).is_none_or(|container| container.runs.is_empty())
            }
            WantedContainer::Ready(launch) => {
                let runs = observed.containers.get(name).map(|container| &container.runs);
                // How it ended, and whether it is started again, is known when it has: that is waited for.
                let is_right = |run: &Run| run.ending || fits(launch, run);
                runs.is_some_and(|runs| runs.len() == 1 && runs.get(&launch.id).is_some_and(is_right))
            }
        });
        let nothing_else_is = observed
            .containers
            .iter()
            .all(|(name, container)| container.runs.is_empty() || desired.containers.contains_key(name));
        each_wanted_is_there && nothing_else_is
    }

    fn plan(desired: &Desired, observed: &Observed) -> Plan<Step> {
        let mut retired = Retired::default();
        let mut establish = Vec::new();
        for (name, container) in &observed.containers {
            match desired.containers.get(name) {
                None => container.runs.iter().for_each(|(id, run)| retired.add(name, id, run, Stop::default())),
                Some(WantedContainer::Waiting { .. }) => {}
                Some(WantedContainer::HeldBack { stop, .. }) => {
                    container.runs.iter().for_each(|(id, run)| retired.add(name, id, run, *stop));
                }
                Some(WantedContainer::Ready(launch)) => {
                    let others = container.runs.iter().filter(|(id, run)| **id != launch.id || over(launch, run));
                    others.for_each(|(id, run)| retired.add(name, id, run, launch.stop));
                }
            }
        }
        for (name, wanted) in &desired.containers {
            let WantedContainer::Ready(launch) = wanted else { continue };
            let run = observed.containers.get(name).and_then(|container| container.runs.get(&launch.id));
            match run {
                Some(run) if over(launch, run) => establish.push(start(launch, history::after(launch, run))),
                None => establish.push(start(launch, 0)),
                Some(run @ Run { state: State::Running { .. }, .. }) => {
                    let (container, id) = (name.clone(), launch.id.clone());
                    if run.frozen {
                        establish.push(Step::Thaw { container: container.clone(), launch: id.clone() });
                    }
                    if !agrees(launch, run) {
                        establish.push(Step::Agree { container, launch: id, stop: launch.stop });
                    }
                }
                Some(_) => {}
            }
        }
        Plan { prepare: Vec::new(), retire: retired.steps(), establish }
    }

    /// By the core container the device is spoken to.
    fn urgent(desired: &Desired) -> Vec<Subject> {
        let is_core = |wanted: &WantedContainer| matches!(wanted, WantedContainer::Ready(launch) if launch.order.control.is_some());
        let core = desired.containers.iter().filter(|(_, wanted)| is_core(wanted));
        core.map(|(name, _)| subject(name)).collect()
    }

    fn needs(desired: &Desired, of: &str) -> Vec<(Subject, String)> {
        if of == GUESTS { desired.needs() } else { Vec::new() }
    }

    /// Containers that end, for what comes then is not known yet; and those that run, and do not work or did not show it yet.
    fn lacking(desired: &Desired, observed: &Observed) -> BTreeMap<String, String> {
        let lacks = |name: &Name, container: &Container| {
            if container.runs.values().any(|run| run.ending) {
                return Some(format!("container `{name}` ends"));
            }
            let Some(WantedContainer::Ready(launch)) = desired.containers.get(name) else { return None };
            let run = container.runs.get(&launch.id).filter(|run| matches!(run.state, State::Running { .. }))?;
            match health(launch, run) {
                Works::Yes => None,
                Works::NotYet => Some(format!("container `{name}` has not passed its health check yet")),
                Works::No => Some(format!("container `{name}` fails its health check")),
            }
        };
        let containers = observed.containers.iter();
        containers.filter_map(|(name, container)| Some((name.to_string(), lacks(name, container)?))).collect()
    }

    fn let_wait(desired: &mut Desired, subject: &Subject, reason: &str) {
        desired.let_wait(subject, reason);
    }

    fn hold_back(desired: &mut Desired, subject: &Subject, reason: &str) {
        desired.hold_back(subject, reason);
    }

    fn setbacks(desired: &Desired, observed: &Observed) -> Vec<Setback> {
        history::setbacks(desired, observed)
    }

    fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
        status(desired, observed)
    }
}

/// Whether `run`, which is of `launch`, is all that is wanted.
pub(crate) fn fits(launch: &Launch, run: &Run) -> bool {
    match &run.state {
        State::Running { .. } => !run.frozen && !over(launch, run) && agrees(launch, run),
        State::InitExited => false,
        State::Ended { exit } => run.stopping.is_none() && rests(launch.restart, exit.as_ref()),
    }
}

/// Whether `run` would be asked to end as its manifest says now.
fn agrees(launch: &Launch, run: &Run) -> bool {
    run.stop.is_none_or(|stop| stop == launch.stop)
}

/// Whether `run`, which is of `launch`, is to make room for another one. Who was asked to end is: that it was, and ended,
/// is nothing that its manifest says, however it ended.
fn over(launch: &Launch, run: &Run) -> bool {
    match &run.state {
        State::Running { .. } => run.wrong_namespace || run.outdated || run.stopping.is_some() || failed(launch, run),
        State::InitExited => !run.ending,
        State::Ended { exit } => run.stopping.is_some() || !rests(launch.restart, exit.as_ref()),
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
        Restart::OnFailure => exit.is_some_and(|exit| exit.end == End::Code(0)),
        Restart::Never => true,
    }
}

fn start(launch: &Launch, ends: u32) -> Step {
    let (id, order, check) = (launch.id.clone(), Box::new(launch.order.clone()), launch.check.clone());
    Step::Start { launch: id, order, stop: launch.stop, ends, check }
}

/// Everything is asked to end before anything is waited for, so that several end at the same time.
#[derive(Default)]
struct Retired {
    ask: Vec<Step>,
    wait: Vec<Step>,
}

impl Retired {
    /// Ends `run` by what it was started under; `else_by` where that is not known.
    fn add(&mut self, container: &Name, launch: &str, run: &Run, else_by: Stop) {
        let stop = run.stop.unwrap_or(else_by);
        let (container, launch) = (container.clone(), launch.to_owned());
        match run.state {
            State::Running { pid, started, .. } => {
                if run.frozen {
                    self.ask.push(Step::Thaw { container: container.clone(), launch: launch.clone() });
                }
                if run.stopping.is_none() {
                    self.ask.push(Step::Ask {
                        container: container.clone(),
                        launch: launch.clone(),
                        pid,
                        started,
                        stop,
                    });
                }
                self.wait.push(Step::End { container, launch, grace: stop.grace });
            }
            State::InitExited => self.wait.push(Step::End { container, launch, grace: Span::from_milliseconds(0) }),
            State::Ended { .. } => self.wait.push(Step::Clear { container, launch }),
        }
    }

    fn steps(self) -> Vec<Step> {
        self.ask.into_iter().chain(self.wait).collect()
    }
}

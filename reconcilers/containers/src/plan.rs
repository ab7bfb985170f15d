//! From the runs that are there to those that are wanted.

use std::collections::BTreeMap;

use catenoid_core::{Asked, Plan, Planner, Setback};
use catenoid_schema::{
    manifest::Stop,
    name::Name,
    status::{Subject, SubjectStatus},
    units::Span,
};

use crate::{
    Desired, Launch, Observed, ObservedContainer, Run, RunState, Step, WantedContainer,
    desired::desired,
    history,
    judge::{Works, agrees, fits, health, over},
    model::subject,
    status::status,
};

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
                Some(run @ Run { state: RunState::Running { .. }, .. }) => {
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
        let lacks = |name: &Name, container: &ObservedContainer| {
            if container.runs.values().any(|run| run.ending) {
                return Some(format!("container `{name}` ends"));
            }
            let Some(WantedContainer::Ready(launch)) = desired.containers.get(name) else { return None };
            let run = container.runs.get(&launch.id).filter(|run| matches!(run.state, RunState::Running { .. }))?;
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
            RunState::Running { pid, started, .. } => {
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
            RunState::InitExited => self.wait.push(Step::End { container, launch, grace: Span::from_milliseconds(0) }),
            RunState::Ended { .. } => self.wait.push(Step::Clear { container, launch }),
        }
    }

    fn steps(self) -> Vec<Step> {
        self.ask.into_iter().chain(self.wait).collect()
    }
}

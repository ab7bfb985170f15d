//! A room in one pass or forecast: what is asked of it, what was seen of it, and what it plans.

use std::{borrow::Cow, collections::BTreeMap};

use catenoid_schema::{
    control::{Phase, PlannedStep},
    status::{Subject, SubjectStatus},
};

use crate::{Applied, Boxed, Door, Plan, Planner, RoomFault, Setback, Signals, Step as _};

/// The room `P`, between what is asked of it and what it holds. Its plan is made once from these, and again when one of them
/// changed.
pub struct Slot<'a, P: Planner> {
    asked: &'a P::Desired,
    /// Why subjects wait for what others lack.
    waits: Vec<(Subject, String)>,
    /// What is asked, without what waits.
    desired: Cow<'a, P::Desired>,
    observed: Cow<'a, P::Observed>,
    plan: Option<Plan<P::Step>>,
    door: Option<&'a dyn Door<P>>,
}

/// A step that can be done.
pub struct Task<'a> {
    /// Whom it is about.
    pub subject: Subject,
    /// What it does, for people.
    pub description: String,
    /// Does it.
    pub work: Box<dyn FnOnce() -> Boxed<'a, Result<Applied, RoomFault>> + 'a>,
}

/// Whose steps are meant.
pub type Whose<'a> = &'a dyn Fn(&Subject) -> bool;

/// What pass, forecast and status do with any room.
pub trait Room {
    /// [`Planner::NAME`].
    fn name(&self) -> &'static str;

    /// [`Planner::NEEDS`].
    fn needs_rooms(&self) -> &'static [&'static str];

    /// [`Planner::AFFECTED_BY`].
    fn affected_by(&self) -> &'static [&'static str];

    /// [`Planner::BESIDE`].
    fn beside(&self) -> usize;

    /// [`Planner::LETS_GO_LAST`].
    fn lets_go_last(&self) -> bool;

    /// [`Planner::lacking`].
    fn lacking(&self) -> BTreeMap<String, String>;

    /// [`Planner::needs`].
    fn needs(&self, of: &str) -> Vec<(Subject, String)>;

    /// [`Planner::urgent`].
    fn urgent(&self) -> Vec<Subject>;

    /// Lets these wait, for these reasons, and nobody else.
    fn let_wait(&mut self, waits: Vec<(Subject, String)>);

    /// The subjects that wait.
    fn waiting(&self) -> Vec<Subject>;

    /// Reads the kernel. Without a door, what was imagined is what is there.
    fn look(&mut self) -> Boxed<'_, Result<(), RoomFault>>;

    /// Plans, unless the plan that is there was made from the same.
    fn plan(&mut self);

    /// Whether nothing is planned.
    fn is_idle(&self) -> bool;

    /// The planned steps of `phase`, to be done by the room's door.
    fn tasks(&self, phase: Phase, whose: Whose<'_>) -> Vec<Task<'_>>;

    /// The planned steps of `phase`, for people.
    fn described(&self, phase: Phase, whose: Whose<'_>) -> Vec<PlannedStep>;

    /// Takes the planned steps of `phase` for done.
    fn imagine(&mut self, phase: Phase, whose: Whose<'_>);

    /// [`Planner::satisfied`].
    fn satisfied(&self) -> bool;

    /// [`Planner::setbacks`].
    fn setbacks(&self) -> Vec<Setback>;

    /// [`Planner::status`].
    fn status(&self) -> Vec<SubjectStatus>;

    /// [`crate::Reconciler::signals`]; none without a door.
    fn signals(&self) -> Signals;
}

impl<'a, P: Planner> Slot<'a, P> {
    /// The room of which `desired` is asked. Its `door` is missing where nothing is to be done.
    pub fn new(asked: &'a P::Desired, observed: Cow<'a, P::Observed>, door: Option<&'a dyn Door<P>>) -> Self {
        Self { asked, waits: Vec::new(), desired: Cow::Borrowed(asked), observed, plan: None, door }
    }

    /// What was seen of it last.
    #[must_use]
    pub fn into_observed(self) -> P::Observed {
        self.observed.into_owned()
    }

    fn steps(&self, phase: Phase, whose: Whose<'_>) -> impl Iterator<Item = &P::Step> {
        let steps = self.plan.as_ref().map(|plan| match phase {
            Phase::Prepare => &plan.prepare,
            Phase::Retire => &plan.retire,
            Phase::Establish => &plan.establish,
        });
        steps.into_iter().flatten().filter(move |step| whose(&step.subject()))
    }
}

impl<P: Planner> Room for Slot<'_, P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn needs_rooms(&self) -> &'static [&'static str] {
        P::NEEDS
    }

    fn affected_by(&self) -> &'static [&'static str] {
        P::AFFECTED_BY
    }

    fn beside(&self) -> usize {
        P::BESIDE
    }

    fn lets_go_last(&self) -> bool {
        P::LETS_GO_LAST
    }

    fn lacking(&self) -> BTreeMap<String, String> {
        P::lacking(&self.desired, &self.observed)
    }

    fn needs(&self, of: &str) -> Vec<(Subject, String)> {
        P::needs(self.asked, of)
    }

    fn urgent(&self) -> Vec<Subject> {
        P::urgent(self.asked)
    }

    fn let_wait(&mut self, waits: Vec<(Subject, String)>) {
        if waits == self.waits {
            return;
        }
        self.desired = Cow::Borrowed(self.asked);
        for (subject, reason) in &waits {
            P::let_wait(self.desired.to_mut(), subject, reason);
        }
        self.waits = waits;
        self.plan = None;
    }

    fn waiting(&self) -> Vec<Subject> {
        self.waits.iter().map(|(subject, _)| subject.clone()).collect()
    }

    fn look(&mut self) -> Boxed<'_, Result<(), RoomFault>> {
        Box::pin(async move {
            let Some(door) = self.door else {
                self.plan = None;
                return Ok(());
            };
            let observed = door.observe(self.asked).await?;
            if *self.observed != observed {
                self.observed = Cow::Owned(observed);
                self.plan = None;
            }
            Ok(())
        })
    }

    fn plan(&mut self) {
        self.plan.get_or_insert_with(|| P::plan(&self.desired, &self.observed));
    }

    fn is_idle(&self) -> bool {
        self.plan.as_ref().is_some_and(Plan::is_empty)
    }

    fn tasks(&self, phase: Phase, whose: Whose<'_>) -> Vec<Task<'_>> {
        let Some(door) = self.door else { return Vec::new() };
        let tasks = self.steps(phase, whose).map(|step| {
            let (subject, description) = (step.subject(), step.to_string());
            Task { subject, description, work: Box::new(move || door.apply(step)) }
        });
        tasks.collect()
    }

    fn described(&self, phase: Phase, whose: Whose<'_>) -> Vec<PlannedStep> {
        let described = |step: &P::Step| PlannedStep {
            room: P::NAME.to_owned(),
            phase,
            subject: step.subject(),
            description: step.to_string(),
        };
        self.steps(phase, whose).map(described).collect()
    }

    fn imagine(&mut self, phase: Phase, whose: Whose<'_>) {
        let mut observed = std::mem::take(&mut self.observed).into_owned();
        self.steps(phase, whose).for_each(|step| step.effect_on(&mut observed));
        self.observed = Cow::Owned(observed);
    }

    fn satisfied(&self) -> bool {
        P::satisfied(&self.desired, &self.observed)
    }

    fn setbacks(&self) -> Vec<Setback> {
        P::setbacks(&self.desired, &self.observed)
    }

    fn status(&self) -> Vec<SubjectStatus> {
        P::status(&self.desired, &self.observed)
    }

    fn signals(&self) -> Signals {
        self.door.map(|door| door.signals(self.asked, &self.observed)).unwrap_or_default()
    }
}

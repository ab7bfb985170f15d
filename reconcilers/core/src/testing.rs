//! What every room's tests share: golden plan folders, the two properties, and a kernel that holds what the models say.
//!
//! Behind the feature `testing`, which only dev-dependencies turn on.

use std::{
    collections::BTreeSet,
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use catenoid_schema::status::Blame;
use serde::{Serialize, de::DeserializeOwned};
use serde_yaml::Value;

use crate::{Applied, Plan, Planner, Reconciler, RoomError, Signals, Step as _};

/// When what goes on by itself is to be looked at, in a modelled room.
pub const LOOK_IN: Duration = Duration::from_secs(40);

/// The room `P` on a kernel that holds what the steps' models say. Only what a test asks for goes wrong.
#[derive(Debug)]
pub struct Modelled<P: Planner> {
    model: Mutex<Model<P>>,
    record: Arc<Record>,
}

/// What a modelled room holds, and what goes wrong in it.
#[derive(Debug)]
pub struct Model<P: Planner> {
    /// What is there.
    pub observed: P::Observed,
    /// Whether it cannot be read.
    pub is_unreadable: bool,
    /// Whether every step of it goes on by itself, and comes to no end.
    pub is_slow: bool,
    /// The steps that fail: those that say this.
    pub fails: Option<&'static str>,
}

/// What was tried in all rooms together.
#[derive(Debug, Default)]
pub struct Record(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    tried: Vec<String>,
    /// Those that wait.
    waiting: BTreeSet<String>,
    /// How many more steps are done before whoever does them is gone.
    left: Option<usize>,
}

impl Record {
    /// The steps that were tried since this was asked last, in their order: `room: what it says`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0).tried)
    }

    /// After so many steps whoever does another one waits, as if it had been killed, until this says otherwise.
    pub fn end_after(&self, steps: Option<usize>) {
        let mut recorded = lock(&self.0);
        recorded.left = steps;
        recorded.waiting.clear();
    }

    /// Those that wait since then.
    pub fn waiting(&self) -> BTreeSet<String> {
        lock(&self.0).waiting.clone()
    }

    /// Notes a step; whether it is done.
    fn begin(&self, step: String) -> bool {
        let mut recorded = lock(&self.0);
        match &mut recorded.left {
            Some(0) => {
                recorded.waiting.insert(step);
                return false;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        recorded.tried.push(step);
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// That a test lets something go wrong.
#[derive(Debug)]
pub struct Planted;

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a test wants it so")
    }
}

impl std::error::Error for Planted {}

impl RoomError for Planted {
    fn blame(&self) -> Blame {
        Blame::Nobody
    }
}

impl<P: Planner> Modelled<P> {
    /// The room with what was `observed` in it; its steps go to `record`.
    #[must_use]
    pub fn new(observed: P::Observed, record: Arc<Record>) -> Self {
        Self { model: Mutex::new(Model { observed, is_unreadable: false, is_slow: false, fails: None }), record }
    }

    /// The model, to be looked at and changed.
    pub fn model(&self) -> MutexGuard<'_, Model<P>> {
        lock(&self.model)
    }
}

impl<P: Planner> Reconciler for Modelled<P> {
    type Planner = P;
    type Error = Planted;

    fn signals(&self, _: &P::Desired, _: &P::Observed) -> Signals {
        Signals { files: [P::NAME.into()].into(), ..Signals::default() }
    }

    async fn observe(&self) -> Result<P::Observed, Planted> {
        let model = self.model();
        if model.is_unreadable { Err(Planted) } else { Ok(model.observed.clone()) }
    }

    async fn apply(&self, step: &P::Step) -> Result<Applied, Planted> {
        let said = step.to_string();
        std::future::poll_fn(|context| {
            if self.record.begin(format!("{}: {said}", P::NAME)) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        let mut model = self.model();
        if model.fails.is_some_and(|part| said.contains(part)) {
            return Err(Planted);
        }
        if model.is_slow {
            return Ok(Applied::Underway { look_in: Some(LOOK_IN) });
        }
        step.effect_on(&mut model.observed);
        Ok(Applied::Done)
    }
}

/// What the kernel will hold after `plan`, as the steps' models say.
#[must_use]
pub fn simulate<P: Planner>(plan: &Plan<P::Step>, observed: &P::Observed) -> P::Observed {
    let mut observed = observed.clone();
    for (_, step) in plan.steps() {
        step.effect_on(&mut observed);
    }
    observed
}

/// The two properties of a planner: the model of the plan satisfies the desired state, and the plan is empty exactly when
/// the observed state satisfies it already.
///
/// # Errors
/// Which one does not hold, with the values.
pub fn properties<P: Planner>(desired: &P::Desired, observed: &P::Observed) -> Result<(), String>
where
    P::Desired: fmt::Debug,
{
    let plan = P::plan(desired, observed);
    let after = simulate::<P>(&plan, observed);
    if !P::satisfied(desired, &after) {
        return Err(format!(
            "the plan does not lead to the desired state\n{desired:#?}\n{observed:#?}\n{plan:#?}\n{after:#?}"
        ));
    }
    if plan.is_empty() != P::satisfied(desired, observed) {
        return Err(format!(
            "the plan is empty: {}, the state satisfies: {}\n{desired:#?}\n{observed:#?}\n{plan:#?}",
            plan.is_empty(),
            !plan.is_empty()
        ));
    }
    Ok(())
}

/// Runs every golden folder under `folder`: `<case>/{desired,observed,plan}.yaml`. The plan is compared as the
/// sentences of its steps, by phase; with `CATENOID_BLESS=1` in the environment it is written anew instead.
///
/// # Panics
/// If a case differs or cannot be read, or there are fewer than `least` cases: a folder that was not found tests nothing.
pub fn golden<P: Planner>(folder: &Path, least: usize)
where
    P::Desired: DeserializeOwned,
    P::Observed: DeserializeOwned + Serialize,
{
    let bless = std::env::var_os("CATENOID_BLESS").is_some();
    let mut cases: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of golden plans is there")
        .map(|e| e.expect("it can be read").path())
        .collect();
    cases.sort();
    assert!(cases.len() >= least, "{} golden plans, expected at least {least}", cases.len());
    for case in cases {
        let desired: P::Desired = parse(&case, "desired.yaml");
        let observed: P::Observed = parse(&case, "observed.yaml");
        // What is observed is read with any field that a later version may add; a case has none that nobody reads.
        let (written, back): (Value, _) = (parse(&case, "observed.yaml"), serde_yaml::to_value(&observed));
        let back = back.expect("what was observed can be written");
        assert!(is_within(&written, &back), "{}/observed.yaml says more than is read", case.display());
        let plan = P::plan(&desired, &observed);
        let sentences = |steps: &[P::Step]| steps.iter().map(ToString::to_string).collect::<Vec<_>>();
        let text = serde_yaml::to_string(&Plan {
            prepare: sentences(&plan.prepare),
            retire: sentences(&plan.retire),
            establish: sentences(&plan.establish),
        })
        .expect("sentences can be written");
        if bless {
            std::fs::write(case.join("plan.yaml"), &text).expect("it can be written");
        }
        assert_eq!(text, read(&case, "plan.yaml"), "{}", case.display());
    }
}

/// Whether each key of `part`, at any depth, is in `whole` too.
fn is_within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Mapping(part), Value::Mapping(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|found| is_within(value, found)))
        }
        (Value::Sequence(part), Value::Sequence(whole)) => {
            part.iter().zip(whole).all(|(one, other)| is_within(one, other))
        }
        (Value::Tagged(part), Value::Tagged(whole)) => is_within(&part.value, &whole.value),
        _ => true,
    }
}

fn read(case: &Path, file: &str) -> String {
    let path = case.join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn parse<T: DeserializeOwned>(case: &Path, file: &str) -> T {
    serde_yaml::from_str(&read(case, file)).unwrap_or_else(|e| panic!("{}/{file}: {e}", case.display()))
}

//! What every room's tests share: golden plan folders, and the two properties.
//!
//! Behind the feature `testing`, which only dev-dependencies turn on.

use std::{fmt, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use serde_yaml::Value;

use crate::{Plan, Planner, simulate};

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

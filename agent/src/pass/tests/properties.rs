//! A forecast is what happens, and every crash is recovered from.

use catenoid_house::{Observed, forecast, imagine};
use proptest::{collection, prelude::*, sample};
use serde_json::{Value as Json, json};

use super::{Device, converged, stored, target};

/// Few names and values, so that what is there and what is wanted meet often.
fn containers() -> impl Strategy<Value = Json> {
    let container = (sample::select(&["tiny", "other"][..]), sample::select(&["/a", "/b"][..]), 64..66u32);
    let container = container
        .prop_map(|(guest, command, pids)| json!({"guest": guest, "command": [command], "limits": {"pids": pids}}));
    let of = collection::btree_map(sample::select(&["core0", "db", "web"][..]), container, 0..3);
    of.prop_map(|mut containers| {
        if let Some(core) = containers.get_mut("core0") {
            core["role"] = "core".into();
        }
        json!(containers)
    })
}

/// What becomes of a device that nobody looks after.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    LoseBlobs,
    LoseMounts,
    LoseNamespaces,
    LoseGroups,
    LoseRules,
    EndAll,
    Freeze,
}

impl Mishap {
    const ALL: [Self; 7] = [
        Self::LoseBlobs,
        Self::LoseMounts,
        Self::LoseNamespaces,
        Self::LoseGroups,
        Self::LoseRules,
        Self::EndAll,
        Self::Freeze,
    ];

    fn befall(self, observed: &mut Observed) {
        let runs = observed.containers.containers.values_mut().flat_map(|container| container.runs.values_mut());
        match self {
            Self::LoseBlobs => observed.guests.blobs.clear(),
            Self::LoseMounts => observed.guests.mounts.clear(),
            Self::LoseNamespaces => observed.zones.namespaces.clear(),
            Self::LoseGroups => observed.limits.groups.clear(),
            Self::LoseRules => observed.zones.firewalls.clear(),
            Self::EndAll => runs.for_each(|run| run.state = catenoid_containers::RunState::Ended { exit: None }),
            Self::Freeze => runs.for_each(|run| run.frozen = true),
        }
    }
}

/// A device that was as one manifest wants it until something befell it, and is to be as another one wants it.
fn devices() -> impl Strategy<Value = (Observed, Json)> {
    let mishaps = collection::vec(sample::select(&Mishap::ALL[..]), 0..3);
    (containers(), mishaps, containers()).prop_map(|(before, mishaps, after)| {
        let mut observed = converged(&target(1, before));
        mishaps.into_iter().for_each(|mishap| mishap.befall(&mut observed));
        (observed, after)
    })
}

fn rows(plan: Vec<catenoid_schema::control::PlannedStep>) -> Vec<String> {
    plan.into_iter().map(|step| format!("{}: {}", step.room, step.description)).collect()
}

/// Without how often a container failed in a row: an agent that is killed after it cleared the last run away, and before the
/// next start, begins anew.
fn uncounted(mut observed: Observed) -> Observed {
    let containers = observed.containers.containers.values_mut();
    containers.flat_map(|container| container.runs.values_mut()).for_each(|run| run.ends = 0);
    observed
}

proptest! {
    // 256 of each; more with `PROPTEST_CASES`.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn forecast_is_what_happens((observed, after) in devices()) {
        let mut device = Device::new(&observed);
        let target = target(2, after);
        let plan = forecast(&target.wanted, &{
            let mut observed = observed;
            observed.guests.blobs.extend(stored(&target).guests.blobs);
            observed
        });
        device.accept(target);
        let outcome = device.pass();
        prop_assert_eq!(rows(plan), device.steps());
        prop_assert!(outcome.as_it_is_to_be, "{:#?}", outcome.snapshot.plan);
        device.pass();
        prop_assert_eq!(device.steps(), Vec::<String>::new());
    }

    /// Kills the agent before each of its steps. The next one leads to the same from there.
    #[test]
    fn crash_at_each_step_converges((observed, after) in devices()) {
        let mut device = Device::new(&observed);
        device.accept(target(2, after));
        let (start, target) = (device.world.observed(), device.accepted.borrow().clone().unwrap());
        let (plan, end) = imagine(&target.wanted, &start);
        let end = uncounted(end);
        for killed in 0..plan.len() {
            device.world.put(&start);
            device.restart_agent();
            device.world.record.end_after(Some(killed));
            prop_assert!(device.try_pass().is_none());
            device.restart_agent();
            device.world.record.end_after(None);
            // What the next pass does is what is forecast; that it does is seen of one crash of each plan.
            let there = if killed == plan.len() / 2 {
                let outcome = device.pass();
                prop_assert!(outcome.as_it_is_to_be, "killed before step {} of {:#?}\n{:#?}", killed, plan, outcome.snapshot.plan);
                device.world.observed()
            } else {
                imagine(&target.wanted, &device.world.observed()).1
            };
            prop_assert!(uncounted(there) == end, "killed before step {} of {:#?}", killed, plan);
        }
    }
}

//! What holds of any plan.

use catenoid_containers::{ContainersPlanner, WantedContainer};
use catenoid_core::{Planner, testing};
use catenoid_schema::status::Sync;
use proptest::prelude::*;

use crate::states::states;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_plan_leads_to_what_is_wanted_and_is_empty_only_there((desired, observed) in states()) {
        testing::properties::<ContainersPlanner>(&desired, &observed).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_is_satisfied_is_reported_as_synced_and_nothing_else((desired, observed) in states()) {
        let waits = desired.containers.values().any(|wanted| !matches!(wanted, WantedContainer::Ready(_)));
        // Who runs and does not work is lacking, and yet as it is wanted.
        let ends = observed.containers.values().any(|container| container.runs.values().any(|run| run.ending));
        let synced = ContainersPlanner::status(&desired, &observed).iter().all(|subject| subject.sync == Sync::Synced);
        prop_assert_eq!(synced, ContainersPlanner::satisfied(&desired, &observed) && !waits && !ends);
    }

    /// Whatever is there: a container that waits is left alone, and none is started before all others of it are ended.
    #[test]
    fn nothing_is_started_beside_its_predecessor((desired, observed) in states()) {
        let plan = ContainersPlanner::plan(&desired, &observed);
        for (name, wanted) in &desired.containers {
            let steps: Vec<_> = plan.steps().filter(|(_, step)| step.container() == name).map(|(_, step)| step).collect();
            if matches!(wanted, WantedContainer::Waiting { .. }) {
                prop_assert!(steps.is_empty());
            }
            if matches!(wanted, WantedContainer::HeldBack { .. }) {
                let starts = steps.iter().any(|step| matches!(step, catenoid_containers::Step::Start { .. }));
                prop_assert!(!starts);
            }
            let mut before = observed.clone();
            for (_, step) in plan.steps() {
                if matches!(step, catenoid_containers::Step::Start { .. }) {
                    let left = before.containers.get(step.container()).map_or(0, |container| container.runs.len());
                    prop_assert_eq!(left, 0, "{}", step);
                }
                catenoid_core::Step::effect_on(step, &mut before);
            }
        }
    }
}

//! What holds of any plan.

use catenoid_core::{Planner, testing, testing::simulate};
use catenoid_schema::status::Sync;
use catenoid_zones::{NetworkNamespace, Step, ZonesPlanner};
use proptest::prelude::*;

use crate::states::states;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_plan_leads_to_what_is_wanted_and_is_empty_only_there((desired, observed) in states()) {
        testing::properties::<ZonesPlanner>(&desired, &observed).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_is_reported_as_synced_is_satisfied((desired, observed) in states()) {
        let status = ZonesPlanner::status(&desired, &observed);
        let open: Vec<_> = status.iter().filter(|subject| subject.sync != Sync::Synced).collect();
        let waits = |reason: &str| ["WaitingForInterface", "OverlapsUplink"].contains(&reason);
        let waits = open.iter().all(|subject| subject.conditions.iter().all(|condition| waits(&condition.reason)));
        // What is waited for is reported as out of sync, but is nothing that a plan could do.
        prop_assert_eq!(waits, ZonesPlanner::satisfied(&desired, &observed), "{:#?}", open);
    }

    /// No step before its guard: rules stand before the first port leads to them, and a port ends before what it led to.
    #[test]
    fn nothing_is_joined_before_its_firewall((desired, observed) in states()) {
        let plan = ZonesPlanner::plan(&desired, &observed);
        let desired = desired.held_back(&simulate::<ZonesPlanner>(&plan, &observed).interfaces).into_owned();
        let mut state = observed;
        for (_, step) in plan.steps() {
            match step {
                Step::MakePort { .. } | Step::SetPort { .. } => {
                    prop_assert_eq!(state.firewalls.get(&NetworkNamespace::Root), desired.firewalls.get(&NetworkNamespace::Root), "{}", step);
                }
                Step::MoveInterface { container, .. } => {
                    let place = NetworkNamespace::Container(container.clone());
                    prop_assert_eq!(state.firewalls.get(&place), desired.firewalls.get(&place), "{}", step);
                }
                Step::RemoveNamespaces { container } => {
                    let leads_there = |port: &catenoid_zones::BridgePort| {
                        port.inner.as_ref().is_some_and(|inner| inner.container == *container)
                    };
                    prop_assert!(!state.ports.values().any(leads_there), "{}", step);
                }
                _ => {}
            }
            catenoid_core::Step::effect_on(step, &mut state);
        }
    }
}

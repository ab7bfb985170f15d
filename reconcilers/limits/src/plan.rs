//! From the groups that are there to the groups that are wanted.

use std::collections::BTreeSet;

use catenoid_core::{Asked, Plan, Planner};
use catenoid_schema::status::SubjectStatus;

use crate::{Control, Desired, Observed, Step, desired::desired, model::new_group, status::status};

/// The pure half of this room.
#[derive(Debug)]
pub enum LimitsPlanner {}

impl Planner for LimitsPlanner {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    const NAME: &'static str = "limits";

    fn desired(asked: &Asked<'_>) -> Desired {
        desired(asked.manifest)
    }

    fn satisfied(desired: &Desired, observed: &Observed) -> bool {
        let wanted: BTreeSet<&str> = desired.containers.keys().map(|name| name.as_str()).collect();
        let present: BTreeSet<&str> = observed.groups.keys().map(String::as_str).collect();
        wanted == present
            && desired.containers.iter().all(|(name, bounds)| {
                let group = &observed.groups[name.as_str()];
                let offered = |control| observed.offered.contains(control);
                Control::ALL.iter().all(|control| control.is_met(bounds, group.get(control), offered(control)))
            })
    }

    fn plan(desired: &Desired, observed: &Observed) -> Plan<Step> {
        let mut plan = Plan::default();
        for name in observed.groups.keys() {
            if !desired.holds(name) {
                plan.retire.push(Step::RemoveGroup { container: name.clone() });
            }
        }
        for (name, bounds) in &desired.containers {
            let container = name.to_string();
            let group = observed.groups.get(name.as_str()).cloned().unwrap_or_else(|| {
                plan.establish.push(Step::MakeGroup { container: container.clone() });
                new_group(&observed.offered)
            });
            for control in Control::in_order_of_steps() {
                let (value, was) = (control.wanted(bounds), group.get(&control).cloned());
                let offered = observed.offered.contains(&control);
                // What else the kernel lacks is set all the same, and fails.
                if was.as_ref().map_or(!control.is_needless(bounds, offered), |was| *was != value) {
                    plan.establish.push(Step::SetLimit { container: container.clone(), control, value, was });
                }
            }
        }
        plan
    }

    fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
        status(desired, observed)
    }
}

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
                Control::ALL.iter().all(|control| {
                    let is = group.get(control);
                    control.is_met(bounds, is, is.is_none() && observed.offered.contains(control))
                })
            })
    }

    fn plan(desired: &Desired, observed: &Observed) -> Plan<Step> {
        let mut plan = Plan::default();
        for name in observed.groups.keys() {
            if !desired.holds(name) {
                plan.retire.push(Step::RemoveGroup { container: name.clone() });
            }
        }
        let (controls, new) = (Control::in_order_of_steps().collect::<Vec<_>>(), new_group(&observed.offered));
        for (name, bounds) in &desired.containers {
            let container = name.to_string();
            let group = observed.groups.get(name.as_str()).unwrap_or_else(|| {
                plan.establish.push(Step::MakeGroup { container: container.clone() });
                &new
            });
            for control in &controls {
                let (value, was) = (control.wanted(bounds), group.get(control));
                let needless = || control.is_needless(bounds, observed.offered.contains(control));
                // What else the kernel lacks is set all the same, and fails.
                if was.map_or_else(|| !needless(), |was| *was != value) {
                    let (container, was) = (container.clone(), was.cloned());
                    plan.establish.push(Step::SetLimit { container, control: *control, value, was });
                }
            }
        }
        plan
    }

    fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
        status(desired, observed)
    }
}

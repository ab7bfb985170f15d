//! What is reported of the limits of each container.

use catenoid_schema::status::{Blame, Condition, Health, SubjectStatus, Sync};

use crate::{Bounds, Control, Desired, Group, Observed, model::subject};

/// The status of every container that has limits or should have.
pub(crate) fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let wanted = desired.containers.iter().map(|(name, bounds)| wanted(name.as_str(), bounds, observed));
    let unwanted = observed.groups.keys().filter(|name| !desired.holds(name));
    wanted.chain(unwanted.map(|name| superfluous(name))).collect()
}

fn wanted(name: &str, bounds: &Bounds, observed: &Observed) -> SubjectStatus {
    let Some(group) = observed.groups.get(name) else {
        let condition = Condition::new("GroupMissing", "it has no control group".to_owned(), None);
        return status_of(name, Sync::OutOfSync, Health::Missing, vec![condition], None);
    };
    let mut conditions = Vec::new();
    for control in Control::ALL {
        let offered = || observed.offered.contains(&control);
        let value = control.wanted(bounds);
        match group.get(&control) {
            Some(is) if *is == value => {}
            None if control.is_needless(bounds, offered()) => {}
            None if !offered() => {
                conditions.push(Condition::new("ControllerMissing", control.lack(), Some(Blame::Administrator)))
            }
            is => {
                let is = is.map_or_else(|| "not there".to_owned(), |is| control.show(is));
                let message = format!("{control} is {is}, not {}", control.show(&value));
                conditions.push(Condition::new("LimitDiffers", message, None));
            }
        }
    }
    let (sync, health) = match conditions.first() {
        None => (Sync::Synced, Health::Healthy),
        Some(_) if conditions.iter().any(|c| c.blame.is_some()) => (Sync::OutOfSync, Health::Degraded),
        Some(_) => (Sync::OutOfSync, Health::Progressing),
    };
    status_of(name, sync, health, conditions, Some(group))
}

fn superfluous(name: &str) -> SubjectStatus {
    let message = "no container of the manifest has this control group".to_owned();
    status_of(name, Sync::OutOfSync, Health::Progressing, vec![Condition::new("Superfluous", message, None)], None)
}

fn status_of(
    name: &str,
    sync: Sync,
    health: Health,
    conditions: Vec<Condition>,
    group: Option<&Group>,
) -> SubjectStatus {
    let facts = group
        .into_iter()
        .flatten()
        .filter(|(control, value)| control.is_fact(value))
        .map(|(control, value)| (control.to_string(), control.show(value)))
        .collect();
    SubjectStatus { subject: subject(name), sync, health, conditions, facts }
}

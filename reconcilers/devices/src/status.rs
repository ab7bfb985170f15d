//! What to tell about the devices of each container.

use std::collections::BTreeSet;

use catenoid_schema::{
    name::Name,
    status::{Condition, Facts, Health, Kind, Subject, SubjectStatus, Sync},
};

use crate::{Desired, Observed};

/// The subject that devices are told under: the container itself. So what could not be given holds back its start.
pub(crate) fn subject(container: &Name) -> Subject {
    Subject::new(Kind::Container, container.as_str())
}

/// The status of every container that has devices or should have.
pub(crate) fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let all: BTreeSet<&Name> = desired.containers.keys().chain(observed.containers.keys()).collect();
    let of = |name: &Name| {
        let right = desired.containers.get(name) == observed.containers.get(name);
        let (sync, health) =
            if right { (Sync::Synced, Health::Healthy) } else { (Sync::OutOfSync, Health::Progressing) };
        let differs = || Condition::new("DevicesDiffer", "it has other devices than it should".to_owned(), None);
        let conditions = (!right).then(differs).into_iter().collect();
        SubjectStatus { subject: subject(name), sync, health, conditions, facts: Facts::default() }
    };
    all.into_iter().map(of).collect()
}

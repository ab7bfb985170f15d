//! The status that is reported: what the last pass saw, with since when.

use std::{collections::BTreeMap, sync::Arc};

use catenoid_house::Observed;
use catenoid_schema::{
    control::PlannedStep,
    status::{Condition, Device, Heartbeat, ManifestState, Status, Subject, SubjectStatus},
    units::Timestamp,
};

use crate::clock;

/// What the last pass left behind, for everyone who asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// Every subject, in their order.
    pub subjects: Vec<SubjectStatus>,
    /// What each room observed.
    pub observed: Arc<Observed>,
    /// What the next pass would do.
    pub plan: Vec<PlannedStep>,
    /// When each failed subject is tried again.
    pub retries: BTreeMap<Subject, Timestamp>,
    /// The manifest that it worked towards and did not reach.
    pub reconciling: Option<ManifestState>,
    /// The last manifest that the device was seen to match in full.
    pub converged: Option<ManifestState>,
    /// Passes since the agent started.
    pub passes: u64,
    /// When the last one ended: an agent that hangs does not look alive.
    pub at: Option<Timestamp>,
}

impl Snapshot {
    /// Takes over since when a condition holds from `before`, as long as its reason and message stay.
    pub(crate) fn keep_since(&mut self, before: &Self, sequence: Option<u64>) {
        for status in &mut self.subjects {
            let held = before.subject(&status.subject);
            for condition in &mut status.conditions {
                let same = |c: &&Condition| c.reason == condition.reason && c.message == condition.message;
                let held = held.and_then(|h| h.conditions.iter().find(same));
                condition.since = held.and_then(|c| c.since).or_else(|| Some(clock::now()));
                condition.observed_sequence = sequence;
            }
        }
    }

    /// What is reported of one subject.
    pub(crate) fn subject(&self, subject: &Subject) -> Option<&SubjectStatus> {
        let place = self.subjects.binary_search_by(|status| status.subject.cmp(subject));
        place.ok().map(|place| &self.subjects[place])
    }

    /// The status of this moment.
    pub(crate) fn status(
        &self,
        device: Device,
        accepted: Option<ManifestState>,
        agent_started: Timestamp,
        last_event: u64,
    ) -> Status {
        Status {
            device,
            accepted,
            reconciling: self.reconciling.clone(),
            converged: self.converged.clone(),
            heartbeat: Heartbeat { at: self.at.unwrap_or(agent_started), agent_started, passes: self.passes },
            last_event,
            subjects: self.subjects.clone(),
            observed: self.observed.to_status(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catenoid_schema::status::{Facts, Health, Kind, Sync};

    fn snapshot(message: &str, since: Option<i64>) -> Snapshot {
        let condition = Condition {
            reason: "Running".to_owned(),
            message: message.to_owned(),
            blame: None,
            since: since.and_then(Timestamp::from_seconds),
            observed_sequence: None,
        };
        let subject = SubjectStatus {
            subject: Subject::new(Kind::Container, "web"),
            sync: Sync::Synced,
            health: Health::Healthy,
            conditions: vec![condition],
            facts: Facts::default(),
        };
        Snapshot { subjects: vec![subject], ..Snapshot::default() }
    }

    #[test]
    fn since_is_kept_while_a_condition_stays_and_renewed_when_it_changes() {
        let before = snapshot("pid 7", Some(1000));
        let mut same = snapshot("pid 7", None);
        same.keep_since(&before, Some(3));
        assert_eq!(same.subjects[0].conditions[0].since, Timestamp::from_seconds(1000));
        let mut other = snapshot("pid 8", None);
        other.keep_since(&before, Some(3));
        assert!(other.subjects[0].conditions[0].since > Timestamp::from_seconds(1000));
    }
}

//! What a status amounts to. Pure; everything that is said of a device as a whole is decided here.

use catenoid_schema::{
    foreign::clean,
    status::{Blame, Health, Heartbeat, ManifestState, Status, SubjectStatus, Sync},
    units::Timestamp,
};

use crate::words;

/// How old a sign of life may be, in seconds: the agent gives one at least every 30 seconds.
pub const HEARTBEAT_LIMIT: i64 = 60;

/// What a status amounts to, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusVerdict {
    /// The agent answers, but does not look after the device.
    Stalled,
    /// Something does not work.
    Degraded,
    /// The device is on its way.
    Pending,
    /// It never took a manifest.
    Empty,
    /// It is as the manifest says, and all works.
    Converged,
}

/// Whether the agent's last sign of life is too old to believe the rest.
#[must_use]
fn is_stalled(status: &Status, now: Timestamp) -> bool {
    now.seconds().saturating_sub(status.heartbeat.at.seconds()) > HEARTBEAT_LIMIT
}

/// What `status` amounts to at `now`.
#[must_use]
pub fn verdict(status: &Status, now: Timestamp) -> StatusVerdict {
    let is_bad = |s: &SubjectStatus| s.health == Health::Degraded || s.sync == Sync::Unknown;
    let digest = |state: &Option<ManifestState>| state.as_ref().map(|state| state.digest);
    if is_stalled(status, now) {
        StatusVerdict::Stalled
    } else if status.subjects.iter().any(is_bad) {
        StatusVerdict::Degraded
    } else if status.accepted.is_none() {
        StatusVerdict::Empty
    } else if digest(&status.converged) == digest(&status.accepted) && status.subjects.iter().all(is_ready) {
        StatusVerdict::Converged
    } else {
        StatusVerdict::Pending
    }
}

/// In place and working.
fn is_ready(subject: &SubjectStatus) -> bool {
    subject.sync == Sync::Synced && matches!(subject.health, Health::Healthy | Health::Suspended)
}

/// Whether the pass that `now` reports began after `since`. What an earlier one saw may be what was mended since.
#[must_use]
pub(crate) fn has_looked(since: &Heartbeat, now: &Heartbeat) -> bool {
    (now.agent_started, now.passes) > (since.agent_started, since.passes)
}

/// Where a device stands on the way to a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is there, and all is healthy.
    Converged,
    /// It is on its way; what it waits for, for people.
    Waiting(Vec<String>),
    /// It will not get there by itself; what stands in the way, for people.
    Stuck(Vec<String>),
    /// It was given a newer manifest.
    Superseded(ManifestState),
}

/// Where a device stands on the way to `wanted`.
#[must_use]
pub(crate) fn progress(status: &Status, now: Timestamp, wanted: &ManifestState) -> Progress {
    if is_stalled(status, now) {
        let age = words::age(now, status.heartbeat.at);
        return Progress::Waiting(vec![format!("a sign of life from the agent, which gave none for {age}")]);
    }
    match &status.accepted {
        Some(accepted) if accepted.digest == wanted.digest => {}
        Some(accepted) if accepted.sequence > wanted.sequence => return Progress::Superseded(accepted.clone()),
        _ => return Progress::Waiting(vec![format!("sequence {} to be accepted", wanted.sequence)]),
    }
    let stuck: Vec<String> = status.subjects.iter().filter_map(|subject| stuck(subject, wanted)).collect();
    if !stuck.is_empty() {
        return Progress::Stuck(stuck);
    }
    let unready = status.subjects.iter().filter(|s| !is_ready(s));
    let mut waiting: Vec<String> = unready.map(describe).collect();
    let converged = status.converged.as_ref().is_some_and(|converged| converged.digest == wanted.digest);
    if !converged && waiting.is_empty() {
        waiting.push(format!("the pass that sees the device match sequence {}", wanted.sequence));
    }
    if waiting.is_empty() { Progress::Converged } else { Progress::Waiting(waiting) }
}

/// Degraded, for a reason seen under this manifest that somebody must act on: waiting does not help. What was seen under
/// an older manifest may be what this one mends.
fn stuck(subject: &SubjectStatus, wanted: &ManifestState) -> Option<String> {
    let must_act = |blame: Blame| blame != Blame::Nobody;
    let is_ours = |sequence: u64| sequence >= wanted.sequence;
    let condition = subject
        .conditions
        .iter()
        .find(|c| c.blame.is_some_and(must_act) && c.observed_sequence.is_some_and(is_ours))
        .filter(|_| subject.health == Health::Degraded)?;
    let duty = condition.blame.map_or("", words::duty);
    Some(format!("{}: {}; {duty}", clean(subject.subject.as_str()), words::said(condition)))
}

fn describe(subject: &SubjectStatus) -> String {
    let said = subject.conditions.first().map_or(String::new(), |c| format!(" ({})", words::said(c)));
    format!("{}: {:?}, {:?}{said}", clean(subject.subject.as_str()), subject.sync, subject.health)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).expect("within range")
    }

    fn manifest(sequence: u64) -> Value {
        json!({
            "name": "m", "sequence": sequence, "since": at(NOW - 60),
            "digest": catenoid_schema::digest::Digest::of(&sequence.to_be_bytes()),
        })
    }

    /// A container, degraded with a reason seen under `sequence`, or in another state without a reason.
    fn container(sync: &str, health: &str, blame: Value, sequence: u64) -> Value {
        let condition = json!({
            "reason": "R", "message": "m", "blame": blame, "since": null, "observedSequence": sequence
        });
        json!({ "subject": "container/web", "sync": sync, "health": health, "conditions": [condition] })
    }

    fn status(accepted: u64, converged: u64, beat: i64, subjects: Value) -> Status {
        let status = json!({
            "device": { "serial": "S", "bootId": "b", "agent": "0.1.0", "kernel": "6.1" },
            "accepted": manifest(accepted), "reconciling": null, "converged": manifest(converged),
            "heartbeat": { "at": at(beat), "agentStarted": at(NOW - 100), "passes": 1 },
            "subjects": subjects, "observed": {},
        });
        serde_json::from_value(status).expect("the sample is a status")
    }

    #[test]
    fn kinds_of_progress_are_distinguished() {
        let author = json!("manifestAuthor");
        let good = container("Synced", "Healthy", Value::Null, 2);
        let (fresh, stale) = (NOW - 5, NOW - HEARTBEAT_LIMIT - 1);
        let waiting = |text: &str| Progress::Waiting(vec![text.to_owned()]);
        let pass = waiting("the pass that sees the device match sequence 2");
        let degraded = "container/web: OutOfSync, Degraded (R: m)";
        let cases = [
            ("all there", status(2, 2, fresh, json!([good])), Progress::Converged),
            (
                "suspended on purpose",
                status(2, 2, fresh, json!([container("Synced", "Suspended", Value::Null, 2)])),
                Progress::Converged,
            ),
            ("not seen to match yet", status(2, 1, fresh, json!([good])), pass),
            ("not accepted yet", status(1, 1, fresh, json!([good])), waiting("sequence 2 to be accepted")),
            (
                "matches, but starts",
                status(2, 2, fresh, json!([container("Synced", "Progressing", Value::Null, 2)])),
                waiting("container/web: Synced, Progressing (R: m)"),
            ),
            (
                "all there, said by a dead agent",
                status(2, 2, stale, json!([good])),
                waiting("a sign of life from the agent, which gave none for 1m"),
            ),
            (
                "degraded, and tried again",
                status(2, 1, fresh, json!([container("OutOfSync", "Degraded", json!("nobody"), 2)])),
                waiting(degraded),
            ),
            (
                "degraded since an older manifest",
                status(2, 1, fresh, json!([container("OutOfSync", "Degraded", author.clone(), 1)])),
                waiting(degraded),
            ),
            (
                "degraded by this manifest",
                status(2, 1, fresh, json!([container("OutOfSync", "Degraded", author, 2)])),
                Progress::Stuck(vec!["container/web: R: m; whoever wrote the manifest must act".to_owned()]),
            ),
        ];
        let wanted = serde_json::from_value(manifest(2)).expect("the sample is a manifest's state");
        for (name, status, expected) in cases {
            assert_eq!(progress(&status, at(NOW), &wanted), expected, "{name}");
        }
        let newer = status(3, 1, fresh, json!([]));
        assert_eq!(
            progress(&newer, at(NOW), &wanted),
            Progress::Superseded(newer.accepted.expect("the sample has one"))
        );
    }

    #[test]
    fn verdict_is_the_worst_that_holds() {
        let good = container("Synced", "Healthy", Value::Null, 2);
        let bad = container("Synced", "Degraded", Value::Null, 2);
        let blind = container("Unknown", "Healthy", Value::Null, 2);
        let cases = [
            (status(2, 2, NOW - HEARTBEAT_LIMIT, json!([good])), StatusVerdict::Converged),
            (status(2, 2, NOW - HEARTBEAT_LIMIT - 1, json!([bad])), StatusVerdict::Stalled),
            (status(2, 1, NOW, json!([good, bad])), StatusVerdict::Degraded),
            (status(2, 2, NOW, json!([blind])), StatusVerdict::Degraded),
            (status(2, 1, NOW, json!([good])), StatusVerdict::Pending),
        ];
        for (status, expected) in cases {
            assert_eq!(verdict(&status, at(NOW)), expected, "{status:?}");
        }
    }
}

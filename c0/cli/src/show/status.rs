//! The status of a device, and what it amounts to.

use anstyle::Style;
use catenoid_client::judge::{StatusVerdict, verdict};
use catenoid_schema::{
    status::{Blame, Condition, Status},
    units::Timestamp,
};

use super::{
    BAD, FAINT, GOOD, HEADING, PENDING, age, clean, health_style, line, painted, said, sync_style, table::table,
};

/// A status for people. `absence` is why the device does not answer any more, if it does not: nothing of what it said
/// before looks good then.
pub(crate) fn status(status: &Status, now: Timestamp, absence: Option<&str>) -> String {
    let mut out = String::new();
    let verdict = verdict(status, now);
    let is_believed = absence.is_none() && verdict != StatusVerdict::Stalled;
    let good = |style: Style| if is_believed || style != GOOD { style } else { FAINT };

    line(&mut out, headline(status, now, verdict, absence));
    let mut fact =
        |label: &str, text: &str| line(&mut out, format!("{}  {text}", painted(HEADING, format!("{label:<11}"))));
    let device = &status.device;
    fact("device", &format!("agent {}, kernel {}", clean(&device.agent), clean(&device.kernel)));
    let manifests = [&status.accepted, &status.reconciling, &status.converged];
    for (label, state) in ["accepted", "reconciling", "converged"].into_iter().zip(manifests) {
        let state = state.as_ref();
        let text = state.map(|state| format!("{}, for {}", super::manifest(state), age(now, state.since)));
        fact(label, text.as_deref().unwrap_or("-"));
    }
    let heartbeat = &status.heartbeat;
    let (beat, start) = (age(now, heartbeat.at), age(now, heartbeat.agent_started));
    let style = if is_believed { super::PLAIN } else { BAD };
    fact("heartbeat", &painted(style, format!("{beat} ago; {} passes in {start}", heartbeat.passes)));
    if status.subjects.is_empty() {
        return out;
    }
    out.push('\n');
    let rows: Vec<_> = status
        .subjects
        .iter()
        .map(|subject| {
            let condition = foremost(&subject.conditions);
            let since = condition.and_then(|c| c.since).map_or("-".to_owned(), |since| age(now, since));
            let message = condition.map_or(String::new(), said);
            [
                (super::PLAIN, clean(subject.subject.as_str())),
                (good(sync_style(subject.sync)), format!("{:?}", subject.sync)),
                (good(health_style(subject.health)), format!("{:?}", subject.health)),
                (super::PLAIN, since),
                (super::PLAIN, message),
            ]
        })
        .collect();
    table(&mut out, ["SUBJECT", "SYNC", "HEALTH", "SINCE", "MESSAGE"], &rows);
    out
}

fn headline(status: &Status, now: Timestamp, verdict: StatusVerdict, absence: Option<&str>) -> String {
    let serial = clean(status.device.serial.as_str());
    if let Some(reason) = absence {
        let state = format!("NO ANSWER: {}; what follows was so at {now}", clean(reason));
        return format!("{}  {}", painted(HEADING, serial), painted(BAD, state));
    }
    let sequence = status.accepted.as_ref().map_or(0, |state| state.sequence);
    let (style, state) = match verdict {
        StatusVerdict::Stalled => {
            (BAD, format!("STALLED: no sign of life from the agent for {}", age(now, status.heartbeat.at)))
        }
        StatusVerdict::Degraded => (BAD, "degraded".to_owned()),
        StatusVerdict::Pending => (PENDING, format!("working towards sequence {sequence}")),
        StatusVerdict::Empty => (PENDING, "holds no manifest yet".to_owned()),
        StatusVerdict::Converged => (GOOD, format!("converged: as sequence {sequence} says")),
    };
    format!("{}  {}", painted(HEADING, serial), painted(style, state))
}

/// The condition to show where there is room for one: the first that somebody must act on, else the first.
fn foremost(conditions: &[Condition]) -> Option<&Condition> {
    let acted_on = |c: &&Condition| c.blame.is_some_and(|blame| blame != Blame::Nobody);
    conditions.iter().find(acted_on).or_else(|| conditions.first())
}

//! One subject in full.

use catenoid_schema::{control::Why, units::Timestamp};

use super::{FAINT, HEADING, Present, age, clean, duty, event, health_style, line, painted, plan, said, sync_style};

/// Why a subject is as it is: its status, what is behind it, what happens next, and what happened.
pub(crate) fn why(why: &Why, now: Timestamp, present: &Present) -> String {
    let mut out = String::new();
    let status = &why.status;
    let sync = painted(sync_style(status.sync), format!("{:?}", status.sync));
    let health = painted(health_style(status.health), format!("{:?}", status.health));
    line(&mut out, format!("{}  {sync}  {health}", painted(HEADING, clean(status.subject.as_str()))));
    for condition in &status.conditions {
        line(&mut out, format!("  {}", said(condition)));
        let since = condition.since.map(|since| format!("for {}", age(now, since)));
        let sequence = condition.observed_sequence.map(|sequence| format!("under sequence {sequence}"));
        let duty = condition.blame.map(|blame| duty(blame).to_owned());
        let notes: Vec<String> = [since, sequence, duty].into_iter().flatten().collect();
        if !notes.is_empty() {
            line(&mut out, format!("    {}", painted(FAINT, notes.join("; "))));
        }
    }
    for (name, value) in status.facts.shown() {
        line(&mut out, format!("  {} {}", painted(FAINT, format!("{}:", clean(name))), clean(value)));
    }

    line(&mut out, format!("\n{}", painted(HEADING, "What happens next")));
    if let Some(at) = why.retry_at {
        let seconds = at.seconds().saturating_sub(now.seconds()).max(0);
        line(&mut out, format!("what failed is tried again in {seconds} s, at {at}"));
    }
    out.push_str(&plan(&why.plan, present));

    line(&mut out, format!("\n{}", painted(HEADING, "What happened")));
    if why.events.is_empty() {
        line(&mut out, "no event about it is kept");
    }
    for happened in &why.events {
        out.push_str(&event(happened));
    }
    out
}

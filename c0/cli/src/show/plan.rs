//! A plan: removals first and in red, so that nobody overlooks them.

use std::collections::BTreeSet;

use anstyle::{AnsiColor, Style};
use catenoid_schema::{
    control::{Accepted, Outcome, Phase, PlannedStep},
    status::{Health, Status, Subject},
};

use super::{BAD, FAINT, HEADING, clean, line, manifest, painted, table::table};

const ADDED: Style = AnsiColor::Green.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();

/// What is on the device before a plan is carried out.
#[derive(Debug, Default)]
pub(crate) struct Present(BTreeSet<Subject>);

impl From<&Status> for Present {
    fn from(status: &Status) -> Self {
        let there = status.subjects.iter().filter(|s| s.health != Health::Missing);
        Self(there.map(|s| s.subject.clone()).collect())
    }
}

/// What a plan does to a subject as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Removed,
    Changed,
    Added,
}

impl Change {
    /// Retired and not set up again is removed; what is not there yet is added; the rest is changed.
    fn of(subject: &Subject, plan: &[PlannedStep], present: &Present) -> Self {
        let retired_only = plan.iter().filter(|step| step.subject == *subject).all(|step| step.phase == Phase::Retire);
        if retired_only {
            Self::Removed
        } else if present.0.contains(subject) {
            Self::Changed
        } else {
            Self::Added
        }
    }

    fn sign(self) -> (Style, &'static str) {
        match self {
            Self::Removed => (BAD, "-"),
            Self::Changed => (CHANGED, "~"),
            Self::Added => (ADDED, "+"),
        }
    }
}

/// A plan for people: per subject, removals first, and how many subjects are touched.
pub(crate) fn plan(steps: &[PlannedStep], present: &Present) -> String {
    let mut out = String::new();
    if steps.is_empty() {
        line(&mut out, "nothing to do: the device holds what the manifest says");
        return out;
    }
    let mut sorted: Vec<(Change, &PlannedStep)> =
        steps.iter().map(|step| (Change::of(&step.subject, steps, present), step)).collect();
    sorted.sort_by(|(change, step), (other, next)| {
        (change, &step.subject, step.phase).cmp(&(other, &next.subject, next.phase))
    });
    let rows: Vec<_> = sorted
        .iter()
        .map(|(change, step)| {
            let (style, sign) = change.sign();
            let subject = format!("{sign} {}", clean(step.subject.as_str()));
            [(style, subject), (FAINT, phase(step.phase).to_owned()), (description(*change), clean(&step.description))]
        })
        .collect();
    table(&mut out, ["  SUBJECT", "PHASE", "STEP"], &rows);
    let count = |wanted: Change| {
        let subjects: BTreeSet<&Subject> =
            sorted.iter().filter(|(change, _)| *change == wanted).map(|(_, step)| &step.subject).collect();
        subjects.len()
    };
    let counts = [(Change::Removed, "to remove"), (Change::Changed, "to change"), (Change::Added, "to add")];
    let counts = counts.map(|(change, words)| match count(change) {
        0 => format!("0 {words}"),
        some => painted(change.sign().0, format!("{some} {words}")),
    });
    line(&mut out, counts.join(", "));
    out
}

fn description(change: Change) -> Style {
    if change == Change::Removed { BAD } else { super::PLAIN }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Retire => "retire",
        Phase::Establish => "establish",
    }
}

/// What became of a manifest, and what follows.
pub(crate) fn accepted(accepted: &Accepted, present: &Present) -> String {
    let manifest = manifest(&accepted.manifest);
    let outcome = match accepted.outcome {
        Outcome::Accepted => "accepted",
        Outcome::Unchanged => "the device holds this already",
        Outcome::DryRun => "nothing was changed; this would be accepted",
    };
    format!("{}: {manifest}\n{}", painted(HEADING, outcome), plan(&accepted.plan, present))
}

//! What no test can notice. A set of mutants does not depend on this file: a run goes on once a row was added.

/// A default of a trait, changed to what it is.
const WHAT_IT_GIVES: &str = "that is what it gives";

/// Mutants that no test can notice, by a part of their names, and why.
pub(super) const EXPLAINED: &[(&str, &str)] = &[
    (
        "replace begin_no_more with ()",
        "from then on no step is begun in this process, those of other tests included; devices that go off show it",
    ),
    ("replace House<'_>::is_idle -> bool with false", "an empty plan is made then, and nothing else differs but time"),
    (
        "replace && with || in House<'_>::lets_go",
        "a plan is empty exactly if the state satisfies: a property that each planner is tested for",
    ),
    ("replace Reconciler::signals -> Signals with Default::default()", WHAT_IT_GIVES),
    ("replace Planner::needs -> Vec<(Subject, String)> with vec![]", WHAT_IT_GIVES),
    ("replace Planner::urgent -> Vec<Subject> with vec![]", WHAT_IT_GIVES),
    ("replace Planner::setbacks -> Vec<Setback> with vec![]", WHAT_IT_GIVES),
];

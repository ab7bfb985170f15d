//! What no test can notice. A set of mutants does not depend on this file: a run goes on once a row was added.

/// A default of a trait, changed to what it is.
const WHAT_IT_GIVES: &str = "that is what it gives";

/// What happens only if another process removes a blob between two looks at it.
const BETWEEN_TWO_LOOKS: &str = "the blob has to go after the store was asked for its size, and before it is read";

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
    ("replace match guard source.kind() == io::ErrorKind::NotFound with", BETWEEN_TWO_LOOKS),
    // The other `==` there is no race: only this one, by its place.
    ("accept/guests.rs:139:69: replace == with != in StoredGuests<'_>::is_altered", BETWEEN_TWO_LOOKS),
    ("replace Reconciler::signals -> Signals with Default::default()", WHAT_IT_GIVES),
    ("replace Limit::is_needless -> bool with false", WHAT_IT_GIVES),
    ("replace Limit::is_fact -> bool with false", WHAT_IT_GIVES),
    ("replace Planner::needs -> Vec<(Subject, String)> with vec![]", WHAT_IT_GIVES),
    ("replace Planner::urgent -> Vec<Subject> with vec![]", WHAT_IT_GIVES),
    ("replace Planner::setbacks -> Vec<Setback> with vec![]", WHAT_IT_GIVES),
];

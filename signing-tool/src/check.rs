//! `check`: everything that is wrong with a manifest, each at its place.

use catenoid_schema::manifest::{
    Manifest,
    check::{self, Stage, Violation},
};

use crate::{
    failure::Failure,
    yaml::{Finding, Source},
};

/// The manifest in `source`, or everything that is wrong with it on standard error.
pub(crate) fn read(source: &Source, stage: Stage) -> Result<Manifest, Failure> {
    let manifest: Manifest = source.parse().map_err(|finding| source.refuse(&[finding]))?;
    let violations = check::check(&manifest, stage);
    if violations.is_empty() { Ok(manifest) } else { Err(refuse(source, &violations)) }
}

/// Shows violations at their places, in the order of the file.
pub(crate) fn refuse(source: &Source, violations: &[Violation]) -> Failure {
    source.refuse(&findings(source, violations))
}

/// Violations as findings at their places, in the order of the file.
pub(crate) fn findings(source: &Source, violations: &[Violation]) -> Vec<Finding> {
    let places = source.places();
    let mut findings: Vec<_> = violations
        .iter()
        .map(|violation| Finding {
            place: source.place_of(&places, &violation.path),
            message: violation.to_string(),
            hint: violation.hint.clone(),
        })
        .collect();
    findings.sort_by_key(|finding| finding.place);
    findings
}

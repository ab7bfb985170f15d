//! `check`: everything that is wrong with a manifest, each at its place.

use std::path::Path;

use catenoid_schema::{
    foreign::clean,
    manifest::{
        Manifest,
        check::{self, Stage, Violation},
    },
    units::Timestamp,
};

use crate::{
    failure::Failure,
    terminal::note,
    yaml::{self, Finding, Source},
};

/// The manifest in `source`, or everything that is wrong with it on standard error.
pub(crate) fn read(source: &Source, stage: Stage) -> Result<Manifest, Failure> {
    let manifest: Manifest = source.parse().map_err(|finding| source.refuse(&[finding]))?;
    let violations = check::check(&manifest, stage);
    if violations.is_empty() { Ok(manifest) } else { Err(refuse(source, &violations)) }
}

/// What to say of a manifest that no device takes at `at` or later, for it has expired.
pub(crate) fn expired(manifest: &Manifest, at: Timestamp) -> Option<String> {
    let end = manifest.metadata.not_after;
    (at > end).then(|| format!("it expired at {end}: no device accepts it any more"))
}

/// What to do about it.
pub(crate) const EXPIRED_HINT: &str = "write a later `notAfter`, and sign it under the next sequence";

/// Says at its place that a manifest has expired.
pub(crate) fn warn_expired(source: &Source, manifest: &Manifest, at: Timestamp) {
    if let Some(message) = expired(manifest, at) {
        let place = source.place_of(&source.places(), "metadata.notAfter");
        source.warn(&Finding {
            place,
            message: format!("metadata.notAfter: {message}"),
            hint: Some(EXPIRED_HINT.to_owned()),
        });
    }
}

/// Shows violations at their places, in the order of the file.
pub(crate) fn refuse(source: &Source, violations: &[Violation]) -> Failure {
    source.refuse(&findings(source, violations))
}

/// Shows the violations of a signed document, which has no lines to show them at.
pub(crate) fn refuse_signed(path: &Path, violations: &[Violation]) -> Failure {
    for violation in violations {
        note(&format!("error: {}", clean(&violation.to_string())));
        if let Some(hint) = &violation.hint {
            note(&format!("  = hint: {}", clean(hint)));
        }
    }
    yaml::refused(path, violations.len())
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

//! Ways in for fuzz targets and differential tests: the readers of what authors write, without a file and a screen.

use catenoid_schema::{
    guest::Guest,
    manifest::{
        Manifest,
        check::{self as rules, Stage},
    },
};

use crate::{
    check, flows,
    guest::recipe,
    sign,
    yaml::{Finding, Source},
};

/// The manifest in `text` by its form alone: the rules are not asked.
///
/// # Errors
/// What is wrong with the text, as a person sees it.
pub fn parse_manifest(text: &str) -> Result<Manifest, String> {
    let source = Source::from_text("manifest.yaml", text);
    source.parse().map_err(|finding| shown(&source, &[finding]))
}

/// Everything that `check` does with the manifest in `text`.
///
/// # Errors
/// Everything that is wrong with it, as a person sees it.
pub fn check_manifest(text: &str) -> Result<Manifest, String> {
    let manifest = parse_manifest(text)?;
    let violations = rules::check(&manifest, Stage::Authored);
    if violations.is_empty() {
        let _ = flows::permissions(&manifest);
        return Ok(manifest);
    }
    let source = Source::from_text("manifest.yaml", text);
    Err(shown(&source, &check::findings(&source, &violations)))
}

/// Everything that `guest sign` asks of the descriptor in `text`.
///
/// # Errors
/// Everything that is wrong with it, as a person sees it.
pub fn check_guest(text: &str) -> Result<Guest, String> {
    let source = Source::from_text("guest.yaml", text);
    sign::parse_guest(&source).map_err(|findings| shown(&source, &findings))
}

/// Reads the recipe in `text`.
///
/// # Errors
/// What is wrong with it, as a person sees it.
pub fn read_recipe(text: &str) -> Result<(), String> {
    let source = Source::from_text("recipe.yaml", text);
    recipe::parse(&source).map(drop).map_err(|finding| shown(&source, &[finding]))
}

fn shown(source: &Source, findings: &[Finding]) -> String {
    findings.iter().map(|finding| source.render(finding) + "\n").collect()
}

//! What each test may take: `slow-timeout` in `.config/nextest.toml`, by which nextest ends it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use catenoid_e2e::Artefacts;
use toml::{Table, Value};

/// The budgets of a profile.
#[derive(Debug)]
pub(super) struct Budgets {
    /// What names begin with, and the budget of these tests. The first that fits counts.
    classes: Vec<(Vec<String>, Duration)>,
    /// Of every other test.
    rest: Duration,
}

impl Budgets {
    pub(super) fn read(artefacts: &Artefacts, profile: &str) -> Result<Self> {
        let path = artefacts.workspace().join(".config/nextest.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        Self::parse(&text, profile).with_context(|| format!("`{}`", path.display()))
    }

    fn parse(text: &str, profile: &str) -> Result<Self> {
        let config: Table = text.parse()?;
        // As nextest looks for it: in the profile, then in the one that all of them inherit.
        let profiles = [profile, "default"].map(|name| config.get("profile").and_then(|profiles| profiles.get(name)));
        let mut classes = Vec::new();
        for class in profiles.iter().flatten().filter_map(|profile| profile.get("overrides")?.as_array()).flatten() {
            let Some(limit) = class.get("slow-timeout") else { continue };
            let filter = class.get("filter").and_then(Value::as_str).context("an override has no filter")?;
            let names = names(filter).with_context(|| format!("`{filter}` is not like `test(/(^|::)(a|b)/)`"))?;
            classes.push((names, budget(limit).with_context(|| format!("no budget for `{filter}`"))?));
        }
        let limit = profiles.iter().flatten().find_map(|profile| profile.get("slow-timeout"));
        Ok(Self { classes, rest: limit.and_then(budget).context("no budget for other tests")? })
    }

    /// The budget of a test, by its name with the modules before it.
    pub(super) fn of(&self, test: &str) -> Duration {
        let (_, name) = test.rsplit_once("::").unwrap_or(("", test));
        let fits = |names: &[String]| names.iter().any(|begin| name.starts_with(begin));
        self.classes.iter().find(|(names, _)| fits(names)).map_or(self.rest, |(_, budget)| *budget)
    }
}

/// `a` and `b` of `test(/(^|::)(a|b)/)`.
fn names(filter: &str) -> Option<Vec<String>> {
    let names = filter.strip_prefix("test(/(^|::)(")?.strip_suffix(")/)")?;
    Some(names.split('|').map(str::to_owned).collect())
}

/// When nextest ends a test: after so many periods.
fn budget(limit: &Value) -> Option<Duration> {
    let seconds = limit.get("period")?.as_str()?.strip_suffix('s')?.parse().ok()?;
    let periods = u32::try_from(limit.get("terminate-after")?.as_integer()?).ok()?;
    Some(Duration::from_secs(seconds) * periods)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        [profile.default]
        slow-timeout = { period = "10s", terminate-after = 2 }
        [[profile.default.overrides]]
        filter = 'test(/(^|::)(vm_soak|vm_cut)/)'
        slow-timeout = { period = "100s", terminate-after = 3 }
        [[profile.default.overrides]]
        filter = 'test(/(^|::)(vm_)/)'
        slow-timeout = { period = "60s", terminate-after = 2 }
        [profile.whole]
        inherits = "default"
        [[profile.whole.overrides]]
        filter = 'test(/(^|::)(vm_)/)'
        slow-timeout = { period = "3600s", terminate-after = 8 }
    "#;

    #[test]
    fn the_first_class_that_fits_counts() {
        let of = |profile: &str, test: &str| Budgets::parse(CONFIG, profile).expect("it is whole").of(test).as_secs();
        for (profile, test, seconds) in [
            ("default", "soak::vm_soak", 300),
            ("default", "boot::vm_boots", 120),
            ("default", "vm::names_are_short", 20),
            ("whole", "soak::vm_soak", 8 * 3600),
            ("whole", "names_are_short", 20),
        ] {
            assert_eq!(of(profile, test), seconds, "{profile} {test}");
        }
    }

    #[test]
    fn a_class_without_an_end_is_an_error() {
        let open = CONFIG.replace(", terminate-after = 3", "");
        let error = Budgets::parse(&open, "default").expect_err("nextest would wait for ever");
        assert_eq!(format!("{error:#}"), "no budget for `test(/(^|::)(vm_soak|vm_cut)/)`");
        let other = CONFIG.replace("test(/(^|::)(vm_soak|vm_cut)/)", "all()");
        assert!(Budgets::parse(&other, "default").is_err());
    }

    #[test]
    fn every_test_of_this_checkout_has_a_budget() {
        for profile in ["default", "whole"] {
            Budgets::read(&Artefacts::new(), profile).expect("`.config/nextest.toml` has one for each class");
        }
    }
}

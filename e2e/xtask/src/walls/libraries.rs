//! The libraries that the mission names: each is in the lock file and has a row in docs/architecture.md, and one that only checks
//! another is in no program that ships.

use std::collections::BTreeSet;

use super::tree::Source;
use super::{Breach, at};

/// What a library is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A program that ships is made of it.
    Shipped,
    /// Tests hold what ships against it.
    Second,
}

#[rustfmt::skip]
const NAMED: [(&str, Place); 15] = [
    ("caps", Place::Shipped),
    ("cgroups-rs", Place::Second),
    ("cose-rust", Place::Second),
    ("coset", Place::Shipped),
    ("devicemapper", Place::Shipped),
    ("nix", Place::Shipped),
    ("p384", Place::Shipped),
    ("pcsc", Place::Second),
    ("reqwest", Place::Shipped),
    ("rtnetlink", Place::Second),
    ("schemars", Place::Shipped),
    ("serde", Place::Shipped),
    ("serde_yaml", Place::Second),
    ("tokio", Place::Shipped),
    ("tss-esapi", Place::Second),
];
/// Every program that runs on a device, in c0 or on a build host.
pub(super) const SHIP: &[&str] = &["catenoid-agent", "catenoid-launcher", "catenoid", "catenoid-sign"];
const ARCHITECTURE: &str = "docs/architecture.md";
const LOCK: &str = "Cargo.lock";

/// Libraries that are not locked, or have no row.
pub(super) fn breaches(lock: &str, documents: &[Source]) -> Vec<Breach> {
    let page = documents.iter().find(|document| document.path == ARCHITECTURE).map_or("", |page| &page.text);
    let missing = |file: &str, name: &str| at(file, 1, format!("wall `libraries`: `{name}` is missing"));
    let locked = |name: &str| lock.contains(&format!("\nname = \"{name}\"\n"));
    let unlocked = NAMED.iter().filter(|(name, _)| !locked(name)).map(|(name, _)| missing(LOCK, name));
    let row = |name: &str| page.contains(&format!("\n| {name} | "));
    let without_row = NAMED.iter().filter(|(name, _)| !row(name)).map(|(name, _)| missing(ARCHITECTURE, name));
    unlocked.chain(without_row).collect()
}

/// What is in the place of another: `listed` is what `cargo tree` printed of each program of [`SHIP`].
pub(super) fn misplaced(listed: &[String]) -> Vec<Breach> {
    let packages: BTreeSet<&str> =
        listed.iter().flat_map(|tree| tree.lines()).filter_map(|line| line.split(' ').next()).collect();
    let is = |name: &str| if packages.contains(name) { Place::Shipped } else { Place::Second };
    let wrong = NAMED.iter().filter(|(name, place)| is(name) != *place);
    let why = |name: &str, place| match place {
        Place::Second => format!("wall `libraries`: `{name}` only checks another, and a program that ships has it"),
        Place::Shipped => format!("wall `libraries`: no program that ships has `{name}`"),
    };
    wrong.map(|(name, place)| Breach { place: "cargo tree".to_owned(), why: why(name, *place) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: String) -> Vec<Source> {
        vec![Source { path: ARCHITECTURE.to_owned(), text }]
    }

    #[test]
    fn a_library_without_lock_or_row_is_found() {
        let lock: String = NAMED.iter().map(|(name, _)| format!("[[package]]\nname = \"{name}\"\n")).collect();
        let rows: String = NAMED.iter().map(|(name, _)| format!("\n| {name} | somewhere | |")).collect();
        assert_eq!(breaches(&lock, &page(rows.clone())), []);
        for (name, _) in NAMED {
            let found = |lock: &str, rows: &str| -> Vec<String> {
                breaches(lock, &page(rows.to_owned()))
                    .into_iter()
                    .map(|breach| breach.place + ": " + &breach.why)
                    .collect()
            };
            let unlocked = lock.replace(&format!("name = \"{name}\"\n"), "name = \"other\"\n");
            assert_eq!(found(&unlocked, &rows), [format!("{LOCK}:1: wall `libraries`: `{name}` is missing")]);
            let without = rows.replace(&format!("\n| {name} | "), "\n| other | ");
            assert_eq!(found(&lock, &without), [format!("{ARCHITECTURE}:1: wall `libraries`: `{name}` is missing")]);
        }
    }

    #[test]
    fn a_library_in_the_place_of_another_is_found() {
        let is = |wanted| move |(name, place): &(&str, Place)| (*place == wanted).then(|| format!("{name} v1.0.0\n"));
        let shipped = || NAMED.iter().filter_map(is(Place::Shipped)).collect::<Vec<_>>();
        assert_eq!(misplaced(&shipped()), []);
        let mut with_second = shipped();
        with_second.push("rtnetlink v0.24.0 (*)\n".to_owned());
        assert!(misplaced(&with_second).iter().any(|breach| breach.why.contains("`rtnetlink` only checks")));
        let without = shipped().into_iter().filter(|tree| !tree.starts_with("coset ")).collect::<Vec<_>>();
        assert_eq!(misplaced(&without)[0].why, "wall `libraries`: no program that ships has `coset`");
    }
}

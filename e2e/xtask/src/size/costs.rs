//! What each crate costs: lines to trust, and bytes in the device's programs.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::built::{Crates, Unit};
use super::program::{Bytes, Owner};
use super::table::{Cell, Table};

/// A crate of others with fewer bytes in all programs and fewer lines has no row of its own.
const SMALL: usize = 32 * 1024;
const SHORT: usize = 10_000;
const OF_OURS: &str = "\
Our crates in the programs that run as root on a device. Lines are those of the files that the compiler read for a device,
without tests, comments and blank lines. Code that a feature takes out of such a file counts all the same. What bytes are
stands with the next table.";
const OF_OTHERS: &str = "\
Crates of others in the same programs. Bytes are those that the linker put there. A function counts for the crate that wrote
it, also where it is generic and was made for another crate. Constants, and what is generic in Rust's own libraries, count for
the crate that they were made for. Not seen: code that is inlined counts where it went. Lines are of Rust only: C and assembly
(`aws-lc-sys`, the C library) and Rust's own libraries have none here.";
const COLUMNS: &[&str] = &["crate", "lines", "bytes in the agent", "bytes in the launcher"];

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cost {
    name: String,
    /// None of what has other sources than Rust's.
    lines: Option<usize>,
    /// In the agent, and in the launcher.
    bytes: [usize; 2],
}

/// The crates of ours, those of others, and what else a program is made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Costs {
    ours: Vec<Cost>,
    others: Vec<Cost>,
    beside: Vec<Cost>,
}

impl Cost {
    fn together(name: String, costs: &[Self]) -> Self {
        let bytes = [0, 1].map(|program: usize| costs.iter().map(|cost| cost.bytes[program]).sum());
        Self { name, lines: Some(costs.iter().filter_map(|cost| cost.lines).sum()), bytes }
    }

    fn all_bytes(&self) -> usize {
        self.bytes.iter().sum()
    }

    fn has_a_row(&self) -> bool {
        self.all_bytes() >= SMALL || self.lines.is_some_and(|lines| lines >= SHORT)
    }

    fn row(&self) -> Vec<Cell> {
        let [agent, launcher] = self.bytes;
        vec![self.name.clone().into(), self.lines.into(), agent.into(), launcher.into()]
    }
}

impl Costs {
    /// Of the agent and the launcher.
    pub(super) fn of(units: &[Unit], crates: &Crates, programs: &[Bytes; 2]) -> Self {
        let mut packages: BTreeMap<&str, [usize; 2]> =
            crates.keys().map(|package| (package.as_str(), [0; 2])).collect();
        let mut beside = BTreeMap::new();
        for (at, program) in programs.iter().enumerate() {
            for (owner, size) in program {
                let unit = match owner {
                    Owner::Crate(name) => units.iter().find(|unit| unit.name == *name),
                    Owner::Rust | Owner::C | Owner::Linker => None,
                };
                let bytes = match unit {
                    Some(unit) => packages.entry(unit.package.as_str()).or_default(),
                    None => beside.entry(owner.to_string()).or_default(),
                };
                bytes[at] += size;
            }
        }
        let is_ours = |package: &str| crates.get(package).is_some_and(|one| one.ours);
        let costs = packages.into_iter().map(|(package, bytes)| Cost {
            name: package.to_owned(),
            lines: crates.get(package).map(|one| one.lines),
            bytes,
        });
        let (ours, others) = costs.partition(|cost| is_ours(&cost.name));
        let beside = beside.into_iter().map(|(name, bytes)| Cost { name, lines: None, bytes }).collect();
        Self { ours, others, beside }
    }

    /// All bytes whose owner was found, in the agent and in the launcher.
    pub(super) fn bytes(&self) -> [usize; 2] {
        let all: Vec<Cost> = [&self.ours, &self.others, &self.beside].into_iter().flatten().cloned().collect();
        Cost::together(String::new(), &all).bytes
    }

    /// Lines of ours that run as root on a device.
    pub(super) fn trusted_lines(&self) -> usize {
        self.ours.iter().filter_map(|cost| cost.lines).sum()
    }

    /// Lines of Rust by others in the same programs.
    pub(super) fn lines_of_others(&self) -> usize {
        self.others.iter().filter_map(|cost| cost.lines).sum()
    }

    /// The table of our crates.
    pub(super) fn of_ours(&self) -> Table {
        let all = Cost::together("all of ours".to_owned(), &self.ours);
        Table {
            key: "crates",
            title: "Trusted lines",
            columns: COLUMNS,
            rows: self.ours.iter().chain([&all]).map(Cost::row).collect(),
            note: OF_OURS.to_owned(),
        }
    }

    /// The table of the crates of others, and of what else a program is made of.
    pub(super) fn of_others(&self) -> Table {
        let others = self.others.iter().cloned();
        let (mut large, small): (Vec<_>, Vec<_>) = others.partition(Cost::has_a_row);
        large.sort_by_key(|cost| Reverse(cost.all_bytes()));
        let smaller = Cost::together(format!("{} crates with less than 32 KiB and 10,000 lines", small.len()), &small);
        let all = Cost::together(format!("all {} crates of others", self.others.len()), &self.others);
        Table {
            key: "others",
            title: "What each crate costs",
            columns: COLUMNS,
            rows: large.iter().chain([&smaller, &all]).chain(&self.beside).map(Cost::row).collect(),
            note: OF_OTHERS.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::built::Crate;

    fn costs() -> Costs {
        let unit = |package: &str| Unit::of(package, &package.replace('-', "_"));
        let units = ["an-agent", "big", "long", "a-small", "tiny"].map(unit);
        let one = |package: &str, ours, lines| (package.to_owned(), Crate { ours, lines });
        let crates = [
            one("an-agent", true, 70),
            one("big", false, 900),
            one("long", false, SHORT),
            one("a-small", false, 5),
            one("tiny", false, 1),
        ];
        let owned = |name: &str, size| (Owner::Crate(name.to_owned()), size);
        let agent = [owned("an_agent", 10), owned("big", SMALL), owned("a_small", 20), (Owner::Rust, 7)];
        let launcher = [owned("a_small", 30), (Owner::Rust, 3), (Owner::C, 2)];
        Costs::of(&units, &Crates::from(crates), &[Bytes::from(agent), Bytes::from(launcher)])
    }

    #[test]
    fn costs_stand_by_package() {
        let row = |name: &str, lines, bytes: [usize; 2]| {
            vec![Cell::from(name), Cell::from(lines), bytes[0].into(), bytes[1].into()]
        };
        let costs = costs();
        assert_eq!(costs.bytes(), [37 + SMALL, 35]);
        assert_eq!((costs.trusted_lines(), costs.lines_of_others()), (70, 906 + SHORT));
        assert_eq!(costs.of_ours().rows, [row("an-agent", Some(70), [10, 0]), row("all of ours", Some(70), [10, 0])]);
        assert_eq!(
            costs.of_others().rows,
            [
                row("big", Some(900), [SMALL, 0]),
                row("long", Some(SHORT), [0, 0]),
                row("2 crates with less than 32 KiB and 10,000 lines", Some(6), [20, 30]),
                row("all 4 crates of others", Some(906 + SHORT), [SMALL + 20, 30]),
                row("C library", None, [0, 2]),
                row("Rust's own libraries", None, [7, 3]),
            ]
        );
    }
}

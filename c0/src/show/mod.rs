//! What a person sees. Pure: values in, text out, coloured with ANSI codes that the writer strips where they do not
//! belong.
//!
//! Everything that a device says goes through [`clean`]: a container chooses parts of it, and must not write to an
//! operator's terminal. What is forgotten here `terminal.rs` finds, but for colours.

mod blobs;
mod events;
mod plan;
mod status;
mod table;
mod why;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Effects, Style};
use catenoid_schema::{
    status::{Blame, Health, ManifestState, Sync},
    units::Timestamp,
};

pub(crate) use blobs::blobs;
pub(crate) use catenoid_schema::foreign::{clean, lines};
pub(crate) use events::event;
pub(crate) use plan::{Present, accepted, plan};
pub(crate) use status::{said, status};
pub(crate) use why::why;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const PENDING: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
pub(crate) const HEADING: Style = Style::new().effects(Effects::BOLD);
pub(crate) const FAINT: Style = Style::new().effects(Effects::DIMMED);
pub(crate) const PLAIN: Style = Style::new();

/// `text` in `style`.
pub(crate) fn painted(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// How long before `now` something was: `12s`, `3m`, `2h`, `4d`. What a clock puts into the future counts as now.
pub(crate) fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.seconds().saturating_sub(then.seconds()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A number of bytes with one decimal, in the binary unit that fits: `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        None => format!("{bytes} B"),
        Some((name, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

/// Who must act, as the end of a sentence.
pub(crate) fn duty(blame: Blame) -> &'static str {
    match blame {
        Blame::ManifestAuthor => "whoever wrote the manifest must act",
        Blame::Administrator => "whoever runs the device must act",
        Blame::Nobody => "nobody must act: the device tries again",
        Blame::Us => "this is a defect of Catenoid: please report it",
    }
}

fn sync_style(sync: Sync) -> Style {
    match sync {
        Sync::Synced => GOOD,
        Sync::OutOfSync => PENDING,
        Sync::Unknown => BAD,
    }
}

fn health_style(health: Health) -> Style {
    match health {
        Health::Healthy => GOOD,
        Health::Progressing => PENDING,
        Health::Degraded | Health::Missing => BAD,
        Health::Suspended => PLAIN,
    }
}

/// One manifest on one line.
pub(crate) fn manifest(state: &ManifestState) -> String {
    format!("`{}`, sequence {}, sha256:{}", state.name, state.sequence, state.digest.short())
}

/// Adds a line to `out`.
fn line(out: &mut String, text: impl std::fmt::Display) {
    writeln!(out, "{text}").expect("a String takes every text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_short() {
        let at = |seconds| Timestamp::from_seconds(seconds).expect("within range");
        let ages = [(5, "5s"), (60, "1m"), (7199, "1h"), (90_000, "1d")];
        for (seconds, text) in ages {
            assert_eq!(age(at(1_000_000 + seconds), at(1_000_000)), text);
        }
        assert_eq!(age(at(10), at(20)), "0s");
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16777215.9 TiB")];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }
}

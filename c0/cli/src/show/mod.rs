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
use catenoid_schema::status::{Health, Sync};

pub(crate) use blobs::blobs;
pub(crate) use catenoid_client::words::{age, duty, manifest, said};
pub(crate) use catenoid_schema::foreign::{clean, lines};
pub(crate) use events::event;
pub(crate) use plan::{Present, accepted, plan};
pub(crate) use status::status;
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

/// Adds a line to `out`.
fn line(out: &mut String, text: impl std::fmt::Display) {
    writeln!(out, "{text}").expect("a String takes every text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16777215.9 TiB")];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }
}

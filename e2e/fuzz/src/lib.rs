//! Fuzz targets: functions that take any bytes and panic where a promise is broken.
//!
//! Each target is one of the ways by which bytes that nobody vouches for come in. `cargo xtask fuzz` runs them under
//! libFuzzer, with coverage; `tests/replay` runs each of them over all that was ever found worth keeping: `corpus/`
//! has what reaches different code, `regressions/` what once broke a promise. Start reading at [`TARGETS`].

pub mod control;
mod disk;
mod document;
mod envelope;
pub mod fixture;
mod ledger;
mod yaml;

/// The environment variable that names the target to the program.
pub const TARGET_VARIABLE: &str = "CATENOID_FUZZ_TARGET";

/// One way in.
#[derive(Debug, Clone, Copy)]
pub struct FuzzTarget {
    /// Its name; also that of its folders in `corpus` and `regressions`.
    pub name: &'static str,
    /// Takes any bytes; panics if a promise is broken.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[FuzzTarget] = &[
    FuzzTarget { name: "envelope", run: envelope::open_any },
    FuzzTarget { name: "document", run: document::decode_any },
    FuzzTarget { name: "yaml", run: yaml::check_any },
    FuzzTarget { name: "control", run: control::converse },
    FuzzTarget { name: "ledger", run: ledger::start_on_any },
    FuzzTarget { name: "disk", run: disk::read_any },
];

//! The agent, as a library of its program: PID 1 of the device, and the agent proper.
//!
//! Owns all of the device that is no room and no door: `init` (a boot), `record` (events), `accept` (manifests), `pass`
//! (reconciling) and `control` (callers). Needs the rooms for every effect. It opens no network socket, parses no YAML, and
//! believes nothing that the core container says except through signatures. Start reading at `run`; PID 1's half is
//! `init::pid1`.
//!
//! Each folder may use those before it, and none after it: `record`, `init`, `accept`, `pass`, `control`.

mod accept;
mod clock;
mod console;
mod control;
mod init;
mod pass;
mod paths;
mod record;
mod run;
#[cfg(feature = "testing")]
pub mod testing;

use std::process::ExitCode;

use catenoid_core::chain;
use init::pid1;

const USAGE: &str = "\
catenoid-agent: keeps this device as its signed manifest says

It is /init of the device image: as PID 1 it mounts, loads modules, reaps, feeds the watchdogs, and starts
`catenoid-agent agent`, which it starts again whenever that ends. There is nothing to set and nothing to call by hand.
";

/// The program: as PID 1 its first half, as `agent` its second.
#[must_use]
pub fn main() -> ExitCode {
    let failed = if std::process::id() == 1 {
        match pid1::run() {
            Ok(never) => match never {},
            Err(error) => chain(&error),
        }
    } else {
        match std::env::args().nth(1).as_deref() {
            Some("agent") => match run::run() {
                Ok(never) => match never {},
                Err(error) => chain(&error),
            },
            Some("--version") => {
                console::print_own(concat!("catenoid-agent ", env!("CARGO_PKG_VERSION"), "\n"));
                return ExitCode::SUCCESS;
            }
            Some("--help") => {
                console::print_own(USAGE);
                return ExitCode::SUCCESS;
            }
            _ => {
                console::complain(USAGE);
                return ExitCode::from(2);
            }
        }
    };
    console::end(&failed);
    ExitCode::FAILURE
}

//! `catenoid-sign`: the offline side of Catenoid, for the build host and the signer's desk.
//!
//! Owns the way from what people write (YAML, folders, packages) to what devices believe (envelopes): `pki`, `guest`,
//! `check`, `plan`, `sign`, `bundle`, `inspect`, `schema`. Needs `catenoid-schema`, `catenoid-envelope` and the pure halves
//! of the rooms (`catenoid-house`), and no kernel of a device. Start reading at `cli`.

mod bundle;
mod check;
mod cli;
mod failure;
mod files;
mod flows;
mod guest;
mod inspect;
mod key;
mod pki;
mod plan;
mod schema;
mod sign;
mod table;
mod terminal;
#[cfg(feature = "testing")]
pub mod testing;
mod yaml;

use std::process::ExitCode;

use clap::Parser as _;

/// The program: does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => terminal::report(&failure),
    }
}

//! `catenoid-sign`: the offline side of Catenoid, for the build host and the signer's desk.
//!
//! Owns the way from what people write (YAML, folders, packages) to what devices believe (envelopes): `pki`, `guest`,
//! `check`, `sign`, `bundle`, `inspect`, `schema`. Needs `catenoid-schema` and `catenoid-envelope`, and no kernel of a
//! device. Start reading at [`cli`].

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
mod schema;
mod sign;
mod yaml;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

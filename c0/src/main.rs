//! `catenoid`: operates a device through the control socket of its agent.
//!
//! Owns what an operator types and sees. Needs the types of `catenoid-schema`, and of `catenoid-envelope` only the
//! reading of an envelope that nobody verified yet; has no key and no rights of its own. Start reading at [`run`]; what
//! is said of a device as a whole is decided in [`judge`], what it looks like in [`show`].
//!
//! [req->SF-15]

mod arguments;
mod client;
mod delivery;
mod failure;
mod follow;
mod judge;
mod progress;
mod push;
mod run;
mod show;
mod stream;
mod terminal;

use std::{io, process::ExitCode};

use arguments::{Arguments, Color};
use clap::Parser as _;
use failure::{Exit, Failure};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let choice = match arguments.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run::run(arguments)),
        Err(source) => Err(Failure::Start { source }),
    };
    match result {
        Ok(exit) => exit.into(),
        // Whoever read our answer has enough of it.
        Err(Failure::Write { source }) if source.kind() == io::ErrorKind::BrokenPipe => Exit::Done.into(),
        Err(failure) => {
            terminal::note(failure.report().trim_end());
            failure.exit().into()
        }
    }
}

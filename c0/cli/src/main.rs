//! `catenoid`: operates a device through the control socket of its agent.
//!
//! Owns what an operator types and sees. Needs `catenoid-client`, which speaks to the device and decides what its status
//! amounts to, and the types of `catenoid-schema`; has no key and no rights of its own. Start reading at [`run`]; what
//! something looks like is decided in [`show`].
//!
//! [req->SF-15]

mod arguments;
mod failure;
mod progress;
mod run;
mod show;
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

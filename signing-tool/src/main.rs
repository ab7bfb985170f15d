//! `catenoid-sign`. What it does is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    catenoid_sign::main()
}

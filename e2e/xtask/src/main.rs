//! `cargo xtask`: the project's commands. It owns development flow (packages, image, VM, demo, checks) and nothing that
//! runs on a device. No system library and few crates, so that it builds in seconds on a machine with nothing but Rust.

mod bench;
mod calls;
mod compat;
mod demo;
mod development;
mod fuzz;
mod image;
mod origin;
mod requirements;
mod rooms;
mod run;
mod setup;
mod size;
mod test;
mod trees;
mod vm;
mod walls;
mod whole;

use std::fs::{self, File};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use catenoid_e2e::Artefacts;
use image::Variant;
use lexopt::{Arg, Parser, ValueExt as _};

const HELP: &str = "\
Usage: cargo xtask COMMAND

  setup                        install what the other commands need (apt packages, nextest, cargo-deny)
  demo [--keep]                the whole way, shown: keys, guests, boot, apply, update, refusal, healing
  image [--variant test|faults]   build the device image: signed UKI, disk; for tests one with a root shell, or with fault points too
  vm up [--fresh] [--variant test|faults]   boot the device in QEMU with Secure Boot and a TPM; --fresh forgets its data
  vm ssh [-- COMMAND...]       a shell, or one command, in c0
  vm console                   what the device printed so far, and what it prints
  vm down                      press the power button
  bench NAME [--json] [--keep]   measure: start, idle, pass, boot or push; --keep writes docs/figures/bench-NAME.md anew
  size [--no-boot] [--json] [--keep]   trusted lines, programs, boot image, memory, what each crate costs; --keep writes
                               docs/figures/size.md anew; --help says more
  calls [NAME] [--runs N] [--fresh]   record what programs of Debian ask the kernel for (strace; 3 runs by default); as root
  compat VERSION               store what the image and tools that are built sign and write, for every later version to read
  walls                        check who may use what: dependencies, unsafe, effects in rooms
  requirements [--json]        each requirement: where implemented, where tested, gaps
  fuzz [TARGET] [--seconds N] [--keep]   any bytes to the fuzz targets, 60 s each by default; --keep what reaches new code
  whole [NAME] [--share I/N] [--resume] [--stale]   sets that take hours: run one, list them or what is stale; --help says more
  test [unit|tool|namespace|vm] [FILTER] [--record]   setup, walls, fmt, licences, clippy, then the tests (all of them by default);
                               unit needs no root; --record writes the times to docs/figures/test-times.md
";

fn main() -> ExitCode {
    match command() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<ExitCode> {
    let artefacts = Artefacts::find()?;
    let mut parser = Parser::from_env();
    let Some(name) = word(&mut parser)? else {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    match name.as_str() {
        "help" => print!("{HELP}"),
        "setup" => {
            end(&mut parser)?;
            setup::ensure()?;
            setup::ensure_deny()?;
        }
        "demo" => {
            let keep = options(&mut parser)?.keep;
            let _alone = begin(&artefacts)?;
            demo::play(&artefacts, keep)?;
        }
        "image" => {
            let variant = options(&mut parser)?.variant;
            let _alone = begin(&artefacts)?;
            image::build(&artefacts, variant)?;
        }
        "bench" => {
            let name = word(&mut parser)?.context("`bench` needs one of start, idle, pass, boot, push")?;
            let options = options(&mut parser)?;
            let _alone = begin(&artefacts)?;
            bench::run(&artefacts, &name, options.json, options.keep)?;
        }
        "size" => {
            let options = size::options(&mut parser)?;
            size::run(&artefacts, &options, || begin(&artefacts))?;
        }
        "calls" => {
            let options = calls_options(&mut parser)?;
            let _alone = begin(&artefacts)?;
            calls::record(&artefacts, &options)?;
        }
        "vm" => return vm(&artefacts, &mut parser),
        "compat" => {
            let version = word(&mut parser)?.context("`compat` needs the name of a version, such as `v2`")?;
            end(&mut parser)?;
            compat::make(&artefacts, &version)?;
        }
        "walls" => {
            end(&mut parser)?;
            return walls::check(&artefacts);
        }
        "requirements" => {
            let json = options(&mut parser)?.json;
            return requirements::report(&artefacts, json);
        }
        "fuzz" => {
            let options = fuzz_options(&mut parser)?;
            setup::ensure()?;
            fuzz::run(&artefacts, &options)?;
        }
        "test" => {
            let options = test_options(&mut parser)?;
            test::run(&artefacts, &options)?;
        }
        "whole" => whole::command(&artefacts, &mut parser)?,
        other => bail!("no command `{other}` (hint: `cargo xtask help`)"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What every command begins with that builds: the packages are there, and nobody else builds.
fn begin(artefacts: &Artefacts) -> Result<File> {
    setup::ensure()?;
    alone(artefacts)
}

/// Until the file is dropped nobody else builds into `target/catenoid`, where an image and the guests beside it belong
/// together.
fn alone(artefacts: &Artefacts) -> Result<File> {
    let folder = artefacts.state();
    fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    let path = folder.join("lock");
    let lock = File::create(&path).with_context(|| format!("failed to make `{}`", path.display()))?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another `cargo xtask` that builds");
        lock.lock().with_context(|| format!("failed to lock `{}`", path.display()))?;
    }
    Ok(lock)
}

fn vm(artefacts: &Artefacts, parser: &mut Parser) -> Result<ExitCode> {
    match word(parser)?.as_deref() {
        Some("up") => {
            let options = options(parser)?;
            let _alone = begin(artefacts)?;
            vm::up(artefacts, options.variant, options.fresh)?;
        }
        Some("ssh") => {
            let words = parser.raw_args()?.map(|word| word.string()).collect::<Result<Vec<_>, _>>()?;
            let words = words.strip_prefix(&["--".to_owned()]).unwrap_or(&words);
            return vm::ssh(artefacts, words);
        }
        Some("console") => {
            end(parser)?;
            vm::console(artefacts)?;
        }
        Some("down") => {
            end(parser)?;
            vm::down(artefacts)?;
        }
        Some(other) => bail!("no command `vm {other}` (hint: up, ssh, console, down)"),
        None => bail!("`vm` needs one of up, ssh, console, down"),
    }
    Ok(ExitCode::SUCCESS)
}

struct Options {
    variant: Variant,
    fresh: bool,
    json: bool,
    keep: bool,
}

fn options(parser: &mut Parser) -> Result<Options> {
    let mut options = Options { variant: Variant::Production, fresh: false, json: false, keep: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("fresh") => options.fresh = true,
            Arg::Long("json") => options.json = true,
            Arg::Long("keep") => options.keep = true,
            Arg::Long("variant") => {
                options.variant = match parser.value()?.string()?.as_str() {
                    "production" => Variant::Production,
                    "test" => Variant::Test,
                    "faults" => Variant::Faults,
                    other => bail!("no variant `{other}` (hint: production, test, faults)"),
                };
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn calls_options(parser: &mut Parser) -> Result<calls::Options> {
    let mut options = calls::Options { name: None, runs: 3, fresh: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(name) if options.name.is_none() => options.name = Some(name.string()?),
            Arg::Long("runs") => options.runs = parser.value()?.parse()?,
            Arg::Long("fresh") => options.fresh = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn fuzz_options(parser: &mut Parser) -> Result<fuzz::Options> {
    let mut options = fuzz::Options { target: None, time: Duration::from_secs(60), keep: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(target) if options.target.is_none() => options.target = Some(target.string()?),
            Arg::Long("seconds") => options.time = Duration::from_secs(parser.value()?.parse()?),
            Arg::Long("keep") => options.keep = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn test_options(parser: &mut Parser) -> Result<test::Options> {
    let mut options = test::Options { group: None, filter: None, record: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(group) if options.group.is_none() => options.group = Some(group.string()?),
            Arg::Value(filter) if options.filter.is_none() => options.filter = Some(filter.string()?),
            Arg::Long("record") => options.record = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn word(parser: &mut Parser) -> Result<Option<String>> {
    match parser.next()? {
        Some(Arg::Value(value)) => Ok(Some(value.string()?)),
        Some(Arg::Long("help") | Arg::Short('h')) => Ok(Some("help".to_owned())),
        Some(other) => Err(other.unexpected().into()),
        None => Ok(None),
    }
}

fn end(parser: &mut Parser) -> Result<()> {
    match parser.next()? {
        Some(other) => Err(other.unexpected().into()),
        None => Ok(()),
    }
}

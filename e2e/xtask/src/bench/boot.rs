//! `bench boot`: from the firmware's hand-off to the core container, against the same kernel with an init that does nothing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use catenoid_e2e::device::platform_keys;
use catenoid_e2e::{Artefacts, Vm};

use super::fleet::written_at;
use super::{Figures, Report};
use crate::image::{self, Variant};
use crate::run;

const ROUNDS: usize = 3;
/// The firmware's last words.
const HAND_OFF: &str = "BdsDxe: starting Boot";
/// What `boot/empty.c` prints.
const EMPTY: &str = "empty: up";
/// Firmware and kernel under TCG, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn measure(artefacts: &Artefacts) -> Result<Report> {
    let disk = image::build(artefacts, Variant::Production)?;
    let folder = artefacts.state().join("bench").join("boot");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    let program = folder.join("empty");
    let source = artefacts.workspace().join("e2e/xtask/src/bench/boot/empty.c");
    run::output(Command::new("cc").args(["-O2", "-static", "-s", "-o"]).arg(&program).arg(source))?;
    let empty = image::build_empty(artefacts, &program, &folder)?;
    let mut figures = Figures::default();
    for _ in 0..ROUNDS {
        let vm = switch_on(artefacts, "bench-boot-empty", Some(&empty))?;
        let from = moment(&vm, HAND_OFF)?;
        figures.add_and_print("empty init: hand-off to init", "ms", (moment(&vm, EMPTY)? - from).as_secs_f64() * 1e3);
        drop(vm);
        let vm = switch_on(artefacts, "bench-boot", Some(&disk))?;
        device(&vm, "first boot", &mut figures)?;
        drop(vm);
        let vm = switch_on(artefacts, "bench-boot", None)?;
        device(&vm, "second boot", &mut figures)?;
    }
    for name in figures.names().iter().filter(|name| name.ends_with("hand-off to c0 runs")) {
        figures.compare(name, "empty init: hand-off to init");
    }
    let ran_on = "the device of the production image in QEMU under TCG, 2 processors, 1024 MiB, Secure Boot, TPM";
    Ok(Report { ran_on: ran_on.to_owned(), figures, notes: Vec::new() })
}

/// A machine with the firmware's variables of our keys; without `disk`, the same machine as before.
fn switch_on(artefacts: &Artefacts, name: &str, disk: Option<&PathBuf>) -> Result<Vm> {
    let dir = artefacts.vm(name);
    let builder = Vm::builder(&dir).keys(platform_keys(&artefacts.pki())?);
    let Some(disk) = disk else { return Ok(builder.start()?) };
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("failed to remove `{}`", dir.display()))?;
    }
    Ok(builder.disk(disk).start()?)
}

/// When the console said so, by this machine's clock.
fn moment(vm: &Vm, text: &str) -> Result<Instant> {
    vm.wait_console(text, PATIENCE)?;
    Ok(Instant::now())
}

fn device(vm: &Vm, which: &str, figures: &mut Figures) -> Result<()> {
    let from = moment(vm, HAND_OFF)?;
    let mut add = |what: &str, time: Duration| {
        figures.add_and_print(&format!("{which}: {what}"), "ms", time.as_secs_f64() * 1e3);
    };
    add("hand-off to PID 1 is ready", moment(vm, "catenoid: booted")? - from);
    add("hand-off to c0 runs", moment(vm, "start container `core0`")? - from);
    // The rest of the line, and of what is reported of it.
    vm.wait_console("Converged", PATIENCE)?;
    let console = vm.console().text();
    let at = |text: &str| written_at(&console, text);
    add("agent starts to first step", at("StepDone")?.saturating_sub(at("AgentStarted")?));
    add("first step to c0 runs", at("start container `core0`")?.saturating_sub(at("StepDone")?));
    add("of that, image verified whole", at("verify and mount guest")?.saturating_sub(at("map image")?));
    Ok(())
}

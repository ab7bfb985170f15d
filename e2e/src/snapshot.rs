//! A device that is booted once for each image, and goes on from that moment in every scenario that is not about the boot:
//! QEMU's migration to a file, and a copy of the disk of the same moment.
//!
//! What such devices have in common is more than what factory-new ones have: the host keys of c0's sshd, the kernel's random
//! state and its boot id, the monotonic clock. The clock of the wall is set to the host's, which the agent tells of as
//! `ClockSet` when it is more than two seconds.

use std::fs::{self, File};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::artefacts::Artefacts;
use crate::device::{Device, Image, machine_without_firmware};
use crate::vm::{Builder, MEMORY};

/// What the saved machine was made of: see [`Builder::identity`]. The last file that is written.
const MADE_OF: &str = "made-of";
/// A clock that is set by less is not told of: one second more than the agent's own limit (agent/src/run.rs).
const TOLD: u64 = 3;

/// The device of the scenario `name`, as `make` left one of the same image the first time: it gets a factory-new machine
/// that is off. Made again whenever anything that it depends on has changed.
///
/// # Errors
/// What `make` says, a machine that cannot be saved or restored, files.
pub fn restore(
    artefacts: &Artefacts,
    image: Image,
    name: &str,
    make: impl FnOnce(Builder) -> Result<Device>,
) -> Result<Device> {
    let saved = format!("ready-{}", image.name());
    let folder = artefacts.vm(&saved);
    let lock = folder.with_extension("lock");
    fs::create_dir_all(artefacts.vm("")).context("failed to make the folder of the machines")?;
    let lock = File::create(&lock).with_context(|| format!("failed to make `{}`", lock.display()))?;
    lock.lock().context("failed to lock the saved machine")?;
    let machine = machine_without_firmware(artefacts, image, name)?;
    let made_of = folder.join(MADE_OF);
    let identity = machine.identity()?;
    if !fs::read_to_string(&made_of).is_ok_and(|made| made == identity) {
        make(machine_without_firmware(artefacts, image, &saved)?)?.save()?;
        fs::write(&made_of, &identity).with_context(|| format!("failed to write `{}`", made_of.display()))?;
    }
    let mut vm = machine.disk(folder.join("disk.img")).memory(folder.join(MEMORY)).start()?;
    drop(lock);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the host's clock is before 1970")?.as_secs();
    // Told before anything else happens, so that no scenario takes it for an event of its own.
    let told = "until grep -q '\"kind\":\"ClockSet\"' /data/audit/audit.jsonl; do usleep 20000; done";
    let set =
        vm.root(&format!("was=$(date +%s); date -s @{now} && {{ [ $(({now} - was)) -lt {TOLD} ] || {told}; }}"))?;
    ensure!(set.code == 0, "the clock cannot be set: {}", set.text);
    Device::of(artefacts.clone(), vm)
}

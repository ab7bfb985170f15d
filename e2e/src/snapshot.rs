//! A device that is brought to a moment once, and goes on from there in every scenario that begins with that moment: QEMU's
//! migration to a file, and a copy of the disk of the same moment.
//!
//! What such devices have in common is more than what factory-new ones have: the host keys of c0's sshd, the kernel's random
//! state and its boot id, the monotonic clock. The clock of the wall is set to the host's, which the agent reports as
//! `ClockSet` when it is more than two seconds.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::artefacts::Artefacts;
use crate::device::{Device, Image, machine_without_firmware};
use crate::vm::{MEMORY, Vm};

/// What the saved machine was made of: see [`crate::vm::Builder::identity`]. The last file that is written, and removed where
/// a restored machine does not answer.
const MADE_OF: &str = "made-of";
/// A clock that is behind by less, in whole seconds, stays: two more than what the agent does not report (agent/src/pass/thread.rs), as
/// both sides cut their seconds off.
const CLOCK_TOLERANCE: u64 = 4;

/// What devices go on from.
#[derive(Debug)]
pub struct Moment<'a> {
    /// Names it, and with the image the folder that keeps it.
    pub name: &'a str,
    /// What the device boots.
    pub image: Image,
    /// Files that it depends on besides.
    pub files: &'a [PathBuf],
}

/// The device of the scenario `name`, as `make` left one at `moment` the first time: `make` gets the name of a machine of its
/// own, without firmware. Made again whenever anything that it depends on has changed.
///
/// # Errors
/// What `make` says, a machine that cannot be saved or restored, files.
pub fn restore(
    artefacts: &Artefacts,
    moment: &Moment<'_>,
    name: &str,
    make: impl FnOnce(&str) -> Result<Device>,
) -> Result<Device> {
    let saved = format!("{}-{}", moment.name, moment.image.name());
    let folder = artefacts.vm(&saved);
    let lock = folder.with_extension("lock");
    fs::create_dir_all(artefacts.vm("")).context("failed to make the folder of the machines")?;
    let lock = File::create(&lock).with_context(|| format!("failed to make `{}`", lock.display()))?;
    lock.lock().context("failed to lock the saved machine")?;
    let machine = machine_without_firmware(artefacts, moment.image, name)?;
    let made_of = folder.join(MADE_OF);
    let identity = machine.identity(moment.files)?;
    let is_made = fs::read_to_string(&made_of).is_ok_and(|made| made == identity);
    if !is_made {
        make(&saved)?.save()?;
    }
    let mut vm = machine.disk(folder.join("disk.img")).memory(folder.join(MEMORY)).start()?;
    if !is_made {
        fs::write(&made_of, &identity).with_context(|| format!("failed to write `{}`", made_of.display()))?;
    }
    drop(lock);
    // One that does not answer keeps nobody else from making it again: it counts as made no more.
    set_clock(&mut vm).inspect_err(|_| drop(fs::remove_file(&made_of)))?;
    Device::of(artefacts.clone(), vm)
}

/// Sets the clock of the wall to the host's; recorded before anything else happens, so that no scenario takes it for an event of its own.
fn set_clock(vm: &mut Vm) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the host's clock is before 1970")?.as_secs();
    let set = vm.root(&format!(
        r#"recorded() {{ grep -c '"kind":"ClockSet"' /data/audit/audit.jsonl; }}
           [ $(({now} - $(date +%s))) -lt {CLOCK_TOLERANCE} ] && exit 0
           before=$(recorded); date -s @{now} || exit
           until [ $(recorded) -gt $before ]; do usleep 20000; done"#
    ))?;
    ensure!(set.code == 0, "the clock cannot be set: {}", set.text);
    Ok(())
}

//! The device of the test image, for scenarios: each has a directory, and so a disk, firmware and TPM, of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::artefacts::Artefacts;
use crate::console::Console;
use crate::firmware::{PlatformKeys, certificate_from_pem};
use crate::ssh::{Output, Ssh};
use crate::vm::{Builder, Vm};

/// Firmware, kernel, verity and sshd under TCG on a busy machine.
pub const BOOT: Duration = Duration::from_secs(180);

/// For a shell of the root namespace: sets `agent` to the agent's pid.
pub const AGENT: &str = r#"for folder in /proc/[0-9]*; do
  [ "$(cat $folder/cmdline 2>/dev/null | tr '\0' ' ')" = "/init agent " ] && agent=${folder#/proc/}
done; "#;

/// The certificates that a device of this PKI enrols.
pub fn platform_keys(pki: &Path) -> Result<PlatformKeys> {
    let read = |name: &str| -> Result<Vec<u8>> {
        let path = pki.join("platform").join(format!("{name}.crt.pem"));
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        Ok(certificate_from_pem(&path.display().to_string(), &text)?)
    };
    Ok(PlatformKeys { pk: read("PK")?, kek: read("KEK")?, db: read("db")? })
}

/// A machine for the scenario `name`, not started: the test image's disk, our platform keys, root's eyes open. What an
/// earlier run of the scenario left is removed.
pub fn machine(artefacts: &Artefacts, name: &str) -> Result<Builder> {
    machine_of(artefacts, name, "test")
}

/// The same with the image that has fault points.
pub fn faulty_machine(artefacts: &Artefacts, name: &str) -> Result<Builder> {
    machine_of(artefacts, name, "faults")
}

/// The same as [`machine`], with a kernel that QEMU loads itself: for scenarios in which firmware and TPM have no part.
pub fn machine_without_firmware(artefacts: &Artefacts, name: &str) -> Result<Builder> {
    Ok(without_firmware(artefacts, fresh(artefacts, name)?)?.disk(disk_of(artefacts, "test")?))
}

/// A machine with the disk that lies in `dir`, and the kernel, initramfs and command line of the test image.
pub fn without_firmware(artefacts: &Artefacts, dir: PathBuf) -> Result<Builder> {
    let image = artefacts.image().join("test");
    let path = image.join("cmdline");
    let words = fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let words = words.trim_end_matches('\0').trim().to_owned();
    Ok(Vm::builder(dir).kernel(artefacts.rooms().join("kernel"), image.join("initramfs.cpio.zst"), words).root_shell())
}

fn machine_of(artefacts: &Artefacts, name: &str, variant: &str) -> Result<Builder> {
    let (dir, disk) = (fresh(artefacts, name)?, disk_of(artefacts, variant)?);
    Ok(Vm::builder(dir).disk(disk).keys(platform_keys(&artefacts.pki())?).root_shell())
}

fn disk_of(artefacts: &Artefacts, variant: &str) -> Result<PathBuf> {
    let disk = artefacts.image().join(variant).join("disk.img");
    ensure!(disk.exists(), "no `{}` (hint: `cargo xtask image --variant {variant}`)", disk.display());
    Ok(disk)
}

/// The directory of a scenario, without what an earlier run left in it.
fn fresh(artefacts: &Artefacts, name: &str) -> Result<PathBuf> {
    let dir = artefacts.vm(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("failed to remove `{}`", dir.display()))?;
    }
    Ok(dir)
}

/// A running device whose c0 answers.
#[derive(Debug)]
pub struct Device {
    artefacts: Artefacts,
    vm: Vm,
    ssh: Ssh,
}

impl Device {
    /// Boots a factory-new device for the scenario `name` and waits for c0.
    pub fn boot(name: &str) -> Result<Self> {
        let artefacts = Artefacts::new();
        let machine = machine(&artefacts, name)?;
        Self::start(artefacts, machine)
    }

    /// Switches `machine` on and waits for c0.
    pub fn start(artefacts: Artefacts, machine: Builder) -> Result<Self> {
        Self::of(artefacts, machine.start()?)
    }

    /// Cuts the power and switches the same device on again, with firmware if it had one.
    pub fn power_cycle(self) -> Result<Self> {
        let (dir, firmware) = (self.vm.dir().to_owned(), self.vm.has_firmware());
        self.vm.kill();
        let machine = if firmware { Vm::builder(dir).root_shell() } else { without_firmware(&self.artefacts, dir)? };
        Self::start(self.artefacts, machine)
    }

    /// Cuts the power.
    pub fn power_off(self) {
        self.vm.kill();
    }

    /// Presses the power button; how long the device took to go off.
    pub fn shutdown(self) -> Result<Duration> {
        let pressed = Instant::now();
        self.vm.shutdown()?;
        Ok(pressed.elapsed())
    }

    /// Waits for c0 on a machine that is on.
    pub fn of(artefacts: Artefacts, vm: Vm) -> Result<Self> {
        let ssh = Ssh::new(vm.ssh_port(), artefacts.ssh_key());
        ssh.wait(vm.console(), BOOT)?;
        Ok(Self { artefacts, vm, ssh })
    }

    /// The machine.
    pub fn vm(&mut self) -> &mut Vm {
        &mut self.vm
    }

    /// Its console.
    #[must_use]
    pub fn console(&self) -> &Console {
        self.vm.console()
    }

    /// The way into c0.
    #[must_use]
    pub fn ssh(&self) -> &Ssh {
        &self.ssh
    }

    /// Runs `catenoid` in c0, e.g. `["status", "-o", "json"]`, and gives what it left, whatever its exit code.
    pub fn catenoid(&self, words: &[&str]) -> Result<Output> {
        Ok(self.ssh.run(["catenoid"].iter().chain(words))?)
    }

    /// A script as root in the root namespace; it must succeed. Gives its output.
    pub fn root(&mut self, script: &str) -> Result<String> {
        let output = self.vm.root(script)?;
        ensure!(output.code == 0, "`{script}` exited with {}:\n{}", output.code, output.text);
        Ok(output.text)
    }
}

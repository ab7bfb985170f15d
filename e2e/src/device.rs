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

/// Firmware, kernel, verity and sshd under TCG on a busy machine: the firmware alone takes 80 s beside two other machines.
pub const BOOT: Duration = Duration::from_secs(300);

/// For a shell of the root namespace: sets `agent` to the agent's pid.
pub const AGENT: &str = r#"for pid in $(pidof init); do
  [ "$(tr '\0' ' ' </proc/$pid/cmdline)" = "/init agent " ] && agent=$pid
done; "#;

/// Which disk is the device's, where no firmware says it: the GUID is that of each image's boot partition.
const BOOT_PARTITION: &str = "catenoid.boot_partition=CA7E401D-0000-4000-8000-000000000001";

const INITRAMFS: &str = "initramfs.cpio";

/// The certificates that a device of this PKI enrols.
pub fn platform_keys(pki: &Path) -> Result<PlatformKeys> {
    let read = |name: &str| -> Result<Vec<u8>> {
        let path = pki.join("platform").join(format!("{name}.crt.pem"));
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        Ok(certificate_from_pem(&path.display().to_string(), &text)?)
    };
    Ok(PlatformKeys { pk: read("PK")?, kek: read("KEK")?, db: read("db")? })
}

/// An image that a device of the scenarios can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// Root's eyes are open.
    Test,
    /// The same, and the device's programs have fault points.
    Faults,
    /// The same with the programs of the version that devices in the field run.
    Yesterday,
    /// The same with the programs of a version whose documents have more fields.
    Tomorrow,
}

impl Image {
    /// The variant's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Faults => "faults",
            Self::Yesterday => "yesterday",
            Self::Tomorrow => "tomorrow",
        }
    }

    fn folder(self, artefacts: &Artefacts) -> PathBuf {
        artefacts.image().join(self.name())
    }

    /// The disk of a factory-new device. Other versions have the test image's: they boot without it.
    pub fn disk(self, artefacts: &Artefacts) -> Result<PathBuf> {
        let image = if self == Self::Faults { self } else { Self::Test };
        let disk = image.folder(artefacts).join("disk.img");
        ensure!(disk.exists(), "no `{}` (hint: `cargo xtask image --variant {}`)", disk.display(), image.name());
        Ok(disk)
    }
}

/// A machine for the scenario `name`, not started: the test image's disk, our platform keys, root's eyes open. It has one processor: a
/// kernel that patches its own code while it starts, on two of them, was seen to hang in QEMU 7.2 until the watchdog reset it. What
/// an earlier run of the scenario left is removed.
pub fn machine(artefacts: &Artefacts, name: &str) -> Result<Builder> {
    let machine = Vm::builder(fresh(artefacts, name)?).disk(Image::Test.disk(artefacts)?).disposable();
    Ok(machine.keys(platform_keys(&artefacts.pki())?).root_shell().processors(1))
}

/// The same with any image and a kernel that QEMU loads itself: for scenarios in which firmware has no part.
pub fn machine_without_firmware(artefacts: &Artefacts, image: Image, name: &str) -> Result<Builder> {
    let machine = Vm::builder(fresh(artefacts, name)?).disk(image.disk(artefacts)?).disposable();
    without_firmware(artefacts, image, machine)
}

/// The machine with the kernel, initramfs and command line of the image, whatever it had: also one that went
/// [off](Device::off) under another.
pub fn without_firmware(artefacts: &Artefacts, image: Image, machine: Builder) -> Result<Builder> {
    with_initramfs(artefacts, image, machine, image.folder(artefacts).join(INITRAMFS))
}

/// The same with an archive behind the image's initramfs: its files join those of the image, or take their places.
pub fn without_firmware_but(artefacts: &Artefacts, image: Image, dir: PathBuf, archive: &Path) -> Result<Builder> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("failed to read `{}`", path.display()));
    let together = joined(read(&image.folder(artefacts).join(INITRAMFS))?, &read(archive)?);
    let path = dir.join("initramfs");
    fs::create_dir_all(&dir)
        .and_then(|()| fs::write(&path, together))
        .with_context(|| format!("failed to write `{}`", path.display()))?;
    with_initramfs(artefacts, image, Vm::builder(dir), path)
}

/// An initramfs and an archive behind it, which the kernel looks for at a multiple of four bytes only (init/initramfs.c).
fn joined(mut initramfs: Vec<u8>, archive: &[u8]) -> Vec<u8> {
    initramfs.resize(initramfs.len().next_multiple_of(4), 0);
    initramfs.extend_from_slice(archive);
    initramfs
}

/// All images have the kernel and the command line of the test image.
fn with_initramfs(artefacts: &Artefacts, image: Image, machine: Builder, initramfs: PathBuf) -> Result<Builder> {
    let path = Image::Test.folder(artefacts).join("cmdline");
    let words = fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let words = format!("{} {BOOT_PARTITION}", words.trim_end_matches('\0').trim());
    let machine = machine.kernel(artefacts.rooms().join("kernel"), initramfs, words).root_shell();
    Ok(match image {
        Image::Test | Image::Tomorrow => machine.processors(2),
        // Yesterday's agent makes the first control group while others run: see `watch_over_agent` in agent/src/init/pid1.rs. Of
        // faults each processor has a share.
        Image::Yesterday | Image::Faults => machine.processors(1),
    })
}

/// The directory of a scenario, without what an earlier run left in it.
pub fn fresh(artefacts: &Artefacts, name: &str) -> Result<PathBuf> {
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
        Self::start(self.artefacts, self.vm.off())
    }

    /// Cuts the power; what switches the same device on again.
    #[must_use]
    pub fn off(self) -> Builder {
        self.vm.off()
    }

    /// Stops the device for good, so that it can be restored from this moment: see [`Vm::save`].
    pub(crate) fn save(self) -> Result<()> {
        Ok(self.vm.save()?)
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

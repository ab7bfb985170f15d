//! What the firmware lets boot, and what the kernel it booted lets in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::device::machine;
use catenoid_e2e::{Artefacts, Vm};

/// What PID 1 prints when its file systems are there, after the probe's line.
const BOOTED: &str = "catenoid: booted";
/// What the probe of the test image prints before anything else of ours runs.
const KERNEL_RAN: &str = "probe: the kernel runs";
/// OVMF's last word when nothing on the disk may boot.
const NOTHING_BOOTS: &str = "BdsDxe: No bootable option or device was found";
/// OVMF reads and hashes the UKI under TCG.
const FIRMWARE: Duration = Duration::from_secs(120);

/// A machine whose disk boots `efi` instead of what the image was built with.
fn boot(name: &str, efi: &Path) -> Result<Vm> {
    let machine = machine(&Artefacts::new(), name)?;
    let disk = machine.prepare()?;
    let status = Command::new("mcopy")
        .args(["-D", "o", "-i", &format!("{}@@1M", disk.display())])
        .arg(efi)
        .arg("::/EFI/BOOT/BOOTX64.EFI")
        .status()
        .context("failed to run `mcopy`")?;
    ensure!(status.success(), "`mcopy` failed");
    Ok(machine.start()?)
}

fn image(file: &str) -> PathBuf {
    Artefacts::new().image().join("test").join(file)
}

fn assert_refused(name: &str, efi: &Path) -> Result<()> {
    let vm = boot(name, efi)?;
    vm.wait_console(NOTHING_BOOTS, FIRMWARE).context(name.to_owned())?;
    let console = vm.console().text();
    assert!(console.contains("Access Denied"), "{name}: the firmware gives its reason:\n{console}");
    assert!(!console.contains(KERNEL_RAN), "{name}: the kernel ran:\n{console}");
    Ok(())
}

/// [req->SF-2] [req->OS-04] [req->NDR-3.14]
#[test]
fn vm_unsigned_boot_is_refused() -> Result<()> {
    assert_refused("unsigned", &image("unsigned.efi"))?;
    let signed = fs::read(image("signed.efi"))?;
    let command_line = signed.windows(8).position(|bytes| bytes == b"lockdown").context("no command line")?;
    for (what, at) in
        [("command-line", command_line), ("kernel", signed.len() / 4), ("initramfs", signed.len() * 3 / 4)]
    {
        let name = format!("flipped-{what}");
        let mut flipped = signed.clone();
        flipped[at] ^= 1;
        let path = image(&format!("{name}.efi"));
        fs::write(&path, flipped)?;
        assert_refused(&name, &path)?;
    }
    // The same way of putting it on the disk, and the signed one boots.
    let vm = boot("signed", &image("signed.efi"))?;
    vm.wait_console(KERNEL_RAN, FIRMWARE)?;
    Ok(())
}

/// [req->SF-3]
#[test]
fn vm_lockdown_and_module_signatures_are_in_force() -> Result<()> {
    let mut vm = boot("lockdown", &image("signed.efi"))?;
    vm.wait_console(KERNEL_RAN, FIRMWARE)?;
    println!("from power-on to the first program: {:.1} s", vm.uptime().as_secs_f32());
    // The shell's programs are found by what PID 1 mounts.
    vm.wait_console(BOOTED, FIRMWARE)?;
    let mut root = |script: &str| -> Result<(i32, String)> {
        let output = vm.root(script)?;
        Ok((output.code, output.text))
    };
    let done = |text: &str| (0, text.to_owned());
    assert_eq!(root("cat /sys/module/module/parameters/sig_enforce")?, done("Y"));
    let lockdown = "mount -t securityfs securityfs /sys/kernel/security 2>/dev/null; cat /sys/kernel/security/lockdown";
    assert_eq!(root(lockdown)?, done("none [integrity] confidentiality"));
    let (code, refusal) = root("insmod /proc/$PROBE/root/unsigned.ko")?;
    assert_ne!(code, 0, "an unsigned module was loaded: {refusal}");
    assert!(refusal.contains("Key was rejected by service"), "{refusal}");
    assert_eq!(root("insmod /proc/$PROBE/root/signed.ko && grep -c ^dummy /proc/modules")?, done("1"));
    Ok(())
}

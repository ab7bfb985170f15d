//! What the kernel says of the machine and of itself.

use std::{fs, io, time::Duration};

use nix::time::{ClockId, clock_gettime};

/// Time since boot, including suspension (`CLOCK_BOOTTIME`).
#[must_use]
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).expect("every kernel since 2.6.39 has this clock")
}

/// The random id of this boot.
///
/// # Errors
/// If procfs is not mounted.
pub fn boot_id() -> io::Result<String> {
    read("/proc/sys/kernel/random/boot_id")
}

/// The release of the running kernel, as `uname -r` has it.
///
/// # Errors
/// If procfs is not mounted.
pub fn kernel_release() -> io::Result<String> {
    read("/proc/sys/kernel/osrelease")
}

/// The serial that the firmware states (SMBIOS type 1).
///
/// # Errors
/// If the firmware states none.
pub fn serial() -> io::Result<String> {
    read("/sys/class/dmi/id/product_serial")
}

/// The lockdown mode that is in force: `none`, `integrity` or `confidentiality`.
///
/// # Errors
/// If securityfs is not mounted or the kernel has no lockdown.
pub fn lockdown() -> io::Result<String> {
    let modes = read("/sys/kernel/security/lockdown")?;
    let chosen = modes.split_whitespace().find_map(|mode| mode.strip_prefix('[')?.strip_suffix(']'));
    chosen.map(str::to_owned).ok_or_else(|| io::Error::other(format!("`{modes}` names no mode")))
}

/// Whether only signed modules are loaded.
///
/// # Errors
/// If the kernel does not tell.
pub fn modules_must_be_signed() -> io::Result<bool> {
    read("/sys/module/module/parameters/sig_enforce").map(|text| text == "Y")
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}

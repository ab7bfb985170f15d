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

/// The GUID of the partition that the boot image was read from: what systemd-stub says, which had it from the firmware, and
/// without firmware the word of the command line, which is as good as who wrote that. In lower or upper case.
///
/// # Errors
/// If neither says.
pub fn boot_partition() -> io::Result<String> {
    match fs::read(STUB_SAYS) {
        Ok(bytes) => {
            // Four bytes of attributes, UTF-16 with a NUL.
            let words =
                bytes.get(4..).unwrap_or_default().chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
            let words: Vec<u16> = words.take_while(|word| *word != 0).collect();
            String::from_utf16(&words).map_err(|_| io::ErrorKind::InvalidData.into())
        }
        Err(_) => {
            let line = read("/proc/cmdline")?;
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(BOOT_WORD));
            word.map(str::to_owned)
                .ok_or_else(|| io::Error::other(format!("neither `{STUB_SAYS}` nor `{BOOT_WORD}` says it")))
        }
    }
}

/// systemd-stub(7), `LoaderDevicePartUUID`.
const STUB_SAYS: &str = "/sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// For boots without the stub.
const BOOT_WORD: &str = "catenoid.boot_partition=";

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
/// If the kernel does not report it.
pub fn modules_must_be_signed() -> io::Result<bool> {
    read("/sys/module/module/parameters/sig_enforce").map(|text| text == "Y")
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}

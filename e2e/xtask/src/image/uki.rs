//! The unified kernel image: kernel, initramfs and command line as sections of systemd's EFI stub, signed as one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run;

/// Debian's stub (package `systemd-boot-efi`).
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
/// What `/proc/version` and the boot menu do not show: who this image is.
const OS_RELEASE: &str = "ID=catenoid\nNAME=Catenoid\nPRETTY_NAME=\"Catenoid device\"\n";
/// Sections of a PE image begin on a page (the stub's section alignment).
const PAGE: u64 = 4096;

/// What goes into the image.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// `vmlinuz`.
    pub(crate) kernel: &'a Path,
    /// A compressed cpio.
    pub(crate) initramfs: &'a Path,
    /// The only command line: with Secure Boot on, the stub takes no other.
    pub(crate) command_line: &'a str,
}

/// Puts the parts behind the stub's own sections.
pub(crate) fn assemble(parts: &Parts<'_>, to: &Path) -> Result<()> {
    let write = |name: &str, content: &str| -> Result<PathBuf> {
        let path = to.with_file_name(name);
        fs::write(&path, content).with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(path)
    };
    let sections = [
        (".osrel", write("os-release", OS_RELEASE)?),
        (".cmdline", write("cmdline", parts.command_line)?),
        (".linux", parts.kernel.to_owned()),
        (".initrd", parts.initramfs.to_owned()),
    ];
    let mut address = end_of_sections(&run::output(Command::new("objdump").args(["-h", STUB]))?)?;
    let mut objcopy = Command::new("objcopy");
    for (name, path) in &sections {
        objcopy.arg("--add-section").arg(format!("{name}={}", path.display()));
        objcopy.arg("--change-section-vma").arg(format!("{name}={address:#x}"));
        address = (address + super::size(path)?).next_multiple_of(PAGE);
    }
    run::output(objcopy.arg(STUB).arg(to)).map(drop)
}

/// Signs for `db`. [req->SF-2] [req->OS-04] [req->NDR-3.14]
pub(crate) fn sign(unsigned: &Path, signed: &Path, platform: &Path) -> Result<()> {
    let mut sbsign = Command::new("sbsign");
    sbsign.arg("--key").arg(platform.join("db.key.pem")).arg("--cert").arg(platform.join("db.crt.pem"));
    run::output(sbsign.arg("--output").arg(signed).arg(unsigned)).map(drop)
}

/// The first free page behind the sections that `objdump -h` lists.
fn end_of_sections(listed: &str) -> Result<u64> {
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    let ends = listed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next()?.parse::<u32>().ok()?;
        let (_name, size, address) = (words.next()?, hex(words.next()?)?, hex(words.next()?)?);
        Some(size + address)
    });
    let end = ends.max().with_context(|| format!("objdump finds no sections in `{STUB}`"))?;
    Ok(end.next_multiple_of(PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_address_is_behind_the_highest_section() {
        let listed = "Idx Name Size VMA\n  0 .text 0000bff0  0000000000004000  0 0 2**4\n    CONTENTS, ALLOC\n\
                      7 .sdmagic 00000034  0000000000019100  0 0 2**2\n";
        assert_eq!(end_of_sections(listed).expect("two sections"), 0x1a000);
        assert!(end_of_sections("").is_err());
    }
}

//! What the signed initramfs holds: programs with their libraries, kernel modules, trust anchors. No shell.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cpio::Tree;
use super::kernel::Kernel;
use crate::run;

/// The device's modules, one name a line.
const MODULES: &str = include_str!("modules");

/// A module that PID 1 loads where the firmware has what it shows.
const FIRMWARE_MODULE: &str = "efivarfs";
/// What PID 1 takes into the device's root, and nothing else (`catenoid_kernel_boot::init`).
const FILES: &str = "/etc/catenoid/files";

/// An archive being filled.
#[derive(Debug, Default)]
pub(crate) struct Initramfs {
    tree: Tree,
}

impl Initramfs {
    /// Adds a program as `to`, and the shared libraries it needs where the loader looks for them.
    pub(crate) fn add_program(&mut self, to: &str, from: &Path) -> Result<()> {
        self.add_file(to, 0o755, super::read(from)?);
        for library in libraries(from)? {
            self.add_file(&library, 0o755, super::read(Path::new(&library))?);
        }
        Ok(())
    }

    /// Adds the device's modules with `modprobe`'s indexes for exactly these, and `/etc/catenoid/modules`: the names that
    /// PID 1 loads at boot. `staging` is a directory to run `depmod` in.
    pub(crate) fn add_modules(&mut self, kernel: &Kernel, staging: &Path) -> Result<()> {
        let names: Vec<&str> = MODULES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let directory = format!("/lib/modules/{}", kernel.release);
        let staged = staging.join(directory.trim_start_matches('/'));
        fs::create_dir_all(&staged).with_context(|| format!("failed to make `{}`", staged.display()))?;
        for module in kernel.closure(&[names.as_slice(), &[FIRMWARE_MODULE]].concat())? {
            let content = kernel.module(&module)?;
            let copy = staged.join(&module.file);
            fs::write(&copy, &content).with_context(|| format!("failed to write `{}`", copy.display()))?;
            self.add_file(&format!("{directory}/{}", module.file), 0o644, content);
        }
        for list in ["modules.builtin", "modules.order"] {
            let copy = staged.join(list);
            fs::write(&copy, kernel.list(list)?).with_context(|| format!("failed to write `{}`", copy.display()))?;
        }
        run::output(Command::new("depmod").arg("-b").arg(staging).arg(&kernel.release))?;
        for index in ["modules.dep.bin", "modules.alias.bin", "modules.softdep", "modules.builtin.bin"] {
            self.add_file(&format!("{directory}/{index}"), 0o644, super::read(&staged.join(index))?);
        }
        fs::remove_dir_all(staging).with_context(|| format!("failed to remove `{}`", staging.display()))?;
        self.add_file("/etc/catenoid/modules", 0o644, (names.join("\n") + "\n").into_bytes());
        Ok(())
    }

    /// Adds one file.
    pub(crate) fn add_file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.tree.file(path, mode, content);
    }

    /// The archive with the mount points of PID 1, and the list of all of it.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        for mount_point in ["/dev", "/proc", "/sys", "/run", "/tmp", "/data"] {
            self.tree.directory(mount_point);
        }
        self.tree.file(FILES, 0o644, Vec::new());
        let list: String = self.tree.paths().map(|path| path + "\n").collect();
        self.tree.file(FILES, 0o644, list.into_bytes());
        self.tree.bytes()
    }
}

/// The archive that the test image appends, below a directory that PID 1 mounts over: a busybox, dmsetup, chattr, the root shell's two scripts, and a module twice, as signed by
/// the kernel's maker and with that signature cut off.
pub(crate) fn probe(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    let busybox = Path::new("/bin/busybox");
    if !libraries(busybox)?.is_empty() {
        bail!("`{}` is not static (hint: `cargo xtask setup` installs busybox-static)", busybox.display());
    }
    tree.file("/run/probe/busybox", 0o755, super::read(busybox)?);
    for tool in ["/usr/sbin/dmsetup", "/usr/bin/chattr"] {
        for file in libraries(Path::new(tool))?.iter().map(String::as_str).chain([tool]) {
            tree.file(&format!("/run/probe/tools{file}"), 0o755, super::read(Path::new(file))?);
        }
    }
    tree.file("/run/probe/init", 0o755, include_bytes!("probe/init").to_vec());
    tree.file("/run/probe/shell", 0o644, include_bytes!("probe/shell").to_vec());
    let dummy = kernel.closure(&["dummy"])?.pop().context("the kernel has no module `dummy`")?;
    let signed = kernel.module(&dummy)?;
    tree.file("/run/probe/unsigned.ko", 0o644, without_signature(&signed)?.to_vec());
    tree.file("/run/probe/signed.ko", 0o644, signed);
    Ok(tree.bytes())
}

/// An archive to put behind that of an image: files that take the place of its own, or join them, programs with their
/// libraries beside them.
pub(crate) fn beside(files: &[(&str, &Path)]) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    for (to, from) in files {
        tree.file(to, 0o755, super::read(from)?);
        let root = to.find("/usr/bin/").map_or("", |at| &to[..at]);
        for library in libraries(from)? {
            tree.file(&format!("{root}{library}"), 0o755, super::read(Path::new(&library))?);
        }
    }
    Ok(tree.bytes())
}

/// Cuts off what `scripts/sign-file` of Linux appended: signature, 12 bytes that end with its length, the marker.
fn without_signature(module: &[u8]) -> Result<&[u8]> {
    let marker = b"~Module signature appended~\n";
    let body = module.strip_suffix(marker).context("the module is not signed")?;
    let length: [u8; 4] = body[body.len() - 4..].try_into().expect("four bytes are four bytes");
    let signed = (body.len() - 12).checked_sub(u32::from_be_bytes(length) as usize);
    Ok(&body[..signed.context("the module's signature is longer than the module")?])
}

/// Absolute paths of the shared libraries of `program`, the loader included; none for a static one, and for what is none.
pub(crate) fn libraries(program: &Path) -> Result<Vec<String>> {
    let header = fs::read(program).with_context(|| format!("failed to read `{}`", program.display()))?;
    if !header.starts_with(b"\x7fELF")
        || !run::output(Command::new("readelf").arg("-d").arg(program))?.contains("NEEDED")
    {
        return Ok(Vec::new());
    }
    let listed = run::output(Command::new("ldd").arg(program))?;
    if let Some(missing) = listed.lines().find(|line| line.contains("not found")) {
        bail!("`{}` needs a library that is not here: {}", program.display(), missing.trim());
    }
    Ok(parse_ldd(&listed))
}

fn parse_ldd(listed: &str) -> Vec<String> {
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_gives_libraries_and_the_loader() {
        let listed = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)\n";
        assert_eq!(parse_ldd(listed), ["/lib/x/libc.so.6", "/lib64/ld.so.2"]);
    }

    #[test]
    fn signature_is_cut_to_the_byte() {
        let mut module = b"code".to_vec();
        module.extend(b"sig");
        module.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        module.extend(b"~Module signature appended~\n");
        assert_eq!(without_signature(&module).expect("signed"), b"code");
        assert!(without_signature(b"code").is_err());
    }
}

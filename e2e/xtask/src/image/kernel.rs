//! Debian's kernel and modules, taken out of the package without installing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::run;

/// The metapackage whose dependency names the current signed kernel.
const METAPACKAGE: &str = "linux-image-amd64";

/// An unpacked kernel package.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// `vmlinuz`.
    pub(crate) image: PathBuf,
    /// As `uname -r` says.
    pub(crate) release: String,
    modules: PathBuf,
}

/// One module file, for the initramfs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// File name, e.g. `erofs.ko`.
    pub(crate) file: String,
    /// Path below `/lib/modules/<release>/`.
    pub(crate) path: String,
}

impl Kernel {
    /// Downloads and unpacks into `cache`, once for each version.
    pub(crate) fn obtain(cache: &Path) -> Result<Self> {
        let package = current_package()?;
        let tree = cache.join(&package);
        if !tree.join("unpacked").exists() {
            eprintln!("kernel: downloading {package}");
            let download = tree.join("download");
            fs::create_dir_all(&download).with_context(|| format!("failed to make `{}`", download.display()))?;
            run::output(Command::new("apt-get").args(["download", &package]).current_dir(&download))?;
            let deb = only_entry(&download)?;
            run::output(Command::new("dpkg").arg("-x").arg(&deb).arg(&tree))?;
            let release = only_entry(&tree.join("lib/modules"))?;
            run::output(Command::new("depmod").arg("-b").arg(&tree).arg(name(&release)))?;
            fs::remove_dir_all(&download).with_context(|| format!("failed to remove `{}`", download.display()))?;
            fs::write(tree.join("unpacked"), "").with_context(|| format!("failed to write in `{}`", tree.display()))?;
        }
        let modules = only_entry(&tree.join("lib/modules"))?;
        let release = name(&modules);
        let image = tree.join("boot").join(format!("vmlinuz-{release}"));
        ensure!(image.exists(), "`{}` is not in {package}", image.display());
        Ok(Self { image, release, modules })
    }

    /// Writes the kernel itself, `vmlinux`: unpacking it under TCG takes a third of a boot without firmware.
    pub(crate) fn unpack(&self, to: &Path) -> Result<()> {
        let image = &self.image;
        let bytes = fs::read(image).with_context(|| format!("failed to read `{}`", image.display()))?;
        let packed = payload(&bytes).with_context(|| format!("`{}` holds no kernel packed by xz", image.display()))?;
        let staged = to.with_extension("xz");
        fs::write(&staged, packed).with_context(|| format!("failed to write `{}`", staged.display()))?;
        run::output(Command::new("xz").args(["--decompress", "--force"]).arg(&staged)).map(drop)
    }

    /// The named modules and all they need, dependencies first.
    pub(crate) fn closure(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        closure(wanted, &self.list("modules.dep")?, &self.list("modules.builtin")?)
    }

    /// A text file of the module directory, e.g. `modules.dep`.
    pub(crate) fn list(&self, file: &str) -> Result<String> {
        let path = self.modules.join(file);
        fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))
    }

    /// A module's bytes, with the kernel maker's signature at their end.
    pub(crate) fn module(&self, module: &Module) -> Result<Vec<u8>> {
        let path = self.modules.join(&module.path);
        fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))
    }
}

/// Pure half of [`Kernel::closure`]: `dependencies` is a `modules.dep`, `builtin` a `modules.builtin`.
fn closure(wanted: &[&str], dependencies: &str, builtin: &str) -> Result<Vec<Module>> {
    let builtin: BTreeSet<String> = builtin.lines().map(key).collect();
    let table: BTreeMap<String, (&str, Vec<&str>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (key(path), (path, needs.split_whitespace().collect())))
        .collect();
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for wanted in wanted {
        visit(&key(wanted), &table, &builtin, &mut seen, &mut order)
            .with_context(|| format!("module `{wanted}` cannot be had"))?;
    }
    Ok(order)
}

fn visit(
    wanted: &str,
    table: &BTreeMap<String, (&str, Vec<&str>)>,
    builtin: &BTreeSet<String>,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<Module>,
) -> Result<()> {
    if builtin.contains(wanted) || !seen.insert(wanted.to_owned()) {
        return Ok(());
    }
    let (path, needs) = table.get(wanted).with_context(|| format!("the kernel has no module `{wanted}`"))?;
    for need in needs {
        visit(&key(need), table, builtin, seen, order)?;
    }
    order.push(Module { file: name(Path::new(path)), path: (*path).to_owned() });
    Ok(())
}

/// What a `vmlinuz` unpacks, without its length at the end (Documentation/x86/boot.rst: `setup_sects`, `payload_offset` and
/// `payload_length`).
fn payload(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let start = (usize::from(*image.get(0x1f1)?) + 1) * 512 + number(0x248)?;
    let payload = image.get(start..start + number(0x24c)?)?;
    payload.starts_with(b"\xfd7zXZ\0").then_some(())?;
    payload.get(..payload.len() - 4)
}

/// A module's name as the kernel compares it: no directory, no suffix, `-` and `_` alike.
fn key(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

fn current_package() -> Result<String> {
    let shown = run::output(Command::new("apt-cache").args(["depends", "--important", METAPACKAGE]))?;
    let depends = shown.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned);
    depends.with_context(|| format!("apt knows no `{METAPACKAGE}` (hint: `apt-get update`)"))
}

fn only_entry(dir: &Path) -> Result<PathBuf> {
    let context = || format!("failed to list `{}`", dir.display());
    let entry = fs::read_dir(dir).with_context(context)?.next().with_context(context)?.with_context(context)?;
    Ok(entry.path())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_found_by_the_header() {
        let mut image = vec![0; 2048];
        image[0x1f1] = 1;
        image[0x248..0x250].copy_from_slice(&[16, 0, 0, 0, 12, 0, 0, 0]);
        assert_eq!(payload(&image), None);
        image[1040..1052].copy_from_slice(b"\xfd7zXZ\0..SIZE");
        assert_eq!(payload(&image), Some(&b"\xfd7zXZ\0.."[..]));
        assert_eq!(payload(&image[..1050]), None);
    }

    const DEPENDENCIES: &str = "kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/mbcache.ko\n\
                                kernel/lib/crc16.ko:\nkernel/fs/mbcache.ko:\nkernel/drivers/md/dm-mod.ko:\n";

    #[test]
    fn dependencies_come_first_and_once() {
        let order = closure(&["ext4", "crc16", "dm_mod"], DEPENDENCIES, "").expect("all there");
        let files: Vec<&str> = order.iter().map(|module| module.file.as_str()).collect();
        assert_eq!(files, ["crc16.ko", "mbcache.ko", "ext4.ko", "dm-mod.ko"]);
    }

    #[test]
    fn builtin_is_left_out_and_unknown_is_an_error() {
        assert_eq!(closure(&["tpm_crb"], DEPENDENCIES, "kernel/drivers/char/tpm/tpm_crb.ko\n").expect("none"), []);
        let error = closure(&["erofs"], DEPENDENCIES, "").expect_err("unknown");
        assert_eq!(format!("{error:#}"), "module `erofs` cannot be had: the kernel has no module `erofs`");
    }
}

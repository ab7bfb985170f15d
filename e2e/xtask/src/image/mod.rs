//! The device image: initramfs, kernel and fixed command line in one signed UKI, on a disk with an EFI partition, the
//! factory bundle and an empty data partition.
//!
//! ```text
//! target/catenoid/image/
//!   production/{initramfs.cpio, initramfs.cpio.zst, unsigned.efi, signed.efi, disk.img}
//!   test/{...}          the production initramfs, unchanged, and a probe beside it: see probe/init
//!   faults/{...}        the same as test, with programs that can be made to fail: see the door `fault`
//!   yesterday/{initramfs.cpio}, tomorrow/{...}   the same as test, of other source trees: see `trees`
//! ```

pub(crate) mod cpio;
pub(crate) mod disk;
pub(crate) mod initramfs;
pub(crate) mod kernel;
mod uki;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;

use crate::{development, run};
use initramfs::Initramfs;
use kernel::Kernel;

/// What only a program with fault points has in it: where a test arms them.
const FAULTS: &str = "/run/catenoid-faults";

/// Our programs on a device, which are the packages that they are built of: the agent and the launcher.
pub(crate) const PROGRAMS: [&str; 2] = ["catenoid-agent", "catenoid-launcher"];

/// The initramfs of an image, for devices without firmware: unpacking under TCG takes longer than loading.
const PLAIN: &str = "initramfs.cpio";
/// The same in the signed image.
const PACKED: &str = "initramfs.cpio.zst";
/// What the firmware of a device starts.
const SIGNED: &str = "signed.efi";

/// Which image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// What a device runs.
    Production,
    /// The same with a root shell on the second serial port.
    Test,
    /// The test image with fault points.
    Faults,
}

impl Variant {
    /// The directory below `image/`.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Test => "test",
            Self::Faults => "faults",
        }
    }

    /// The kernel command line; it is part of what is signed. [req->SF-3]
    fn command_line(self) -> String {
        let fixed = "console=ttyS0 quiet panic=5 lockdown=integrity module.sig_enforce=1 init_on_alloc=1 init_on_free=1 \
                     slab_nomerge randomize_kstack_offset=on vsyscall=none preempt=full rcutree.use_softirq=0";
        match self {
            Self::Production => fixed.to_owned(),
            Self::Test | Self::Faults => format!("{fixed} rdinit=/run/probe/init"),
        }
    }
}

/// Our programs in an image.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) agent: PathBuf,
    pub(crate) launcher: PathBuf,
}

/// Builds the device's programs and everything around them; gives the disk.
pub(crate) fn build(artefacts: &Artefacts, variant: Variant) -> Result<PathBuf> {
    development::prepare(artefacts)?;
    build_prepared(artefacts, variant)
}

/// The same after [`development::prepare`], which serves every variant.
pub(crate) fn build_prepared(artefacts: &Artefacts, variant: Variant) -> Result<PathBuf> {
    put_together(artefacts, variant, &programs(artefacts, variant)?)
}

/// Makes the test image's initramfs of programs of another source tree, in `image/<name>`: for devices without firmware.
pub(crate) fn build_other(artefacts: &Artefacts, name: &str, programs: &Programs) -> Result<()> {
    let kernel = Kernel::obtain(&artefacts.cache().join("kernel"))?;
    let dir = artefacts.image().join(name);
    let archive = archive(artefacts, Variant::Test, &kernel, programs, &dir)?;
    write(&archive, &dir.join(PLAIN))
}

/// Makes an image of `variant` of these programs; gives the disk.
fn put_together(artefacts: &Artefacts, variant: Variant, programs: &Programs) -> Result<PathBuf> {
    let started = Instant::now();
    let kernel = Kernel::obtain(&artefacts.cache().join("kernel"))?;
    let dir = artefacts.image().join(variant.name());
    let archive = archive(artefacts, variant, &kernel, programs, &dir)?;
    let disk = assemble(artefacts, &archive, &kernel, &variant.command_line(), &dir)?;
    eprintln!(
        "image {}: initramfs {} ({} unpacked), UKI {}, disk {} in {:.1} s",
        variant.name(),
        mebibytes(size(&dir.join(PACKED))?),
        mebibytes(archive.len() as u64),
        mebibytes(size(&dir.join(SIGNED))?),
        crate::development::shown(artefacts, &disk),
        started.elapsed().as_secs_f32(),
    );
    Ok(disk)
}

/// The initramfs, not compressed. `dir`, which is made, is where its modules are staged.
fn archive(
    artefacts: &Artefacts,
    variant: Variant,
    kernel: &Kernel,
    programs: &Programs,
    dir: &Path,
) -> Result<Vec<u8>> {
    fs::create_dir_all(dir).with_context(|| format!("failed to make `{}`", dir.display()))?;
    let mut initramfs = Initramfs::default();
    initramfs.add_program("/init", &programs.agent)?;
    initramfs.add_program("/usr/lib/catenoid/catenoid-launcher", &programs.launcher)?;
    initramfs.add_program("/usr/sbin/nft", Path::new("/usr/sbin/nft"))?;
    initramfs.add_program("/usr/sbin/mkfs.ext4", Path::new("/usr/sbin/mkfs.ext4"))?;
    initramfs.add_program("/sbin/modprobe", Path::new("/usr/bin/kmod"))?;
    initramfs.add_modules(kernel, &dir.join("modules"))?;
    initramfs.add_file("/etc/catenoid/anchors.cbor", 0o644, read(&artefacts.pki().join("anchors.cbor"))?);
    let mut archive = initramfs.bytes();
    if variant != Variant::Production {
        archive.extend(initramfs::probe(kernel)?);
    }
    Ok(archive)
}

/// The same kernel and command line as a device's with an initramfs that holds one program as its init; gives the disk.
pub(crate) fn build_empty(artefacts: &Artefacts, init: &Path, dir: &Path) -> Result<PathBuf> {
    let kernel = Kernel::obtain(&artefacts.cache().join("kernel"))?;
    let mut initramfs = Initramfs::default();
    initramfs.add_program("/init", init)?;
    assemble(artefacts, &initramfs.bytes(), &kernel, &Variant::Production.command_line(), dir)
}

/// Makes a signed UKI and a disk that boots it in `dir`; gives the disk.
fn assemble(artefacts: &Artefacts, archive: &[u8], kernel: &Kernel, command_line: &str, dir: &Path) -> Result<PathBuf> {
    let (plain, packed) = (dir.join(PLAIN), dir.join(PACKED));
    write(archive, &plain)?;
    // Level 15 costs two seconds and saves OVMF a third of what it loads; the kernel unpacks every level equally fast.
    run::output(Command::new("zstd").args(["-q", "-f", "-15", "-T0", "-o"]).arg(&packed).arg(&plain))?;
    let unsigned = dir.join("unsigned.efi");
    uki::assemble(&uki::Parts { kernel: &kernel.image, initramfs: &packed, command_line }, &unsigned)?;
    let signed = dir.join(SIGNED);
    uki::sign(&unsigned, &signed, &artefacts.pki().join("platform"))?;
    let disk = dir.join("disk.img");
    let contents = disk::Contents { boot: &signed, factory: &artefacts.manifests().join("factory.tar") };
    disk::build(&contents, &disk)?;
    Ok(disk)
}

/// The files of an image that has been built.
pub(crate) struct Files {
    /// The initramfs as the kernel unpacks it.
    pub(crate) unpacked: PathBuf,
    pub(crate) packed: PathBuf,
    /// What the firmware starts.
    pub(crate) signed: PathBuf,
}

/// Where the files of `variant` are.
pub(crate) fn files(artefacts: &Artefacts, variant: Variant) -> Files {
    let file = |name: &str| artefacts.image().join(variant.name()).join(name);
    Files { unpacked: file(PLAIN), packed: file(PACKED), signed: file(SIGNED) }
}

/// Builds the device's programs. They are those of `variant` until another variant's are built.
pub(crate) fn programs(artefacts: &Artefacts, variant: Variant) -> Result<Programs> {
    let faults = variant == Variant::Faults;
    let mut cargo = run::cargo_static(artefacts)?;
    cargo.args(PROGRAMS.into_iter().flat_map(|program| ["-p", program]));
    if faults {
        cargo.args(["--features", "catenoid-agent/faults,catenoid-launcher/faults"]);
    }
    run::visibly(&mut cargo)?;
    let [agent, launcher] = PROGRAMS.map(|name| artefacts.static_binary(name));
    for program in [&agent, &launcher] {
        let (shown, has_faults) = (program.display(), contains(&read(program)?, FAULTS));
        ensure!(initramfs::libraries(program)?.is_empty(), "`{shown}` is not static: it would ask the loader");
        ensure!(has_faults == faults, "`{shown}` of the {} image: fault points: {has_faults}", variant.name());
    }
    Ok(Programs { agent, launcher })
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Puts the UKI of `variant` on the disk of a device that exists already: its data stays.
pub(crate) fn install(artefacts: &Artefacts, variant: Variant, disk: &Path) -> Result<()> {
    disk::install(&artefacts.image().join(variant.name()).join(SIGNED), disk)
}

fn write(archive: &[u8], to: &Path) -> Result<()> {
    fs::write(to, archive).with_context(|| format!("failed to write `{}`", to.display()))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))
}

pub(crate) fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("failed to look at `{}`", path.display()))?.len())
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

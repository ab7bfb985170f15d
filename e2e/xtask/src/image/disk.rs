//! The disk: GPT with an EFI partition (FAT, made by mtools without mounting), the factory bundle as raw bytes, and an
//! empty data partition that the agent formats at its first boot. Fixed ids and times: the same content gives the same
//! disk. (The UKI itself differs from build to build by the time in its signature, which `sbsign` puts there.)

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::run;

const MIB: u64 = 1 << 20;
/// The first partition begins where every partitioner begins.
const EFI_AT_MIB: u64 = 1;
/// FAT32 needs 65525 clusters, which are 256 MiB at mkfs.vfat's 4 KiB; sparse.
const EFI_MIB: u64 = 264;
/// The time of every file on the EFI partition, where FAT's own time begins: 1980-01-01. mtools take it from the
/// environment, as reproducible-builds.org has it.
const TIME: (&str, &str) = ("SOURCE_DATE_EPOCH", "315532800");
/// Sparse: costs nothing until it is written.
const DATA_MIB: u64 = 2048;

/// What the disk carries.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// The signed UKI, found by the firmware at the removable-media path.
    pub(crate) boot: &'a Path,
    /// The factory bundle, a tar.
    pub(crate) factory: &'a Path,
}

/// Makes the disk at `to`, replacing what is there.
pub(crate) fn build(contents: &Contents<'_>, to: &Path) -> Result<()> {
    let factory_mib = super::size(contents.factory)?.div_ceil(MIB).max(1);
    let factory = EFI_AT_MIB + EFI_MIB;
    let data = factory + factory_mib;
    let disk = File::create(to).with_context(|| format!("failed to make `{}`", to.display()))?;
    let total = (data + DATA_MIB + 1) * MIB;
    disk.set_len(total).with_context(|| format!("failed to size `{}`", to.display()))?;
    drop(disk);
    partition(to, factory, data, factory_mib)?;
    let first_sector = (EFI_AT_MIB * MIB / 512).to_string();
    run::output(
        Command::new("mkfs.vfat")
            .args(["-F", "32", "-n", "CATENOID", "--invariant", "--offset", &first_sector])
            .arg(to)
            .arg((EFI_MIB * 1024).to_string()),
    )?;
    let mut mmd = Command::new("mmd");
    run::output(mmd.env(TIME.0, TIME.1).args(["-i", &efi_partition(to), "::/EFI", "::/EFI/BOOT"]))?;
    install(contents.boot, to)?;
    copy_raw(contents.factory, to, factory * MIB)
}

/// Replaces what the disk boots.
pub(crate) fn install(boot: &Path, disk: &Path) -> Result<()> {
    let mut mcopy = Command::new("mcopy");
    mcopy.env(TIME.0, TIME.1).args(["-D", "o", "-i", &efi_partition(disk)]).arg(boot).arg("::/EFI/BOOT/BOOTX64.EFI");
    run::output(&mut mcopy).map(drop)
}

/// How mtools names a file system inside a file.
fn efi_partition(disk: &Path) -> String {
    format!("{}@@{EFI_AT_MIB}M", disk.display())
}

fn partition(disk: &Path, factory: u64, data: u64, factory_mib: u64) -> Result<()> {
    let script = format!(
        "label: gpt\nlabel-id: CA7E401D-0000-4000-8000-000000000000\n\
         start={EFI_AT_MIB}MiB, size={EFI_MIB}MiB, type=U, name=catenoid-boot, uuid=CA7E401D-0000-4000-8000-000000000001\n\
         start={factory}MiB, size={factory_mib}MiB, type=L, name=catenoid-factory, uuid=CA7E401D-0000-4000-8000-000000000002\n\
         start={data}MiB, size={DATA_MIB}MiB, type=L, name=catenoid-data, uuid=CA7E401D-0000-4000-8000-000000000003\n",
    );
    let mut sfdisk = Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(disk)
        .stdin(Stdio::piped())
        .spawn()
        .context("failed to run `sfdisk`")?;
    sfdisk.stdin.take().expect("stdin is piped").write_all(script.as_bytes()).context("failed to talk to `sfdisk`")?;
    let status = sfdisk.wait().context("failed to wait for `sfdisk`")?;
    ensure!(status.success(), "`sfdisk` failed on `{}`", disk.display());
    Ok(())
}

/// Copies the data partition of `disk` out, with its holes.
pub(crate) fn copy_data(disk: &Path, to: &Path) -> Result<()> {
    let at = data_at(disk)?;
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", disk.display())).arg(format!("of={}", to.display()));
    dd.args(["bs=1M", "conv=sparse", "status=none"]);
    run::output(dd.arg(format!("skip={at}")).arg(format!("count={DATA_MIB}"))).map(drop)
}

/// Unpacks a data partition that [`copy_data`] took and zstd packed into the one of `disk`, which is new: holes stay holes.
pub(crate) fn fill_data(packed: &Path, disk: &Path) -> Result<()> {
    let at = data_at(disk)?;
    let mut zstd = Command::new("zstd");
    zstd.args(["-q", "-d", "-c", "--long=31"]).arg(packed).stdout(Stdio::piped());
    let mut zstd = zstd.spawn().context("failed to run `zstd`")?;
    let mut dd = Command::new("dd");
    dd.args(["bs=1M", "iflag=fullblock", "conv=sparse,notrunc", "status=none"]).arg(format!("of={}", disk.display()));
    run::output(dd.arg(format!("seek={at}")).stdin(zstd.stdout.take().expect("stdout is piped")))?;
    let status = zstd.wait().context("failed to wait for `zstd`")?;
    ensure!(status.success(), "`zstd` failed on `{}`", packed.display());
    Ok(())
}

/// Where the data partition begins, in MiB: it is the last one, with one MiB behind it.
fn data_at(disk: &Path) -> Result<u64> {
    let size = super::size(disk)? / MIB;
    size.checked_sub(DATA_MIB + 1).context("the disk is smaller than its data partition")
}

fn copy_raw(from: &Path, to: &Path, offset: u64) -> Result<()> {
    let context = || format!("failed to copy `{}` into `{}`", from.display(), to.display());
    let mut source = File::open(from).with_context(context)?;
    let mut disk = File::options().write(true).open(to).with_context(context)?;
    disk.seek(SeekFrom::Start(offset)).with_context(context)?;
    io::copy(&mut source, &mut disk).with_context(context)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_nothing_on_the_disk_shows_when_it_was_built() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (boot, factory, disk) =
            (folder.path().join("boot"), folder.path().join("factory"), folder.path().join("disk"));
        std::fs::write(&boot, b"boots").expect("a file");
        std::fs::write(&factory, b"factory").expect("a file");
        build(&Contents { boot: &boot, factory: &factory }, &disk).expect("a disk");
        let listed =
            run::output(Command::new("mdir").args(["-/", "-i", &efi_partition(&disk), "::/"])).expect("a listing");
        let is_date = |word: &&str| word.len() == 10 && word.matches('-').count() == 2;
        let dates: Vec<&str> = listed.split_whitespace().filter(is_date).collect();
        // Two folders with what points to itself and up in each, and a file.
        assert!(dates.len() >= 3 && dates.iter().all(|date| *date == "1980-01-01"), "{listed}");
    }
}

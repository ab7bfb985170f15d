//! `bench start`: from the start of a container to its program, on the device's kernel, against other runtimes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;
use catenoid_e2e::direct::Boot;

use super::fleet::{Fleet, Wish, between};
use super::{Figures, Report, program};
use crate::image::initramfs::Initramfs;
use crate::image::kernel::Kernel;
use crate::{image, run};

const ROUNDS: &str = "15";
/// What `start/run` prints last.
const ENDED: &str = "bench: ended with ";
/// Under TCG on a busy machine a round takes some seconds.
const PATIENCE: Duration = Duration::from_secs(900);
const CRUN: &str = "crun";
/// Containers that run already when another is added.
const BESIDE: usize = 10;
const ACCEPTED_ROUNDS: usize = 5;
const OS_RELEASE: &str = "ID=bench\n";

pub(super) fn measure(artefacts: &Artefacts) -> Result<Report> {
    let folder = artefacts.state().join("bench").join("start");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    image::programs(artefacts, image::Variant::Production)?;
    let kernel = Kernel::obtain(&artefacts.cache().join("kernel"))?;
    let initramfs = folder.join("initramfs");
    let archive = userland(artefacts, &kernel, &folder)?;
    fs::write(&initramfs, archive).with_context(|| format!("failed to write `{}`", initramfs.display()))?;
    let boot = Boot { kernel: &kernel.image, initramfs: &initramfs, memory_mib: 1024 };
    let console = boot.run_until(ENDED, PATIENCE)?;
    ensure!(console.contains("\nbench: done\n"), "the bench did not come to its end:\n{console}");
    let alike = console.lines().find_map(|line| line.strip_prefix("bench: ")).unwrap_or_default();
    let mut figures = Figures::default();
    figures.read(&console)?;
    for name in figures.names().iter().filter(|name| *name != CRUN) {
        figures.compare(name, CRUN);
    }
    accepted(artefacts, &mut figures)?;
    let versions = ["crun", "runc", "systemd-nspawn"].map(|tool| -> Result<String> {
        let printed = run::output(Command::new(tool).arg("--version"))?;
        Ok(printed.lines().next().unwrap_or_default().to_owned())
    });
    let versions = versions.into_iter().collect::<Result<Vec<_>>>()?.join("; ");
    Ok(Report {
        ran_on: format!("the device's kernel {} in QEMU under TCG, 2 processors", kernel.release),
        figures,
        notes: vec![format!("against: {versions}"), alike.to_owned()],
    })
}

/// The way of a container that a manifest adds, on a device with [`BESIDE`] others: admission, ledger, pass with every room,
/// its network and its firewall included. By the device's own clock.
fn accepted(artefacts: &Artefacts, figures: &mut Figures) -> Result<()> {
    let mut fleet = Fleet::boot(artefacts, "start")?;
    let wish = |services| Wish { services, memory_mib: 8 };
    fleet.apply(wish(BESIDE))?;
    for _ in 0..ACCEPTED_ROUNDS {
        let console = fleet.apply(wish(BESIDE + 1))?;
        let running = format!("start container `c{BESIDE:04}`");
        let what = format!("manifest accepted to the added container runs, {BESIDE} beside it");
        figures.add_and_print(&what, "ms", between(&console, "ManifestAccepted", &running)?);
        let what = format!("of that, from the first step of the pass, {BESIDE} beside it");
        figures.add_and_print(&what, "ms", between(&console, "StepDone", &running)?);
        fleet.apply(wish(BESIDE))?;
    }
    Ok(())
}

fn userland(artefacts: &Artefacts, kernel: &Kernel, folder: &Path) -> Result<Vec<u8>> {
    let stamp = folder.join("stamp");
    let source = artefacts.workspace().join("e2e/xtask/src/bench/start/stamp.c");
    run::output(Command::new("cc").args(["-O2", "-static", "-s", "-o"]).arg(&stamp).arg(source))?;
    let mut initramfs = Initramfs::default();
    initramfs.add_file("/init", 0o755, include_bytes!("start/init").to_vec());
    initramfs.add_file("/bench/run", 0o755, include_bytes!("start/run").to_vec());
    initramfs.add_file("/bench/rounds", 0o644, ROUNDS.into());
    initramfs.add_file("/bench/guest.erofs", 0o644, guest(&stamp, folder)?);
    initramfs.add_program("/bench/stamp", &stamp)?;
    initramfs.add_program("/bench/start", &program(artefacts, "start")?)?;
    initramfs.add_program("/bench/catenoid-launcher", &artefacts.static_binary("catenoid-launcher"))?;
    initramfs.add_program("/bench/crun", Path::new("/usr/bin/crun"))?;
    initramfs.add_program("/bench/runc", Path::new("/usr/sbin/runc"))?;
    initramfs.add_program("/bench/systemd-nspawn", Path::new("/usr/bin/systemd-nspawn"))?;
    // systemd-nspawn shows its container who the host is.
    initramfs.add_file("/usr/lib/os-release", 0o644, OS_RELEASE.into());
    initramfs.add_program("/bin/busybox", Path::new("/bin/busybox"))?;
    initramfs.add_program("/sbin/modprobe", Path::new("/usr/bin/kmod"))?;
    initramfs.add_modules(kernel, &folder.join("modules"))?;
    Ok(initramfs.bytes())
}

/// An image with one program, and the folders that file systems are mounted on.
fn guest(stamp: &Path, folder: &Path) -> Result<Vec<u8>> {
    let (root, image) = (folder.join("guest"), folder.join("guest.erofs"));
    for name in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "usr", "var"] {
        let path = root.join(name);
        fs::create_dir_all(&path).with_context(|| format!("failed to make `{}`", path.display()))?;
    }
    let program = root.join("bin/stamp");
    fs::copy(stamp, &program).with_context(|| format!("failed to write `{}`", program.display()))?;
    // And starts nothing that does not say who it is.
    let release = root.join("etc/os-release");
    fs::write(&release, OS_RELEASE).with_context(|| format!("failed to write `{}`", release.display()))?;
    run::output(Command::new("mkfs.erofs").arg("--quiet").arg(&image).arg(&root))?;
    fs::read(&image).with_context(|| format!("failed to read `{}`", image.display()))
}

//! The development VM: `target/catenoid/vm/dev`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use catenoid_e2e::device::{BOOT, platform_keys};
use catenoid_e2e::ssh::Ssh;
use catenoid_e2e::vm::{Down, Running};
use catenoid_e2e::{Artefacts, Vm};

use crate::development;
use crate::image::{self, Variant};

/// Its directory.
pub(crate) const NAME: &str = "dev";

/// Builds the image, boots it, and leaves the machine running. A device that was up before boots the new image and keeps
/// its data, unless `fresh`. [req->SF-19]
pub(crate) fn up(artefacts: &Artefacts, variant: Variant, fresh: bool) -> Result<()> {
    ensure_off(artefacts)?;
    let dir = artefacts.vm(NAME);
    let disk = image::build(artefacts, variant)?;
    development::demo_guests(artefacts)?;
    if fresh && dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("failed to remove `{}`", dir.display()))?;
    }
    if dir.join("disk.img").exists() {
        image::install(artefacts, variant, &dir.join("disk.img"))?;
    }
    let builder = Vm::builder(&dir).disk(disk).keys(platform_keys(&artefacts.pki())?).detached();
    let builder = if variant == Variant::Production { builder } else { builder.root_shell() };
    let vm = builder.start()?;
    let ssh = Ssh::new(vm.ssh_port(), artefacts.ssh_key());
    ssh.wait(vm.console(), BOOT)?;
    println!("device {} is up after {:.1} s", catenoid_e2e::vm::SERIAL, vm.uptime().as_secs_f32());
    println!("  c0:      {}", ssh.command_line().join(" "));
    println!("  PKI:     {}", artefacts.pki().display());
    println!("  console: {}", dir.join("console.log").display());
    vm.detach();
    Ok(())
}

/// An error if the VM is on.
pub(crate) fn ensure_off(artefacts: &Artefacts) -> Result<()> {
    if Running::find(&artefacts.vm(NAME))?.is_some() {
        bail!("the VM is up already (hint: `cargo xtask vm ssh`, `cargo xtask vm down`)");
    }
    Ok(())
}

/// A shell or a command in c0, with our terminal; gives its exit code.
pub(crate) fn ssh(artefacts: &Artefacts, words: &[String]) -> Result<ExitCode> {
    let running = running(artefacts)?;
    let status =
        Ssh::new(running.ssh_port, artefacts.ssh_key()).client().args(words).status().context("failed to run `ssh`")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Prints the console's log, then what follows until the machine goes off or Ctrl-C.
pub(crate) fn console(artefacts: &Artefacts) -> Result<()> {
    let dir = artefacts.vm(NAME);
    let log = dir.join("console.log");
    let mut out = std::io::stdout().lock();
    out.write_all(&fs::read(&log).with_context(|| format!("failed to read `{}`", log.display()))?)?;
    let handle = fs::File::open(&dir).with_context(|| format!("failed to open `{}`", dir.display()))?;
    let Ok(mut live) = UnixStream::connect(catenoid_e2e::vm::through(&handle, "console.sock")) else { return Ok(()) };
    let mut buffer = [0; 4096];
    loop {
        match live.read(&mut buffer)? {
            0 => return Ok(()),
            read => out.write_all(&buffer[..read])?,
        }
        out.flush()?;
    }
}

/// Ends the machine.
pub(crate) fn down(artefacts: &Artefacts) -> Result<()> {
    match running(artefacts)?.down()? {
        Down::ByItself => println!("the device shut down"),
        Down::PowerCut => println!("the device did not follow its power button; its power was cut"),
    }
    Ok(())
}

fn running(artefacts: &Artefacts) -> Result<Running> {
    Running::find(&artefacts.vm(NAME))?.context("the VM is off (hint: `cargo xtask vm up`)")
}

//! `cargo xtask compat VERSION`: makes `schema/compat/VERSION`, the files by which every later version is held to read what
//! this one signs and writes. Once for each version that changes a format, by the build of the commit before the change, and
//! never again: what lies there is not touched.
//!
//! A device with a PKI of its own boots the test image, is given [`MANIFEST`] by way of c0, converges, and is switched off.
//! Its private keys are thrown away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;
use catenoid_e2e::device::{BOOT, Image, without_firmware_but};
use catenoid_e2e::ssh::Ssh;

use crate::image::{disk, initramfs};
use crate::run;

/// The files of the tiny guest and of the manifest, in this folder.
const RECIPE: &str = "e2e/xtask/src/compat/recipe.yaml";
const PROGRAM: &str = "e2e/xtask/src/compat/tiny.c";
const MANIFEST: &str = "e2e/xtask/src/compat/device.yaml";
/// Guests by their files' names: what the device is first spoken to by, and all that it then runs.
const CORE: &str = "catenoid-core-0.1.0";
const TINY: &str = "tiny-1.0.0";
/// From an accepted manifest to a device that is as it says.
const SOON: Duration = Duration::from_secs(120);

/// Makes the folder out of the test image and the tools as they were built (hint: `cargo xtask test vm boot` builds them).
pub(crate) fn make(artefacts: &Artefacts, version: &str) -> Result<()> {
    let folder = artefacts.workspace().join("schema/compat").join(version);
    ensure!(!folder.exists(), "`{}` is there already, and is never made again", folder.display());
    let commit = crate::origin::commit(artefacts)?;
    ensure!(!commit.ends_with("changes"), "the tree has changes: what it signs and writes is of no commit");
    let work = artefacts.state().join("compat-made");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("failed to remove `{}`", work.display()))?;
    }
    fs::create_dir_all(work.join("guests")).with_context(|| format!("failed to make `{}`", work.display()))?;
    let desk = Desk { artefacts, work };
    desk.documents()?;
    let status = desk.device()?;
    desk.store(&folder, &status)?;
    println!("made `{}` of {commit} (hint: add it to the table in schema/compat/README.md)", folder.display());
    Ok(())
}

/// Makes of each stored version what a device boots with, in `target/catenoid/compat/<version>`: `disk.img` with its data
/// partition, and `anchors.cpio`, to be put behind an initramfs; and in `target/catenoid/compat`, `agent.cpio` with the agent
/// that was built last, for a device of another version to start.
pub(crate) fn prepare(artefacts: &Artefacts) -> Result<()> {
    let prepared = artefacts.compat();
    let agent = artefacts.static_binary("catenoid-agent");
    let write = |name: &Path, content: &[u8]| {
        let path = prepared.join(name);
        let folder = path.parent().unwrap_or(&prepared);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, content))
            .with_context(|| format!("failed to write `{}`", path.display()))
    };
    write(Path::new("agent.cpio"), &initramfs::beside(&[("/run/probe/tools/agent", &agent)])?)?;
    let stored = artefacts.workspace().join("schema/compat");
    for entry in fs::read_dir(&stored).with_context(|| format!("failed to read `{}`", stored.display()))? {
        let version = entry?;
        if !version.path().is_dir() {
            continue;
        }
        let anchors = version.path().join("anchors.cbor");
        let archive = initramfs::beside(&[("/etc/catenoid/anchors.cbor", &anchors)])?;
        write(&Path::new(&version.file_name()).join("anchors.cpio"), &archive)?;
        let boot = artefacts.image().join("test/signed.efi");
        let disk = prepared.join(version.file_name()).join("disk.img");
        disk::build(&disk::Contents { boot: &boot, factory: &version.path().join("bundle.tar") }, &disk)?;
        disk::fill_data(&version.path().join("data.ext4.zst"), &disk)?;
    }
    Ok(())
}

struct Desk<'a> {
    artefacts: &'a Artefacts,
    work: PathBuf,
}

impl Desk<'_> {
    /// PKI, guests, signed manifests, bundles.
    fn documents(&self) -> Result<()> {
        run::output(self.tool().args(["pki", "init", "--name", "stored", "--dir"]).arg(self.work.join("pki")))?;
        let (program, check) = (self.work.join("tiny"), self.work.join("check"));
        for (path, define) in [(&program, "-UCHECK"), (&check, "-DCHECK")] {
            let mut compiler = Command::new("cc");
            compiler.args(["-Os", "-static", "-nostdlib", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"]);
            compiler.args(["-s", "-Wl,--build-id=none,-z,noseparate-code", define, "-o"]).arg(path);
            run::output(compiler.arg(self.artefacts.workspace().join(PROGRAM)))?;
        }
        let guests = self.work.join("guests");
        let mut build = self.tool();
        build.args(["guest", "build", RECIPE, "--file"]).arg(format!("/bin/tiny={}", program.display()));
        build.arg("--file").arg(format!("/bin/check={}", check.display()));
        build.args(["--file", "/usr/share/doc/tiny/copyright=LICENSE"]);
        run::output(build.arg("--out").arg(&guests).arg("--cache").arg(self.artefacts.cache()))?;
        for ending in ["image", "guest.cbor"] {
            let (name, to) = (format!("{CORE}.{ending}"), guests.join(format!("{CORE}.{ending}")));
            fs::copy(self.artefacts.guests().join(name), &to)
                .with_context(|| format!("failed to write `{}`", to.display()))?;
        }
        for guest in [CORE, TINY] {
            let mut sign = self.signing(&["guest", "sign"], "software");
            run::output(sign.arg(guests.join(format!("{guest}.guest.cbor"))))?;
        }
        for (yaml, name) in [("manifests/factory.yaml", "boot"), (MANIFEST, "device")] {
            let envelope = self.work.join(format!("{name}.manifest.cose"));
            let mut sign = self.signing(&["sign"], "operator");
            run::output(sign.arg("--guests").arg(&guests).arg(yaml).arg("-o").arg(&envelope))?;
            let mut bundle = self.tool();
            bundle.arg("bundle").arg("--manifest").arg(&envelope).arg("--guests").arg(&guests);
            run::output(bundle.arg("-o").arg(self.work.join(format!("{name}.tar"))))?;
        }
        Ok(())
    }

    /// Boots the device, gives it what it is to be, and switches it off; its status.
    fn device(&self) -> Result<String> {
        let archive = self.work.join("beside.cpio");
        let files = initramfs::beside(&[
            ("/etc/catenoid/anchors.cbor", &self.work.join("pki/anchors.cbor")),
            ("/run/probe/tools/usr/bin/catenoid", &self.artefacts.static_binary("catenoid")),
        ])?;
        fs::write(&archive, files).with_context(|| format!("failed to write `{}`", archive.display()))?;
        let boot = self.artefacts.image().join("test/signed.efi");
        let (factory, disk) = (self.work.join("boot.tar"), self.work.join("disk.img"));
        disk::build(&disk::Contents { boot: &boot, factory: &factory }, &disk)?;
        let machine = without_firmware_but(self.artefacts, Image::Test, self.work.join("vm"), &archive)?;
        let mut vm = machine.disk(&disk).start()?;
        let ssh = Ssh::new(vm.ssh_port(), self.artefacts.ssh_key());
        ssh.wait(vm.console(), BOOT)?;
        vm.wait_console("kind=\"Converged\"", SOON)?;
        for file in
            [format!("guests/{TINY}.image"), format!("guests/{TINY}.guest.cose"), "device.manifest.cose".to_owned()]
        {
            let name = file.rsplit('/').next().unwrap_or(&file);
            let output = ssh.copy(&self.work.join(&file), &format!("/tmp/{name}"))?;
            ensure!(output.code == 0, "failed to copy `{file}` into c0: {}", output.stderr);
        }
        // A manifest that is refused, for the log.
        let refused = ssh.run(["catenoid", "apply", "/tmp/tiny-1.0.0.guest.cose"])?;
        ensure!(refused.code != 0, "a guest was taken for a manifest");
        let mark = vm.console().mark();
        let taken = ssh.run(["catenoid", "apply", "/tmp/device.manifest.cose", "--guests", "/tmp"])?;
        // How the program ends, c0 may not live to hear: the manifest has another one.
        ensure!(taken.stdout.contains("accepted:"), "the manifest was refused: {}{}", taken.stdout, taken.stderr);
        vm.wait_console_from(mark, "kind=\"Converged\"", SOON)?;
        let mut root = |script: &str| -> Result<String> {
            let output = vm.root(script)?;
            ensure!(output.code == 0, "`{script}` exited with {}:\n{}", output.code, output.text);
            Ok(output.text)
        };
        // The program lies in the probe's root, the socket in the device's.
        let status = root(
            "exec /proc/$PROBE/root/usr/bin/catenoid \
               --socket /run/catenoid/control/core0/control.sock status -o json",
        )?;
        // What is no longer used is zeros then, and takes no room in what is stored.
        root("fstrim /data && sync")?;
        vm.shutdown()?;
        Ok(status)
    }

    /// Puts everything where it stays.
    fn store(&self, folder: &Path, status: &str) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
        let put = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, content).with_context(|| format!("failed to write `{}`", path.display()))
        };
        for (from, to) in [
            ("pki/anchors.cbor", "anchors.cbor"),
            ("boot.manifest.cose", "factory.manifest.cose"),
            ("device.manifest.cose", "device.manifest.cose"),
            (&format!("guests/{TINY}.guest.cose"), "tiny.guest.cose"),
            (&format!("guests/{CORE}.guest.cose"), "core.guest.cose"),
            ("device.tar", "bundle.tar"),
        ] {
            let path = self.work.join(from);
            put(to, &fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?)?;
        }
        put("status.json", status.as_bytes())?;
        let data = self.work.join("data.ext4");
        disk::copy_data(&self.work.join("vm/disk.img"), &data)?;
        for (file, to) in [("/ledger/a", "ledger-a"), ("/ledger/b", "ledger-b"), ("/audit/audit.jsonl", "audit.jsonl")]
        {
            let mut debugfs = Command::new("debugfs");
            debugfs.arg("-R").arg(format!("dump {file} {}", folder.join(to).display()));
            run::output(debugfs.arg(&data))?;
        }
        let mut zstd = Command::new("zstd");
        run::output(zstd.args(["-q", "-19", "--long=31", "-o"]).arg(folder.join("data.ext4.zst")).arg(&data))?;
        Ok(())
    }

    fn signing(&self, words: &[&str], role: &str) -> Command {
        let pki = self.work.join("pki");
        let mut command = self.tool();
        command.args(words).arg("--key").arg(pki.join(role).join("signer.key.pem"));
        command.arg("--chain").arg(pki.join(role).join("signer.chain.pem"));
        command.arg("--anchors").arg(pki.join("anchors.cbor"));
        command
    }

    fn tool(&self) -> Command {
        let mut command = Command::new(self.artefacts.static_binary("catenoid-sign"));
        command.current_dir(self.artefacts.workspace());
        command
    }
}

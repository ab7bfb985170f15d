//! A device of the test image with as many containers as a bench asks for.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::device::{self, AGENT};
use catenoid_e2e::{Artefacts, Device};

use crate::image::{self, Variant};
use crate::{development, run};

/// A hundred containers are started one after the other, under TCG.
const PATIENCE: &str = "20m";
/// The guest of every service: one static program.
const GUEST: &str = "busybox-1.0.0";
/// Where c0 keeps what is to be pushed.
const PARCEL: &str = "/tmp/parcel";

/// A running device.
pub(super) struct Fleet {
    pub(super) device: Device,
    artefacts: Artefacts,
    folder: PathBuf,
    sequence: u64,
}

/// What a manifest asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// Service containers besides the core container.
    pub(super) services: usize,
    /// What the first of them may use.
    pub(super) memory_mib: u32,
}

impl Fleet {
    /// Builds what a device needs and boots one that is factory-new.
    pub(super) fn boot(artefacts: &Artefacts, name: &str) -> Result<Self> {
        image::build(artefacts, Variant::Test)?;
        development::demo_guests(artefacts)?;
        let folder = artefacts.state().join("bench").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
        let machine = device::machine(artefacts, &format!("bench-{name}"))?.processors(2);
        let device = Device::start(artefacts.clone(), machine)?;
        let fleet = Self { device, artefacts: artefacts.clone(), folder, sequence: 1 };
        fleet.deliver()?;
        Ok(fleet)
    }

    /// Puts the guest into c0's memory, from where manifests push it.
    fn deliver(&self) -> Result<()> {
        let mut tar = Command::new("tar");
        tar.args(["--create", "--owner=0", "--group=0", "-C"]).arg(self.artefacts.guests());
        tar.args([format!("{GUEST}.guest.cose"), format!("{GUEST}.image")]).stdout(Stdio::piped());
        let mut tar = tar.spawn().context("failed to run `tar`")?;
        let stream = tar.stdout.take().expect("stdout is piped");
        let unpack = format!("mkdir -p {PARCEL} && tar -x -C {PARCEL}");
        let status = self.device.ssh().client().arg(unpack).stdin(stream).status().context("failed to run `ssh`")?;
        ensure!(status.success() && tar.wait()?.success(), "failed to send a guest to c0");
        Ok(())
    }

    /// Makes the device as wished, and waits until it is; what it printed meanwhile.
    pub(super) fn apply(&mut self, wish: Wish) -> Result<String> {
        self.sequence += 1;
        let (yaml, envelope) = (self.folder.join("manifest.yaml"), self.folder.join("manifest.cose"));
        let text = manifest(self.sequence, wish);
        fs::write(&yaml, text).with_context(|| format!("failed to write `{}`", yaml.display()))?;
        let pki = self.artefacts.pki();
        let mut sign = Command::new(self.artefacts.static_binary("catenoid-sign"));
        sign.arg("sign").arg("--guests").arg(self.artefacts.guests());
        sign.arg("--key").arg(pki.join("operator/signer.key.pem"));
        sign.arg("--chain").arg(pki.join("operator/signer.chain.pem"));
        sign.arg("--anchors").arg(pki.join("anchors.cbor"));
        run::output(sign.arg(&yaml).arg("-o").arg(&envelope))?;
        let signed = fs::read(&envelope).with_context(|| format!("failed to read `{}`", envelope.display()))?;
        let mark = self.device.console().mark();
        let line =
            format!("cat >/tmp/manifest.cose && catenoid apply /tmp/manifest.cose --guests {PARCEL} --wait={PATIENCE}");
        self.c0(&line, &signed)?;
        Ok(self.device.console().text()[mark..].to_owned())
    }

    /// Runs a shell line in c0; it must succeed. Gives what it printed.
    pub(super) fn c0(&self, line: &str, input: &[u8]) -> Result<String> {
        let output = self.device.ssh().run_with_stdin(["bash", "-c", line], input)?;
        ensure!(output.code == 0, "`{line}` in c0 ended with {}:\n{}{}", output.code, output.stdout, output.stderr);
        Ok(output.stdout)
    }

    /// A script as root in the root namespace that prints one number.
    pub(super) fn number(&mut self, script: &str) -> Result<f64> {
        let printed = self.device.root(script)?;
        printed.trim().parse().with_context(|| format!("`{printed}` of `{script}` is no number"))
    }

    /// Milliseconds of a processor that the agent, and the tools that it ran, used so far (proc(5): fields 14 to 17, in
    /// hundredths of a second).
    pub(super) fn used(&mut self) -> Result<f64> {
        self.number(&format!(
            "{AGENT} sed 's/.*) //' /proc/$agent/stat | awk '{{ print ($12 + $13 + $14 + $15) * 10 }}'"
        ))
    }
}

/// The core container as the factory has it, and services in one zone behind it.
fn manifest(sequence: u64, wish: Wish) -> String {
    let service = |index: usize| {
        let memory = if index == 0 { wish.memory_mib } else { 8 };
        format!(
            "  c{index:04}:\n    guest: tiny\n    zones: [plant]\n    command: [/bin/busybox, sleep, \"2147483647\"]\n    \
             limits: {{ memory: {memory}MiB, cpu: 0.25, pids: 16 }}\n    stop: {{ signal: KILL, grace: 0s }}\n"
        )
    };
    let guest = if wish.services > 0 { "  tiny: { ref: busybox@1.0.0 }\n" } else { "" };
    let services: String = (0..wish.services).map(service).collect();
    format!(
        "apiVersion: catenoid.dev/v1\nkind: Manifest\n\
         metadata: {{ name: bench, sequence: {sequence}, notAfter: 2036-01-01T00:00:00Z }}\n\
         target: {{ serials: [QEMU-0001] }}\nguests:\n  core: {{ ref: catenoid-core@0.1.0 }}\n{guest}\
         zones:\n  uplink:\n    interfaces: [{{ mac: \"52:54:00:12:34:56\" }}]\n    address: dhcp\n    \
         flows: [{{ to: core, tcp: [22] }}]\n  plant:\n    subnet: [10.20.0.0/16, \"fd20::/64\"]\n    \
         flows: [{{ to: uplink, tcp: [443] }}]\ncontainers:\n  core0:\n    guest: core\n    role: core\n    \
         zones: [uplink, plant]\n    limits: {{ memory: 192MiB, cpu: 1.0, pids: 256 }}\n    \
         capabilities: [CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SYS_CHROOT, NET_ADMIN, NET_BIND_SERVICE, NET_RAW]\n\
         {services}"
    )
}

/// When the first line of the device's console that holds `text` was written, by the device's own clock.
pub(super) fn written_at(console: &str, text: &str) -> Result<Duration> {
    let line = console.lines().find(|line| line.contains(text) && line.contains(" INFO "));
    let line = line.with_context(|| format!("no `{text}` on the console:\n{console}"))?;
    clock(line).with_context(|| format!("no time in `{line}`"))
}

/// The time of the day of a line that begins with `2026-11-22T02:23:43.696554Z`. No bench runs over midnight unnoticed:
/// a difference would be negative.
fn clock(line: &str) -> Option<Duration> {
    let time = line.split_once('T')?.1.split_once('Z')?.0;
    let mut parts = time.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let minutes = hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?;
    Some(Duration::from_secs(minutes * 60) + Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?)
}

/// From one line of the console to another, in milliseconds.
pub(super) fn between(console: &str, from: &str, to: &str) -> Result<f64> {
    let (from, to) = (written_at(console, from)?, written_at(console, to)?);
    Ok(to.checked_sub(from).context("the clock ran backwards, or over midnight")?.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_console_have_their_time() {
        let console = "noise\n2026-11-22T02:23:59.900000Z  INFO x kind=\"ManifestAccepted\"\n\
                       2026-11-22T02:24:00.150000Z  INFO start container `c0001`\n";
        let took = between(console, "ManifestAccepted", "start container `c0001`").expect("both are there");
        assert!((took - 250.0).abs() < 1e-6, "{took}");
        assert!(between(console, "start container", "ManifestAccepted").is_err());
        assert!(written_at(console, "noise").is_err());
    }
}

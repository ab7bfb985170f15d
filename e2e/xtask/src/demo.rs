//! `cargo xtask demo`: the whole way of a manifest, shown while it happens. Every line that begins with `#` is a command
//! that ran in c0 over ssh, followed by what it printed.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_e2e::device::{BOOT, platform_keys};
use catenoid_e2e::ssh::Ssh;
use catenoid_e2e::{Artefacts, Vm};

use crate::image::{self, Variant};
use crate::{development, run, vm};

/// Where c0 gets what is to be pushed: memory of its own, which its memory limit bounds.
const PARCEL: &str = "/tmp/demo";
/// A container that is ended comes back well within this under TCG.
const HEALING: Duration = Duration::from_secs(60);

/// Shows the whole way; the device stays up afterwards if `keep`.
pub(crate) fn play(artefacts: &Artefacts, keep: bool) -> Result<()> {
    let mut story = Story::default();
    vm::ensure_off(artefacts)?;

    story.chapter("on the build host: keys, guests, manifests, device image")?;
    image::build(artefacts, Variant::Production)?;
    development::demo_guests(artefacts)?;
    let envelopes = ["demo", "demo-2"].map(|name| development::manifest(artefacts, name));
    for envelope in envelopes {
        story.say(&format!("signed {}", development::shown(artefacts, &envelope?)));
    }

    story.chapter("a factory-new device: Secure Boot, TPM, and the core container (c0) from its factory bundle")?;
    let dir = artefacts.vm(vm::NAME);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("failed to remove `{}`", dir.display()))?;
    }
    let disk = artefacts.image().join(Variant::Production.name()).join("disk.img");
    let builder = Vm::builder(&dir).disk(disk).keys(platform_keys(&artefacts.pki())?);
    let vm = if keep { builder.detached() } else { builder }.start()?;
    let c0 = Core { ssh: Ssh::new(vm.ssh_port(), artefacts.ssh_key()) };
    let ended = converge(&c0, &vm, artefacts, &mut story);
    if let Err(error) = ended {
        return Err(error.context(format!("the demo failed; the device's console ends:\n{}", vm.console().tail())));
    }
    story.end();
    if keep {
        println!("\nThe device is up.\n  c0:   cargo xtask vm ssh\n  stop: cargo xtask vm down");
        vm.detach();
        return Ok(());
    }
    vm.shutdown()?;
    Ok(())
}

fn converge(c0: &Core, vm: &Vm, artefacts: &Artefacts, story: &mut Story) -> Result<()> {
    c0.ssh.wait(vm.console(), BOOT)?;
    for line in vm.console().text().lines().filter(|line| line.starts_with("catenoid: booted")) {
        story.say(&format!("console: {line}"));
    }
    c0.show(story, 0, "catenoid status")?;

    story.chapter("guests and the first manifest go to c0 over ssh, and from c0 to the agent")?;
    c0.receive(artefacts)?;
    c0.show_end(story, 3, &format!("catenoid apply {PARCEL}/demo.manifest.cose --guests {PARCEL} --wait=5m"))?;
    let page = format!("http://{}/", c0.address_of("web")?);
    c0.show(story, 0, &format!("curl -sS {page}"))?;

    story.chapter("the second manifest: one limit changed, one guest replaced, one container removed, one added")?;
    c0.show(story, 0, &format!("catenoid guests push {PARCEL}/nginx-1.0.1.*"))?;
    c0.show(story, 0, &format!("catenoid diff {PARCEL}/demo-2.manifest.cose"))?;
    c0.show_end(story, 3, &format!("catenoid apply {PARCEL}/demo-2.manifest.cose --wait=5m"))?;
    c0.show(story, 0, &format!("curl -sS {page}"))?;

    story.chapter("the same manifest with one word changed by somebody who has no key")?;
    c0.show(story, 1, &format!("catenoid apply {PARCEL}/tampered.manifest.cose"))?;

    story.chapter("drift: somebody ends the first process of c0")?;
    let last = c0.last_event()?;
    let ended = Instant::now();
    // The connection goes down with the container: what ssh makes of it says nothing.
    c0.run("kill 1")?;
    c0.ssh.wait(vm.console(), HEALING)?;
    story.say(&format!("c0 answers again after {:.1} s", ended.elapsed().as_secs_f32()));
    c0.show(story, 0, &format!("catenoid events --since {last}"))?;
    c0.show(story, 0, "catenoid status")?;
    Ok(())
}

/// c0, as somebody with the operator's ssh key reaches it.
struct Core {
    ssh: Ssh,
}

impl Core {
    /// Runs a shell line in c0: its exit code, and what it printed on both streams.
    fn run(&self, line: &str) -> Result<(i32, String)> {
        let output = self.ssh.run(["sh", "-c", &format!("{line} 2>&1")])?;
        Ok((output.code, output.stdout + &output.stderr))
    }

    /// The same, shown in the story; it must end with `code`.
    fn show(&self, story: &Story, code: i32, line: &str) -> Result<()> {
        story.say(&format!("# {line}"));
        self.expect(code, line)?.lines().for_each(|line| story.say(line));
        Ok(())
    }

    /// The same, with no more than the last `count` lines of what it printed; it must succeed.
    fn show_end(&self, story: &Story, count: usize, line: &str) -> Result<()> {
        story.say(&format!("# {line}"));
        let printed = self.expect(0, line)?;
        let lines: Vec<&str> = printed.lines().collect();
        let left_out = lines.len().saturating_sub(count);
        if left_out > 0 {
            story.say(&format!("[{left_out} lines before these]"));
        }
        lines[left_out..].iter().for_each(|line| story.say(line));
        Ok(())
    }

    fn expect(&self, code: i32, line: &str) -> Result<String> {
        let (ended, printed) = self.run(line)?;
        ensure!(ended == code, "`{line}` in c0 ended with {ended}, not {code}:\n{printed}");
        Ok(printed)
    }

    /// Puts guests and manifests into c0's memory, streamed, and a manifest that was tampered with.
    fn receive(&self, artefacts: &Artefacts) -> Result<()> {
        let stage = artefacts.state().join("demo");
        if stage.exists() {
            fs::remove_dir_all(&stage).with_context(|| format!("failed to remove `{}`", stage.display()))?;
        }
        fs::create_dir_all(&stage).with_context(|| format!("failed to make `{}`", stage.display()))?;
        let link = |from: &std::path::Path| -> Result<()> {
            let to = stage.join(from.file_name().expect("it names a file"));
            fs::hard_link(from, &to).with_context(|| format!("failed to link `{}`", to.display()))
        };
        for name in ["demo", "demo-2"] {
            link(&artefacts.manifests().join(format!("{name}.manifest.cose")))?;
        }
        for guest in development::demo_guest_names() {
            link(&artefacts.guests().join(format!("{guest}.guest.cose")))?;
            link(&artefacts.guests().join(format!("{guest}.image")))?;
        }
        let tampered = tamper(&fs::read(stage.join("demo-2.manifest.cose"))?)?;
        fs::write(stage.join("tampered.manifest.cose"), tampered)?;
        let mut tar = Command::new("tar")
            .args(["--create", "--owner=0", "--group=0", "-C"])
            .arg(&stage)
            .arg(".")
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to run `tar`")?;
        let stream = tar.stdout.take().expect("stdout is piped");
        let mut unpack = self.ssh.client();
        run::output(unpack.arg(format!("mkdir -p {PARCEL} && tar -x -C {PARCEL}")).stdin(stream))?;
        ensure!(tar.wait().context("failed to wait for `tar`")?.success(), "`tar` failed on `{}`", stage.display());
        Ok(())
    }

    fn status(&self) -> Result<serde_json::Value> {
        let (_, printed) = self.run("catenoid status -o json")?;
        serde_json::from_str(&printed).with_context(|| format!("no status in:\n{printed}"))
    }

    fn last_event(&self) -> Result<u64> {
        self.status()?["lastEvent"].as_u64().context("a status without `lastEvent`")
    }

    /// The first address of a container, as its status shows it.
    fn address_of(&self, container: &str) -> Result<String> {
        let status = self.status()?;
        let subject = format!("network/{container}");
        let subjects = status["subjects"].as_array().context("a status without subjects")?;
        let network = subjects.iter().find(|held| held["subject"] == *subject);
        let facts = network.and_then(|network| network["facts"].as_object());
        let addresses = facts.and_then(|facts| facts.values().next()?.as_str());
        let address = addresses.and_then(|text| text.split(['/', ',']).next());
        Ok(address.with_context(|| format!("the status shows no address of `{container}`"))?.to_owned())
    }
}

/// Changes one word of what was signed.
fn tamper(envelope: &[u8]) -> Result<Vec<u8>> {
    let (from, to) = (b"press-line-7", b"press-line-8");
    let Some(at) = envelope.windows(from.len()).position(|window| window == from) else {
        bail!("the demo's manifest does not hold the name that is to be changed");
    };
    let mut tampered = envelope.to_vec();
    tampered[at..at + to.len()].copy_from_slice(to);
    Ok(tampered)
}

/// Prints as it happens, and keeps the time of each chapter.
#[derive(Default)]
struct Story {
    chapters: Vec<(String, Instant)>,
}

impl Story {
    fn chapter(&mut self, title: &str) -> Result<()> {
        println!("\n{}. {title}", self.chapters.len() + 1);
        self.chapters.push((title.to_owned(), Instant::now()));
        std::io::stdout().flush().context("failed to print")
    }

    fn say(&self, line: &str) {
        println!("   {line}");
    }

    /// The timings.
    fn end(&self) {
        println!("\nTime");
        let ends = self.chapters.iter().skip(1).map(|(_, start)| *start).chain([Instant::now()]);
        for ((title, start), end) in self.chapters.iter().zip(ends) {
            println!("{:>8.1} s  {title}", end.duration_since(*start).as_secs_f32());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tampering_changes_one_byte_and_keeps_the_length() {
        let envelope = b"..press-line-7..";
        assert_eq!(tamper(envelope).expect("the name is there"), b"..press-line-8..");
        assert!(tamper(b"another").is_err());
    }
}

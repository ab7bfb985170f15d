//! A device outlives its upgrade, and the way back: what one version wrote, another goes on with.
//!
//! `yesterday` is the version that devices in the field run, `tomorrow` this one with one more optional field in each document;
//! both are built by `cargo xtask test` (`e2e/xtask/src/trees.rs`). What every earlier version left lies in `schema/compat`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::device::{AGENT, Image, fresh, without_firmware, without_firmware_but};
use catenoid_e2e::vm::Builder;
use catenoid_e2e::{Artefacts, Device};
use catenoid_schema::control::Event;
use catenoid_schema::digest::Digest;
use catenoid_schema::status::Status;

use crate::bench::{Author, Bench, DAMAGE, SOON, author, converged};

/// Events of a device on which something changed or that had to put something right.
const CHANGES: [&str; 3] = ["StepDone", "StepFailed", "DriftFound"];

#[test]
fn vm_stored_partitions_converge() -> Result<()> {
    each_stored_partition_converges("stored", Image::Test)
}

#[test]
fn vm_new_field_orphans_nobody() -> Result<()> {
    each_stored_partition_converges("new-field", Image::Tomorrow)
}

/// Boots each partition in `schema/compat`: the device is as its manifest says again, and misses nothing.
fn each_stored_partition_converges(name: &str, image: Image) -> Result<()> {
    let artefacts = Artefacts::new();
    let stored = artefacts.workspace().join("schema/compat");
    let mut versions = 0;
    for entry in fs::read_dir(&stored).with_context(|| format!("failed to read `{}`", stored.display()))? {
        let entry = entry?;
        if !entry.path().is_dir() {
            continue;
        }
        let status = entry.path().join("status.json");
        let status: Status = serde_json::from_slice(&fs::read(&status).context("no status")?).context("no status")?;
        let digest = status.accepted.as_ref().context("nothing is accepted")?.digest;
        let made = artefacts.compat().join(entry.file_name());
        let dir = fresh(&artefacts, name)?;
        let machine = without_firmware_but(&artefacts, image, dir, &made.join("anchors.cpio"))?;
        let mut vm = machine.disk(made.join("disk.img")).disposable().start()?;
        vm.wait_console("kind=\"Converged\"", SOON)?;
        let console = vm.console().text();
        let line = console.lines().find(|line| line.contains("kind=\"Converged\"")).context("the line is not whole")?;
        ensure!(line.contains(&digest.to_string()), "it came back with another manifest: {line}");
        let damage: Vec<_> = console.lines().filter(|line| DAMAGE.iter().any(|kind| line.contains(kind))).collect();
        ensure!(damage.is_empty(), "{damage:#?}");
        let running = vm.root("cd /sys/fs/cgroup/catenoid && grep -l 'populated 1' */cgroup.events | cut -d / -f 1")?;
        let subjects = status.subjects.iter().map(|status| &status.subject);
        let wanted: Vec<_> = subjects.filter(|s| s.kind() == "container").map(|s| s.name()).collect();
        ensure!(running.text.lines().eq(wanted.iter().copied()), "{:?} runs instead of {wanted:?}", running.text);
        println!("{}: converged {:.1} s after power-on", entry.path().display(), vm.uptime().as_secs_f32());
        versions += 1;
    }
    ensure!(versions > 0, "`{}` holds nothing", stored.display());
    Ok(())
}

/// What today's version does that yesterday's did not, for the same manifest. None of it restarts a container.
const NEWER: [&str; 1] = ["StepDone: limits: set reserve of `core0` to 64MiB (was 0B)"];
/// What it does once, and otherwise as yesterday's.
const ANEW: [&str; 3] = [
    "StepDone: zones: set the rules of the firewall of `root`",
    "StepDone: zones: set the rules of the firewall of `container/core0`",
    "StepDone: zones: give interface 52:54:00:12:34:56 of zone `uplink` to `core0` as `uplink0`",
];

/// A device of yesterday gets today's agent, and then today's whole image.
#[test]
fn vm_agent_of_yesterday() -> Result<()> {
    let (artefacts, name) = (Artefacts::new(), "agent-of-yesterday");
    let dir = fresh(&artefacts, name)?;
    let machine = without_firmware_but(&artefacts, Image::Yesterday, dir, &artefacts.compat().join("agent.cpio"))?;
    let mut bench = Bench::start(name, machine.disk(Image::Yesterday.disk(&artefacts)?).disposable())?;
    let digest = apply_demo(&mut bench)?;
    let running = bench.processes()?;
    ensure!(features(&bench)?.is_empty(), "yesterday's agent reported no features");

    // Only the agent: PID 1, the launcher and every container stay as they are.
    let since = bench.status()?.last_event;
    bench
        .device
        .root(&format!("{AGENT} cp /proc/$PROBE/root/agent /init.new && mv /init.new /init && kill -9 $agent"))?;
    bench.wait("the device is converged under today's agent", |status| {
        status.last_event > since && converged(status) == Some(digest)
    })?;
    ensure!(features(&bench)?.contains(&"requires".to_owned()), "this is not today's agent");
    let events = bench.events(since)?;
    let recorded = events.iter().filter(|e| is_one_of(e, &CHANGES) || is_one_of(e, &DAMAGE));
    assert_eq!(recorded.map(kind_and_message).collect::<Vec<_>>(), [&ANEW[..], &NEWER].concat());
    assert_eq!(bench.processes()?, running);

    // What a boot takes under yesterday's image, and under today's: the same but for that.
    let steps = |image, machine| -> Result<(Vec<String>, Builder)> {
        let bench = boot(&artefacts, image, machine)?;
        bench.wait("the device is converged after its boot", |status| converged(status) == Some(digest))?;
        let events = bench.events(0)?;
        let begin = events.iter().rposition(|event| event.kind == "AgentStarted").context("no start of an agent")?;
        let damage: Vec<_> = events[begin..].iter().filter(|event| is_one_of(event, &DAMAGE)).collect();
        ensure!(damage.is_empty(), "{damage:#?}");
        let changes = events[begin..].iter().filter(|event| is_one_of(event, &CHANGES));
        let mut steps: Vec<_> = changes.map(kind_and_message).collect();
        steps.sort();
        Ok((steps, bench.device.off()))
    };
    let (mut before, machine) = steps(Image::Yesterday, bench.device.off())?;
    let (after, _) = steps(Image::Test, machine)?;
    before.extend(NEWER.map(str::to_owned));
    before.sort();
    assert_eq!(before, after);
    Ok(())
}

/// The update did not hold: yesterday's image boots again on what today's wrote.
#[test]
fn vm_fallback_to_yesterday() -> Result<()> {
    let artefacts = Artefacts::new();
    let mut bench = Bench::ready("fallback-to-yesterday")?;
    let digest = apply_demo(&mut bench)?;
    let containers: Vec<_> = bench.processes()?.into_keys().collect();
    let since = bench.status()?.last_event;

    let mut bench = boot(&artefacts, Image::Yesterday, bench.device.off())?;
    bench.wait("the device is converged under yesterday's image", |status| converged(status) == Some(digest))?;
    ensure!(features(&bench)?.is_empty(), "this is not yesterday's agent");
    let events = bench.events(since)?;
    ensure!(!events.iter().any(|event| is_one_of(event, &DAMAGE)), "{events:#?}");
    assert_eq!(bench.processes()?.into_keys().collect::<Vec<_>>(), containers);
    Ok(())
}

fn apply_demo(bench: &mut Bench) -> Result<Digest> {
    let folder = bench.folder("documents")?;
    let demo = bench.author.sign(&folder, &bench.author.example("demo")?)?;
    bench.deliver(&["nginx-1.0.0", "busybox-1.0.0"])?;
    bench.apply(&demo)?;
    author::digest(&demo)
}

/// Switches the device on again with another image.
fn boot(artefacts: &Artefacts, image: Image, machine: Builder) -> Result<Bench> {
    let device = Device::start(artefacts.clone(), without_firmware(artefacts, image, machine)?)?;
    Ok(Bench { device, artefacts: artefacts.clone(), author: Author::new(artefacts) })
}

/// What the agent says that documents may require of it.
fn features(bench: &Bench) -> Result<Vec<String>> {
    let printed = bench.c0("catenoid version -o json")?;
    let version: serde_json::Value = serde_json::from_str(&printed).context("no version")?;
    Ok(serde_json::from_value(version["features"].clone())?)
}

fn kind_and_message(event: &Event) -> String {
    let line = format!("{}: {}", event.kind, event.message);
    // How many rules a firewall has is another number in each version.
    match line.split_once(" rules of the firewall of ") {
        Some((start, place)) => format!(
            "{} rules of the firewall of {place}",
            start.trim_end_matches(|c: char| c == ' ' || c.is_ascii_digit())
        ),
        None => line,
    }
}

fn is_one_of(event: &Event, kinds: &[&str]) -> bool {
    kinds.contains(&event.kind.as_str())
}

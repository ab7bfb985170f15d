//! Boots that do not last, and machines that hang.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::device::AGENT;
use catenoid_schema::status::{Health, Status};

use crate::bench::{Bench, SOON, author::resequenced, converged, subject};
use crate::confined::{PROBE, deliver_probe};

/// As many unclean boots in a row as let a device start less (agent/src/init/boots.rs), and again so many.
const IN_A_ROW: usize = 3;
/// From a machine that hangs to one that has booted again: the watchdog's 60 s, and a boot under TCG.
const RESET: Duration = Duration::from_secs(180);

/// [req->TSF-INIT]
#[test]
fn vm_boot_loop_is_broken() -> Result<()> {
    let (mut bench, digest) = Bench::with_demo("boot-loop")?;
    let services = bench.processes()?.len() - 1;
    // This boot may have lasted for a minute when it was saved.
    unclean(&mut bench, 1)?;
    hang(&mut bench)?;
    bench.wait("everything is started", |status| converged(status) == Some(digest))?;
    for _ in 2..IN_A_ROW {
        bench = bench.power_cycle()?;
        bench.wait("everything is started", |status| converged(status) == Some(digest))?;
    }
    bench = bench.power_cycle()?;
    let status = held_back(&mut bench, services)?;
    ensure!(status.accepted.context("nothing is accepted")?.digest == digest, "it is the manifest's own c0");
    let printed = bench.c0("catenoid resume")?;
    ensure!(printed.contains("3 times in a row"), "{printed}");
    bench.wait("everything is started again", |status| converged(status) == Some(digest))?;

    // As many again, of which the last three are left out here.
    unclean(&mut bench, 2 * IN_A_ROW)?;
    bench = bench.power_cycle()?;
    let status = held_back(&mut bench, 0)?;
    let accepted = status.accepted.context("nothing is accepted")?;
    ensure!(accepted.name.as_str() == "factory", "{accepted:?}");
    // A manifest that is new ends it, and all that the device held is still there.
    let folder = bench.folder("documents")?;
    let next = bench.author.sign(&folder, &resequenced(&bench.author.example("demo")?, 9)?)?;
    // Its guests are there: nothing is pushed.
    bench.c0("mkdir -p /tmp/parcel")?;
    bench.apply(&next)?;
    ensure!(bench.processes()?.len() == services + 1, "all run");
    bench.event(0, "it is reported", |event| event.kind == "HeldBack" && event.message.contains("6 times"))?;
    Ok(())
}

/// Lets processes wait for the disk for ever, and the kernel look for such sooner than the device lets it; it restarts.
fn hang(bench: &mut Bench) -> Result<()> {
    let mark = bench.device.console().mark();
    bench.device.root(
        "(while echo 5 >/proc/sys/kernel/hung_task_timeout_secs; do sleep 1; done) >/dev/null 2>&1 &
         (sync; fsfreeze --freeze /data; echo hangs >/data/hangs) >/dev/null 2>&1 &",
    )?;
    bench.device.vm().wait_console_from(mark, "hung_task: blocked tasks", RESET)?;
    bench.device.vm().wait_console_from(mark, "catenoid: booted", RESET)?;
    bench.device.ssh().wait(bench.device.console(), SOON)?;
    Ok(())
}

/// Writes down how many boots in a row were unclean, with this one.
fn unclean(bench: &mut Bench, boots: usize) -> Result<()> {
    bench.device.root(&format!("echo '{{\"unclean\":{boots}}}' >/data/boots/unclean && sync")).map(drop)
}

/// Waits until core containers run alone and `services` are reported as held back.
fn held_back(bench: &mut Bench, services: usize) -> Result<Status> {
    let is_reported = |status: &Status| subject(status, "state/boot").is_ok_and(|boot| boot.health == Health::Degraded);
    let status = bench.wait("less is started", is_reported)?;
    let reason = |name: &str| subject(&status, name).map(|found| found.conditions[0].reason.clone());
    ensure!(reason("state/boot")? == "HeldBack");
    let held = status.subjects.iter().filter(|found| found.subject.kind() == "container");
    let held = held.filter(|found| found.conditions.iter().any(|condition| condition.reason == "HeldBack")).count();
    ensure!(held == services, "{held} services are held back, not {services}");
    let runs = bench.processes()?;
    ensure!(runs.keys().all(|name| name == "core0") && runs.len() == 1, "{runs:?}");
    Ok(status)
}

/// [req->TSF-INIT]
#[test]
fn vm_watchdog_restarts_a_hung_kernel() -> Result<()> {
    let mut bench = Bench::ready("watchdog")?;
    let since = bench.status()?.last_event;
    // An agent that hangs is ended by PID 1, and nothing else is.
    let before = bench.processes()?;
    let mark = bench.device.console().mark();
    bench.device.root("kill -STOP $(head -n 1 /sys/fs/cgroup/catenoid-agent/cgroup.procs)")?;
    bench.device.vm().wait_console_from(mark, "the agent shows no life", RESET)?;
    bench.event(since, "it is reported", |event| {
        event.kind == "AgentEnded" && event.message.contains("showed no life")
    })?;
    ensure!(bench.processes()? == before, "what runs goes on");

    deliver_probe(&bench)?;
    // One processor is enough to hang, and half as much for the build host to turn round in.
    bench.device.root("echo 0 >/sys/devices/system/cpu/cpu1/online")?;
    let core = before["core0"].pid;
    let mark = bench.device.console().mark();
    bench.device.root(&format!("(/proc/{core}/root{PROBE} hang >/dev/null 2>&1 &)"))?;
    bench.device.vm().wait_console_from(mark, "catenoid: the watchdog reset the machine", RESET)?;
    bench.device.ssh().wait(bench.device.console(), SOON)?;
    bench.event(since, "it is reported", |event| event.kind == "WatchdogReset")?;
    Ok(())
}

/// What a terminal sends so that nothing more is sent to it, and that it can go on (the line's own flow control).
const HOLD: &[u8] = b"\x13";
const GO_ON: &[u8] = b"\x11";
/// More than the kernel keeps for a console that takes nothing.
const FILL_CONSOLE: &str = "(seq 5000 >/dev/console) & usleep 500000; kill $!";

/// [req->TSF-INIT]
#[test]
fn vm_console_that_takes_nothing_holds_nobody() -> Result<()> {
    let mut bench = Bench::ready("silent-console")?;
    let before = bench.processes()?;
    bench.device.console().send(HOLD)?;
    bench.device.root(FILL_CONSOLE)?;
    for _ in 0..2 {
        let started = bench.status()?.heartbeat.agent_started;
        bench.device.root(&format!("{AGENT} kill -KILL $agent"))?;
        bench.wait("the agent is back", |status| {
            status.heartbeat.agent_started != started && status.heartbeat.passes > 0
        })?;
    }
    ensure!(bench.processes()? == before, "what runs goes on");
    let mark = bench.device.console().mark();
    bench.device.console().send(GO_ON)?;
    bench.device.root(&format!("{AGENT} kill -KILL $agent"))?;
    bench.device.vm().wait_console_from(mark, "and is started again", SOON)?;
    Ok(())
}

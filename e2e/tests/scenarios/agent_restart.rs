//! The agent's end stops nothing: it comes back, finds what runs, and goes on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::chance::{Chance, whole};
use catenoid_e2e::console::Seen;
use catenoid_e2e::device::AGENT;
use catenoid_e2e::progress::Progress;
use catenoid_schema::digest::Digest;
use serde_json::json;

use crate::bench::author::{self, resequenced};
use crate::bench::{Bench, Record, SOON, STEADY, converged};

/// From the agent's start to a device that is as its manifest says.
const LIMIT_MS: u64 = 2000;
/// Makes every container's filter.
const LAUNCHER: &str = "/usr/lib/catenoid/catenoid-launcher";
/// The last lines of the audit log that cover a restart.
const LINES: usize = 40;

#[test]
fn vm_agent_restart_is_invisible() -> Result<()> {
    let mut bench = Bench::ready("agent-restart")?;
    let folder = bench.folder("documents")?;
    let [first, second] = ["demo", "demo-2"].map(|name| bench.author.sign(&folder, &bench.author.example(name)?));
    let (first, second) = (first?, second?);
    bench.deliver(&["nginx-1.0.0", "nginx-1.0.1", "busybox-1.0.0"])?;
    bench.apply(&first)?;
    let update = undisturbed(&mut bench)?;
    warm_up(&mut bench, author::digest(&first)?)?;
    let running = bench.processes()?;

    // While it is idle.
    let killed = kill(&mut bench)?;
    settle(&mut bench, killed, author::digest(&first)?, LIMIT_MS, "idle")?;
    assert_eq!(bench.processes()?, running);

    // In the middle of an update: when the first step is done, the others are still ahead.
    let mut events =
        bench.follow(&format!("catenoid events --follow -o json --since {}", bench.status()?.last_event))?;
    bench.submit(&second)?;
    let deadline = Instant::now() + SOON;
    loop {
        let line = events.line(deadline).context("no step of the second manifest was done")?;
        if line.contains(r#""kind":"StepDone""#) {
            break;
        }
    }
    let killed = kill(&mut bench)?;
    drop(events);
    settle(&mut bench, killed, author::digest(&second)?, LIMIT_MS + update, "in the middle of an update")?;
    let after = bench.processes()?;
    assert_eq!(after.keys().collect::<Vec<_>>(), ["core0", "logger", "web"]);
    assert_eq!(after["core0"], running["core0"]);
    Ok(())
}

/// Under another launcher, and so another filter, is out of sync: it is started again, once.
#[test]
fn vm_old_filter_is_out_of_sync() -> Result<()> {
    let (mut bench, digest) = Bench::with_demo("old-filter")?;
    let (running, since) = (bench.processes()?, bench.status()?.last_event);
    bench.device.root(&format!(
        "mount -t tmpfs launcher /tmp && cp {LAUNCHER} /tmp/launcher && echo >>/tmp/launcher && mount --bind /tmp/launcher {LAUNCHER}"
    ))?;
    kill(&mut bench)?;
    for name in running.keys() {
        let subject = format!("container/{name}");
        bench.event(since, "it is started again", |event| {
            let of_it = event.subject.as_ref().is_some_and(|of| of.as_str() == subject);
            of_it && event.kind == "StepDone" && event.message.contains("start")
        })?;
    }
    bench.wait("all run under the new one", |status| converged(status) == Some(digest))?;
    let after = bench.processes()?;
    ensure!(
        after.keys().eq(running.keys()) && after.iter().all(|(name, process)| running[name] != *process),
        "{after:?}"
    );

    kill(&mut bench)?;
    bench.wait("the agent is back", |status| converged(status) == Some(digest))?;
    ensure!(bench.processes()? == after, "what is under this launcher stays");
    Ok(())
}

/// How often the agent is ended at random, in a sample and in the whole set.
const KILLS: [u64; 2] = [4, 20];
/// From the moment at which an operator applies a manifest to the one at which it is in force, with room.
const APPLY: Duration = Duration::from_secs(8);

/// What ran goes on. Idle, the device is as its manifest says again within [`LIMIT_MS`]; in an update, no later than that
/// and what the whole update takes. [whole: kills]
// [req->CR-7.2]
#[test]
fn vm_agent_killed() -> Result<()> {
    let mut progress = Progress::open()?;
    let mut bench = Bench::ready("agent-killed")?;
    let folder = bench.folder("documents")?;
    bench.deliver(&["nginx-1.0.0", "nginx-1.0.1", "busybox-1.0.0"])?;
    let manifest = |bench: &Bench, number: u64| -> Result<Vec<u8>> {
        let example = ["demo", "demo-2"][usize::from(number % 2 == 1)];
        let yaml = resequenced(&bench.author.example(example)?, number + 2)? + STEADY;
        bench.author.sign(&folder, &yaml)
    };
    let mut held = manifest(&bench, 0)?;
    bench.apply(&held)?;
    warm_up(&mut bench, author::digest(&held)?)?;
    let running = bench.processes()?;
    // What an update takes that nobody disturbs: one that was begun when the agent was killed may take as long again.
    let undisturbed = {
        held = manifest(&bench, 1)?;
        bench.apply(&held)?;
        let first = undisturbed(&mut bench)?;
        held = manifest(&bench, 2)?;
        bench.apply(&held)?;
        first.max(undisturbed(&mut bench)?)
    };
    println!("an update takes {undisturbed} ms from accepted to converged");

    let (mut chance, mut next, mut late) = (Chance::new("agent kills"), 3, Vec::new());
    for number in 1..=KILLS[usize::from(whole())] {
        let update = !chance.once_in(4);
        let coming = manifest(&bench, next)?;
        let applying = if update {
            bench.c0_with("cat >/tmp/coming.cose", &coming)?;
            Some(bench.follow("catenoid apply /tmp/coming.cose --guests /tmp/parcel 2>&1")?)
        } else {
            None
        };
        let moment = chance.shorter_than(APPLY);
        // Any moment may be the one: nothing prints a NUL.
        let (console, until) = (bench.device.console(), Instant::now() + moment);
        ensure!(console.wait("\0", console.mark(), until) == Seen::NotInTime, "the device went off");
        let killed = kill(&mut bench)?;
        drop(applying);
        let (held_digest, coming_digest) = (author::digest(&held)?, author::digest(&coming)?);
        let status = bench.wait("the device is converged after its agent was killed", |status| {
            converged(status).is_some_and(|digest| digest == held_digest || (update && digest == coming_digest))
        })?;
        let taken = converged(&status) == Some(coming_digest);
        let (back, settled) = times(&mut bench, killed)?;
        let doing = if update { "applying" } else { "idle" };
        println!(
            "kill {number} after {:.3} s of {doing}: back after {back} ms, converged {settled} ms later{}",
            moment.as_secs_f32(),
            if taken { ", with the new manifest" } else { "" }
        );
        let limit = LIMIT_MS + if taken { undisturbed } else { 0 };
        progress.figure(
            &format!("kill {number:02}, {doing}: ms to the next start and from there to converged"),
            json!([back, settled]),
        )?;
        if settled > limit {
            late.push(format!("{number}: {settled} ms instead of {limit} ms"));
        }
        if update && !taken {
            bench.apply(&coming)?;
        }
        if update {
            (held, next) = (coming, next + 1);
        }
        let after = bench.processes()?;
        for container in ["core0", "steady"] {
            ensure!(after[container] == running[container], "`{container}` is another process after kill {number}");
        }
        ensure!(after.keys().eq(author::manifest(&held)?.containers.keys().map(|name| name.as_str())), "{after:?}");
    }
    ensure!(late.is_empty(), "late after kills {late:?}");
    progress.done("kills", "runs")?;
    Ok(())
}

/// Restarts the agent once, unmeasured: QEMU translates each instruction that runs for the first time since the device was
/// restored, and an agent that starts is such.
fn warm_up(bench: &mut Bench, digest: Digest) -> Result<()> {
    let killed = kill(bench)?;
    bench.wait("the device is converged after a restart", |status| converged(status) == Some(digest))?;
    let (back, settled) = times(bench, killed)?;
    println!("not measured: the agent was back after {back} ms and converged {settled} ms later");
    Ok(())
}

/// Ends the agent without a chance to clean up; milliseconds from boot to that moment.
fn kill(bench: &mut Bench) -> Result<u64> {
    let script = "kill -9 $agent && awk '{ print int($1 * 1000) }' /proc/uptime";
    let printed = bench.device.root(&format!("{AGENT}{script}"))?;
    printed.parse().with_context(|| format!("`{printed}` is no time"))
}

/// Waits until the device is converged again, and holds the device's own clock to `limit`, in milliseconds.
fn settle(bench: &mut Bench, killed: u64, digest: Digest, limit: u64, when: &str) -> Result<()> {
    bench.wait("the device is converged after its agent's restart", |status| converged(status) == Some(digest))?;
    let (back, settled) = times(bench, killed)?;
    println!("{when}: the agent was back after {back} ms and converged {settled} ms later");
    assert!(settled <= limit, "{when}: {settled} ms");
    Ok(())
}

/// Milliseconds from the last accepted manifest to the device that is as it says.
fn undisturbed(bench: &mut Bench) -> Result<u64> {
    let records = bench.audit(4 * LINES)?;
    let at = |kind: &str| {
        let found = records.iter().rfind(|record| record.event.kind == kind);
        found.map(|record| record.monotonic_ms).with_context(|| format!("no `{kind}` in {records:#?}"))
    };
    Ok(at("Converged")?.saturating_sub(at("ManifestAccepted")?))
}

/// Milliseconds from the agent's end to its next start, and from there to a device that is as its manifest says.
fn times(bench: &mut Bench, killed: u64) -> Result<(u64, u64)> {
    let records = bench.audit(LINES)?;
    let at = |kind: &str| {
        let found = records.iter().find(|record| record.monotonic_ms > killed && record.event.kind == kind);
        found.map(|record: &Record| record.monotonic_ms).with_context(|| format!("no `{kind}` in {records:#?}"))
    };
    let (started, settled) = (at("AgentStarted")?, at("Converged")?);
    Ok((started - killed, settled - started))
}

//! What takes long keeps nobody else waiting.

use anyhow::{Context as _, Result, ensure};
use catenoid_schema::control::Event;

use crate::bench::author::resequenced;
use crate::bench::{Bench, converged, subject};

/// It is asked to end, and does not, for as long as it may.
const STUBBORN: &str = "  stubborn:
    guest: tiny
    command: [/bin/sh, -c, \"trap 'echo no' TERM; while :; do busybox sleep 1; done\"]
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
    stop: { grace: 60s }
";
const QUICK: &str = "  quick:
    guest: tiny
    command: [/bin/sh, -c, \"trap 'exit 0' TERM; while :; do busybox sleep 1; done\"]
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
";
/// It is asked whether it works, and does not answer.
const SILENT: &str = "  silent:
    guest: tiny
    command: [/bin/sh, -c, \"while :; do busybox sleep 1; done\"]
    restart: never
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
    health: { exec: [/bin/sh, -c, \"busybox sleep 1000\"], every: 1s, timeout: 30s, failures: 1, start: 0s }
";
/// Milliseconds by which c0 may start later beside a container that ends than beside none: far less than that one's grace. It ended
/// twice in a row by then, for which there is a pause of half a second, and the machine may have more to do.
const LATER_MS: u64 = 5_000;
/// The last lines of the audit log that cover the end of c0 and its next start.
const LINES: usize = 60;

/// A container that ignores what it is asked, for its grace of 60 s, and one whose health checks get no answer: c0's end heals in its
/// usual time meanwhile, another manifest is accepted and starts what it has, and who is asked to end does not run under the next
/// manifest as if nothing was.
///
/// [req->CR-7.2]
#[test]
fn vm_long_steps_hold_nobody() -> Result<()> {
    let (mut bench, _) = Bench::with_demo("long-steps")?;
    let folder = bench.folder("documents")?;
    let demo = bench.author.example("demo")?;
    let sequence = bench.status()?.accepted.context("nothing is accepted")?.sequence;
    let sign =
        |bench: &Bench, by: u64, more: &str| bench.author.sign(&folder, &(resequenced(&demo, sequence + by)? + more));
    bench.apply(&sign(&bench, 1, STUBBORN)?)?;
    let before = bench.processes()?;
    let usual = end_of_c0(&mut bench)?;

    let since = bench.status()?.last_event;
    apply(&bench, &sign(&bench, 2, SILENT)?, "")?;
    bench.event(since, "it is asked", |event| {
        event.message == "containers: ask container `stubborn` to end with SIGTERM"
    })?;
    let status = bench.wait("its end is told", |status| is_stopping(status).unwrap_or(false))?;
    println!("{:?}", subject(&status, "container/stubborn")?.conditions);
    let meanwhile = end_of_c0(&mut bench)?;
    println!("c0 starts {usual} ms after its end, and {meanwhile} ms while another container ends");
    ensure!(meanwhile <= usual + LATER_MS, "c0 waits for another container");

    let since = bench.status()?.last_event;
    apply(&bench, &sign(&bench, 3, &(SILENT.to_owned() + QUICK))?, "")?;
    bench.event(since, "it starts", |event| event.message.starts_with("containers: start container `quick`"))?;
    let now = bench.processes()?;
    ensure!(now.get("stubborn") == before.get("stubborn"), "its time is not over: {now:?}");
    ensure!(is_stopping(&bench.status()?)?, "it is not asked any more");

    // It is wanted again before its end: it ends all the same, and is another one then.
    let last = sign(&bench, 4, STUBBORN)?;
    let since = bench.status()?.last_event;
    apply(&bench, &last, "--wait=5m")?;
    let after = bench.processes()?;
    ensure!(after["stubborn"] != before["stubborn"], "it was asked to end");
    let asked_again = bench.events(since)?.iter().any(|event| event.message.contains("ask container `stubborn`"));
    ensure!(!asked_again, "it has the time since the first");
    ensure!(converged(&bench.status()?).is_some(), "all is as it is to be");
    Ok(())
}

/// Applies a manifest of which the device has all guests: what was in the memory of c0 ended with it.
fn apply(bench: &Bench, envelope: &[u8], wait: &str) -> Result<()> {
    bench.c0_with(&format!("cat >/tmp/next.cose && catenoid apply /tmp/next.cose {wait}"), envelope).map(drop)
}

fn is_stopping(status: &catenoid_schema::status::Status) -> Result<bool> {
    let stubborn = subject(status, "container/stubborn")?;
    Ok(stubborn.conditions.iter().any(|condition| condition.reason == "Stopping"))
}

/// Ends the first process of c0; after how many milliseconds it is started again.
fn end_of_c0(bench: &mut Bench) -> Result<u64> {
    let (since, core) = (bench.status()?.last_event, bench.processes()?["core0"].pid);
    let stamp = bench.device.root(&format!("awk '{{ print int($1 * 1000) }}' /proc/uptime; kill -9 {core}"))?;
    let ended: u64 = stamp.lines().next().context("no time")?.parse()?;
    let is_start = |event: &Event| event.message.starts_with("containers: start container `core0`");
    let start = bench.event(since, "c0 starts again", is_start)?;
    let records = bench.audit(LINES)?;
    let record = records.iter().find(|record| record.event.number == start.number);
    Ok(record.context("the start is not in the log")?.monotonic_ms - ended)
}

//! What takes long keeps nobody else waiting.

use anyhow::{Context as _, Result, ensure};
use catenoid_schema::control::Event;

use serde_json::json;

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
/// Its image is read whole before it starts.
const LARGE: &str = "  large:
    guest: large
    limits: { memory: 128MiB, cpu: 0.25, pids: 64 }
    capabilities: [NET_BIND_SERVICE]
";
const LARGE_GUEST: &str = "nginx-1.0.1";
/// Bytes in a second that the disk gives meanwhile: it takes far longer than all else here, on every machine.
const SLOW_DISK: u64 = 16 * 1024;
/// Milliseconds by which c0 may start later beside a container that ends than beside none: far less than that one's grace. It ended
/// twice in a row by then, for which there is a pause of half a second, and the machine may have more to do.
const LATER_MS: u64 = 5_000;
/// The last lines of the audit log that cover the end of c0 and its next start.
const LINES: usize = 60;

/// A container that ignores what it is asked, for its grace of 60 s, one whose health checks get no answer, and an image that a slow
/// disk gives for minutes: c0's end heals in its usual time meanwhile, another manifest is accepted and starts what it has, and who
/// is asked to end does not run under the next manifest as if nothing was.
///
/// [req->CR-7.2]
#[test]
fn vm_long_steps_hold_nobody() -> Result<()> {
    let (mut bench, _) = Bench::with_demo("long-steps")?;
    let folder = bench.folder("documents")?;
    let demo = bench.author.example("demo")?;
    let sequence = bench.status()?.accepted.context("nothing is accepted")?.sequence;
    let with_large = demo.replace("guests:\n", "guests:\n  large: { ref: nginx@1.0.1 }\n") + LARGE;
    let sign = |bench: &Bench, by: u64, more: &str| {
        let all = if by == 1 { &demo } else { &with_large };
        bench.author.sign(&folder, &(resequenced(all, sequence + by)? + more))
    };
    bench.apply(&sign(&bench, 1, STUBBORN)?)?;
    let before = bench.processes()?;
    let usual = end_of_c0(&mut bench)?;

    bench.deliver(&[LARGE_GUEST])?;
    let since = bench.status()?.last_event;
    limit_disk(&mut bench, SLOW_DISK)?;
    bench.submit(&sign(&bench, 2, SILENT)?)?;
    bench.event(since, "it is asked", |event| {
        event.message == "containers: ask container `stubborn` to end with SIGTERM"
    })?;
    let status = bench.wait("its end is reported", |status| is_stopping(status).unwrap_or(false))?;
    println!("{:?}", subject(&status, "container/stubborn")?.conditions);
    bench.wait("the large image is read", |status| is_verified(status).is_ok_and(|verified| !verified))?;
    let meanwhile = end_of_c0(&mut bench)?;
    println!("c0 starts {usual} ms after its end, and {meanwhile} ms while another container ends");
    ensure!(meanwhile <= usual + LATER_MS, "c0 waits for another container");

    let since = bench.status()?.last_event;
    apply(&bench, &sign(&bench, 3, &(SILENT.to_owned() + QUICK))?, "")?;
    bench.event(since, "it starts", |event| event.message.starts_with("containers: start container `quick`"))?;
    let now = bench.processes()?;
    ensure!(now.get("stubborn") == before.get("stubborn"), "its time is not over: {now:?}");
    let status = bench.status()?;
    ensure!(is_stopping(&status)?, "it is not asked any more");
    ensure!(!is_verified(&status)?, "the large image was read too soon to show anything");
    ensure!(!now.contains_key("large"), "nothing runs of an image that was not read");

    limit_disk(&mut bench, 0)?;

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

/// Whether all of the large image was read.
fn is_verified(status: &catenoid_schema::status::Status) -> Result<bool> {
    let large = subject(status, "guest/nginx@1.0.1")?;
    Ok(!large.conditions.iter().any(|condition| condition.reason == "Verifying"))
}

/// Has the disk give so many bytes in a second from now on; with 0 as many as it can. Images are read past every cache.
fn limit_disk(bench: &mut Bench, bytes: u64) -> Result<()> {
    let mut limits = json!({"device": "disk", "bps_rd": bytes});
    for other in ["bps", "bps_wr", "iops", "iops_rd", "iops_wr"] {
        limits[other] = json!(0);
    }
    bench.device.vm().qmp().call("block_set_io_throttle", &limits)?;
    Ok(())
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

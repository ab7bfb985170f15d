//! Whether a container works is asked within it, waited for, and a part of its history.

use anyhow::{Context as _, Result, ensure};
use catenoid_schema::status::{Health, Status};

use crate::bench::author::resequenced;
use crate::bench::{Bench, subject};

/// It works after some seconds.
const SLOW: &str = "  slow:
    guest: tiny
    command: [/bin/sh, -c, \"busybox sleep 4; busybox touch /tmp/well; while :; do busybox sleep 1; done\"]
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
    health: { exec: [/bin/sh, -c, \"[ -e /tmp/well ] || { echo not yet; exit 1; }\"], every: 1s, start: 60s }
";
/// It works for some seconds, again and again.
const SICK: &str = "  sick:
    guest: tiny
    command: [/bin/sh, -c, \"busybox touch /tmp/well; busybox sleep 4; busybox rm /tmp/well; while :; do busybox sleep 1; done\"]
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
    stop: { signal: KILL }
    health: { exec: [/bin/sh, -c, \"[ -e /tmp/well ] || { echo all is lost; exit 1; }\"], every: 1s, failures: 2, start: 0s }
";
/// From three failures in a row on it is a loop.
const LOOP: u32 = 3;

/// `apply --wait` ends when all work; who does not any more is reported, with what it said, and started again with a count.
///
/// [req->APS-05]
#[test]
fn vm_health_is_asked_waited_for_and_counted() -> Result<()> {
    let (mut bench, _) = Bench::with_demo("health")?;
    let folder = bench.folder("documents")?;
    let demo = bench.author.example("demo")?;
    let sequence = bench.status()?.accepted.context("nothing is accepted")?.sequence;
    let sign =
        |bench: &Bench, by: u64, more: &str| bench.author.sign(&folder, &(resequenced(&demo, sequence + by)? + more));
    let took = bench.apply(&sign(&bench, 1, SLOW)?)?;
    ensure!(took.as_secs() >= 4, "it did not work before, and it was converged after {} s", took.as_secs_f32());
    ensure!(health(&bench.status()?, "slow")? == Health::Healthy, "it works now");
    let slow = bench.processes()?.remove("slow");

    let since = bench.status()?.last_event;
    bench.submit(&sign(&bench, 2, &(SLOW.to_owned() + SICK))?)?;
    for failures in 1..=LOOP {
        let after = if failures == 1 { String::new() } else { format!(", after {} failure", failures - 1) };
        let started = bench.event(since, "it is started", |event| {
            event.message.starts_with("containers: start container `sick`") && event.message.contains(&after)
        })?;
        let event = bench.event(started.number, "it fails", |event| {
            event.kind == "Unhealthy"
                && event.subject.as_ref().is_some_and(|subject| subject.as_str() == "container/sick")
        })?;
        ensure!(
            event.message
                == "its health check failed 2 times in a row: it exited with code 1: all is lost; it is to be started again",
            "{event:?}"
        );
    }
    let status = bench.wait("it is a loop", |status| {
        let sick = subject(status, "container/sick");
        sick.is_ok_and(|sick| sick.conditions.iter().any(|condition| condition.reason == "CrashLoop"))
    })?;
    ensure!(health(&status, "sick")? == Health::Degraded, "it is degraded, also while it works");
    ensure!(bench.processes()?.remove("slow") == slow, "who works is left alone");

    let converged = bench.apply(&sign(&bench, 3, SLOW)?)?;
    println!("without what is sick it converges after {:.1} s", converged.as_secs_f32());
    Ok(())
}

fn health(status: &Status, container: &str) -> Result<Health> {
    Ok(subject(status, &format!("container/{container}"))?.health)
}

//! The agent's end stops nothing: it comes back, finds what runs, and goes on.

use std::time::Instant;

use anyhow::{Context as _, Result};
use catenoid_schema::digest::Digest;

use crate::bench::{Bench, Record, SOON, author, converged};

/// From the agent's start to a device that is as its manifest says.
const LIMIT_MS: u64 = 2000;
/// The last lines of the audit log that cover a restart.
const LINES: usize = 40;

/// Ends the agent without a chance to clean up; milliseconds from boot to that moment.
const KILL: &str = r#"
    for folder in /proc/[0-9]*; do
      [ "$(cat $folder/cmdline 2>/dev/null | tr '\0' ' ')" = "/init agent " ] && agent=${folder#/proc/}
    done
    kill -9 $agent && awk '{ print int($1 * 1000) }' /proc/uptime"#;

#[test]
fn vm_agent_restart_is_invisible() -> Result<()> {
    let mut bench = Bench::boot("agent-restart")?;
    let folder = bench.folder("documents")?;
    let [first, second] = ["demo", "demo-2"].map(|name| bench.author.sign(&folder, &bench.author.example(name)?));
    let (first, second) = (first?, second?);
    bench.deliver(&["nginx-1.0.0", "nginx-1.0.1", "busybox-1.0.0"])?;
    bench.apply(&first)?;
    let running = bench.processes()?;

    // While it is idle.
    let killed = kill(&mut bench)?;
    settle(&mut bench, killed, author::digest(&first)?, "idle")?;
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
    settle(&mut bench, killed, author::digest(&second)?, "in the middle of an update")?;
    let after = bench.processes()?;
    assert_eq!(after.keys().collect::<Vec<_>>(), ["core0", "logger", "web"]);
    assert_eq!(after["core0"], running["core0"]);
    Ok(())
}

fn kill(bench: &mut Bench) -> Result<u64> {
    let printed = bench.device.root(KILL)?;
    printed.parse().with_context(|| format!("`{printed}` is no time"))
}

/// Waits until the device is converged again, and holds the device's own clock to the limit.
fn settle(bench: &mut Bench, killed: u64, digest: Digest, when: &str) -> Result<()> {
    bench.wait("the device is converged after its agent's restart", |status| converged(status) == Some(digest))?;
    let records = bench.audit(LINES)?;
    let at = |kind: &str| {
        let found = records.iter().find(|record| record.monotonic_ms > killed && record.event.kind == kind);
        found.map(|record: &Record| record.monotonic_ms).with_context(|| format!("no `{kind}` in {records:#?}"))
    };
    let (started, settled) = (at("AgentStarted")?, at("Converged")?);
    println!("{when}: the agent was back after {} ms and converged {} ms later", started - killed, settled - started);
    assert!(settled - started <= LIMIT_MS, "{when}: {records:#?}");
    Ok(())
}

//! A core container that was taken over speaks to the agent: whatever it says, the agent lives on, small.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use catenoid_e2e::chance::{Chance, whole};
use catenoid_e2e::progress::Progress;
use serde::Deserialize;

use crate::bench::author::{self, resequenced};
use crate::bench::{Bench, converged};
use crate::confined::{PROBE, agent, deliver_probe, with_neighbours};

/// All of it, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);
/// Between two looks at the agent.
const LOOK: Duration = Duration::from_millis(500);
/// What the agent may take at any moment of it, in KiB: beside what it has anyway, four manifests of 2 MiB and pieces of 32
/// blobs of 256 KiB, each in a buffer that may be twice as large.
const PEAK_KIB: u64 = 48 * 1024;
/// What may be left of that afterwards.
const REST_KIB: u64 = 16 * 1024;
/// Lines of the audit log that all of it may cost: twice the share of who speaks to the agent (refusals, pushes), and what
/// the device says of itself meanwhile.
const LINES: u64 = 2 * 256 + 100;

/// A line that the probe prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    as_it_must: bool,
    message: String,
}

/// The agent's process at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Memory that is its own, and its part of what is shared.
    pss_kib: u64,
    descriptors: u64,
    threads: u64,
}

/// One of so many hostile forms of calls is sent in a sample.
const SAMPLE: u64 = 20;

/// [whole: hostility] [req->SF-17]
#[test]
fn vm_control_calls_survive_hostility() -> Result<()> {
    let mut progress = Progress::open()?;
    let mut bench = Bench::ready("hostile-c0")?;
    let folder = bench.folder("documents")?;
    let manifest = bench.author.sign(&folder, &with_neighbours(&bench)?)?;
    bench.deliver(&["probe-1.0.0"])?;
    bench.apply(&manifest)?;
    deliver_probe(&bench)?;
    let (processes, pid) = (bench.processes()?, agent(&mut bench)?);
    let lines = audit_lines(&mut bench)?;
    let before = look(&mut bench, &pid)?;
    println!("before: {before:?}");

    let each = if whole() { 1 } else { SAMPLE };
    let first = Chance::new("hostile forms").below(each);
    let begun = Instant::now();
    let deadline = begun + PATIENCE;
    let mut hostile = bench.follow(&format!("{PROBE} hostile /run/catenoid/control.sock {each} {first}"))?;
    let (mut peak, mut wrong) = (before, Vec::new());
    loop {
        if Instant::now() > deadline {
            bail!("it does not end; so far wrong: {wrong:#?}");
        }
        let now = look(&mut bench, &pid).context("the agent is gone")?;
        peak = Look {
            pss_kib: peak.pss_kib.max(now.pss_kib),
            descriptors: peak.descriptors.max(now.descriptors),
            threads: peak.threads.max(now.threads),
        };
        let Some(line) = hostile.line(Instant::now() + LOOK) else { continue };
        let row: Row = serde_json::from_str(&line).with_context(|| format!("`{line}` is no line of the probe"))?;
        let verdict = if row.as_it_must { "as it must" } else { "WRONG" };
        println!("{:>5.0} s {:<48} {verdict} {}", begun.elapsed().as_secs_f32(), row.name, row.message);
        progress.done(&row.name, "kinds of hostility")?;
        if row.name == "the end" {
            break;
        }
        if !row.as_it_must {
            wrong.push(row);
        }
    }
    drop(hostile);
    println!("peak: {peak:?}");
    let rest = settled(&mut bench, &pid, before)?;
    println!("after: {rest:?}");
    let more = audit_lines(&mut bench)? - lines;
    println!("{more} lines of the audit log");
    progress.figure("the agent's memory at most, KiB", peak.pss_kib)?;
    progress.figure("lines of the audit log", more)?;

    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(peak.pss_kib <= PEAK_KIB, "the agent grew to {} KiB", peak.pss_kib);
    assert!(rest.pss_kib <= before.pss_kib + REST_KIB, "the agent kept {} of {} KiB", rest.pss_kib, before.pss_kib);
    assert!(more <= LINES, "{more} lines");
    assert_eq!(agent(&mut bench)?, pid, "the agent is another");
    assert_eq!(bench.processes()?, processes, "a container was touched");
    assert_eq!(converged(&bench.status()?), Some(author::digest(&manifest)?));
    // It still does what it is there for.
    let next = bench.author.sign(&folder, &resequenced(&with_neighbours(&bench)?, 3)?)?;
    bench.apply(&next)?;
    Ok(())
}

/// Waits until the agent has no more descriptors than before.
fn settled(bench: &mut Bench, pid: &str, before: Look) -> Result<Look> {
    // A peer that is silent in a body is waited for 30 s.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let now = look(bench, pid)?;
        if now.descriptors <= before.descriptors {
            return Ok(now);
        }
        if Instant::now() > deadline {
            let open = bench.device.root(&format!("ls -l /proc/{pid}/fd"))?;
            bail!("{} descriptors are left, of {} before:\n{open}", now.descriptors, before.descriptors);
        }
    }
}

fn look(bench: &mut Bench, pid: &str) -> Result<Look> {
    let printed = bench.device.root(&format!(
        "awk '/^Pss:/ {{ print $2 }}' /proc/{pid}/smaps_rollup; ls /proc/{pid}/fd | wc -l; ls /proc/{pid}/task | wc -l"
    ))?;
    let numbers: Vec<u64> = printed.lines().filter_map(|line| line.trim().parse().ok()).collect();
    match numbers[..] {
        [pss_kib, descriptors, threads] => Ok(Look { pss_kib, descriptors, threads }),
        _ => bail!("`{printed}` says nothing of the agent"),
    }
}

fn audit_lines(bench: &mut Bench) -> Result<u64> {
    let counted = bench.device.root("cat /data/audit/audit.jsonl /data/audit/audit.1.jsonl 2>/dev/null | wc -l")?;
    counted.trim().parse().with_context(|| format!("`{counted}` is no number"))
}

//! One container takes what belongs to the whole device, row by row of `catenoid-probe exhaust`; nobody else is to suffer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_e2e::chance::whole;
use catenoid_schema::status::Status;
use serde::Deserialize;

use crate::bench::author::resequenced;
use crate::bench::{Bench, SOON, converged, subject};
use crate::confined::{ALL_CAPABILITIES, agent, has_ended, with_neighbours};

/// Takes one row; with no capability or all that a service can be granted, and 16 MiB.
const TAKER: &str = "
  TAKER:
    guest: probe
    zones: [plant]
    command: [/usr/bin/catenoid-probe, exhaust, ROW, --seconds, \"30\"]
    restart: never
    capabilities: [GRANTED]
    limits: { memory: 16MiB, cpu: 1.0, pids: 64 }
";
/// Root takes all of the memory but 200 MiB, so that the rest is sooner used up.
const FILL: &str = "available=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
    mount -t tmpfs -o size=90% fill /tmp && dd if=/dev/zero of=/tmp/fill bs=1M count=$((available - 200)) 2>/dev/null";
/// A row of each kind, whether with all capabilities, and what is told of it: the guard finds it by locks, by queues, by
/// experiment; the filter refuses it; the group bounds it.
const SAMPLE: [(&str, bool, &str); 7] = [
    ("posix-locks", false, "locks of files"),
    ("netlink-route-unread", false, "fetches from its sockets"),
    ("tcp-unaccepted", false, "fetches from its sockets"),
    ("raw-unread", true, "fetches from its sockets"),
    ("ofd-locks", false, "while it stood still"),
    ("netlink-usersock", true, "EAFNOSUPPORT"),
    ("unix-datagrams", false, "memory"),
];
/// Until the agent answers whoever asks, while somebody takes what he can.
const ANSWER: Duration = Duration::from_secs(20);

/// [whole: exhaustion] [req->TSF-ISOLATION]
#[test]
fn vm_resource_exhaustion() -> Result<()> {
    let mut bench = Bench::ready("exhaustion")?;
    let folder = bench.folder("documents")?;
    let yaml = with_neighbours(&bench)?;
    bench.deliver(&["probe-1.0.0"])?;
    bench.apply(&bench.author.sign(&folder, &yaml)?)?;
    let before = bench.processes()?;
    let agent_before = agent(&mut bench)?;
    bench.device.root(FILL)?;
    let rows =
        if whole() { all_rows(&bench)? } else { SAMPLE.map(|(row, all, told)| (row.to_owned(), all, told)).into() };
    for (at, (row, all, told)) in rows.iter().enumerate() {
        let since = bench.status()?.last_event;
        let begun = Instant::now();
        // One of its own for each row: nothing that is told of it is of another.
        let name = format!("taker{at}");
        let granted = if *all { ALL_CAPABILITIES } else { "" };
        let taker = TAKER.replace("TAKER", &name).replace("ROW", row).replace("GRANTED", granted);
        let yaml = resequenced(&yaml, 3 + u64::try_from(at)?)? + taker.trim_start_matches('\n');
        bench.submit(&bench.author.sign(&folder, &yaml)?)?;
        let outcome = outcome(&bench, &name).with_context(|| row.clone())?;
        println!("{row}: {outcome} after {:.1} s", begun.elapsed().as_secs_f32());
        ensure!(outcome.contains(told), "{row}: not `{told}`");
        let asked = Instant::now();
        bench.status()?;
        ensure!(asked.elapsed() < ANSWER, "{row}: the agent answered after {} s", asked.elapsed().as_secs());
        ensure!(agent(&mut bench)? == agent_before, "{row}: the agent is another");
        let mut after = bench.processes()?;
        after.retain(|name, _| !name.starts_with("taker"));
        ensure!(after == before, "{row}: {before:?}, then {after:?}");
        if outcome.starts_with("held back") {
            bench.event(since, row, |event| event.kind == "ContainerEndedByGuard")?;
        }
    }
    Ok(())
}

/// The rows that a service can take, without capabilities and with all of them.
fn all_rows(bench: &Bench) -> Result<Vec<(String, bool, &'static str)>> {
    let listed = std::process::Command::new(bench.artefacts.probe()).args(["exhaust", "--list"]).output()?;
    let rows = String::from_utf8(listed.stdout)?;
    let rows = rows.lines().map(|line| Ok(serde_json::from_str::<serde_json::Value>(line)?));
    let rows: Vec<_> = rows.collect::<Result<_>>()?;
    let names = |needs: &'static [&str]| {
        let granted = rows.iter().filter(move |row| needs.iter().any(|need| row["needs"] == *need));
        granted.filter_map(|row| row["name"].as_str()).map(str::to_owned)
    };
    let (without, with) =
        (names(&[""]).map(|row| (row, false, "")), names(&["", "NET_RAW"]).map(|row| (row, true, "")));
    Ok(without.chain(with).collect())
}

/// One measures what it waits for a timer and a write, each second; the other takes rows in turns.
const WATCHER: &str = "
  watcher:
    guest: probe
    command: [/usr/bin/catenoid-probe, latency, \"1\", \"3600\"]
    limits: { memory: 16MiB, cpu: 1.0, pids: 8 }
  taker:
    guest: probe
    zones: [plant]
    command: [/usr/bin/catenoid-probe, turns, \"TURN\", \"ROUNDS\", ROWS]
    restart: never
    limits: { memory: 16MiB, cpu: 1.0, pids: 64 }
";
/// What the others are compared with: a container may compute.
const PERMITTED: &str = "busy-loop";
/// What takes time of everybody, if of anybody, and is not refused.
const LOADS: [&str; 3] = ["image-reads", "datagram-flood", "kernel-log"];
/// The most that a neighbour's worst hundredth may be, of the same beside [`PERMITTED`].
const WORSE: f64 = 2.0;
/// Microseconds that a processor differs by itself, where it is translated (TCG).
const NOISE: f64 = 200.0;

/// When a row was taken, in nanoseconds.
#[derive(Debug, Deserialize)]
struct Turn {
    name: String,
    from: u64,
    until: u64,
}

/// A second of the neighbour's.
#[derive(Debug, Deserialize)]
struct Second {
    from: u64,
    until: u64,
    timer: Times,
    write: Times,
}

/// One of its figures.
type Figure = fn(&Second) -> u64;

/// In microseconds.
#[derive(Debug, Deserialize)]
struct Times {
    p99: u64,
}

/// [whole: neighbours] [req->TSF-ISOLATION]
#[test]
fn vm_neighbour_keeps_its_time() -> Result<()> {
    let (seconds, rounds) = (if whole() { 10 } else { 3 }, 5);
    let mut bench = Bench::ready("neighbour")?;
    let folder = bench.folder("documents")?;
    bench.deliver(&["probe-1.0.0"])?;
    let rows = [&[PERMITTED][..], &LOADS].concat();
    let both = WATCHER.replace("TURN", &seconds.to_string()).replace("ROUNDS", &rounds.to_string());
    let yaml = with_neighbours(&bench)? + both.replace("ROWS", &rows.join(", ")).trim_start_matches('\n');
    bench.submit(&bench.author.sign(&folder, &yaml)?)?;
    bench.wait("all turns are over", |status| has_ended(status, "taker"))?;
    let log = |name: &str| bench.c0(&format!("catenoid logs {name}"));
    let watched: Vec<Second> = log("watcher")?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let turns: Vec<Turn> = log("taker")?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(turns.len() == rows.len() * rounds, "{turns:?}");
    // The worst hundredth of a turn: of the middle one of its seconds.
    let worst = |turn: &Turn, of: Figure| -> Result<f64> {
        let most_of_it = |second: &&Second| (turn.from..turn.until).contains(&second.from.midpoint(second.until));
        let within = watched.iter().filter(most_of_it);
        let figure = median(within.map(|second| of(second) as f64).collect());
        figure.with_context(|| format!("{}: nothing was measured in its turn", turn.name))
    };
    let mut bad = Vec::new();
    for (what, of) in [("timer", (|at| at.timer.p99) as Figure), ("write", |at| at.write.p99)] {
        let of_row = |at: usize| -> Result<f64> {
            let figures = turns.chunks_exact(rows.len()).map(|round| worst(&round[at], of));
            median(figures.collect::<Result<_>>()?).context("no round")
        };
        let permitted = of_row(0)?;
        for (at, row) in rows.iter().enumerate() {
            let figure = of_row(at)?;
            let ratio = figure / permitted.max(1.0);
            println!("{what} beside {row:<15} {figure:>8.0} us, {ratio:.2} of that beside {PERMITTED}");
            if ratio > WORSE && figure - permitted > NOISE {
                bad.push(format!("{what} beside {row}: {ratio:.2}"));
            }
        }
    }
    ensure!(bad.is_empty(), "more than {WORSE} times as long: {bad:?}");
    Ok(())
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// Waits until the taker was held back, was ended by its own limit, or tells what it got and holds it.
fn outcome(bench: &Bench, name: &str) -> Result<String> {
    let told = |status: &Status, reasons: &[&str]| {
        let taker = subject(status, &format!("container/{name}")).ok()?;
        let told = taker.conditions.iter().find(|condition| reasons.contains(&condition.reason.as_str()));
        told.map(|condition| condition.message.clone())
    };
    let deadline = Instant::now() + SOON;
    let mut ended: Option<Instant> = None;
    while Instant::now() < deadline {
        let status = bench.status()?;
        if let Some(held) = told(&status, &["HeldBack"]) {
            return Ok(format!("held back: {held}"));
        }
        if let Some(outcome) = told(&status, &["Ended", "LastExit"]) {
            // The pass that sees the end may have begun before the guard held it back.
            if ended.get_or_insert_with(Instant::now).elapsed() > Duration::from_secs(3) {
                return Ok(outcome);
            }
            continue;
        }
        // It tells when it has all that it gets.
        let told = bench.device.catenoid(&["logs", name])?.stdout;
        if let Some(line) = told.lines().find(|line| line.contains("stopped")) {
            return Ok(line.to_owned());
        }
    }
    let status = bench.status()?;
    let taker = subject(&status, &format!("container/{name}")).map(|taker| taker.conditions.clone());
    bail!("no outcome: {taker:?}; converged {:?}", converged(&status))
}

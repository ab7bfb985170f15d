//! One container takes what belongs to the whole device, row by row of `catenoid-probe exhaust`; nobody else is to suffer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_e2e::chance::whole;
use catenoid_schema::status::Status;
use serde::Deserialize;

use crate::bench::author::resequenced;
use crate::bench::{Bench, Process, SOON, converged, subject};
use crate::confined::{ALL_CAPABILITIES, PROBE, agent, deliver_probe, has_ended, with_neighbours};

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
/// Who takes a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// A service without any capability.
    Bare,
    /// A service with all that it can be granted.
    Granted,
    /// The core container, which alone has NET_ADMIN.
    Core,
}

/// A row of each kind, who takes it, and what is told of it: the guard finds it by locks, by queues, by experiment; the
/// filter refuses it; the group bounds it.
const SAMPLE: [(&str, By, &str); 7] = [
    ("posix-locks", By::Bare, "locks of files"),
    ("netlink-route-unread", By::Bare, "fetches from its sockets"),
    ("tcp-unaccepted", By::Bare, "fetches from its sockets"),
    ("raw-unread", By::Granted, "fetches from its sockets"),
    ("ofd-locks", By::Bare, "while it stood still"),
    ("netlink-usersock", By::Granted, "EAFNOSUPPORT"),
    ("unix-datagrams", By::Bare, "memory"),
];
/// Until the agent answers whoever asks, while somebody takes what he can.
const ANSWER: Duration = Duration::from_secs(20);
/// How often a row is taken whose neighbour waited too long, and what it is compared with.
const TURNS: usize = 5;

/// Rows are taken one after the other; in the whole set a neighbour measures meanwhile what it waits.
///
/// [whole: exhaustion] [req->TSF-ISOLATION]
#[test]
fn vm_resource_exhaustion() -> Result<()> {
    let mut bench = Bench::ready("exhaustion")?;
    let folder = bench.folder("documents")?;
    let measured = whole();
    let mut yaml = with_neighbours(&bench)?;
    if measured {
        yaml += WATCHER.trim_start_matches('\n');
    }
    bench.deliver(&["probe-1.0.0"])?;
    bench.apply(&bench.author.sign(&folder, &yaml)?)?;
    bench.device.root(FILL)?;
    let rows =
        if measured { all_rows(&bench)? } else { SAMPLE.map(|(row, by, told)| (row.to_owned(), by, told)).into() };
    let mut device = Exhausted { bench, folder, yaml, sequence: 2 };
    let mut permitted = Vec::new();
    for _ in 0..if measured { TURNS } else { 0 } {
        let (_, window) = device.take(PERMITTED, By::Bare)?;
        permitted.push(device.seconds(&window)?);
    }
    let mut failed = Vec::new();
    for (at, (row, by, told)) in rows.iter().enumerate() {
        let begun = Instant::now();
        let taken = device.take(row, *by).and_then(|(outcome, window)| {
            println!("{row} ({by:?}): {outcome} after {:.1} s", begun.elapsed().as_secs_f32());
            ensure!(outcome.contains(told), "not `{told}`");
            if measured { device.neighbour_waits(row, *by, &window, &permitted) } else { Ok(()) }
        });
        if let Err(error) = taken {
            println!("FAILED: {row} ({by:?}): {error:#}");
            failed.push(format!("{row} ({by:?}): {error:#}"));
        }
        if measured {
            println!("{} of {} rows", at + 1, rows.len());
        }
    }
    ensure!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

/// A device on which memory is short.
struct Exhausted {
    bench: Bench,
    folder: PathBuf,
    yaml: String,
    sequence: u64,
}

/// From when until when something went on, in nanoseconds since the device was switched on.
type Window = Range<u64>;

impl Exhausted {
    /// Has a row taken; what became of it, and when that was. Nobody else is ended, and the agent answers.
    fn take(&mut self, row: &str, by: By) -> Result<(String, Window)> {
        let (before, agent_before) = (self.bench.processes()?, agent(&mut self.bench)?);
        let since = self.bench.status()?.last_event;
        let from = self.uptime()?;
        // One of its own for each row: nothing that is told of it is of another.
        self.sequence += 1;
        let name = if by == By::Core { "core0".to_owned() } else { format!("taker{}", self.sequence) };
        let outcome = if by == By::Core { self.taken_by_core(row)? } else { self.taken_by_service(&name, row, by)? };
        let until = self.uptime()?;
        let asked = Instant::now();
        self.bench.status()?;
        ensure!(asked.elapsed() < ANSWER, "the agent answered after {} s", asked.elapsed().as_secs());
        ensure!(agent(&mut self.bench)? == agent_before, "the agent is another");
        let others = |mut all: BTreeMap<String, Process>| {
            all.retain(|other, _| *other != name && !other.starts_with("taker"));
            all
        };
        let (before, after) = (others(before), others(self.bench.processes()?));
        ensure!(after == before, "{before:?}, then {after:?}");
        if outcome.starts_with("held back") {
            self.bench.event(since, row, |event| event.kind == "ContainerEndedByGuard")?;
        }
        Ok((outcome, from..until))
    }

    fn taken_by_service(&self, name: &str, row: &str, by: By) -> Result<String> {
        let granted = if by == By::Granted { ALL_CAPABILITIES } else { "" };
        let taker = TAKER.replace("TAKER", name).replace("ROW", row).replace("GRANTED", granted);
        let yaml = resequenced(&self.yaml, self.sequence)? + taker.trim_start_matches('\n');
        self.bench.submit(&self.bench.author.sign(&self.folder, &yaml)?)?;
        outcome(&self.bench, name)
    }

    /// By a program in c0. If the guard ends it, c0 comes back.
    fn taken_by_core(&mut self, row: &str) -> Result<String> {
        deliver_probe(&self.bench)?;
        let since = self.bench.status()?.last_event;
        // It holds what it got until it is ended.
        let take = format!(
            "{PROBE} exhaust {row} --seconds 30 >/tmp/taken & for _ in $(seq 60); do grep . /tmp/taken && break; sleep 1; done; kill $!"
        );
        let told = self.bench.device.ssh().run(["sh", "-c", &take])?.stdout;
        self.bench.wait("c0 is there", |status| converged(status).is_some())?;
        let ended = self.bench.events(since)?.into_iter().find(|event| event.kind == "ContainerEndedByGuard");
        match ended {
            Some(ended) => Ok(format!("ended: {}", ended.message)),
            None => told.lines().next().map(str::to_owned).context("c0 told nothing, and nobody ended it"),
        }
    }

    /// Nanoseconds since the device was switched on.
    fn uptime(&mut self) -> Result<u64> {
        let seconds = self.bench.device.root("cut -d ' ' -f 1 /proc/uptime")?.trim().parse()?;
        Ok(u64::try_from(Duration::try_from_secs_f64(seconds)?.as_nanos())?)
    }

    /// What the neighbour measured within `window`, second by second.
    fn seconds(&self, window: &Window) -> Result<Vec<Second>> {
        let told = self.bench.c0("catenoid logs watcher")?;
        let all: Vec<Second> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(all.into_iter().filter(|second| window.contains(&second.from.midpoint(second.until))).collect())
    }

    /// The neighbour waits no longer than beside what is permitted; if it did once, not in the middle one of [`TURNS`].
    fn neighbour_waits(&mut self, row: &str, by: By, window: &Window, permitted: &[Vec<Second>]) -> Result<()> {
        let mut turns = vec![self.seconds(window)?];
        loop {
            let worst = FIGURES.map(|(what, of)| {
                let figures = turns.iter().filter_map(|turn| median(turn.iter().map(|at| of(at) as f64).collect()));
                // As long after its start: that of a container takes time itself.
                let length = turns.iter().map(Vec::len).max().unwrap_or_default();
                let like = permitted
                    .iter()
                    .filter_map(|turn| median(turn.iter().take(length).map(|at| of(at) as f64).collect()));
                (what, median(figures.collect()), median(like.collect()))
            });
            let mut late = Vec::new();
            for (what, figure, like) in worst {
                let (figure, like) = figure.zip(like).context("nothing was measured")?;
                println!("  {what} {figure:.0} us, {:.2} of that beside {PERMITTED}", figure / like.max(1.0));
                if figure > WORSE * like && figure - like > NOISE {
                    late.push(format!("{what} {figure:.0} us, and {like:.0} us beside {PERMITTED}"));
                }
            }
            if late.is_empty() {
                return Ok(());
            }
            ensure!(turns.len() < TURNS, "the neighbour waits: {late:?}");
            let (_, window) = self.take(row, by)?;
            turns.push(self.seconds(&window)?);
        }
    }
}

/// The rows, by everybody who can take them.
fn all_rows(bench: &Bench) -> Result<Vec<(String, By, &'static str)>> {
    let listed = std::process::Command::new(bench.artefacts.probe()).args(["exhaust", "--list"]).output()?;
    let rows = String::from_utf8(listed.stdout)?;
    let rows = rows.lines().map(|line| Ok(serde_json::from_str::<serde_json::Value>(line)?));
    let rows: Vec<_> = rows.collect::<Result<_>>()?;
    let taken = [(By::Bare, &[""][..]), (By::Granted, &["", "NET_RAW"]), (By::Core, &["NET_ADMIN"])];
    let by = taken.iter().flat_map(|(by, needs)| {
        let granted = rows.iter().filter(|row| needs.iter().any(|need| row["needs"] == *need));
        granted.filter_map(|row| Some((row["name"].as_str()?.to_owned(), *by, "")))
    });
    Ok(by.collect())
}

/// Measures what it waits for a timer and a write, each second.
const WATCHER: &str = "
  watcher:
    guest: probe
    command: [/usr/bin/catenoid-probe, latency, \"1\", \"36000\"]
    limits: { memory: 16MiB, cpu: 1.0, pids: 8 }
";
/// Takes rows in turns.
const TAKER_IN_TURNS: &str = "
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

/// What a neighbour waits for.
const FIGURES: [(&str, Figure); 2] = [("timer", |at| at.timer.p99), ("write", |at| at.write.p99)];

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
    let taker = TAKER_IN_TURNS.replace("TURN", &seconds.to_string()).replace("ROUNDS", &rounds.to_string());
    let taker = taker.replace("ROWS", &rows.join(", "));
    let yaml = with_neighbours(&bench)? + WATCHER.trim_start_matches('\n') + taker.trim_start_matches('\n');
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
    for (what, of) in FIGURES {
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

//! One container takes what belongs to the whole device, row by row of `catenoid-probe exhaust`; nobody else is to suffer.

mod neighbour;
mod taker;

use std::time::Instant;

use anyhow::{Result, ensure};
use catenoid_e2e::chance::whole;
use catenoid_e2e::progress::Progress;

use crate::bench::Bench;
use crate::confined::{has_ended, with_neighbours};
use neighbour::{LOADS, NOISE, PERMITTED, Second, TAKER_IN_TURNS, Turn, WATCHER, late};
use taker::Exhausted;

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

/// A row of each kind, who takes it, and what is reported of it: the guard finds it by locks, by queues, by experiment; the
/// filter refuses it; the group bounds it.
const SAMPLE: [(&str, By, &str); 9] = [
    ("posix-locks", By::Bare, "locks of files"),
    ("netlink-route-unread", By::Bare, "fetches from its sockets"),
    ("tcp-unaccepted", By::Bare, "fetches from its sockets"),
    ("raw-unread", By::Granted, "fetches from its sockets"),
    ("ofd-locks", By::Bare, "while it stood still"),
    ("ofd-locks-slowly", By::Bare, "while it stood still"),
    ("netlink-usersock", By::Granted, "EAFNOSUPPORT"),
    ("unix-datagrams", By::Bare, "memory"),
    // What c0 put into its network namespace goes with that.
    ("neighbours", By::Core, "while it stood still"),
];
/// For how many seconds a row is taken at most: in the sample until it is stopped, also on a slow machine.
const LONGEST: [u64; 2] = [120, 60];

/// Rows are taken one after the other; in the whole set a neighbour measures meanwhile what it waits.
///
/// [whole: exhaustion] [req->TSF-ISOLATION]
#[test]
fn vm_resource_exhaustion() -> Result<()> {
    let mut progress = Progress::open()?;
    let mut bench = Bench::ready("exhaustion")?;
    let folder = bench.folder("documents")?;
    let measured = whole();
    let mut yaml = with_neighbours(&bench)?;
    if measured {
        yaml += WATCHER.trim_start_matches('\n');
    }
    bench.deliver(&["probe-1.0.0"])?;
    bench.apply(&bench.author.sign(&folder, &yaml)?)?;
    let rows = if measured {
        all_rows(&bench)?
    } else {
        SAMPLE.map(|(row, by, outcome)| (row.to_owned(), by, outcome)).into()
    };
    let longest = LONGEST[usize::from(measured)];
    let mut device = Exhausted::begin(bench, folder, yaml)?;
    let mut permitted = Vec::new();
    if measured {
        let taken = device.take(PERMITTED, By::Bare, longest)?;
        permitted = device.seconds(&taken)?;
    }
    for (row, by, outcome) in &rows {
        let (case, begun) = (format!("{row} ({by:?})"), Instant::now());
        if progress.has(&case) {
            continue;
        }
        let taken = device.take(row, *by, longest).and_then(|taken| {
            println!("{case}: {} after {:.1} s", taken.outcome, begun.elapsed().as_secs_f32());
            ensure!(taken.outcome.contains(outcome), "not `{outcome}`");
            if measured && !taken.was_refused() {
                device.neighbour_waits(row, *by, longest, &taken, &mut permitted)?;
            }
            Ok(taken.kind())
        });
        match taken {
            Ok(kind) => progress.done(&case, &format!("{by:?}: {kind}"))?,
            Err(error) => progress.failed(&case, &format!("{error:#}"))?,
        }
        if measured {
            println!("{} of {} rows", progress.kept().ended.len(), rows.len());
        }
    }
    progress.result()
}

/// The rows, by everybody who can take them.
fn all_rows(bench: &Bench) -> Result<Vec<(String, By, &'static str)>> {
    let listed = std::process::Command::new(bench.artefacts.probe()).args(["exhaust", "--list"]).output()?;
    let rows = String::from_utf8(listed.stdout)?;
    let rows = rows.lines().map(|line| Ok(serde_json::from_str::<serde_json::Value>(line)?));
    let rows: Vec<_> = rows.collect::<Result<_>>()?;
    // Nobody can be granted SYS_ADMIN: that row is refused.
    let taken = [(By::Bare, &[""][..]), (By::Granted, &["", "NET_RAW", "SYS_ADMIN"]), (By::Core, &["NET_ADMIN"])];
    let by = taken.iter().flat_map(|(by, needs)| {
        let granted = rows.iter().filter(|row| needs.iter().any(|need| row["needs"] == *need));
        let expected =
            |row: &str| SAMPLE.iter().find(|(name, who, _)| (*name, *who) == (row, *by)).map_or("", |of| of.2);
        granted.filter_map(move |row| row["name"].as_str().map(|row| (row.to_owned(), *by, expected(row))))
    });
    Ok(by.collect())
}

/// [whole: neighbours] [req->TSF-ISOLATION]
#[test]
fn vm_neighbour_keeps_its_time() -> Result<()> {
    let mut progress = Progress::open()?;
    let (seconds, rounds) = (if whole() { 7 } else { 3 }, 5);
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
    let of_row =
        |at: usize| turns.chunks_exact(rows.len()).map(|round| round[at].seconds(&watched)).collect::<Result<Vec<_>>>();
    let permitted = of_row(0)?;
    for (at, row) in rows.iter().enumerate() {
        println!("{row}");
        match late(&of_row(at)?, &permitted, NOISE)?.as_slice() {
            [] => progress.done(row, "rows")?,
            late => progress.failed(row, &late.join("; "))?,
        }
    }
    progress.result()
}

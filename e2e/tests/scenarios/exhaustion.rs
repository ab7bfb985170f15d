//! One container takes what belongs to the whole device, row by row of `catenoid-probe exhaust`; nobody else is to suffer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_e2e::chance::whole;
use catenoid_e2e::progress::Progress;
use catenoid_schema::status::{Health, Status, SubjectStatus, Sync};
use serde::Deserialize;

use crate::bench::author::resequenced;
use crate::bench::{Bench, Follower, Process, SOON, converged, subject};
use crate::confined::{ALL_CAPABILITIES, PROBE, agent, deliver_probe, has_ended, with_neighbours};

/// Takes one row; with no capability or all that a service can be granted, and 16 MiB.
const TAKER: &str = "
  TAKER:
    guest: probe
    zones: [plant]
    command: [/usr/bin/catenoid-probe, exhaust, ROW, --seconds, \"SECONDS\"]
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
/// Until the agent answers whoever asks, while somebody takes what he can.
const ANSWER: Duration = Duration::from_secs(20);
/// How often a row is taken beside which the neighbour seems to wait too long, in turns with what is permitted.
const TURNS: usize = 5;
/// For how many seconds what is permitted is taken at least in its turn, which is else as long as that of the row.
const LEAST: usize = 2;
/// For how many seconds a row is taken at most: in the sample until it is stopped, also on a slow machine.
const LONGEST: [u64; 2] = [120, 60];
/// Root lets c0 begin anew, without what it has put into its network namespace.
const CORE_ANEW: &str = "echo 1 >/sys/fs/cgroup/catenoid/core0/cgroup.kill
    for each in net user; do umount -l /run/catenoid/namespaces/core0/$each; done";
/// Until what was taken is given back: a packet socket ends only after every processor has paused, and a network namespace with
/// a hundred thousand routes route by route. What leaks stays.
const GIVEN_BACK: Duration = Duration::from_secs(180);
/// How often what is followed is looked at.
const MOMENT: Duration = Duration::from_millis(200);
/// How often its log is looked at while it runs.
const LOG: Duration = Duration::from_secs(4);
/// After its end it may still be told that it was held back.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// What has the memory of the device.
const WHERE_IT_IS: &str = "grep -E 'Mem|Active|Inactive|Cached|AnonPages|PageTables|Shmem|Slab|SUnreclaim|KernelStack|Percpu|VmallocUsed' /proc/meminfo; grep -E 'zone|count:|high:' /proc/zoneinfo; ps -o pid,rss,comm | sort -rnk2 | head -12
    cat /proc/net/sockstat; ls /run/catenoid/namespaces";
/// KiB that a taker may have of its own, or the device by chance.
const OWN: u64 = 48 << 10;

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
    bench.device.root(FILL)?;
    let rows = if measured {
        all_rows(&bench)?
    } else {
        SAMPLE.map(|(row, by, outcome)| (row.to_owned(), by, outcome)).into()
    };
    let longest = LONGEST[usize::from(measured)];
    let mut device = Exhausted { bench, folder, yaml, sequence: 2 };
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

/// A device on which memory is short.
struct Exhausted {
    bench: Bench,
    folder: PathBuf,
    yaml: String,
    sequence: u64,
}

/// What became of a row: what is reported of it, and from when until when it was taken, in nanoseconds since the device was
/// switched on.
struct Taken {
    outcome: String,
    window: Range<u64>,
}

impl Taken {
    /// What became of it, for the record.
    fn kind(&self) -> &'static str {
        match self.outcome.as_str() {
            _ if self.was_refused() => "nothing was given",
            outcome if outcome.starts_with("held back") => "the guard held it back",
            outcome if outcome.starts_with("ended: ") => "the guard ended c0",
            outcome if outcome.starts_with('{') => "it had what it got",
            _ => "its limit ended it",
        }
    }

    /// Whether nothing of it was given: what a neighbour waits for beside that says nothing of the row.
    fn was_refused(&self) -> bool {
        self.outcome.contains(r#""count":0,"#)
    }
}

impl Exhausted {
    /// Has a row taken, for so many seconds at most. Nobody else is ended, the agent answers, and what was taken is given back.
    fn take(&mut self, row: &str, by: By, seconds: u64) -> Result<Taken> {
        let (before, agent_before) = (self.bench.processes()?, agent(&mut self.bench)?);
        let (since, available) = (self.bench.status()?.last_event, self.available()?);
        // One of its own for each row: nothing that is reported of it is of another.
        self.sequence += 1;
        let name = if by == By::Core { "core0".to_owned() } else { format!("taker{}", self.sequence) };
        let taken =
            if by == By::Core { self.by_core(row, seconds)? } else { self.by_service(&name, row, by, seconds)? };
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
        if taken.outcome.starts_with("held back") {
            self.bench.event(since, row, |event| event.kind == "ContainerEndedByGuard")?;
        }
        if taken.outcome.starts_with('{') {
            self.let_go(by)?;
        }
        if by == By::Core {
            // What was in the memory of the one before is gone.
            self.bench.deliver(&["probe-1.0.0"])?;
        }
        let until = Instant::now() + GIVEN_BACK;
        while self.available()? + OWN < available {
            let now = self.available()?;
            ensure!(
                Instant::now() < until,
                "{available} KiB were available, and {now} are:\n{}",
                self.bench.device.root(WHERE_IT_IS)?
            );
        }
        Ok(taken)
    }

    /// Ends who told what it got and holds it.
    fn let_go(&mut self, by: By) -> Result<()> {
        if by == By::Core {
            let before = self.bench.processes()?.remove("core0").context("c0 has no process")?;
            self.bench.device.root(CORE_ANEW)?;
            let deadline = Instant::now() + SOON;
            while self.bench.processes()?.get("core0").is_none_or(|now| *now == before) {
                ensure!(Instant::now() < deadline, "c0 did not come back");
            }
            self.bench.wait("c0 is there", |status| subject(status, "container/core0").is_ok_and(runs))?;
            return Ok(());
        }
        self.sequence += 1;
        self.bench.submit(&self.bench.author.sign(&self.folder, &resequenced(&self.yaml, self.sequence)?)?)?;
        Ok(())
    }

    fn by_service(&self, name: &str, row: &str, by: By, seconds: u64) -> Result<Taken> {
        let granted = if by == By::Granted { ALL_CAPABILITIES } else { "" };
        let taker = TAKER.replace("TAKER", name).replace("ROW", row).replace("GRANTED", granted);
        let taker = taker.replace("SECONDS", &seconds.to_string());
        let yaml = resequenced(&self.yaml, self.sequence)? + taker.trim_start_matches('\n');
        let since = self.bench.status()?.last_event;
        let changes = self.bench.follow("catenoid status --watch -o json")?;
        self.bench.submit(&self.bench.author.sign(&self.folder, &yaml)?)?;
        let (outcome, until) = outcome(&self.bench, name, changes)?;
        let start = format!("containers: start container `{name}`");
        let started = self.bench.event(since, "its start", |event| event.message.starts_with(&start))?;
        // In the second that the event names: it has started when that is over.
        let ago: f64 = self.bench.c0("echo $EPOCHREALTIME")?.trim().parse::<f64>()? - (started.at.seconds() + 1) as f64;
        let ago = u64::try_from(Duration::try_from_secs_f64(ago.max(0.0))?.as_nanos())?;
        Ok(Taken { outcome, window: uptime(&self.bench)?.saturating_sub(ago)..until })
    }

    /// By a program in c0. If the guard ends it, c0 comes back.
    fn by_core(&self, row: &str, seconds: u64) -> Result<Taken> {
        deliver_probe(&self.bench)?;
        let (since, from) = (self.bench.status()?.last_event, uptime(&self.bench)?);
        // It holds what it got until it is ended.
        let take = format!(
            "{PROBE} exhaust {row} --seconds {seconds} >/tmp/taken & for _ in $(seq {}); do grep . /tmp/taken && break; sleep 1; done; kill $!",
            2 * seconds
        );
        let printed = self.bench.device.ssh().run(["sh", "-c", &take])?.stdout;
        self.bench.wait("c0 is there", |status| subject(status, "container/core0").is_ok_and(runs))?;
        let until = uptime(&self.bench)?;
        let ended = self.bench.events(since)?.into_iter().find(|event| event.kind == "ContainerEndedByGuard");
        let outcome = match ended {
            Some(ended) => format!("ended: {}", ended.message),
            None => printed.lines().next().map(str::to_owned).context("c0 told nothing, and nobody ended it")?,
        };
        Ok(Taken { outcome, window: from..until })
    }

    /// KiB that are free or can be freed. Not what the kernel calls available, of which what it keeps of files is counted by half:
    /// whatever is read again after a shortage would be lost. Each processor keeps pages that it freed at hand (`count` in zoneinfo),
    /// some 40 MiB of them, and shows them in no line of meminfo.
    fn available(&mut self) -> Result<u64> {
        let parts = "/^(MemFree|Active\\(file\\)|Inactive\\(file\\)|SReclaimable):/ { all += $2 }
            $1 == \"count:\" { all += 4 * $2 }
            END { print all }";
        Ok(self.bench.device.root(&format!("awk '{parts}' /proc/meminfo /proc/zoneinfo"))?.trim().parse()?)
    }

    /// What the neighbour measured while `taken` was taken, second by second.
    fn seconds(&self, taken: &Taken) -> Result<Vec<Second>> {
        let printed = self.bench.c0("catenoid logs watcher")?;
        // The first line may have lost its begin.
        let all: Vec<Second> = printed.lines().skip(1).map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(all.into_iter().filter(|at| at.from >= taken.window.start && at.until <= taken.window.end).collect())
    }

    /// The neighbour waits no longer than beside what is `permitted`, as it was measured last: if it seems to, that is measured anew,
    /// and if it still does, both are taken in turns, and the middle ones count.
    fn neighbour_waits(
        &mut self,
        row: &str,
        by: By,
        longest: u64,
        taken: &Taken,
        permitted: &mut Vec<Second>,
    ) -> Result<()> {
        let seconds = self.seconds(taken)?;
        if seconds.is_empty() {
            println!("  it was over before the neighbour had measured for a second");
            return Ok(());
        }
        let mut beside = vec![seconds];
        if late(&beside, std::slice::from_ref(permitted), 0.0)?.is_empty() {
            return Ok(());
        }
        let mut like = Vec::new();
        for turn in 0..TURNS {
            if turn > 0 {
                let taken = self.take(row, by, longest)?;
                beside.push(self.seconds(&taken)?);
            }
            let length = beside.last().map_or(0, Vec::len).max(LEAST);
            let taken = self.take(PERMITTED, by, u64::try_from(length)? + 2)?;
            like.push(self.seconds(&taken)?.into_iter().take(length).collect::<Vec<_>>());
            if turn == 0 && !like[0].is_empty() {
                // A few seconds are enough for this row, and too few for all that come.
                if like[0].len() > permitted.len() / 2 {
                    permitted.clone_from(&like[0]);
                }
                if late(&beside, &like, NOISE)?.is_empty() {
                    return Ok(());
                }
            }
        }
        if beside.iter().filter(|seconds| !seconds.is_empty()).count() <= TURNS / 2 {
            println!("  most turns were over before the neighbour had measured for a second");
            return Ok(());
        }
        let late = late(&beside, &like, NOISE)?;
        ensure!(late.is_empty(), "the neighbour waits: {late:?}");
        Ok(())
    }
}

/// What a neighbour waits for too long, in the turns of `beside`, compared with those of `like`: the worst hundredth of the
/// middle one of all their seconds, where it is more by `noise` microseconds. Not of all that was measured: in one of these
/// seconds the guard may let everybody stand still, for the sake of all.
fn late(beside: &[Vec<Second>], like: &[Vec<Second>], noise: f64) -> Result<Vec<String>> {
    let mut late = Vec::new();
    for (what, of) in FIGURES {
        let middle = |turns: &[Vec<Second>]| {
            median(turns.iter().flatten().map(|at| of(at) as f64).collect()).context("nothing was measured")
        };
        let (beside, like) = (middle(beside)?, middle(like)?);
        println!("  {what} {beside:.0} us, {:.2} of that beside {PERMITTED}", beside / like.max(1.0));
        if beside > WORSE * like && beside - like > noise {
            late.push(format!("{what} {beside:.0} us, and {like:.0} us beside {PERMITTED}"));
        }
    }
    Ok(late)
}

/// Also where it is in a loop by now: each row that it is ended for counts.
fn runs(container: &SubjectStatus) -> bool {
    container.sync == Sync::Synced && container.conditions.iter().any(|condition| condition.reason == "Running")
}

/// Nanoseconds since the device was switched on.
fn uptime(bench: &Bench) -> Result<u64> {
    let seconds = bench.c0("cut -d ' ' -f 1 /proc/uptime")?.trim().parse()?;
    Ok(u64::try_from(Duration::try_from_secs_f64(seconds)?.as_nanos())?)
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
#[derive(Debug, Clone, Deserialize)]
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
#[derive(Debug, Clone, Deserialize)]
struct Times {
    p99: u64,
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
    let within = |turn: &Turn| {
        let most_of_it = |second: &&Second| (turn.from..turn.until).contains(&second.from.midpoint(second.until));
        let seconds: Vec<_> = watched.iter().filter(most_of_it).cloned().collect();
        ensure!(!seconds.is_empty(), "{}: nothing was measured in its turn", turn.name);
        Ok(seconds)
    };
    let of_row = |at: usize| turns.chunks_exact(rows.len()).map(|round| within(&round[at])).collect::<Result<Vec<_>>>();
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

/// The middle one; of an even number the middle between the two.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let below = figures.get(figures.len().checked_sub(1)? / 2)?;
    Some(below.midpoint(figures[figures.len() / 2]))
}

/// Waits until the taker was held back, was ended by its own limit, or tells what it got and holds it; and when that was seen.
/// `changes` reports each status. Hardly anything else is run meanwhile: the code of a program that begins is translated (TCG),
/// for which the whole machine stands still.
fn outcome(bench: &Bench, name: &str, mut changes: Follower) -> Result<(String, u64)> {
    let reported = |status: &Status, reasons: &[&str]| {
        let taker = subject(status, &format!("container/{name}")).ok()?;
        let reported = taker.conditions.iter().find(|condition| reasons.contains(&condition.reason.as_str()));
        reported.map(|condition| condition.message.clone())
    };
    let deadline = Instant::now() + SOON;
    let (mut running, mut last): (Option<Instant>, _) = (None, None);
    let mut ended: Option<(Instant, String, u64)> = None;
    while Instant::now() < deadline {
        if let Some(line) = changes.line(Instant::now() + MOMENT) {
            let status: Status = serde_json::from_str(&line).with_context(|| format!("`{line}` is no status"))?;
            if let Some(held) = reported(&status, &["HeldBack"]) {
                let health = subject(&status, &format!("container/{name}"))?.health;
                ensure!(health == Health::Degraded, "held back, and {health:?}");
                return Ok((format!("held back: {held}"), uptime(bench)?));
            }
            match reported(&status, &["Ended", "LastExit"]) {
                Some(outcome) if ended.is_none() => ended = Some((Instant::now(), outcome, uptime(bench)?)),
                None if reported(&status, &["Running"]).is_some() => drop(running.get_or_insert_with(Instant::now)),
                _ => {}
            }
            last = Some(status);
        }
        // The pass that sees the end may have begun before the guard held it back.
        if let Some((_, outcome, at)) = ended.take_if(|(seen, ..)| seen.elapsed() > AFTERWARDS) {
            return Ok((outcome, at));
        }
        // It tells when it has all that it gets.
        if running.take_if(|looked| looked.elapsed() > LOG).is_some() {
            let asked = Instant::now();
            let printed = bench.device.catenoid(&["logs", name])?.stdout;
            ensure!(asked.elapsed() < ANSWER, "the agent answered after {} s meanwhile", asked.elapsed().as_secs());
            if let Some(line) = printed.lines().find(|line| line.contains("stopped")) {
                return Ok((line.to_owned(), uptime(bench)?));
            }
            running = Some(Instant::now());
        }
    }
    let taker =
        last.as_ref().map(|status| subject(status, &format!("container/{name}")).map(|taker| &taker.conditions));
    bail!("no outcome: {taker:?}; converged {:?}", last.as_ref().map(converged))
}

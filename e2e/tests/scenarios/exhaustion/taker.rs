//! A device on which memory is short, and a container on it that takes one row.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_schema::status::{Health, Status, SubjectStatus, Sync};

use super::By;
use crate::bench::author::resequenced;
use crate::bench::{Bench, Follower, Process, SOON, converged, subject};
use crate::confined::{ALL_CAPABILITIES, PROBE, agent, deliver_probe};

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
/// Until the agent answers whoever asks, while somebody takes what he can.
const ANSWER: Duration = Duration::from_secs(20);
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
/// After its end it may still be reported as held back.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// What has the memory of the device.
const WHERE_IT_IS: &str = "grep -E 'Mem|Active|Inactive|Cached|AnonPages|PageTables|Shmem|Slab|SUnreclaim|KernelStack|Percpu|VmallocUsed' /proc/meminfo; grep -E 'zone|count:|high:' /proc/zoneinfo; ps -o pid,rss,comm | sort -rnk2 | head -12
    cat /proc/net/sockstat; ls /run/catenoid/namespaces";
/// KiB that a taker may have of its own, or the device by chance.
const OWN: u64 = 48 << 10;

/// A device on which memory is short.
pub(super) struct Exhausted {
    pub(super) bench: Bench,
    folder: PathBuf,
    yaml: String,
    sequence: u64,
}

/// What became of a row: what is reported of it, and from when until when it was taken, in nanoseconds since the device was
/// switched on.
pub(super) struct Taken {
    pub(super) outcome: String,
    pub(super) window: Range<u64>,
}

impl Taken {
    /// What became of it, for the record.
    pub(super) fn kind(&self) -> &'static str {
        match self.outcome.as_str() {
            _ if self.was_refused() => "nothing was given",
            outcome if outcome.starts_with("held back") => "the guard held it back",
            outcome if outcome.starts_with("ended: ") => "the guard ended c0",
            outcome if outcome.starts_with('{') => "it had what it got",
            _ => "its limit ended it",
        }
    }

    /// Whether nothing of it was given: what a neighbour waits for beside that says nothing of the row.
    pub(super) fn was_refused(&self) -> bool {
        self.outcome.contains(r#""count":0,"#)
    }
}

impl Exhausted {
    /// The device of `bench`, as `yaml` says, from now on short of memory.
    pub(super) fn begin(mut bench: Bench, folder: PathBuf, yaml: String) -> Result<Self> {
        bench.device.root(FILL)?;
        Ok(Self { bench, folder, yaml, sequence: 2 })
    }

    /// Has a row taken, for so many seconds at most. Nobody else is ended, the agent answers, and what was taken is given back.
    pub(super) fn take(&mut self, row: &str, by: By, seconds: u64) -> Result<Taken> {
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

    /// Ends who reported what it got and holds it.
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
            None => printed.lines().next().map(str::to_owned).context("c0 printed nothing, and nobody ended it")?,
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

/// Waits until the taker was held back, was ended by its own limit, or reports what it got and holds it; and when that was seen.
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
        // It reports when it has all that it gets.
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

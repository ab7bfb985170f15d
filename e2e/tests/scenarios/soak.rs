//! Nothing grows: not over many manifests, and not while nothing happens. And while nothing happens, nothing is done but
//! the look of every 30 seconds.
//!
//! A sample runs each time; the whole set `soak` has 200 manifests and 30 idle minutes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_e2e::chance::whole;
use catenoid_e2e::console::Seen;
use catenoid_e2e::device::AGENT;
use catenoid_e2e::progress::Progress;

use crate::bench::Bench;
use crate::bench::author::resequenced;

/// Manifests of a sample and of the whole set; each starts a container, stops one and updates one. Even numbers: the first
/// look and the last are at the same manifest.
const CYCLES: [u64; 2] = [6, 200];
/// Those before the first look: buffers and caches have their size then, in the whole set also the agent's 1000 events.
const WARM: [u64; 2] = [4, 60];
/// Manifests between two looks on the way, which show whether something grows slowly.
const EACH: u64 = 20;
const IDLE: [Duration; 2] = [Duration::from_secs(35), Duration::from_secs(1800)];
/// How often the agent looks when nothing wakes it (agent/src/pass/wake.rs).
const LOOK: u64 = 30;
/// At most so often QEMU's router announces itself (libslirp: every 200 to 600 s). It renews the core container's routes, and
/// that wakes the agent.
const ROUTER: u64 = 200;
/// What wakes it also: that this test mounts and unmounts tracefs.
const MOUNTS: u64 = 2;
/// Times that the agent is awake besides: the last threads of its calls go 10 s after them.
const THREADS: u64 = 3;
/// By how much the agent's memory may differ between two looks: the allocator has its ways, and after few manifests not yet its
/// size.
const MEMORY_KIB: [u64; 2] = [2048, 1024];
/// For how long what is about to end may still be counted: a connection to c0, what the last pass had open or in memory. What
/// leaks stays.
const SETTLED: Duration = Duration::from_secs(15);
/// What it may have at any look, with three containers: docs/performance.md shows what it has with none, ten and a hundred.
const MOST_KIB: u64 = 10 * 1024;

/// What is counted on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counts {
    /// Memory of the agent: resident, and with shared pages divided.
    memory: BTreeMap<String, u64>,
    /// Everything else, of which nothing may become more.
    others: BTreeMap<String, u64>,
}

/// After [`AGENT`]. Processes in containers come and go by themselves, sessions of sshd and workers of a server that has just
/// started, and are not counted; nor is what the counting itself is made of, which is not there yet when they are listed.
const COUNT: &str = r#"
    all=$(ls -d /proc/[0-9]*)
    outside() { readlink $1/exe && ! grep -q ::/catenoid/ $1/cgroup; }
    awk '/^(Rss|Pss):/ { print $1, $2 }' /proc/$agent/smaps_rollup
    echo descriptors: $(echo /proc/$agent/fd/* | wc -w)
    echo watches: $(cat /proc/$agent/fdinfo/* | grep -c '^inotify ')
    echo processes: $(for p in $all; do outside $p >/dev/null && echo $p; done | wc -l)
    echo mounts: $(wc -l </proc/$agent/mountinfo)
    echo dm: $(ls -d /sys/block/dm-* | wc -l)
    echo loops: $(ls -d /sys/block/loop*/loop | wc -l)
    echo namespaces: $(ls /run/catenoid/namespaces | wc -l)
    echo cgroups: $(find /sys/fs/cgroup -type d | wc -l)
    echo links: $(ls /sys/class/net | wc -l)
    echo rules: $(nft list ruleset | wc -l)
    echo blobs: $(ls /data/blobs | wc -l)
    echo disk: $(($(df -k /data | awk 'END { print $3 }') - $(du -ks /data/audit | cut -f 1)))"#;

impl Counts {
    fn take(bench: &mut Bench) -> Result<Self> {
        let printed = bench.device.root(&format!("{AGENT}{COUNT}"))?;
        let mut counts = Self { memory: BTreeMap::new(), others: BTreeMap::new() };
        for line in printed.lines() {
            let (name, count) = line.split_once(": ").with_context(|| format!("`{line}` counts nothing"))?;
            let of = if matches!(name, "Rss" | "Pss") { &mut counts.memory } else { &mut counts.others };
            of.insert(name.to_owned(), count.trim().parse().with_context(|| format!("`{line}` is no count"))?);
        }
        Ok(counts)
    }

    /// What there is as soon as nothing is more than in `since`, and memory not by more than `most_kib`, or else after
    /// [`SETTLED`].
    fn settled(bench: &mut Bench, since: &Self, most_kib: u64) -> Result<Self> {
        let until = Instant::now() + SETTLED;
        let mut counts = Self::take(bench)?;
        while (counts.is_more(since) || counts.has_grown(since, most_kib).is_some()) && Instant::now() < until {
            // Says which descriptors, should it be those.
            println!("{}", bench.device.root(&format!("{AGENT} ls -l /proc/$agent/fd 2>&1 || true"))?);
            counts = Self::take(bench)?;
        }
        Ok(counts)
    }

    fn is_more(&self, since: &Self) -> bool {
        self.others.iter().any(|(name, count)| since.others.get(name).is_none_or(|before| count > before))
    }

    /// Memory that is more by over `most_kib`, and what it was.
    fn has_grown(&self, since: &Self, most_kib: u64) -> Option<(&str, u64, u64)> {
        let of = |name: &String| since.memory.get(name).copied().unwrap_or_default();
        let mut all = self.memory.iter().map(|(name, kib)| (name.as_str(), *kib, of(name)));
        all.find(|(_, kib, before)| *kib > before + most_kib)
    }

    fn has_not_grown(&self, since: &Self, most_kib: u64, when: &str) -> Result<()> {
        println!("{when}: {self:?}");
        // Threads are not among them: tokio's come and go with the work, and what leaks with one is memory.
        ensure!(!self.is_more(since), "{when}: {:?} and before {:?}", self.others, since.others);
        if let Some((name, kib, before)) = self.has_grown(since, most_kib) {
            bail!("{when}: {name} is {kib} KiB, and was {before} KiB");
        }
        ensure!(self.memory.get("Pss").is_some_and(|kib| *kib <= MOST_KIB), "{when}: {:?}", self.memory);
        Ok(())
    }
}

/// [whole: soak]
#[test]
fn vm_soak() -> Result<()> {
    let mut progress = Progress::open()?;
    let set = usize::from(whole());
    let mut bench = Bench::ready("soak")?;
    let folder = bench.folder("documents")?;
    bench.deliver(&["nginx-1.0.0", "nginx-1.0.1", "busybox-1.0.0"])?;
    let mut first = None::<Counts>;
    let last = WARM[set] + CYCLES[set];
    for number in 1..=last {
        let example = ["demo", "demo-2"][usize::from(number % 2 == 0)];
        let yaml = resequenced(&bench.author.example(example)?, number + 1)?;
        let envelope = bench.author.sign(&folder, &yaml)?;
        bench.apply(&envelope)?;
        progress.done(&format!("manifest {number}"), "manifests")?;
        if (WARM[set]..last).contains(&number) && (number - WARM[set]).is_multiple_of(EACH) {
            let counts = Counts::take(&mut bench)?;
            println!("after {number} manifests: {counts:?}");
            progress.figure(&format!("PSS after {number:03} manifests, KiB"), counts.memory.get("Pss").copied())?;
            first.get_or_insert(counts);
        }
    }
    let first = first.context("no manifest was applied")?;
    let counts = Counts::settled(&mut bench, &first, MEMORY_KIB[set])?;
    progress.figure(&format!("PSS after {last:03} manifests, KiB"), counts.memory.get("Pss").copied())?;
    counts.has_not_grown(&first, MEMORY_KIB[set], &format!("after {} more manifests", CYCLES[set]))?;

    let before = bench.status()?.heartbeat.passes;
    let (seconds, calls) = idle(&mut bench, IDLE[set])?;
    let passes = bench.status()?.heartbeat.passes - before;
    // A pass takes less than two seconds, and the next comes later than that.
    let awake = 1 + seconds.windows(2).filter(|pair| pair[1] > pair[0] + 2).count() as u64;
    println!("the agent was awake in {seconds:?}; its system calls:\n{calls}");
    progress.figure("idle: seconds", IDLE[set].as_secs())?;
    progress.figure("idle: passes", passes)?;
    progress.figure("idle: times awake", awake)?;
    for (call, count) in calls.lines().filter_map(called) {
        progress.figure(&format!("idle: calls of {call}"), count)?;
    }
    let most = IDLE[set].as_secs() / LOOK + 1 + IDLE[set].as_secs().div_ceil(ROUTER) + MOUNTS;
    ensure!((1..=most).contains(&passes), "{passes} passes, and not at most {most}");
    ensure!(awake <= passes + THREADS, "awake {awake} times, for {passes} passes");
    let after = Counts::settled(&mut bench, &counts, MEMORY_KIB[set])?;
    progress.figure("PSS after the idle time, KiB", after.memory.get("Pss").copied())?;
    after.has_not_grown(&counts, MEMORY_KIB[set], "after the idle time")
}

/// A system call and how often it was made, of a line `{ id: sys_read  [ 0] } hitcount: 6344`.
fn called(line: &str) -> Option<(&str, u64)> {
    let (_, name) = line.split_once("sys_")?;
    let (name, count) = (name.split(['[', ' ']).next()?, line.rsplit(' ').next()?);
    Some((name, count.parse().ok()?))
}

#[test]
fn lines_of_the_histogram_are_read() {
    assert_eq!(called("{ id: sys_read                      [  0] } hitcount:       6344"), Some(("read", 6344)));
    assert_eq!(called("Totals:"), None);
}

/// Leaves the device alone and lets its kernel count the agent's system calls: in which seconds it was awake, and what it
/// called.
fn idle(bench: &mut Bench, time: Duration) -> Result<(Vec<u64>, String)> {
    bench.device.root(&format!(
        "{AGENT} mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; cd /sys/kernel/tracing
           echo 32768 >buffer_size_kb; echo nop >current_tracer; echo >trace
           ls /proc/$agent/task >set_event_pid; echo 1 >options/event-fork
           echo 'hist:keys=id.syscall' >events/raw_syscalls/sys_enter/trigger
           echo 1 >events/raw_syscalls/sys_enter/enable; echo 1 >tracing_on"
    ))?;
    let (console, until) = (bench.device.console(), Instant::now() + time);
    ensure!(console.wait("\0", console.mark(), until) == Seen::NotInTime, "the device went off");
    let printed = bench.device.root(
        r#"cd /sys/kernel/tracing; echo 0 >tracing_on
           awk '/sys_enter: NR/ { for (n = 1; n < NF; n++) if ($(n + 1) == "sys_enter:") print int($n) }' trace | uniq
           echo calls; grep hitcount events/raw_syscalls/sys_enter/hist; cd /; umount /sys/kernel/tracing"#,
    )?;
    let (seconds, calls) = printed.split_once("calls\n").context("no calls were counted")?;
    let seconds: Vec<u64> = seconds.lines().map(str::parse).collect::<Result<_, _>>()?;
    Ok((seconds, calls.to_owned()))
}

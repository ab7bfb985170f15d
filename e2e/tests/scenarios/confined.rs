//! Nobody gets out: root of a container tries what the table of `catenoid-probe` has, and each attempt must come out as the
//! table says. The same attempts from the root namespace show that they are real ones.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::device::AGENT;
use catenoid_schema::status::Status;
use serde::Deserialize;

use crate::bench::author::{self, resequenced};
use crate::bench::{Bench, converged, subject};

/// Where the probe lies, in its guest and where it is put.
pub(crate) const PROBE: &str = "/usr/bin/catenoid-probe";
/// The least rows of which one says something: the number.
const ROWS_LEAST: usize = 40;
/// Of the attempts that are made in the root namespace, so many in a hundred reach what they are after at least; the others
/// are stopped by the device itself, which the table says.
const REAL_LEAST: usize = 80;

/// The neighbours: what the prober must not reach. The same guest as the service container that probes.
const NEIGHBOURS: &str = "
  neighbour:
    guest: probe
    zones: [plant]
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
    stop: { grace: 1s }
";
/// Every capability that a manifest can grant to a service container.
pub(crate) const ALL_CAPABILITIES: &str = "CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, \
     NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, SYS_NICE, SETFCAP";
/// The prober.
const SUSPECT: &str = "
  suspect:
    guest: probe
    zones: [plant]
    command: [/usr/bin/catenoid-probe, attempt, service, \"VICTIM\"]
    restart: never
    capabilities: [GRANTED]
    limits: { memory: 128MiB, cpu: 1.0, pids: 64 }
";
/// Wants more memory than it may have.
const HOG: &str = "
  hog:
    guest: probe
    command: [/usr/bin/catenoid-probe, hog]
    restart: never
    limits: { memory: 32MiB, cpu: 1.0, pids: 8 }
";

/// A line that the probe prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    area: String,
    outcome: String,
    by: String,
    #[serde(default)]
    note: String,
    as_it_must: bool,
}

/// [req->TSF-ISOLATION] [req->SF-1]
#[test]
fn vm_container_is_confined() -> Result<()> {
    let mut bench = Bench::ready("confined-container")?;
    let folder = bench.folder("documents")?;
    let yaml = with_neighbours(&bench)?;
    let first = bench.author.sign(&folder, &yaml)?;
    bench.deliver(&["probe-1.0.0"])?;
    bench.apply(&first)?;
    let before = bench.processes()?;
    neighbour_in_root(&mut bench)?;

    let agent = agent(&mut bench)?;
    let suspect = SUSPECT.replace("VICTIM", &agent).replace("GRANTED", ALL_CAPABILITIES);
    let second = bench.author.sign(&folder, &(resequenced(&yaml, 3)? + suspect.trim_start_matches('\n')))?;
    bench.submit(&second)?;
    bench.wait("the prober is done", |status| has_ended(status, "suspect"))?;
    let rows = read(&bench.c0("catenoid logs suspect")?)?;
    judge("a service container", &rows)?;

    let hog = HOG.trim_start_matches('\n');
    bench.submit(&bench.author.sign(&folder, &(resequenced(&yaml, 4)? + hog))?)?;
    let status = bench.wait("the hog is ended", |status| has_ended(status, "hog"))?;
    println!("the hog: {:?}", subject(&status, "container/hog")?.conditions);
    let killed = bench.device.root("grep '^oom_group_kill ' /sys/fs/cgroup/catenoid/hog/memory.events")?;
    assert_ne!(killed, "oom_group_kill 0", "nobody ended the hog");
    assert_eq!(self::agent(&mut bench)?, agent, "the agent is another");
    let mut after = bench.processes()?;
    after.remove("hog");
    assert_eq!(after, before, "who did nothing runs on");
    Ok(())
}

/// [req->TSF-ISOLATION] [req->SF-1]
#[test]
fn vm_c0_is_confined() -> Result<()> {
    let mut bench = Bench::ready("confined-c0")?;
    let folder = bench.folder("documents")?;
    let manifest = bench.author.sign(&folder, &with_neighbours(&bench)?)?;
    bench.deliver(&["probe-1.0.0"])?;
    bench.apply(&manifest)?;
    let before = bench.processes()?;
    neighbour_in_root(&mut bench)?;

    // What stops the prober does not stop an operator.
    let terminal = bench.device.ssh().client().args(["-tt", "tty"]).stdin(Stdio::null()).output()?;
    let terminal = String::from_utf8_lossy(&terminal.stdout).into_owned();
    ensure!(terminal.starts_with("/dev/pts/"), "an operator gets no terminal in c0: {terminal}");

    // Nor a tunnel: its interface, and the family of generic netlink by which its keys are set.
    bench.c0("ip link add wg0 type wireguard && ip address add 10.99.0.1/24 dev wg0 && ip link set wg0 up && ip link del wg0")?;
    // It holds what it got until it is ended.
    let ask = format!(
        "{PROBE} exhaust netlink-generic-unread --most 1 >/tmp/asked & until grep . /tmp/asked; do sleep 0.1; done; kill $!"
    );
    let asked = bench.c0(&ask)?;
    ensure!(asked.contains("\"count\":1"), "c0 cannot ask generic netlink: {asked}");

    let agent = agent(&mut bench)?;
    let attempts = bench.device.ssh().run([PROBE, "attempt", "core", &agent])?;
    let rows = read(&attempts.stdout).with_context(|| attempts.stderr.clone())?;
    judge("the core container", &rows)?;

    // The same where nothing confines: what is not reached there would say nothing here.
    let victim = before.get("neighbour").context("the neighbour does not run")?.pid;
    let real = bench.device.root(&format!("{PROBE} attempt root {victim} || true"))?;
    let real = read(&real)?;
    judge("the root namespace", &real)?;
    let tried: Vec<&Row> = real.iter().filter(|row| row.outcome != "skipped").collect();
    let reached = tried.iter().filter(|row| row.outcome == "reached").count();
    println!("in the root namespace {reached} of {} attempts reach what they are after", tried.len());
    assert!(reached * 100 >= tried.len() * REAL_LEAST);

    let hog = bench.device.ssh().run([PROBE, "hog"])?;
    println!("the hog in c0: {hog:?}");
    assert_ne!(hog.code, 1, "it had all that it wanted: {hog:?}");
    let digest = author::digest(&manifest)?;
    bench.wait("c0 is back", |status| converged(status) == Some(digest))?;
    assert_eq!(self::agent(&mut bench)?, agent, "the agent is another");
    let after = bench.processes()?;
    assert_ne!(after["core0"], before["core0"], "c0 was ended for its hog");
    assert_eq!(after["neighbour"], before["neighbour"]);
    Ok(())
}

/// The demo's c0 with its zones, and the neighbours in place of the demo's services.
pub(crate) fn with_neighbours(bench: &Bench) -> Result<String> {
    let demo = bench.author.example("demo")?;
    let (core, _) = demo.split_once("  web:\n    guest").context("the demo has no container `web`")?;
    let guests = core
        .replace("  web: { ref: nginx@1.0.0 }\n  tiny: { ref: busybox@1.0.0 }\n", "  probe: { ref: probe@1.0.0 }\n");
    ensure!(guests.contains("probe@1.0.0"), "the demo names other guests");
    Ok(guests + NEIGHBOURS.trim_start_matches('\n'))
}

/// Puts the probe into c0.
pub(crate) fn deliver_probe(bench: &Bench) -> Result<()> {
    let copied = bench.device.ssh().copy(&bench.artefacts.probe(), PROBE)?;
    ensure!(copied.code == 0, "the probe cannot be put into c0: {copied:?}");
    bench.c0(&format!("chmod 755 {PROBE}"))?;
    Ok(())
}

/// Puts the probe into c0 and, through it, into the root namespace, where it is a neighbour from now on. Nothing can be put
/// there unless root mounts something over it.
fn neighbour_in_root(bench: &mut Bench) -> Result<()> {
    deliver_probe(bench)?;
    let core = bench.processes()?.get("core0").context("c0 does not run")?.pid;
    bench.device.root(&format!(
        "mount -t tmpfs probe /tmp && for d in etc usr; do
             mkdir /tmp/$d /tmp/$d.work &&
             mount -t overlay -o lowerdir=/$d,upperdir=/tmp/$d,workdir=/tmp/$d.work probe /$d || exit 1
         done && mkdir -p /usr/bin && cp /proc/{core}/root{PROBE} {PROBE} && chmod 755 {PROBE} &&
         {{ {PROBE} neighbour </dev/null >/tmp/neighbour 2>&1 & }} &&
         until grep -q ready /tmp/neighbour; do kill -0 $! || exit 1; sleep 0.1; done; cat /tmp/neighbour"
    ))?;
    Ok(())
}

/// The number of the agent's process.
pub(crate) fn agent(bench: &mut Bench) -> Result<String> {
    bench.device.root(&format!("{AGENT} echo $agent"))
}

pub(crate) fn has_ended(status: &Status, container: &str) -> bool {
    subject(status, &format!("container/{container}")).is_ok_and(|subject| {
        subject.conditions.iter().any(|held| ["Completed", "Ended"].contains(&held.reason.as_str()))
    })
}

fn read(lines: &str) -> Result<Vec<Row>> {
    lines.lines().map(|line| serde_json::from_str(line).with_context(|| format!("`{line}` is no row"))).collect()
}

/// Prints the table; every row must have come out as it must.
fn judge(place: &str, rows: &[Row]) -> Result<()> {
    println!("\nattempts of {place}");
    for row in rows {
        let verdict = if row.as_it_must { "" } else { "WRONG " };
        let note = if row.note.is_empty() { String::new() } else { format!(" ({})", row.note) };
        println!("{verdict}{:<11} {:<64} {:<8} {}{note}", row.area, row.name, row.outcome, row.by);
    }
    let stopped = rows.iter().filter(|row| row.outcome == "stopped").count();
    println!("{place}: {} attempts, {stopped} stopped", rows.len());
    let wrong: Vec<&str> = rows.iter().filter(|row| !row.as_it_must).map(|row| row.name.as_str()).collect();
    ensure!(wrong.is_empty(), "{place}: {wrong:#?}");
    ensure!(rows.len() >= ROWS_LEAST, "{place}: only {} rows", rows.len());
    Ok(())
}

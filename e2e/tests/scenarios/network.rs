//! Who is on a network, a zone's or the uplink's: what it may say there, and that it cannot take c0 away.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use catenoid_schema::allocate;
use catenoid_schema::status::Status;

use crate::bench::author::{self, resequenced};
use crate::bench::{Bench, SOON, converged, fact, subject};
use crate::confined::{PROBE, deliver_probe, has_ended, with_neighbours};

/// The port of UDP that c0 hears by a flow.
const OPEN: u16 = 8053;
/// Whoever sends the table of frames.
const FORGER: &str = "
  forger:
    guest: probe
    zones: [plant]
    COMMAND
    restart: never
    capabilities: [NET_RAW]
    limits: { memory: 16MiB, pids: 16 }
    stop: { grace: 1s }
";
/// What is reported of the row that is sent last, and of the last one that c0 hears.
const LAST: &str = "heard: the last one";
const LAST_OF_CORE: &str = "heard: UDP to the core container by a flow";

/// The table of frames (`e2e/probe/src/frames.rs`), sent by root of a service container with NET_RAW. What arrives at its
/// neighbour or at c0 is what may.
///
/// [req->TSF-ISOLATION]
#[test]
fn vm_forged_frames() -> Result<()> {
    let mut bench = Bench::ready("forged-frames")?;
    let folder = bench.folder("documents")?;
    let flows = "flows: [{ to: uplink, tcp: [443] }";
    let ear = format!("    guest: probe\n    command: [{PROBE}, hear, \"3600\"]\n    capabilities: [NET_RAW]\n");
    let yaml = with_neighbours(&bench)?.replace(flows, &format!("{flows}, {{ to: core, udp: [{OPEN}] }}"));
    let yaml = yaml.replacen("  neighbour:\n    guest: probe\n", &format!("  neighbour:\n{ear}"), 1);
    ensure!(yaml.contains("hear") && yaml.contains(&OPEN.to_string()), "the demo has other flows or neighbours");
    let with_forger = |command: &str| FORGER.trim_start_matches('\n').replace("COMMAND", command);
    bench.deliver(&["probe-1.0.0"])?;
    let waits = with_forger(&format!("command: [{PROBE}, neighbour]"));
    bench.apply(&bench.author.sign(&folder, &(yaml.clone() + &waits))?)?;
    deliver_probe(&bench)?;
    let mut core = bench.follow(&format!("{PROBE} hear 3600"))?;

    // Addresses are a function of the names, which stay.
    let status = bench.status()?;
    let [forger, neighbour, core0] = ["forger", "neighbour", "core0"].map(|container| end(&status, container));
    let command =
        format!("command: [{PROBE}, forge, plant0, \"{OPEN}\", \"{}\", \"{}\", \"{}\"]", forger?, neighbour?, core0?);
    bench.submit(&bench.author.sign(&folder, &(resequenced(&yaml, 3)? + &with_forger(&command)))?)?;
    bench.wait("all is sent", |status| has_ended(status, "forger"))?;
    let sent = bench.c0("catenoid logs forger")?;
    let deadline = Instant::now() + SOON;
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains(LAST_OF_CORE)) {
        lines.push(core.line(deadline).context("c0 does not hear what a flow brings it")?);
    }
    lines.extend(core.so_far());
    loop {
        let logs = bench.c0("catenoid logs neighbour")?;
        if logs.contains(LAST) {
            lines.extend(logs.lines().map(str::to_owned));
            break;
        }
        ensure!(Instant::now() < deadline, "the neighbour does not hear the last row: {logs}");
    }
    let heard: BTreeSet<_> = lines.iter().filter_map(|line| said(line, "heard")).collect();
    let row = |line| ["arrives", "dropped"].into_iter().find_map(|verdict| Some((verdict, said(line, verdict)?)));
    let rows: Vec<_> = sent.lines().filter_map(row).collect();
    println!("{} frames or pairs of them, {} arrived", rows.len(), heard.len());
    ensure!(rows.len() > 50, "{sent}");
    let verdict_on = |name: &str| if heard.contains(name) { "arrives" } else { "dropped" };
    let wrong: Vec<_> = rows.iter().filter(|(verdict, name)| *verdict != verdict_on(name)).collect();
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// What a line says behind `word` and a colon.
fn said<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.split_once(word)?.1.strip_prefix(": ")
}

/// A container of the zone `plant`, for the probe.
fn end(status: &Status, container: &str) -> Result<String> {
    let hardware = allocate::mac(&"plant".parse()?, &container.parse()?);
    let addresses = fact(subject(status, &format!("network/{container}"))?, "plant0")?;
    let addresses: Vec<_> = addresses.split(", ").filter_map(|net| net.split('/').next()).collect();
    Ok(format!("{hardware},{},{}", addresses[0], addresses[1]))
}

/// A zone with the network of the uplink, because that changed, and by a manifest: c0 stays, and so it does over a restart.
///
/// [req->TSF-ISOLATION]
#[test]
fn vm_uplink_change_keeps_c0() -> Result<()> {
    let mut bench = Bench::ready("uplink-change")?;
    let folder = bench.folder("documents")?;
    let demo = bench.author.example("demo")?;
    let first = bench.author.sign(&folder, &demo)?;
    bench.deliver(&["nginx-1.0.0", "busybox-1.0.0"])?;
    bench.apply(&first)?;
    let before = bench.processes()?;

    // As by a lease or an advertisement.
    for lease in ["10.20.0.99/24", "fd20::99/72"] {
        bench.c0(&format!("ip address add {lease} dev uplink0"))?;
        bench.wait(&format!("the overlap with {lease} is reported"), is_held_back)?;
        bench.c0(&format!("ip address del {lease} dev uplink0"))?;
        let digest = author::digest(&first)?;
        bench.wait("c0 has its address again", |status| converged(status) == Some(digest))?;
    }

    // The network of the demo's LAN as a zone's: `5-same-network-as-uplink` of the inputs that failed.
    let subnet = "[10.20.0.0/24, \"fd20::/64\"]";
    ensure!(demo.contains(subnet), "the demo has another subnet");
    let same = bench.author.sign(&folder, &resequenced(&demo.replace(subnet, "[10.0.2.0/24]"), 3)?)?;
    bench.submit(&same)?;
    let accepted = author::digest(&same)?;
    let held = |status: &Status| {
        is_held_back(status) && status.converged.as_ref().is_some_and(|state| state.digest == accepted)
    };
    let status = bench.wait("the manifest is taken, and its zone held back", held)?;
    println!("{:?}", subject(&status, "zone/plant")?.conditions);
    let addresses = bench.c0("ip -4 -oneline address show")?;
    ensure!(!addresses.contains("plant0"), "{addresses}");
    let after = bench.processes()?;
    ensure!(after["core0"] == before["core0"], "c0 was started again");

    let mut bench = bench.power_cycle()?;
    bench.wait("it is the same after a restart", held)?;
    let last = bench.author.sign(&folder, &resequenced(&demo, 4)?)?;
    bench.deliver(&["nginx-1.0.0", "busybox-1.0.0"])?;
    bench.apply(&last)?;
    ensure!(bench.processes()?.len() == before.len());
    Ok(())
}

fn is_held_back(status: &Status) -> bool {
    subject(status, "zone/plant").is_ok_and(|zone| zone.conditions.iter().any(|held| held.reason == "OverlapsUplink"))
}

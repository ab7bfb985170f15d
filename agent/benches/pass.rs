//! What one pass costs, apart from any agent: `cargo xtask bench pass` builds this as the device's programs are built and
//! runs it.
//!
//! ```text
//! pass pure ROUNDS SIZE...      the pure halves of all rooms, called as agent/src/pass calls them
//! pass kernel ROUNDS SIZE...    the observing halves of zones, limits and containers, on the kernel it runs on: as root,
//!                               in mount and network namespaces that are its own; needs /run, cgroup v2 and nft
//! ```
//!
//! SIZE is how many service containers the manifest has besides the core container. Each sample is a line
//! `sample NANOSECONDS ns WHAT`: processor time of what is pure, and both clocks of what observes.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_containers::{Containers, ContainersPlanner, Paths};
use catenoid_core::{Planner, Reconciler};
use catenoid_house::{DesiredState, Observed, forecast, imagine, imagine_in};
use catenoid_kernel_base::wait::Notify;
use catenoid_limits::{Limits, LimitsPlanner};
use catenoid_schema::digest::Digest;
use catenoid_schema::guest::Guest;
use catenoid_schema::manifest::Manifest;
use catenoid_schema::name::Name;
use catenoid_zones::{Zones, ZonesPlanner};
use nix::time::ClockId;
use serde_json::json;

fn main() -> Result<()> {
    // What cargo adds when it runs a bench itself.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [mode, rounds, sizes @ ..] = words.as_slice() else { bail!("usage: pass pure|kernel ROUNDS SIZE...") };
    let rounds: usize = rounds.parse().context("ROUNDS is not a number")?;
    let sizes = sizes.iter().map(|size| size.parse().context("SIZE is not a number")).collect::<Result<Vec<_>>>()?;
    match mode.as_str() {
        "pure" => pure(rounds, &sizes),
        "kernel" => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?.block_on(kernel(rounds, &sizes))
        }
        other => bail!("no mode `{other}` (hint: pure, kernel)"),
    }
}

/// Prints how much of a processor `work` used, which what else the machine does hardly changes: it neither waits nor has
/// threads.
fn sample<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = used(ClockId::CLOCK_THREAD_CPUTIME_ID);
    let made = black_box(work());
    println!("sample {} ns {what}", (used(ClockId::CLOCK_THREAD_CPUTIME_ID) - started).as_nanos());
    made
}

/// Processor time so far.
fn used(clock: ClockId) -> Duration {
    clock.now().map(Duration::from).expect("Linux has this clock")
}

/// A manifest with everything that its pass needs.
struct Device {
    manifest: Manifest,
    guests: BTreeMap<Name, (Digest, Guest)>,
    paths: Paths,
}

impl Device {
    /// One core container, and `services` containers of one guest in one zone; `memory` is what the first of them may use.
    fn new(services: usize, memory: &str) -> Result<Self> {
        let descriptor = Digest::of(b"descriptor");
        let service = |index: usize| {
            let memory = if index == 0 { memory } else { "16MiB" };
            let container =
                json!({"guest": "tiny", "zones": ["plant"], "limits": {"memory": memory, "cpu": "0.25", "pids": 16}});
            (format!("c{index:04}"), container)
        };
        let mut containers: BTreeMap<String, serde_json::Value> = (0..services).map(service).collect();
        containers.insert("core0".to_owned(), json!({"guest": "tiny", "role": "core", "zones": ["uplink", "plant"]}));
        let manifest = serde_json::from_value(json!({
            "apiVersion": "catenoid.dev/v1",
            "kind": "Manifest",
            "metadata": {"name": "bench", "sequence": 1, "notAfter": "2036-01-01T00:00:00Z"},
            "target": {"serials": ["BENCH-1"]},
            "guests": {"tiny": {"ref": "tiny@1.0.0", "descriptor": descriptor}},
            "zones": {
                "uplink": {"interfaces": [{"mac": "52:54:00:12:34:56"}], "address": "dhcp"},
                "plant": {"subnet": ["10.20.0.0/16", "fd20::/64"], "flows": [{"to": "uplink", "tcp": [443]}]},
            },
            "containers": containers,
        }))?;
        let guest = serde_json::from_value(json!({
            "apiVersion": "catenoid.dev/v1",
            "kind": "Guest",
            "metadata": {"name": "tiny", "version": "1.0.0"},
            "architecture": "x86_64",
            "image": {
                "digest": Digest::of(b"image"),
                "size": "1312KiB",
                "verity": {"rootHash": Digest::of(b"root"), "salt": Digest::of(b"salt"), "dataBlocks": 324},
            },
            "defaults": {"command": ["/bin/pause"], "environment": {"PATH": "/bin"}},
            "root": "readOnly",
        }))?;
        let guests = BTreeMap::from([("tiny".parse()?, (descriptor, guest))]);
        Ok(Self { manifest, guests, paths: Paths::default() })
    }

    fn wanted(&self) -> DesiredState {
        DesiredState::new(&self.manifest, &self.guests, &self.paths)
    }

    /// What is seen once everything was done: the rooms' own models of their steps say.
    fn settled(&self) -> Result<Observed> {
        let wanted = self.wanted();
        let mut seen = Observed::default();
        seen.limits.offered = catenoid_limits::Control::ALL.into();
        let (_, guest) = self.guests.values().next().context("no guest")?;
        let blob = |size| catenoid_guests::Blob { size, fresh: false };
        seen.guests.blobs = BTreeMap::from([
            (guest.image.digest, blob(guest.image.size.bytes())),
            (Digest::of(b"descriptor"), blob(1024)),
        ]);
        let (_, seen) = imagine(&wanted, &seen);
        ensure!(forecast(&wanted, &seen).is_empty(), "the device is not settled: {:#?}", forecast(&wanted, &seen));
        Ok(seen)
    }
}

/// What the rooms work out in one pass on a device that was as it was wanted, between what it reads and what it publishes;
/// the steps' effects are their models'. Gives how many steps there were.
fn pass(wanted: &DesiredState, seen: &Observed) -> usize {
    let mut house = wanted.house(seen);
    house.plan();
    black_box(house.satisfied());
    let steps = if house.is_idle() { 0 } else { imagine_in(&mut house).len() };
    black_box((house.satisfied(), house.is_idle(), house.status()));
    steps
}

fn measure_status<P: Planner>(desired: &P::Desired, observed: &P::Observed) {
    black_box(P::status(desired, observed));
}

fn pure(rounds: usize, sizes: &[usize]) -> Result<()> {
    let devices = sizes.iter().map(|&size| {
        let (before, after) = (Device::new(size, "16MiB")?, Device::new(size, "32MiB")?);
        let seen = before.settled()?;
        Ok((size, before, after, seen))
    });
    let devices = devices.collect::<Result<Vec<_>>>()?;
    for _ in 0..rounds {
        for (size, before, after, seen) in &devices {
            let wanted = sample(&format!("worked out once for a manifest, {size}"), || before.wanted());
            let steps = sample(&format!("no-op pass, pure halves, {size}"), || pass(&wanted, seen));
            ensure!(steps == 0, "{steps} steps in a pass that has nothing to do");
            let changed = after.wanted();
            let steps = sample(&format!("single-change pass, pure halves, {size}"), || pass(&changed, seen));
            ensure!(steps == 1, "{steps} steps to change one limit");
            sample(&format!("zones plan, {size}"), || ZonesPlanner::plan(&wanted.zones, &seen.zones));
            sample(&format!("limits plan, {size}"), || LimitsPlanner::plan(&wanted.limits, &seen.limits));
            sample(&format!("containers plan, {size}"), || {
                ContainersPlanner::plan(&wanted.containers, &seen.containers)
            });
            sample(&format!("zones told, {size}"), || measure_status::<ZonesPlanner>(&wanted.zones, &seen.zones));
            sample(&format!("limits told, {size}"), || measure_status::<LimitsPlanner>(&wanted.limits, &seen.limits));
            sample(&format!("containers told, {size}"), || {
                measure_status::<ContainersPlanner>(&wanted.containers, &seen.containers)
            });
            sample(&format!("forecast, {size}"), || forecast(&wanted, seen));
        }
    }
    Ok(())
}

/// One size after the other: there is one root namespace. What is made stays until the process's namespaces end.
async fn kernel(rounds: usize, sizes: &[usize]) -> Result<()> {
    for &size in sizes {
        let device = Device::new(size, "16MiB")?;
        let (run, cgroup) = (device.paths.run.clone(), device.paths.cgroup.clone());
        let zones = Zones::open(&run.join("namespaces"))?;
        let limits = Limits::open(&cgroup, None)?;
        let containers = Containers::open(device.paths.clone(), Path::new("/nowhere"), Notify::new()?)?;
        let wanted = device.wanted();
        let started = Instant::now();
        let zones_steps = carry_out(&zones, &wanted.zones).await?;
        println!("sample {} ns zones steps from nothing ({zones_steps}), {size}", started.elapsed().as_nanos());
        for (_, step) in LimitsPlanner::plan(&wanted.limits, &limits.observe().await?).steps() {
            // A kernel without the controllers refuses the limits; the groups are what is observed.
            if let (Err(error), catenoid_limits::Step::MakeGroup { .. }) = (limits.apply(step).await, step) {
                return Err(error.into());
            }
        }
        for _ in 0..rounds {
            observe(&zones, &format!("zones observe, {size}")).await?;
            observe(&limits, &format!("limits observe, {size}")).await?;
            observe(&containers, &format!("containers observe (none runs), {size}")).await?;
        }
    }
    Ok(())
}

async fn observe<R: Reconciler>(room: &R, what: &str) -> Result<()> {
    let (started, before) = (Instant::now(), used(ClockId::CLOCK_PROCESS_CPUTIME_ID));
    black_box(room.observe().await?);
    println!("sample {} ns {what}", started.elapsed().as_nanos());
    let (what, size) = what.rsplit_once(", ").context("a name ends with its size")?;
    let processor = used(ClockId::CLOCK_PROCESS_CPUTIME_ID) - before;
    println!("sample {} ns {what}: processor time, {size}", processor.as_nanos());
    Ok(())
}

/// Does what a room plans; how many steps that were.
async fn carry_out<R: Reconciler>(room: &R, desired: &<R::Planner as Planner>::Desired) -> Result<usize> {
    let plan = <R::Planner as Planner>::plan(desired, &room.observe().await?);
    for (_, step) in plan.steps() {
        room.apply(step).await?;
    }
    Ok(plan.steps().count())
}

//! `bench pass`: what it costs to look after a device that is as it should be, and to change one thing.

use std::process::Command;

use anyhow::{Context as _, Result};
use catenoid_e2e::Artefacts;
use serde_json::Value;

use super::fleet::{Fleet, Wish, between};
use super::{Figures, Report, program};
use crate::run;

/// Service containers, besides the core container.
const SIZES: [&str; 3] = ["10", "100", "500"];
const ROUNDS: &str = "15";
/// The same on the device, where each container is started first.
const ON_THE_DEVICE: [usize; 2] = [10, 100];
const CHANGES: u32 = 5;
/// Passes that are asked for on the device.
const PASSES: usize = 40;

/// The namespaces of whoever observes: its own, so that nothing of it is left.
const OWN_NAMESPACES: &str = "\
mount -t tmpfs run /run && umount -l /sys/fs/cgroup; mount -t tmpfs sys /sys/fs && mkdir -p /sys/fs/cgroup && \
mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";

pub(super) fn measure(artefacts: &Artefacts) -> Result<Report> {
    let program = program(artefacts, "pass")?;
    let mut figures = Figures::default();
    figures.read(&run::output(Command::new(&program).args(["pure", ROUNDS]).args(SIZES))?)?;
    let mut observing = Command::new("unshare");
    observing.args(["--mount", "--net", "--fork", "sh", "-c", OWN_NAMESPACES, "sh"]);
    figures.read(&run::output(observing.arg(&program).args(["kernel", ROUNDS]).args(SIZES))?)?;
    on_the_device(artefacts, &mut figures)?;
    // Linear is 10 and 50 times as much as with ten containers, and less where something is the same for all sizes.
    for name in figures.names() {
        match name.rsplit_once(", ") {
            Some((what, size)) if size != SIZES[0] => figures.compare(&name, &format!("{what}, {}", SIZES[0])),
            _ => {}
        }
    }
    let ran_on = format!("this machine's own kernel, no VM; `device:` {}", super::DEVICE);
    Ok(Report { ran_on, figures, notes: Vec::new() })
}

/// The agent itself, with everything that a pass reads and reports.
fn on_the_device(artefacts: &Artefacts, figures: &mut Figures) -> Result<()> {
    let mut fleet = Fleet::boot(artefacts, "pass")?;
    for services in ON_THE_DEVICE {
        fleet.apply(Wish { services: 0, memory_mib: 8 })?;
        let console = fleet.apply(Wish { services, memory_mib: 8 })?;
        let took = between(&console, "ManifestAccepted", "Converged")?;
        figures.add_and_print(&format!("device: accepted to all containers run, {services}"), "ms", took);
        for round in 1..=CHANGES {
            let console = fleet.apply(Wish { services, memory_mib: 8 + round })?;
            let took = between(&console, "ManifestAccepted", "Converged")?;
            figures.add_and_print(&format!("device: one limit changed, accepted to converged, {services}"), "ms", took);
        }
        // Each write wakes a pass, and finds the agent asleep again.
        let file = "/sys/fs/cgroup/catenoid/c0000/pids.max";
        let wake = format!("for i in $(seq {PASSES}); do cat {file} > {file}; sleep 1; done");
        let (before, passes) = (fleet.used()?, passes(&fleet)?);
        fleet.device.root(&wake)?;
        let (after, made) = (fleet.used()?, self::passes(&fleet)? - passes);
        figures.add_and_print(
            &format!("device: processor time of a no-op pass, {services}"),
            "ms",
            (after - before) / made,
        );
    }
    Ok(())
}

/// How many passes the agent has made.
fn passes(fleet: &Fleet) -> Result<f64> {
    let status: Value = serde_json::from_str(&fleet.device.catenoid(&["status", "-o", "json"])?.stdout)?;
    status["heartbeat"]["passes"].as_f64().context("no heartbeat in the status")
}

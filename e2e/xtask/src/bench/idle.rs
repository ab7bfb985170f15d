//! `bench idle`: what the agent costs while nothing happens, in memory and in processor time.

use anyhow::Result;
use catenoid_e2e::Artefacts;
use catenoid_e2e::device::AGENT;

use super::fleet::{Fleet, Wish};
use super::{Figures, Report};

/// Service containers, besides the core container.
const SIZES: [usize; 3] = [0, 10, 100];

/// More than two looks of the timer: what the last change left behind is gone, and a look is in every minute.
const QUIET: &str = "sleep 65";
pub(super) fn measure(artefacts: &Artefacts) -> Result<Report> {
    let mut fleet = Fleet::boot(artefacts, "idle")?;
    let mut figures = Figures::default();
    for services in SIZES {
        fleet.apply(Wish { services, memory_mib: 8 })?;
        look(&mut fleet, &mut figures, &format!("{services} containers"))?;
    }
    // What it grew to on the way is not what it needs.
    fleet.device.root(&format!("{AGENT} kill -9 $agent"))?;
    look(&mut fleet, &mut figures, &format!("{} containers, agent restarted", SIZES[2]))?;
    Ok(Report { ran_on: super::DEVICE.to_owned(), figures, notes: Vec::new() })
}

fn look(fleet: &mut Fleet, figures: &mut Figures, when: &str) -> Result<()> {
    fleet.device.root(QUIET)?;
    let kibibytes = |field: &str| format!("{AGENT} awk '/^{field}:/ {{ print $2 }}' /proc/$agent/smaps_rollup");
    let pss = fleet.number(&kibibytes("Pss"))?;
    figures.add_and_print(&format!("agent, PSS, {when}"), "MiB", pss / 1024.0);
    let own = fleet.number(&kibibytes("Pss_Anon"))?;
    figures.add_and_print(&format!("agent, of that not of a file, {when}"), "MiB", own / 1024.0);
    let init = fleet.number("awk '/^Pss:/ { print $2 }' /proc/1/smaps_rollup")?;
    figures.add_and_print(&format!("PID 1, PSS, {when}"), "MiB", init / 1024.0);
    let before = fleet.used()?;
    fleet.device.root("sleep 60")?;
    figures.add_and_print(&format!("agent, processor time in a minute, {when}"), "ms", fleet.used()? - before);
    Ok(())
}

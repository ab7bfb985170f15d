//! A fault at every point that matters: the agent (or a launcher) is killed before it does something, or what it does
//! fails. It converges afterwards, leaves nothing behind and touches no container that needed no change.
//!
//! A device goes round: two containers, then a third one (with a zone and an image of its own), then that one updated and
//! a fourth, then back. The first round is watched only: what there is in the kernel after each manifest is the model,
//! and what the programs passed are the points (the door `fault`). Each later round has one fault in each part of it. A
//! fault between two looks is none of its own: nothing was changed since the first of them. So the points are every
//! change, and the first look after each. A sample runs each time, all of them in the whole set `crash-points`.

mod fault;
mod model;
mod round;

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context as _, Result};
use catenoid_e2e::chance::{Chance, share, whole};
use catenoid_e2e::device::Image;
use catenoid_e2e::progress::Progress;

use crate::bench::Bench;
use fault::{Fault, faults, sample};
use round::Round;

/// Faults of a sample in each part of a round.
const SAMPLE: usize = 2;
/// Reboots with a fault, in a sample and in the whole set: each costs a boot, and not all of them fit into an hour.
const REBOOTS: [usize; 2] = [0, 12];
/// Rounds before a fault that was not reached is given up: a run does not pass exactly the points of another one.
const TRIES: u32 = 2;
/// The parts of a round, by the manifest that each leads to.
const PARTS: [&str; 3] = ["first apply", "update", "removal"];
const RESTART: &str = "agent start";
const REBOOT: &str = "reboot";

/// [whole: crash-points]
#[test]
fn vm_every_crash_point() -> Result<()> {
    let mut progress = Progress::open()?;
    let (share, shares) = if whole() { share()? } else { (1, 1) };
    let name = format!("crash-points-{share}");
    let mut round = Round::begin(Bench::ready_of(Image::Faults, &name)?)?;

    // Watched only.
    let mut queues: BTreeMap<&str, VecDeque<Fault>> = BTreeMap::new();
    let mut chance = Chance::new("crash points");
    for (part, name) in PARTS.iter().copied().enumerate() {
        let mut faults = faults(name, &round.watch(part)?);
        // One launch is like another; there are fewer faults of the agent in an update.
        faults.retain(|fault| part == 1 || fault.program == "agent");
        queues.insert(name, faults);
    }
    queues.insert(RESTART, faults(RESTART, &round.watch_restart()?));
    let all: usize = queues.values().map(VecDeque::len).sum();
    progress.figure("faults of all shares", all)?;
    for (part, queue) in &mut queues {
        let mut number = 0;
        queue.retain(|fault| {
            number += 1;
            // A crash takes longer than a failure, and they come in turns.
            number / 2 % shares == share % shares && !progress.has(&fault.case(part))
        });
    }
    if !whole() {
        queues.values_mut().for_each(|queue| sample(queue, SAMPLE, &mut chance));
    }

    while queues.values().any(|queue| !queue.is_empty()) {
        for (name, part) in PARTS.iter().copied().zip(0..).chain([(RESTART, PARTS.len())]) {
            let fault = queues.get_mut(name).and_then(VecDeque::pop_front);
            if fault.is_none() && name == RESTART {
                continue;
            }
            match (round.part(part, fault.as_ref()), fault) {
                (Err(error), fault) => {
                    let case = fault.as_ref().map_or_else(|| format!("{name}: no fault"), |fault| fault.case(name));
                    let fault = fault.map_or_else(String::new, |fault| fault.to_string());
                    progress.failed(&case, &format!("{fault}: {error:#}"))?;
                    round.recover(part)?;
                }
                (Ok(true), Some(fault)) => progress.done(&fault.case(name), &fault.kind(name))?,
                (Ok(false), Some(fault)) if fault.tries < TRIES => {
                    queues.entry(name).or_default().push_back(Fault { tries: fault.tries + 1, ..fault });
                }
                (Ok(_), Some(fault)) => progress.done(&fault.case(name), "not reached again")?,
                (Ok(_), None) => {}
            }
        }
        if whole() {
            let left: usize = queues.values().map(VecDeque::len).sum();
            println!("{} ended, {left} left", progress.kept().ended.len());
        }
    }
    for number in 1..=REBOOTS[usize::from(whole())] / shares {
        let case = format!("{REBOOT} {number}");
        if !progress.has(&case) {
            round = round.reboot(&mut chance).context(REBOOT)?;
            round.check(2).context(REBOOT)?;
            progress.done(&case, &format!("{REBOOT}: agent crash"))?;
        }
    }
    println!("{} faults ended: {:#?}", progress.kept().ended.len(), progress.kept().kinds);
    progress.result()
}

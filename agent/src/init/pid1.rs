//! PID 1: first mounts, modules, then nothing but reaping, restarting the agent, and feeding the watchdogs while it lives.
//!
//! It stays this small because its end is the machine's. Everything else is the agent's, which may end and come back
//! while containers run on: they are children of PID 1, and what they ended with is written where the agent reads it.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use catenoid_containers::{
    Paths,
    exit::{self, RunEnd},
};
use catenoid_core::chain;
use catenoid_kernel_base::{files, machine, process};
use catenoid_kernel_boot::{
    init::{self, InitSignals, Wakeup},
    settings,
    watchdog::{self, Signs, Watchdogs},
};
use catenoid_kernel_cgroup::{self as cgroup, Hierarchy};
use catenoid_schema::units::ByteSize;
use serde::{Deserialize, Serialize};

use super::boots;
use crate::{
    console::{self, say},
    paths::{AGENT_END, CGROUP, DATA, EXITS, FOREIGN, MODULES, RESET, RUN},
};

/// Where this program lies in the initramfs.
const SELF: &str = "/init";
/// What the agent and the tools that it runs may use of the machine's memory: docs/operate.md says where it comes from.
/// One that uses more is ended alone and started again, instead of a container that did nothing wrong.
const AGENT_MEMORY: ByteSize = ByteSize::from_mebibytes(256);
/// Of the files that nobody signed, so many are reported by name.
const FOREIGN_NAMED: usize = 8;
/// How the agent's allocator works (mallopt(3)): one arena for its few threads, and what is no longer used goes back to the
/// kernel at once. By itself it keeps what a pass or a manifest once needed: docs/performance.md shows how much that is.
const ALLOCATOR: &str = "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=65536:glibc.malloc.trim_threshold=65536";
/// An agent that lived shorter than this is restarted after a pause.
const SHORT_LIFE: Duration = Duration::from_secs(2);
/// The longest of those pauses.
const PAUSE_LIMIT: Duration = Duration::from_secs(5);
/// How long everyone has to end before a restart of the machine.
const GRACE: Duration = Duration::from_secs(10);
/// After which the machine's watchdog resets a machine on which PID 1 does not get to run.
const WATCHDOG: Duration = Duration::from_secs(60);
/// How long it is fed while the machine goes down: what is still to be written may be much, and the disk slow.
const GOING_DOWN: Duration = Duration::from_secs(300);
/// After which it is no longer fed, where no agent has shown in all that time that it lives.
const NO_AGENT: Duration = Duration::from_secs(1200);
/// How long an agent may take until it first shows that it lives, after its first pass: the disk may come late, and have much
/// on it.
const START: Duration = Duration::from_secs(900);
/// How long it may be silent from then on; it is ended then, and started again.
const SILENCE: Duration = Duration::from_secs(90);
/// What is reported of the boot before this one.
const WATCHDOG_RESET: &str = "the watchdog reset the machine: nothing ran on it any more, or no agent that lived";

/// How an agent ended: what PID 1 writes down for the next one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AgentEnd {
    /// How it ended.
    pub end: RunEnd,
    /// Whether it was ended because it showed no life.
    pub silent: bool,
}

impl std::fmt::Display for AgentEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.silent { f.write_str("showed no life and was ended") } else { self.end.fmt(f) }
    }
}

/// Why PID 1 gave up. The kernel then panics and, as its command line says, restarts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kernel refused something.
    #[error(transparent)]
    Init(#[from] init::Error),
    /// It could not execute itself after it moved.
    #[error("failed to execute `{SELF}` again")]
    Again(#[source] io::Error),
    /// A folder or file of ours is missing.
    #[error("failed to read or make `{path}`")]
    Path {
        /// The folder or file.
        path: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The kernel does not take a limit.
    #[error("failed to set the limits that everything starts with")]
    Limits(#[source] io::Error),
}

/// Runs as PID 1; returns only if it cannot go on.
///
/// # Errors
/// Whatever leaves the machine without a way on.
pub(crate) fn run() -> Result<std::convert::Infallible, Error> {
    console::never_wait();
    init::mount_kernel_file_systems()?;
    if init::on_initial_ramfs()? {
        let mut foreign = init::move_root_to_memory()?;
        if !foreign.is_empty() {
            // A serial line is slow, and nobody watches over PID 1 yet.
            let more = foreign.len().saturating_sub(FOREIGN_NAMED);
            foreign.truncate(FOREIGN_NAMED);
            if more > 0 {
                foreign.push(format!("{more} more"));
            }
            let names = serde_json::to_string(&foreign).expect("a list of texts");
            say(&format!("the boot image did not bring these, and nobody signed them; they are left out: {names}"));
            // Nobody has looked at `/run` yet. What cannot be written is reported on the console at least.
            let _ = process::write_record(Path::new(FOREIGN), &names);
        }
        return Err(Error::Again(Command::new(SELF).exec()));
    }
    init::set_limits().map_err(Error::Limits)?;
    let mut signals = InitSignals::receive()?;
    let modules = modules()?;
    init::load_modules(&modules.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>())?;
    for differed in settings::settle().iter().filter(|differed| differed.set.is_err()) {
        say(&differed.to_string());
    }
    init::show_firmware_variables()?;
    signals.listen_to_buttons()?;
    let made = files::make_folders(Path::new(EXITS));
    made.map_err(|error| Error::Path { path: EXITS, source: io::Error::other(error) })?;
    say_how_it_booted();
    watch_over_agent(&mut signals, Vigil::begin())
}

fn modules() -> Result<String, Error> {
    fs::read_to_string(MODULES).map_err(|source| Error::Path { path: MODULES, source })
}

/// PID 1 feeds the machine's watchdogs as long as there is an agent that lives.
struct Vigil {
    dogs: Watchdogs,
    fed: Instant,
    /// When an agent last showed that it lives; at first, when PID 1 began to wait for that.
    last_sign: Instant,
}

impl Vigil {
    fn begin() -> Self {
        let dogs = Watchdogs::arm(WATCHDOG);
        dogs.findings.iter().for_each(|findings| say(findings));
        if dogs.has_reset {
            say(WATCHDOG_RESET);
            // What cannot be written is reported on the console at least.
            let _ = process::write_record(Path::new(RESET), WATCHDOG_RESET);
        }
        Self { dogs, fed: Instant::now(), last_sign: Instant::now() }
    }

    /// Feeds if it is time to; how long it is then until the next time.
    fn keep(&mut self) -> Duration {
        let feed = self.dogs.feed;
        if self.fed.elapsed() >= feed {
            if self.last_sign.elapsed() < NO_AGENT {
                self.dogs.feed_all();
            }
            self.fed = Instant::now();
        }
        feed.saturating_sub(self.fed.elapsed())
    }

    /// Has a thread feed from now on, for [`GOING_DOWN`] at most: who writes out a whole disk feeds nobody meanwhile.
    fn hand_over(&mut self) {
        self.dogs.feed_all();
        let mut dogs = self.dogs.hand_over();
        let until = Instant::now() + GOING_DOWN;
        let feed = move || {
            while Instant::now() < until {
                std::thread::park_timeout(dogs.feed);
                dogs.feed_all();
            }
        };
        if let Err(error) = std::thread::Builder::new().name("watchdog".to_owned()).spawn(feed) {
            say(&format!("nobody feeds the watchdog while the machine goes down: {error}"));
        }
    }
}

/// One line on the console that says what is in force; the tests read it, and so does whoever stands at the device.
fn say_how_it_booted() {
    let lockdown = machine::lockdown().unwrap_or_else(|e| format!("unknown ({e})"));
    let signed = match machine::modules_must_be_signed() {
        Ok(true) => "enforced".to_owned(),
        Ok(false) => "not enforced".to_owned(),
        Err(e) => format!("unknown ({e})"),
    };
    say(&format!("booted, lockdown {lockdown}, module signatures {signed}"));
}

fn watch_over_agent(signals: &mut InitSignals, mut vigil: Vigil) -> Result<std::convert::Infallible, Error> {
    let mut pause = Duration::ZERO;
    loop {
        let started = Instant::now();
        // The group first: the agent then runs hardly a moment without its limit. And the kernel patches its own code for
        // the first group, and for the first limit of processor time; while another process runs there, QEMU 7.2 (TCG) can
        // go on with the half-patched code for ever.
        let group = group_of_agent();
        let end = match spawn_agent() {
            Ok((agent, signs)) => life_of(agent, (group, signs), signals, &mut vigil)?.to_string(),
            // What there was none of (memory, numbers of processes) may be there again in a moment; the end of PID 1 would be
            // everybody's.
            Err(error) => format!("does not start: {error}"),
        };
        pause = if started.elapsed() < SHORT_LIFE {
            (pause * 2 + Duration::from_millis(100)).min(PAUSE_LIMIT)
        } else {
            Duration::ZERO
        };
        say(&format!("the agent {end} and is started again in {} ms", pause.as_millis()));
        let again = Instant::now() + pause;
        while Instant::now() < again {
            let wakeup = signals.wait(None, vigil.keep().min(again.saturating_duration_since(Instant::now())))?;
            act(wakeup, signals, &mut vigil);
        }
    }
}

/// The agent, and the line over which it shows that it lives.
fn spawn_agent() -> io::Result<(Child, Signs)> {
    let (signs, line) = watchdog::line()?;
    let agent = Command::new(SELF).arg("agent").env("GLIBC_TUNABLES", ALLOCATOR).stdin(line).spawn()?;
    Ok((agent, signs))
}

/// Puts the agent into its group, waits until it ends, and writes down how.
fn life_of(
    mut agent: Child,
    (group, signs): (Result<(Hierarchy, u64), cgroup::Error>, Signs),
    signals: &mut InitSignals,
    vigil: &mut Vigil,
) -> Result<AgentEnd, Error> {
    let joined = group.and_then(|(groups, kills)| groups.move_to_agent(agent.id()).map(|()| kills));
    let kills = joined.unwrap_or_else(|error| {
        say(&format!("the agent's memory is not limited: {}", chain(&error)));
        0
    });
    let (end, silent) = until_it_ends(&mut agent, signs, signals, vigil)?;
    let end = AgentEnd { end: describe(end, kills), silent };
    let record = serde_json::to_string(&end).expect("an end is a word and a number");
    if let Err(error) = process::write_record(Path::new(AGENT_END), &record) {
        say(&chain(&error));
    }
    Ok(end)
}

/// The agent's group, with its limit; how many were ended there for want of memory before.
fn group_of_agent() -> Result<(Hierarchy, u64), cgroup::Error> {
    let groups = Hierarchy::open(Path::new(CGROUP))?;
    groups.prepare_agent(AGENT_MEMORY.bytes())?;
    let kills = groups.agent_memory_kills()?;
    Ok((groups, kills))
}

/// How the agent ended, with `kills` for want of memory in its group before.
fn describe(end: process::End, kills: u64) -> RunEnd {
    let after = || Hierarchy::open(Path::new(CGROUP)).and_then(|groups| groups.agent_memory_kills());
    match end {
        process::End::Code(code) => RunEnd::Code(code),
        process::End::Signal(9) if after().is_ok_and(|after| after > kills) => RunEnd::OutOfMemory,
        process::End::Signal(number) => RunEnd::Signal(number),
    }
}

/// Reaps until the agent is among the reaped; how it ended, and whether it was ended because it showed no life.
fn until_it_ends(
    agent: &mut Child,
    signs: Signs,
    signals: &mut InitSignals,
    vigil: &mut Vigil,
) -> Result<(process::End, bool), Error> {
    let mut signs = Some(signs);
    let mut alive_until = Instant::now() + START;
    let mut silent = false;
    loop {
        let left = alive_until.saturating_duration_since(Instant::now());
        if left.is_zero() && !silent {
            say("the agent shows no life, and is ended");
            silent = true;
            // It fails only if it has ended.
            let _ = agent.kill();
        }
        let wakeup = signals.wait(signs.as_ref(), if silent { vigil.keep() } else { vigil.keep().min(left) })?;
        if wakeup == Wakeup::Sign {
            if signs.as_mut().is_some_and(Signs::take) {
                vigil.last_sign = Instant::now();
                alive_until = Instant::now() + SILENCE;
            } else {
                signs = None;
            }
        }
        if let Some((_, end)) = act(wakeup, signals, vigil).into_iter().find(|(pid, _)| *pid == agent.id()) {
            return Ok((end, silent));
        }
    }
}

/// Does what a signal asks for; the processes that were reaped.
fn act(wakeup: Wakeup, signals: &mut InitSignals, vigil: &mut Vigil) -> Vec<(u32, process::End)> {
    match wakeup {
        Wakeup::ChildEnded | Wakeup::Sign | Wakeup::TimeUp => reap(),
        Wakeup::Restart | Wakeup::PowerOff => {
            say("going down");
            vigil.hand_over();
            init::end_all_processes(signals, GRACE);
            boots::ended_in_order(Path::new(DATA), Path::new(RUN));
            let error = init::end_machine(Path::new(DATA), wakeup == Wakeup::Restart);
            say(&format!("the machine does not go down: {error}"));
            Vec::new()
        }
    }
}

/// Lets go of every child that ended; how a container ended is written down first.
fn reap() -> Vec<(u32, process::End)> {
    let mut reaped = Vec::new();
    loop {
        match exit::reap_orphans(&Paths::default()) {
            Ok(Some(child)) => reaped.push((child.pid, child.end)),
            Ok(None) => return reaped,
            Err(error @ (exit::Error::Record { .. } | exit::Error::Namespaces { .. })) => say(&chain(&error)),
            Err(error) => {
                say(&chain(&error));
                return reaped;
            }
        }
    }
}

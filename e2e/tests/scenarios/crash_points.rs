//! A fault at every point that matters: the agent (or a launcher) is killed before it does something, or what it does
//! fails. It converges afterwards, leaves nothing behind and touches no container that needed no change.
//!
//! A device goes round: two containers, then a third one (with a zone and an image of its own), then that one updated and
//! a fourth, then back. The first round is watched only: what there is in the kernel after each manifest is the model,
//! and what the programs passed are the points (the door `fault`). Each later round has one fault in each part of it. A
//! fault between two looks is none of its own: nothing was changed since the first of them. So the points are every
//! change, and the first look after each. A sample runs each time, all of them in the whole set `crash-points`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catenoid_e2e::chance::{Chance, share, whole};
use catenoid_e2e::device::{AGENT, Image};
use catenoid_e2e::progress::Progress;

use crate::bench::author::{self, resequenced};
use crate::bench::{Bench, Follower, Process, SOON};

/// Faults of a sample in each part of a round.
const SAMPLE: usize = 2;
/// Reboots with a fault, in a sample and in the whole set: each costs a boot, and not all of them fit into an hour.
const REBOOTS: [usize; 2] = [0, 12];
/// Rounds before a fault that was not reached is given up: a run does not pass exactly the points of another one.
const TRIES: u32 = 2;
/// Where the device keeps what arms it: see the door `fault`.
const FAULTS: &str = "/run/catenoid-faults";
const KEPT: &str = "/data/faults";
/// Bytes of the audit log: the last few parts.
const EARLIER: u64 = 64 * 1024;

const STEADY: &str = "  steady:
    guest: first
    zones: [plant]
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
    stop: { grace: 2s }
";
const ADDED: &str = "  added:
    guest: GUEST
    zones: [plant, lab]
    limits: { memory: MEMORY, cpu: 0.25, pids: 16 }
    stop: { grace: 2s }
";
const LAB: &str = "  lab:
    subnet: [10.30.0.0/24, \"fd30::/64\"]
    flows: [{ to: core, tcp: [22] }]
";

/// For how long what is about to end may still be seen: a process, what the kernel takes down beside it. What leaks stays.
const SETTLED: Duration = Duration::from_secs(5);

/// The lines that are kept of what a line for a shell prints.
type Keep = fn(&str) -> Vec<String>;

/// What there is of ours in the kernel and on the disk: a line for a shell, few programs long, and what is kept of what it
/// prints: not what has another number each time.
const MODEL: [(&str, &str, Keep); 10] = [
    ("mounts", "cat /proc/1/mountinfo", mounts),
    ("loops", "cat /sys/block/loop*/loop/backing_file 2>/dev/null", lines),
    ("device-mapper", "cat /sys/block/dm-*/dm/name 2>/dev/null", lines),
    ("namespaces", "find /run/catenoid/namespaces; ls -l /proc/[0-9]*/ns/net 2>/dev/null", namespaces),
    (
        "links",
        "for n in /run/catenoid/namespaces/*; do echo \"$n\"; nsenter --net=$n/net ip -o addr show 2>/dev/null; done
         ls /sys/class/net",
        links,
    ),
    (
        "groups",
        "find /sys/fs/cgroup/catenoid -type d; cd /sys/fs/cgroup/catenoid
         grep -Hs . */memory.max */cpu.max */pids.max */memory.swap.max",
        lines,
    ),
    ("rules", "nft list ruleset; nsenter --net=/run/catenoid/namespaces/core0/net nft list ruleset", unsorted),
    ("files", "cd /data && find blobs incoming -type f -exec ls -l {} +", |text| words(text, &[4, 8])),
    ("run", "cd /run/catenoid; ls . output control 2>/dev/null", unsorted),
    ("processes", "ps -o comm,stat", processes),
];

/// Runs in c0 and applies every manifest that it is given in a line: over one connection, for each takes a second.
const APPLIER: &str = r#"while read -r manifest; do
      echo "$manifest" | base64 -d >/tmp/manifest.cose
      catenoid apply /tmp/manifest.cose --guests /tmp/parcel 2>&1; echo "ended with $?"
    done"#;

/// The parts of a round, by the manifest that each leads to.
const PARTS: [&str; 3] = ["first apply", "update", "removal"];
const RESTART: &str = "agent start";
const REBOOT: &str = "reboot";

#[derive(Debug, Clone)]
struct Fault {
    program: String,
    /// `crash` or `fail`.
    what: &'static str,
    /// How many points are passed by then, this one counted.
    number: u64,
    point: String,
    /// How often `point` was passed by then. Between two rounds this differs less than `number` does.
    time: u64,
    tries: u32,
}

impl Fault {
    /// What the round does with it, which faults are counted by.
    fn kind(&self, part: &str) -> String {
        format!("{part}: {} {}", self.program, self.what)
    }

    /// The name by which another run knows it again.
    fn case(&self, part: &str) -> String {
        format!("{} at {}, time {}", self.kind(part), self.point, self.time)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {} ({})", self.program, self.what, self.number, self.point)
    }
}

/// A point that was passed.
struct Passed {
    program: String,
    number: u64,
    changes: bool,
    name: String,
}

struct Round {
    bench: Bench,
    applier: Follower,
    folder: std::path::PathBuf,
    sequence: u64,
    /// After each part; the last one is where a round begins.
    models: Vec<String>,
    untouched: BTreeMap<String, Process>,
}

/// [whole: crash-points]
#[test]
fn vm_every_crash_point() -> Result<()> {
    let mut progress = Progress::open()?;
    let (share, shares) = if whole() { share()? } else { (1, 1) };
    let name = format!("crash-points-{share}");
    let mut bench = Bench::ready_of(Image::Faults, &name)?;
    let folder = bench.folder("documents")?;
    bench.deliver(&["busybox-1.0.0", "busybox-1.0.1"])?;
    bench.device.root(&format!("mkdir {FAULTS} {KEPT}; : >{FAULTS}/trace"))?;
    let applier = bench.follow(APPLIER)?;
    let mut round = Round { bench, applier, folder, sequence: 1, models: Vec::new(), untouched: BTreeMap::new() };
    round.go_to(2, None)?;
    round.untouched = round.bench.processes()?;

    // Watched only.
    let mut queues: BTreeMap<&str, VecDeque<Fault>> = BTreeMap::new();
    let mut chance = Chance::new("crash points");
    for (part, name) in PARTS.iter().copied().enumerate() {
        round.trace()?;
        round.go_to(part, None)?;
        let passed = round.passed()?;
        let model = round.model()?;
        round.models.push(model);
        let mut faults = faults(name, &passed);
        // One launch is like another; there are fewer faults of the agent in an update.
        faults.retain(|fault| part == 1 || fault.program == "agent");
        queues.insert(name, faults);
    }
    round.trace()?;
    round.restart(None)?;
    queues.insert(RESTART, faults(RESTART, &round.passed()?));
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

/// Every change, and the first look after the last one: once as a crash; every change once more as a failure.
fn faults(part: &str, passed: &[Passed]) -> VecDeque<Fault> {
    let mut faults = VecDeque::new();
    let mut programs: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut times: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut after_last: BTreeMap<&str, Fault> = BTreeMap::new();
    for point in passed {
        let time = times.entry((&point.program, &point.name)).or_default();
        *time += 1;
        let (all, changes) = programs.entry(&point.program).or_default();
        *all += 1;
        let fault = |what| Fault {
            program: point.program.clone(),
            what,
            number: point.number,
            point: point.name.clone(),
            time: *time,
            tries: 0,
        };
        if !point.changes {
            after_last.entry(&point.program).or_insert_with(|| fault("crash"));
            continue;
        }
        *changes += 1;
        after_last.remove(&*point.program);
        faults.push_back(fault("crash"));
        // A launcher that fails ends as one that is killed does.
        if point.program == "agent" {
            faults.push_back(fault("fail"));
        }
    }
    faults.extend(after_last.into_values());
    for (program, (all, changes)) in programs {
        println!("{part}: {program} passed {all} points, {changes} of them changes");
    }
    faults
}

fn sample(queue: &mut VecDeque<Fault>, count: usize, chance: &mut Chance) {
    while queue.len() > count {
        let victim = chance.below(queue.len() as u64);
        queue.remove(usize::try_from(victim).unwrap_or(0));
    }
}

impl Round {
    fn manifest(&mut self, part: usize) -> Result<Vec<u8>> {
        self.sequence += 1;
        let zones = "  plant:\n    subnet: [10.20.0.0/24, \"fd20::/64\"]\n";
        let (lab, core_zones, added) = match part {
            0 => (LAB, "[uplink, plant, lab]", ADDED.replace("GUEST", "second").replace("MEMORY", "16MiB")),
            1 => {
                let more = STEADY.replace("steady", "more");
                (LAB, "[uplink, plant, lab]", ADDED.replace("GUEST", "first").replace("MEMORY", "24MiB") + &more)
            }
            _ => ("", "[uplink, plant]", String::new()),
        };
        let second = if part == 0 { "  second: { ref: busybox@1.0.1 }\n" } else { "" };
        let core = "  core: { ref: catenoid-core@0.1.0 }\n";
        let factory = self.bench.author.example("factory")?;
        let yaml = resequenced(&factory, self.sequence)?
            .replace(core, &format!("{core}  first: {{ ref: busybox@1.0.0 }}\n{second}"))
            .replace("containers:\n", &format!("{zones}{lab}containers:\n"))
            .replace("zones: [uplink]", &format!("zones: {core_zones}"));
        self.bench.author.sign(&self.folder, &(yaml + STEADY + &added))
    }

    /// Arms a program, or nobody, and forgets what was passed.
    fn arm(&mut self, folder: &str, fault: Option<&Fault>) -> Result<()> {
        let arm = fault.map_or_else(
            // Nothing that can be read disarms.
            || format!("echo none >{folder}/agent.arm; rm -f {folder}/launcher.arm"),
            |fault| format!("echo {} {} >{folder}/{}.arm", fault.what, fault.number, fault.program),
        );
        self.bench.device.root(&format!("{arm}; : >{FAULTS}/trace")).map(drop)
    }

    /// Watches from now on: armed for a point that is not reached.
    fn trace(&mut self) -> Result<()> {
        let never = |program: &str| format!("echo crash 1000000 >{FAULTS}/{program}.arm");
        self.bench.device.root(&format!(": >{FAULTS}/trace; {}; {}", never("agent"), never("launcher"))).map(drop)
    }

    /// What was passed since then; nothing is armed any more.
    fn passed(&mut self) -> Result<Vec<Passed>> {
        let trace = self.bench.device.root(&format!("cat {FAULTS}/trace"))?;
        let parse = |line: &str| -> Option<Passed> {
            let words: Vec<_> = line.split(' ').collect();
            let [program, number, kind, name] = words.as_slice() else { return None };
            let (program, name) = ((*program).to_owned(), (*name).to_owned());
            Some(Passed { program, number: number.parse().ok()?, changes: *kind == "at", name })
        };
        let passed = trace.lines().map(|line| parse(line).with_context(|| format!("`{line}`"))).collect();
        self.arm(FAULTS, None)?;
        passed
    }

    /// Applies the manifest of `part`, with a fault on the way; whether that was reached.
    fn go_to(&mut self, part: usize, fault: Option<&Fault>) -> Result<bool> {
        let envelope = self.manifest(part)?;
        let before = self.audited()?;
        if fault.is_some() {
            self.arm(FAULTS, fault)?;
        }
        // It breaks off when the agent is killed while it answers.
        let submitted = self.submit(&envelope);
        // What was not taken leaves no event: what stood before still stands.
        let since = if submitted.is_ok() { before } else { before.saturating_sub(EARLIER) };
        let digest = author::digest(&envelope)?.to_string();
        let acknowledged = if submitted.is_ok() { digest.as_str() } else { "" };
        let (reached, mut stands) = self.settle(since, fault, false, acknowledged)?;
        if stands != digest {
            ensure!(fault.is_some(), "{submitted:?}");
            let before = self.audited()?;
            self.submit(&envelope).context("submitted again")?;
            (_, stands) = self.settle(before, None, false, &digest)?;
        }
        ensure!(stands == digest, "as another manifest says: {stands}");
        Ok(reached)
    }

    /// Has c0 apply a manifest; what the device answered.
    fn submit(&mut self, envelope: &[u8]) -> Result<()> {
        if self.applier.say(&STANDARD.encode(envelope)).is_err() {
            self.applier = self.bench.follow(APPLIER)?;
            self.applier.say(&STANDARD.encode(envelope))?;
        }
        let deadline = Instant::now() + SOON;
        let mut said = String::new();
        while let Some(line) = self.applier.line(deadline) {
            if let Some(code) = line.strip_prefix("ended with ") {
                ensure!(code == "0", "`catenoid apply` ended with {code}: {said}");
                return Ok(());
            }
            said += &(line + "\n");
        }
        self.applier = self.bench.follow(APPLIER)?;
        bail!("the connection to c0 ended: {said}")
    }

    /// Goes through a part of a round, perhaps with a fault on the way, and then looks at what is left; whether that was
    /// reached.
    fn part(&mut self, part: usize, fault: Option<&Fault>) -> Result<bool> {
        let reached = if part < PARTS.len() { self.go_to(part, fault) } else { self.restart(fault) }?;
        if fault.is_some() {
            self.check(part.min(2))?;
        }
        Ok(reached)
    }

    /// After a failure: to where the next part begins, whatever there is.
    fn recover(&mut self, part: usize) -> Result<()> {
        self.arm(FAULTS, None)?;
        self.go_to(part.min(2), None)?;
        self.untouched = self.bench.processes()?;
        self.untouched.retain(|name, _| ["core0", "steady"].contains(&name.as_str()));
        Ok(())
    }

    /// Kills the agent, with a fault in its next start.
    fn restart(&mut self, fault: Option<&Fault>) -> Result<bool> {
        let before = self.audited()?;
        // Stopped first: what is armed is for the next one.
        self.bench.device.root(&format!("{AGENT} kill -STOP $agent"))?;
        if fault.is_some() {
            self.arm(FAULTS, fault)?;
        }
        self.bench.device.root(&format!("{AGENT} kill -KILL $agent"))?;
        self.settle(before, fault, true, "").map(|(reached, _)| reached)
    }

    /// Cuts the power, with a crash of the agent in its next start.
    fn reboot(mut self, chance: &mut Chance) -> Result<Self> {
        let fault = Fault {
            program: "agent".to_owned(),
            what: "crash",
            number: 1 + chance.below(400),
            point: "any".to_owned(),
            time: 1,
            tries: 0,
        };
        self.arm(KEPT, Some(&fault))?;
        // As if the boots were days apart: after three that were cut short in a row only core containers are started.
        self.bench.device.root("rm -f /data/boots/unclean; sync")?;
        self.bench = self.bench.power_cycle()?;
        self.applier = self.bench.follow(APPLIER)?;
        self.bench.wait("converged after a reboot", |status| crate::bench::converged(status).is_some())?;
        self.bench.device.root(&format!("mkdir {FAULTS}; : >{FAULTS}/trace"))?;
        self.untouched = self.bench.processes()?;
        Ok(self)
    }

    /// Bytes of the audit log, once c0 can speak to the device: a socket that could not be made is made again after some
    /// seconds.
    fn audited(&mut self) -> Result<u64> {
        // Flags of a socket that takes connections: the file of one that did may still be there.
        let listens = "n=0; until grep -q ' 00010000 .*core0/control.sock' /proc/net/unix || [ $n -ge 100 ]; do
            n=$((n + 1)); usleep 100000
        done";
        let script = format!("{listens}; stat -c %s /data/audit/audit.jsonl");
        Ok(self.bench.device.root(&script)?.trim().parse()?)
    }

    /// Waits until the device is as some manifest says, and as the `acknowledged` one if there is one; after the fault and,
    /// with `restarted`, after a start of the agent. Whether the fault was reached, and which manifest it is.
    fn settle(
        &mut self,
        before: u64,
        fault: Option<&Fault>,
        restarted: bool,
        acknowledged: &str,
    ) -> Result<(bool, String)> {
        let program = fault.map_or("nobody", |fault| fault.program.as_str());
        let crash = fault.is_some_and(|fault| fault.what == "crash" && fault.program == "agent");
        // What the events after the crash say: where there was none, all since `before` count. What fails without being reported
        // of, or a launcher, leaves no event of its own: what stood before still stands.
        let script = format!(
            r#"
            events() {{ dd if=/data/audit/audit.jsonl bs=64k iflag=skip_bytes skip={before} 2>/dev/null; }}
            look() {{
              events | awk -v crash={crash} -v needed={restarted} '
                !events {{ if ($1 == "{program}" && $2 == "fault") at = $3; next }}
                {{ match($0, /"monotonicMs":[0-9]+/); when = substr($0, RSTART + 14, RLENGTH - 14) }}
                crash && when + 0 < at + 0 {{ next }}
                /"kind":"AgentStarted"/ {{ started = 1; stands = 0 }}
                # A pass that a manifest overtook ends as well.
                /"kind":"Converged"/ {{
                  seen = "{acknowledged}" == "" || index($0, "{acknowledged}"); stands = seen
                  match($0, /[(]sha256:[0-9a-f]*/); digest = substr($0, RSTART + 1, RLENGTH - 1)
                }}
                /"kind":"PassEnded"/ {{ stands = seen && /done, converged"/ }}
                /"kind":"(StepFailed|SubjectFailed|DriftFound|ManifestAccepted)"/ {{ stands = 0 }}
                END {{ if (crash && at) needed = 1; print (stands && started >= needed) + 0, digest, at }}' {FAULTS}/trace events=1 -
            }}
            read now rest </proc/uptime; until=$((${{now%.*}} + 90))
            while read now rest </proc/uptime && [ ${{now%.*}} -lt $until ]; do
              set -- $(look)
              if [ $1 = 1 ]; then late=$((late + 1)); else late=0; fi
              # A fault that was not reached by now may be in a moment.
              [ "$3" ] && looks=1 || looks=2
              if [ $late -ge $looks ]; then
                [ "$3" ] && echo reached || echo passed
                echo $2; exit
              fi
              usleep 300000
            done
            echo late; events"#,
            restarted = u8::from(restarted),
            crash = u8::from(crash),
        );
        let answer = self.bench.device.root(&script)?;
        let lines: Vec<_> = answer.lines().collect();
        let (reached, stands) = match lines.as_slice() {
            ["reached", stands] => (true, (*stands).to_owned()),
            ["passed", stands] => (false, (*stands).to_owned()),
            _ => bail!("not settled: {answer}\n{}", self.bench.device.console().tail()),
        };
        if fault.is_some() {
            self.arm(FAULTS, None)?;
        }
        Ok((reached, stands))
    }

    fn model(&mut self) -> Result<String> {
        let script: Vec<_> = MODEL.iter().map(|(name, line, _)| format!("echo '@@ {name}'; ({line})")).collect();
        let printed = self.bench.device.root(&(script.join("\n") + "\ntrue"))?;
        let mut model = Vec::new();
        for (name, _, keep) in MODEL {
            let part = printed.split("@@ ").find_map(|part| part.strip_prefix(name)?.strip_prefix('\n'));
            model.push(format!("# {name}"));
            model.extend(keep(part.with_context(|| format!("nothing of {name}: {printed}"))?));
        }
        Ok(model.join("\n"))
    }

    /// Compares what there is with the model after `part`, and the containers that nothing asked to change.
    fn check(&mut self, part: usize) -> Result<()> {
        let until = Instant::now() + SETTLED;
        let mut model = self.model()?;
        while model != self.models[part] && Instant::now() < until {
            model = self.model()?;
        }
        ensure!(model == self.models[part], "not as without the fault:\n{}", difference(&self.models[part], &model));
        let processes = self.bench.processes()?;
        for (name, process) in &self.untouched {
            ensure!(processes.get(name) == Some(process), "`{name}` was touched: {process:?}, {processes:?}");
        }
        Ok(())
    }
}

fn unsorted(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn lines(text: &str) -> Vec<String> {
    let mut lines = unsorted(text);
    lines.sort_unstable();
    lines
}

/// These words of each line.
fn words(text: &str, which: &[usize]) -> Vec<String> {
    let of = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        which.iter().filter_map(|at| words.get(*at).copied()).collect::<Vec<_>>().join(" ")
    };
    lines(&text.lines().map(of).collect::<Vec<_>>().join("\n"))
}

fn mounts(text: &str) -> Vec<String> {
    let mut mounts = words(text, &[4, 5]);
    mounts.retain(|mount| mount.starts_with("/run/catenoid") || mount.starts_with("/data"));
    mounts.push(format!("{} mounts", text.lines().count()));
    mounts
}

/// Who was about to end shows none.
fn namespaces(text: &str) -> Vec<String> {
    let mut pinned = lines(text);
    let all: BTreeSet<_> = text.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, of)| of).collect();
    pinned.retain(|line| line.starts_with('/'));
    pinned.push(format!("{} network namespaces", all.len()));
    pinned
}

/// Name and addresses of each interface, in each namespace.
fn links(text: &str) -> Vec<String> {
    let mut of = "";
    let mut links = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [folder] if folder.starts_with('/') => of = folder,
            [_, name, family, address, ..] => links.push(format!("{of} {name} {family} {address}")),
            _ => links.push(line.to_owned()),
        }
    }
    links.sort_unstable();
    links
}

/// Launchers, and who was not reaped.
fn processes(text: &str) -> Vec<String> {
    let mut processes = words(text, &[0, 1]);
    processes
        .retain(|line| line.split(' ').nth(1).is_some_and(|state| state.contains('Z')) || line.contains("launcher"));
    processes
}

/// The lines that only one of the two has.
fn difference(wanted: &str, is: &str) -> String {
    let only = |of: &str, other: &str, sign: &str| -> Vec<String> {
        let lines = of.lines().filter(|line| !other.lines().any(|o| o == *line));
        lines.map(|line| format!("{sign} {line}")).collect()
    };
    [only(wanted, is, "-"), only(is, wanted, "+")].concat().join("\n")
}

//! A device that goes round: what each part of a round asks of it, and how it is seen that it has done so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catenoid_e2e::chance::Chance;
use catenoid_e2e::device::AGENT;

use super::fault::{Fault, Passed};
use super::{PARTS, model};
use crate::bench::author::{self, resequenced};
use crate::bench::{Bench, Follower, Process, SOON};

/// Where the device keeps what arms it: see the door `fault`.
const FAULTS: &str = "/run/catenoid-faults";
const KEPT: &str = "/data/faults";
/// Bytes of the audit log: the last few parts.
const EARLIER: u64 = 64 * 1024;

/// For how long what is about to end may still be seen: a process, what the kernel takes down beside it. What leaks stays.
const SETTLED: Duration = Duration::from_secs(5);

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

/// Runs in c0 and applies every manifest that it is given in a line: over one connection, for each takes a second.
const APPLIER: &str = r#"while read -r manifest; do
      echo "$manifest" | base64 -d >/tmp/manifest.cose
      catenoid apply /tmp/manifest.cose --guests /tmp/parcel 2>&1; echo "ended with $?"
    done"#;

pub(super) struct Round {
    bench: Bench,
    applier: Follower,
    folder: PathBuf,
    sequence: u64,
    /// After each part; the last one is where a round begins.
    models: Vec<String>,
    untouched: BTreeMap<String, Process>,
}

impl Round {
    /// Takes a device that is ready to where a round begins.
    pub(super) fn begin(mut bench: Bench) -> Result<Self> {
        let folder = bench.folder("documents")?;
        bench.deliver(&["busybox-1.0.0", "busybox-1.0.1"])?;
        bench.device.root(&format!("mkdir {FAULTS} {KEPT}; : >{FAULTS}/trace"))?;
        let applier = bench.follow(APPLIER)?;
        let mut round = Self { bench, applier, folder, sequence: 1, models: Vec::new(), untouched: BTreeMap::new() };
        round.go_to(2, None)?;
        round.untouched = round.bench.processes()?;
        Ok(round)
    }

    /// Goes through a part without a fault: what is there then is its model. The points that were passed.
    pub(super) fn watch(&mut self, part: usize) -> Result<Vec<Passed>> {
        self.trace()?;
        self.go_to(part, None)?;
        let passed = self.passed()?;
        self.models.push(model::read(&mut self.bench)?);
        Ok(passed)
    }

    /// Kills the agent; the points that the next one passed.
    pub(super) fn watch_restart(&mut self) -> Result<Vec<Passed>> {
        self.trace()?;
        self.restart(None)?;
        self.passed()
    }

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
    pub(super) fn part(&mut self, part: usize, fault: Option<&Fault>) -> Result<bool> {
        let reached = if part < PARTS.len() { self.go_to(part, fault) } else { self.restart(fault) }?;
        if fault.is_some() {
            self.check(part.min(2))?;
        }
        Ok(reached)
    }

    /// After a failure: to where the next part begins, whatever there is.
    pub(super) fn recover(&mut self, part: usize) -> Result<()> {
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
    pub(super) fn reboot(mut self, chance: &mut Chance) -> Result<Self> {
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

    /// Compares what there is with the model after `part`, and the containers that nothing asked to change.
    pub(super) fn check(&mut self, part: usize) -> Result<()> {
        let until = Instant::now() + SETTLED;
        let mut is = model::read(&mut self.bench)?;
        while is != self.models[part] && Instant::now() < until {
            is = model::read(&mut self.bench)?;
        }
        ensure!(is == self.models[part], "not as without the fault:\n{}", model::difference(&self.models[part], &is));
        let processes = self.bench.processes()?;
        for (name, process) in &self.untouched {
            ensure!(processes.get(name) == Some(process), "`{name}` was touched: {process:?}, {processes:?}");
        }
        Ok(())
    }
}

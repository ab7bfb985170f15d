//! A booted device with everything that a scenario does to it and asks of it.

pub(crate) mod author;
pub(crate) mod tpm;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_e2e::device::{Image, machine, machine_without_firmware};
use catenoid_e2e::snapshot::{self, Moment};
use catenoid_e2e::vm::Builder;
use catenoid_e2e::{Artefacts, Device};
use catenoid_schema::control::Event;
use catenoid_schema::digest::Digest;
use catenoid_schema::status::{Health, Status, SubjectStatus, Sync};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub(crate) use author::{Author, Signer};

/// From a manifest to a converged device, and from a fault to the status that reports it: much less, but TCG is slow and
/// machines are busy.
pub(crate) const SOON: Duration = Duration::from_secs(180);

/// One more container than the examples have, the same in all.
pub(crate) const STEADY: &str = "  steady:
    guest: tiny
    zones: [plant]
    limits: { memory: 16MiB, cpu: 0.25, pids: 16 }
    stop: { grace: 2s }
";

/// Events that neither a power cut nor another version may bring about.
pub(crate) const DAMAGE: [&str; 5] =
    ["LedgerSlotCorrupt", "LedgerEntryRefused", "LedgerLost", "GuestBroken", "FactoryBundleRefused"];
/// What `manifests/demo.yaml` and `manifests/demo-2.yaml` need, c0's guest included.
const DEMO_GUESTS: [&str; 4] = ["nginx-1.0.0", "nginx-1.0.1", "busybox-1.0.0", "catenoid-core-0.1.0"];

/// Where c0 keeps what is to be pushed.
const PARCEL: &str = "/tmp/parcel";

/// The device of a scenario.
pub(crate) struct Bench {
    pub(crate) device: Device,
    pub(crate) artefacts: Artefacts,
    pub(crate) author: Author,
}

/// The first process of a container, as the root namespace sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Clock ticks from boot to its start: with the pid it names a process for good.
    pub(crate) started: u64,
}

/// A line of the audit log.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) event: Event,
    pub(crate) monotonic_ms: u64,
}

impl Bench {
    /// A device that is as its factory manifest says, for what has nothing to do with how it came there: restored.
    pub(crate) fn ready(name: &str) -> Result<Self> {
        Self::ready_of(Image::Test, name)
    }

    /// The same with any image.
    pub(crate) fn ready_of(image: Image, name: &str) -> Result<Self> {
        let moment = Moment { name: "ready", image, files: &[] };
        Self::restore(&moment, name, |saved| {
            Self::start(saved, machine_without_firmware(&Artefacts::new(), image, saved)?)
        })
    }

    /// A device that is as `manifests/demo.yaml` says, and that manifest's digest. Guests of its successors are in c0's memory.
    pub(crate) fn with_demo(name: &str) -> Result<(Self, Digest)> {
        let artefacts = Artefacts::new();
        let manifest = artefacts.workspace().join("manifests/demo.yaml");
        let files: Vec<_> =
            guest_files(&DEMO_GUESTS).map(|file| artefacts.guests().join(file)).chain([manifest]).collect();
        let moment = Moment { name: "demo", image: Image::Test, files: &files };
        let bench = Self::restore(&moment, name, |saved| {
            let mut bench = Self::ready(saved)?;
            bench.deliver(&DEMO_GUESTS)?;
            let folder = bench.folder("documents")?;
            let envelope = bench.author.sign(&folder, &bench.author.example("demo")?)?;
            bench.apply(&envelope)?;
            Ok(bench)
        })?;
        let status = bench.wait("the demo is converged", |status| converged(status).is_some())?;
        let digest = converged(&status).context("the demo was converged")?;
        Ok((bench, digest))
    }

    fn restore(moment: &Moment<'_>, name: &str, make: impl FnOnce(&str) -> Result<Self>) -> Result<Self> {
        let (artefacts, begun) = (Artefacts::new(), Instant::now());
        let device = snapshot::restore(&artefacts, moment, name, |saved| Ok(make(saved)?.device))?;
        println!("{name}: the device is ready after {:.1} s", begun.elapsed().as_secs_f32());
        Ok(Self::of(artefacts, device))
    }

    /// Boots a factory-new device and waits until it is as its factory manifest says.
    pub(crate) fn boot(name: &str) -> Result<Self> {
        Self::start(name, machine(&Artefacts::new(), name)?)
    }

    /// The same with a machine that was set up otherwise.
    pub(crate) fn start(name: &str, machine: Builder) -> Result<Self> {
        let artefacts = Artefacts::new();
        let mut device = Device::start(artefacts.clone(), machine)?;
        println!("{name}: c0 answers {:.1} s after power-on", device.vm().uptime().as_secs_f32());
        let mut bench = Self::of(artefacts, device);
        bench.wait("the factory manifest is converged", |status| converged(status).is_some())?;
        println!("{name}: the device is ready after {:.1} s", bench.device.vm().uptime().as_secs_f32());
        Ok(bench)
    }

    /// A device that is there already.
    pub(crate) fn of(artefacts: Artefacts, device: Device) -> Self {
        Self { author: Author::new(&artefacts), device, artefacts }
    }

    /// Cuts the power and boots again; nothing is pushed.
    pub(crate) fn power_cycle(self) -> Result<Self> {
        let Self { device, artefacts, author } = self;
        Ok(Self { device: device.power_cycle()?, artefacts, author })
    }

    /// Runs a shell line in c0; it must succeed. Gives what it printed.
    pub(crate) fn c0(&self, line: &str) -> Result<String> {
        self.c0_with(line, b"")
    }

    /// The same with bytes on standard input.
    pub(crate) fn c0_with(&self, line: &str, input: &[u8]) -> Result<String> {
        let output = self.device.ssh().run_with_stdin(["sh", "-c", line], input)?;
        ensure!(output.code == 0, "`{line}` in c0 ended with {}:\n{}{}", output.code, output.stdout, output.stderr);
        Ok(output.stdout)
    }

    /// A line in c0 that runs on; its lines come one by one.
    pub(crate) fn follow(&self, line: &str) -> Result<Follower> {
        Follower::start(self.device.ssh().client().arg(line))
    }

    /// Puts guests (`name-version`: image and signed descriptor) into c0's memory, from where `apply` pushes them.
    pub(crate) fn deliver(&self, guests: &[&str]) -> Result<()> {
        self.send(&self.artefacts.guests(), guest_files(guests).collect())
    }

    /// Puts files of a folder into c0's memory, streamed.
    pub(crate) fn send(&self, folder: &std::path::Path, files: Vec<String>) -> Result<()> {
        let mut tar = Command::new("tar")
            .args(["--create", "--owner=0", "--group=0", "-C"])
            .arg(folder)
            .args(files)
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to run `tar`")?;
        let stream = tar.stdout.take().expect("stdout is piped");
        let unpack = format!("mkdir -p {PARCEL} && tar -x -C {PARCEL}");
        let status = self.device.ssh().client().arg(unpack).stdin(stream).status().context("failed to run `ssh`")?;
        ensure!(status.success() && tar.wait()?.success(), "failed to send files of `{}` to c0", folder.display());
        Ok(())
    }

    /// Applies a manifest and waits until the device converged and is healthy; how long that took.
    pub(crate) fn apply(&self, envelope: &[u8]) -> Result<Duration> {
        let started = Instant::now();
        let line = format!("cat >/tmp/manifest.cose && catenoid apply /tmp/manifest.cose --guests {PARCEL} --wait=5m");
        self.c0_with(&line, envelope).map_err(|error| {
            let tail = self.device.console().tail();
            error.context(format!("the manifest did not converge; the console ends:\n{tail}"))
        })?;
        Ok(started.elapsed())
    }

    /// Applies a manifest and does not wait; what the device answered.
    pub(crate) fn submit(&self, envelope: &[u8]) -> Result<String> {
        let line = format!("cat >/tmp/manifest.cose && catenoid apply /tmp/manifest.cose --guests {PARCEL}");
        self.c0_with(&line, envelope)
    }

    /// The status of this moment.
    pub(crate) fn status(&self) -> Result<Status> {
        // Its exit code reports health, which is looked at here.
        let output = self.device.catenoid(&["status", "-o", "json"])?;
        read(&output.stdout)
    }

    /// Waits until the status is as `wanted`; the device reports each change.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Result<Status> {
        let deadline = Instant::now() + SOON;
        let mut last = None;
        // c0 itself may go down and come back: then another connection is made.
        while Instant::now() < deadline {
            self.device.ssh().wait(self.device.console(), SOON)?;
            let mut follower = self.follow("catenoid status --watch -o json")?;
            while let Some(line) = follower.line(deadline) {
                let status: Status = read(&line)?;
                if wanted(&status) {
                    return Ok(status);
                }
                last = Some(status);
            }
        }
        let subjects = last.map(|status| status.subjects).unwrap_or_default();
        let open: Vec<_> = subjects.iter().filter(|subject| !is_well(subject)).map(in_short).collect();
        bail!(
            "not within {} s: {what}; not well:\n{}\nconsole:\n{}",
            SOON.as_secs(),
            open.join("\n"),
            self.device.console().tail()
        )
    }

    /// Events after number `since`.
    pub(crate) fn events(&self, since: u64) -> Result<Vec<Event>> {
        self.c0(&format!("catenoid events --since {since} -o json"))?.lines().map(read).collect()
    }

    /// Waits for the first event after number `since` that is as wanted. A status is there before the events that report it.
    pub(crate) fn event(&self, since: u64, what: &str, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        let deadline = Instant::now() + SOON;
        let mut seen = since;
        loop {
            // Between its end and its next start the agent answers nobody.
            let events = self.events(seen).unwrap_or_default();
            if let Some(found) = events.iter().find(|event| wanted(event)) {
                return Ok(found.clone());
            }
            seen = events.last().map_or(seen, |event| event.number);
            ensure!(Instant::now() < deadline, "{what}: no such event after {since}");
            self.wait(&format!("{what}: an event after {seen}"), |status| status.last_event > seen)?;
        }
    }

    /// The audit log's last `count` lines, as they lie on the disk.
    pub(crate) fn audit(&mut self, count: usize) -> Result<Vec<Record>> {
        self.device.root(&format!("tail -n {count} /data/audit/audit.jsonl"))?.lines().map(read).collect()
    }

    /// The first process of every container.
    pub(crate) fn processes(&mut self) -> Result<BTreeMap<String, Process>> {
        // Few programs, however many processes there are: each costs some milliseconds.
        let script = "cd /sys/fs/cgroup/catenoid && grep -Hs . */run.*/cgroup.procs; echo; cd /proc
            pids=$(cat /sys/fs/cgroup/catenoid/*/run.*/cgroup.procs)
            grep -Hs '^NSpid:' $(for pid in $pids; do echo $pid/status; done) /dev/null; echo
            cat $(for pid in $pids; do echo $pid/stat; done) /dev/null 2>/dev/null; true";
        let listed = self.device.root(script)?;
        let mut parts = listed.split("\n\n");
        let mut lines = || parts.next().unwrap_or_default().lines();
        // By pid: its container.
        let member = |line: &str| Some((line.rsplit(':').next()?.to_owned(), line.split('/').next()?.to_owned()));
        let members: BTreeMap<_, _> = lines().filter_map(member).collect();
        // Those that are the first one inside.
        let first = |line: &str| {
            let is_first = line.split_whitespace().nth(2) == Some("1");
            line.split('/').next().filter(|_| is_first).map(str::to_owned)
        };
        let firsts: BTreeSet<_> = lines().filter_map(first).collect();
        let process = |line: &str| -> Option<(String, Process)> {
            let (pid, rest) = (line.split(' ').next()?, line.rsplit(") ").next()?);
            let name = members.get(pid).filter(|_| firsts.contains(pid))?.clone();
            Some((name, Process { pid: pid.parse().ok()?, started: rest.split(' ').nth(19)?.parse().ok()? }))
        };
        Ok(lines().filter_map(process).collect())
    }

    /// The first address of a container in its only zone.
    pub(crate) fn address(&self, container: &str) -> Result<String> {
        let status = self.status()?;
        let network = subject(&status, &format!("network/{container}"))?;
        let (_, addresses) = network.facts.shown().next().context("no address in the status")?;
        Ok(addresses.split('/').next().unwrap_or_default().to_owned())
    }

    /// The page that a container serves, asked for from c0.
    pub(crate) fn page(&self, address: &str) -> Result<String> {
        self.c0(&format!("curl -sS --fail --max-time 10 http://{address}/"))
    }

    /// A page as the guest has it.
    pub(crate) fn written_page(&self, file: &str) -> Result<String> {
        let path = self.artefacts.workspace().join("manifests/guests").join(file);
        fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))
    }

    /// A folder of this scenario on the host.
    pub(crate) fn folder(&mut self, name: &str) -> Result<PathBuf> {
        let folder = self.device.vm().dir().join(name);
        fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
        Ok(folder)
    }
}

/// A command in c0 that runs on; it is ended when this is dropped.
pub(crate) struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("failed to run `ssh`")?;
        let output = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        Ok(Self { child, lines })
    }

    /// The next line; none after `deadline` or at the end.
    pub(crate) fn line(&mut self, deadline: Instant) -> Option<String> {
        self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    /// Gives it a line to read.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().expect("stdin is piped");
        writeln!(input, "{line}").context("it reads no more")
    }

    /// All lines that came so far.
    pub(crate) fn so_far(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The files of guests (`name-version`): signed descriptor and image.
fn guest_files(guests: &[&str]) -> impl Iterator<Item = String> {
    guests.iter().flat_map(|guest| [format!("{guest}.guest.cose"), format!("{guest}.image")])
}

/// The manifest that the device matches in full now, with everything well.
pub(crate) fn converged(status: &Status) -> Option<Digest> {
    let is = status.converged.as_ref().map(|state| state.digest);
    let accepted = status.accepted.as_ref().map(|state| state.digest);
    let open = status.reconciling.is_some() || !status.subjects.iter().all(is_well);
    is.filter(|_| is == accepted && !open)
}

/// Synced and healthy.
pub(crate) fn is_well(subject: &SubjectStatus) -> bool {
    (subject.sync, subject.health) == (Sync::Synced, Health::Healthy)
}

/// A line of an error: what CI keeps of a long one is its beginning.
fn in_short(subject: &SubjectStatus) -> String {
    let why: Vec<_> = subject.conditions.iter().map(|why| format!("{}: {}", why.reason, why.message)).collect();
    format!("  {}: {:?}, {:?}: {}", subject.subject, subject.sync, subject.health, why.join("; "))
}

/// What a person is shown of a subject under this name.
pub(crate) fn fact<'a>(subject: &'a SubjectStatus, name: &str) -> Result<&'a str> {
    let found = subject.facts.shown().find(|(shown, _)| *shown == name);
    found.map(|(_, value)| value).with_context(|| format!("`{}` has no `{name}`", subject.subject))
}

/// The status of one subject.
pub(crate) fn subject<'a>(status: &'a Status, name: &str) -> Result<&'a SubjectStatus> {
    let found = status.subjects.iter().find(|subject| subject.subject.as_str() == name);
    found.with_context(|| {
        let all: Vec<_> = status.subjects.iter().map(|subject| subject.subject.as_str()).collect();
        format!("no `{name}` among {all:?}")
    })
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).with_context(|| format!("unexpected answer `{json}`"))
}

//! What a device must live through: a full disk, state that is deleted or damaged under its feet, a clock that is set, and
//! an agent that runs out of memory. Each is reported by name, nothing that runs is touched, and when the cause is gone all is
//! well again by itself, or by the one push or manifest that was asked for.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::chance::whole;
use catenoid_e2e::device::AGENT;
use catenoid_e2e::progress::Progress;
use catenoid_schema::control::{Event, Problem};
use catenoid_schema::digest::Digest;
use catenoid_schema::status::{Blame, Status};

use crate::bench::author::{self, resequenced};
use crate::bench::{Bench, Process, Record, SOON, converged, fact, subject};

/// A device with the containers of manifests/demo.yaml.
struct Scene {
    bench: Bench,
    digest: Digest,
    running: BTreeMap<String, Process>,
}

impl Scene {
    fn set(name: &str) -> Result<Self> {
        let (mut bench, digest) = Bench::with_demo(name)?;
        let running = bench.processes()?;
        Ok(Self { bench, digest, running })
    }

    /// An example with another sequence, signed.
    fn signed(bench: &mut Bench, example: &str, sequence: u64) -> Result<Vec<u8>> {
        let folder = bench.folder("documents")?;
        let yaml = bench.author.example(example)?;
        bench.author.sign(&folder, &resequenced(&yaml, sequence)?)
    }

    fn again(&mut self, example: &str, sequence: u64) -> Result<Vec<u8>> {
        Self::signed(&mut self.bench, example, sequence)
    }

    /// Everything runs on: the same first processes.
    fn untouched(&mut self, when: &str) -> Result<()> {
        let running = self.bench.processes()?;
        ensure!(running == self.running, "{when}: {running:?} runs instead of {:?}", self.running);
        Ok(())
    }

    /// Waits for a condition of the agent's own state; its message.
    fn wait_for_condition(&self, subject: &str, reason: &str) -> Result<String> {
        let found = |status: &Status| {
            let subject = status.subjects.iter().find(|held| held.subject.as_str() == subject)?;
            let condition = subject.conditions.iter().find(|held| held.reason == reason)?;
            ensure_blame(condition.blame);
            Some(condition.message.clone())
        };
        let status =
            self.bench.wait(&format!("{subject} is reported as {reason}"), |status| found(status).is_some())?;
        let message = found(&status).context("it was reported")?;
        println!("{subject}: {reason}: {message}");
        Ok(message)
    }

    /// Waits until nothing is wrong any more, with `digest` in force.
    fn well(&self, when: &str, digest: Digest) -> Result<()> {
        self.bench.wait(when, |status| converged(status) == Some(digest)).map(drop)
    }

    /// Waits for the next event of a kind; its message.
    fn event(&mut self, since: u64, kind: &str) -> Result<Event> {
        let event = self.bench.event(since, kind, |event| event.kind == kind)?;
        println!("{kind}: {}", event.message);
        Ok(event)
    }

    fn last_event(&self) -> Result<u64> {
        Ok(self.bench.status()?.last_event)
    }

    /// Runs `script` while the agent cannot see it: when all of its threads have stopped, which one in a write does not at once.
    fn freeze_and(&mut self, script: &str) -> Result<()> {
        let moving = "grep -h ^State: /proc/$agent/task/*/status | grep -qv stopped";
        let freeze = format!("kill -STOP $agent && while {moving}; do usleep 10000; done");
        self.bench.device.root(&format!("{AGENT} {freeze} && {script}")).map(drop)
    }

    /// Ends the agent, after `script` was run behind its back, and waits until it is back.
    fn restart_after(&mut self, script: &str) -> Result<()> {
        let started = self.bench.status()?.heartbeat.agent_started;
        self.freeze_and(&format!("{{ {script}; }} && kill -KILL $agent"))?;
        let back = |status: &Status| status.heartbeat.agent_started != started || status.heartbeat.passes < 3;
        self.bench.wait("the agent is back", back).map(drop)
    }

    /// What the device answers to a manifest that it must not take.
    fn refusal(&self, envelope: &[u8]) -> Result<Problem> {
        let put = "curl -sS --unix-socket /run/catenoid/control.sock -T - http://catenoid/v1/manifest";
        let answer = self.bench.c0_with(put, envelope)?;
        let problem: Problem = serde_json::from_str(&answer).with_context(|| format!("`{answer}` is no refusal"))?;
        println!("{}: {} ({:?})", problem.kind, problem.detail, problem.hint);
        Ok(problem)
    }
}

fn ensure_blame(blame: Option<Blame>) {
    assert_eq!(blame, Some(Blame::Administrator), "only the administrator can do something");
}

fn name(problem: &Problem) -> &str {
    problem.kind.rsplit(':').next().unwrap_or_default()
}

/// Numbers of events follow each other: none was lost on the way to the disk.
fn assert_gapless(records: &[Record]) {
    let gaps: Vec<_> = records.windows(2).filter(|pair| pair[0].event.number + 1 != pair[1].event.number).collect();
    assert!(gaps.is_empty(), "{gaps:#?}");
}

const FILL: &str = "n=0
    for size in 536870912 67108864 8388608 1048576 65536 4096; do
      while fallocate -l $size /data/fill.$n 2>/dev/null; do n=$((n+1)); done; rm -f /data/fill.$n
    done
    while head -c 4096 /dev/zero 2>/dev/null >/data/fill.$n; do n=$((n+1)); done
    sync; df -k /data | awk 'END { print $4 }'";

/// With no file left as well: [whole: no-inodes]
#[test]
fn vm_disk_full() -> Result<()> {
    let mut progress = Progress::open()?;
    let mut scene = Scene::set("disk-full")?;
    let next = scene.again("demo-2", 3)?;
    let held = "cd /data; ls -l ledger incoming; sha256sum ledger/*";
    let before = scene.bench.device.root(held)?;
    let left = scene.bench.device.root(FILL)?;
    println!("{left} KiB are left");
    scene.wait_for_condition("state/disk", "DiskFull")?;

    let push = scene.bench.c0("! catenoid guests push /tmp/parcel/nginx-1.0.1.image 2>&1")?;
    println!("{push}");
    ensure!(push.contains("no space for"), "a push says why it failed: {push}");
    // Nothing of its guests is missing: only the ledger has no room for it.
    let small = scene.again("demo", 3)?;
    let problem = scene.refusal(&small)?;
    ensure!((name(&problem), problem.blame) == ("ledger-unwritable", Blame::Administrator), "{problem:#?}");
    ensure!(problem.hint.is_some(), "{problem:#?}");
    // Until the last block of the audit log is full as well.
    let again = "cat >/tmp/small; for n in $(seq 1 40); do curl -sS -o /dev/null \
                 --unix-socket /run/catenoid/control.sock -T /tmp/small http://catenoid/v1/manifest; done";
    scene.bench.c0_with(again, &small)?;
    scene.wait_for_condition("state/audit", "AuditLogUnwritable")?;
    scene.untouched("the disk is full")?;
    ensure!(scene.bench.device.root(held)? == before, "nothing is left by halves");
    scene.restart_after("true")?;
    scene.untouched("the agent was restarted on a full disk")?;
    ensure!(scene.bench.status()?.accepted.map(|held| held.digest) == Some(scene.digest));

    scene.bench.device.root("rm /data/fill.*")?;
    scene.well("there is room again", scene.digest)?;
    assert_gapless(&scene.bench.audit(30)?);
    scene.untouched("there is room again")?;
    scene.bench.apply(&next)?;

    if whole() {
        // 131072 files take TCG two minutes.
        scene.running = scene.bench.processes()?;
        let fill = "mkdir /data/inodes; cd /data/inodes; seq 1 200000 | xargs touch 2>/dev/null; df -i /data | tail -1";
        println!("{}", scene.bench.device.root(fill)?);
        scene.wait_for_condition("state/disk", "DiskFull")?;
        let push = scene.bench.c0("! catenoid guests push /tmp/parcel/nginx-1.0.0.image 2>&1")?;
        ensure!(push.contains("no file for"), "a push says why it failed: {push}");
        let after = scene.again("demo-2", 4)?;
        let problem = scene.refusal(&after)?;
        ensure!(name(&problem) == "ledger-unwritable", "{problem:#?}");
        scene.untouched("there are no inodes")?;
        scene.bench.device.root("rm -rf /data/inodes")?;
        scene.well("there are inodes again", author::digest(&next)?)?;
        progress.done("no inodes", "fillings")?;
    }
    Ok(())
}

#[test]
fn vm_state_directory_removed() -> Result<()> {
    let mut scene = Scene::set("state-removed")?;
    let demo = scene.again("demo", 2)?;

    // The ledger: what is accepted is known, and written again, maybe while `rm` is at it.
    let since = scene.last_event()?;
    scene.bench.device.root("rm -rf /data/ledger || true")?;
    scene.event(since, "LedgerRestored")?;
    scene.bench.device.root("until [ -e /data/ledger/a ] || [ -e /data/ledger/b ]; do usleep 100000; done")?;
    let since = scene.last_event()?;
    scene.restart_after("rm -rf /data/ledger")?;
    scene.event(since, "LedgerRestored")?;
    scene.well("the ledger is there again", scene.digest)?;
    scene.untouched("the ledger was removed")?;

    // The audit log: it begins anew, and says so.
    let since = scene.last_event()?;
    scene.bench.device.root("rm -rf /data/audit || true")?;
    scene.event(since, "AuditLogLost")?;
    ensure!(scene.bench.audit(9)?[0].event.number > since, "its numbers go on");
    scene.restart_after("rm -rf /data/audit")?;
    scene.untouched("the audit log was removed")?;

    // Pushes on their way: they begin anew.
    let half = "head -c 100000 /tmp/parcel/nginx-1.0.1.image | curl -sS --unix-socket /run/catenoid/control.sock \
                -T - http://catenoid/v1/blobs/sha256:$(sha256sum /tmp/parcel/nginx-1.0.1.image | cut -d ' ' -f 1)";
    scene.bench.c0(half)?;
    scene.bench.device.root("rm -rf /data/incoming || true")?;
    scene.bench.c0("catenoid guests push /tmp/parcel/nginx-1.0.1.image")?;

    // The blobs: what runs holds them open; they are asked for, and taken.
    scene.bench.device.root("rm -rf /data/blobs || true")?;
    let waits = |status: &Status| {
        let waiting = |held: &&catenoid_schema::status::SubjectStatus| {
            held.conditions.iter().any(|condition| condition.reason == "WaitingForBlob")
        };
        status.subjects.iter().filter(waiting).count() == 2
    };
    let status = scene.bench.wait("the guests are asked for that are not in the factory bundle", waits)?;
    let asked = status.subjects.iter().flat_map(|held| &held.conditions);
    asked.filter(|held| held.reason == "WaitingForBlob").for_each(|held| println!("{}", held.message));
    scene.untouched("the blobs were removed")?;
    scene.bench.apply(&demo)?;
    scene.untouched("the blobs were pushed again")?;
    let since = scene.last_event()?;
    scene.restart_after("rm -rf /data/blobs")?;
    scene.event(since, "GuestBroken")?;
    scene.untouched("the agent started without blobs")?;
    scene.bench.wait("the agent that was started answers", |_| true)?;
    scene.bench.apply(&demo)?;
    scene.untouched("the blobs were pushed again")?;
    Ok(())
}

#[test]
fn vm_all_state_removed() -> Result<()> {
    let mut scene = Scene::set("all-state-removed")?;
    // `rm` may complain: the ledger is written again while it is removed.
    scene.bench.device.root("rm -rf /data/ledger /data/blobs /data/incoming /data/audit 2>/dev/null; true")?;
    let next = scene.again("demo-2", 3)?;
    scene.bench.apply(&next)?;
    let after = scene.bench.processes()?;
    ensure!(after["core0"] == scene.running["core0"], "c0 needed no change");

    // Without blobs and after a power cut nothing can run: c0's guest is taken from the factory, the others are asked for.
    scene.bench.device.root("rm -rf /data/blobs; sync")?;
    let bench = scene.bench.power_cycle()?;
    let running = |status: &Status, name: &str| {
        let held = status.subjects.iter().find(|held| held.subject.as_str() == name);
        held.is_some_and(|held| held.conditions.iter().any(|condition| condition.reason == "Running"))
    };
    bench.wait("c0 runs and the others wait", |status| {
        running(status, "container/core0") && !running(status, "container/web")
    })?;
    bench.deliver(&["nginx-1.0.1", "busybox-1.0.0"])?;
    bench.apply(&next)?;
    Ok(())
}

/// What the disk damages of c0's guest comes from the factory bundle, and of any other can be pushed again.
#[test]
fn vm_damaged_blobs_are_replaced() -> Result<()> {
    let mut scene = Scene::set("damaged-blobs")?;
    let demo = scene.again("demo", 2)?;
    let status = scene.bench.status()?;
    // A descriptor is called as the guest's id begins.
    let descriptor = |guest: &str| -> Result<String> {
        let id = fact(subject(&status, guest)?, "id")?;
        Ok(format!("$(ls /data/blobs/{id}*)"))
    };
    let (core, web) = (descriptor("guest/catenoid-core@0.1.0")?, descriptor("guest/nginx@1.0.0")?);

    let since = scene.last_event()?;
    scene.restart_after(&format!("for file in {core} {web}; do echo x >>$file; done"))?;
    scene.event(since, "BlobAltered")?;
    scene.event(since, "BlobsRestored")?;
    scene.untouched("descriptors were altered")?;
    scene.bench.apply(&demo)?;
    scene.well("the other was pushed again", scene.digest)?;

    // The image that c0 runs from, which stays open, is the largest of all.
    let since = scene.last_event()?;
    scene.bench.device.root("rm /data/blobs/$(ls -S /data/blobs | head -1)")?;
    scene.event(since, "BlobsRestored")?;
    scene.well("the image is there again", scene.digest)?;
    scene.untouched("an image was removed")?;
    Ok(())
}

#[test]
fn vm_corrupt_ledger_slot() -> Result<()> {
    let mut scene = Scene::set("corrupt-slot")?;
    let digest = scene.digest;

    // While the device is on, it knows what the slots should hold. The factory manifest is in `a`, this one in `b`.
    for slots in ["a", "b", "a b"] {
        for restarted in [false, true] {
            let since = scene.last_event()?;
            let damage = format!("cd /data/ledger; for slot in {slots}; do echo nonsense >$slot; done");
            if restarted {
                scene.restart_after(&damage)?;
            } else {
                scene.bench.device.root(&damage)?;
            }
            scene.event(since, "LedgerRestored")?;
            scene.well("the ledger is whole", digest)?;
            scene.untouched(&format!("slots {slots} were damaged"))?;
        }
    }

    Ok(())
}

/// While the device is off, the other slot counts.
#[test]
fn vm_ledger_damaged_while_off() -> Result<()> {
    let mut scene = Scene::set("damaged-while-off")?;
    // Each round begins with a manifest in each.
    for (round, damaged) in ["older", "newer", "both"].into_iter().enumerate() {
        let sequence = 3 + 2 * round as u64;
        let (before, newest) = (scene.again("demo", sequence)?, scene.again("demo", sequence + 1)?);
        scene.bench.apply(&before)?;
        let slot = |scene: &mut Scene| scene.bench.device.root("md5sum /data/ledger/a");
        let held = slot(&mut scene)?;
        scene.bench.apply(&newest)?;
        let [newer, older] = if slot(&mut scene)? == held { ["b", "a"] } else { ["a", "b"] };
        let (slots, expected, reason) = match damaged {
            "older" => (older, 1 + sequence, "LedgerSlotCorrupt"),
            "newer" => (newer, sequence, "LedgerSlotCorrupt"),
            _ => ("a b", 1, "LedgerLost"),
        };
        // Frozen, it does not mend what is damaged before the power goes.
        let damage = format!("cd /data/ledger; for slot in {slots}; do echo nonsense >$slot; done; sync");
        scene.freeze_and(&damage)?;
        let Scene { bench, digest, running } = scene;
        scene = Scene { bench: bench.power_cycle()?, digest, running };
        let message = scene.wait_for_condition("state/ledger", reason)?;
        ensure!(message.contains("apply the newest manifest again"), "{message}");
        let held = scene.bench.status()?.accepted.context("nothing is accepted")?;
        ensure!(held.sequence == expected, "{held:?} with the {damaged} damaged");
        // It is reported until somebody knows better, also by an agent that did not see the damage.
        scene.restart_after("true")?;
        scene.wait_for_condition("state/ledger", reason)?;
        if expected == 1 {
            // The factory's manifest let the others' guests go.
            scene.bench.deliver(&["nginx-1.0.0", "busybox-1.0.0"])?;
        } else {
            scene.bench.c0("mkdir -p /tmp/parcel")?;
        }
        scene.bench.apply(&newest)?;
        scene.well("the newest manifest is in force", author::digest(&newest)?)?;
    }
    Ok(())
}

/// The end of every certificate and manifest here lies before this one.
const FAR_AHEAD: &str = "date -s @4102444800";
/// Before any of them was made.
const LONG_AGO: &str = "date -s @1000000";

#[test]
fn vm_clock_jumps() -> Result<()> {
    let mut scene = Scene::set("clock")?;
    let next = scene.again("demo-2", 3)?;
    let now = scene.bench.device.root("date +%s")?;

    for (jump, refusal, blame) in [
        (FAR_AHEAD, "certificate-expired", Blame::ManifestAuthor),
        (LONG_AGO, "certificate-not-yet-valid", Blame::Administrator),
    ] {
        let since = scene.last_event()?;
        scene.bench.device.root(jump)?;
        scene.event(since, "ClockSet")?;
        let problem = scene.refusal(&next)?;
        ensure!((name(&problem), problem.blame) == (refusal, blame), "{problem:#?}");
        scene.untouched(jump)?;
        scene.restart_after("true")?;
        scene.well("what is held stays in force", scene.digest)?;
        scene.untouched(jump)?;
    }

    // Pushed long ago by that clock, and needed by no manifest yet: it stays, whatever a pass finds.
    scene.bench.c0("catenoid guests push /tmp/parcel/nginx-1.0.1.*")?;
    let since = scene.last_event()?;
    scene.bench.device.root(&format!("date -s @{now}"))?;
    scene.event(since, "ClockSet")?;
    scene.bench.c0("rm /tmp/parcel/nginx-1.0.1.*")?;
    scene.bench.apply(&next)?;
    let blobs = |scene: &mut Scene| scene.bench.device.root("ls /data/blobs | wc -l");
    ensure!(blobs(&mut scene)? == "6", "descriptor and image of three guests");

    // Pushed in the far future by that clock: garbage once another manifest does not need it.
    scene.bench.device.root(FAR_AHEAD)?;
    scene.bench.c0("catenoid guests push /tmp/parcel/nginx-1.0.0.*")?;
    scene.bench.device.root(&format!("date -s @{now}"))?;
    ensure!(blobs(&mut scene)? == "8", "they may be for the next manifest");
    let fourth = scene.again("demo-2", 4)?;
    scene.bench.apply(&fourth)?;
    ensure!(blobs(&mut scene)? == "6", "they were not");
    Ok(())
}

/// Takes memory in the agent's group until nothing is left of it.
const EAT: &str = "echo $$ >/sys/fs/cgroup/catenoid-agent/cgroup.procs && dd if=/dev/zero of=/dev/null bs=400M count=1";
/// What the agent and its tools may use (agent/src/init/pid1.rs).
const LIMIT: u64 = 256 << 20;

#[test]
fn vm_out_of_memory_in_agent_cgroup() -> Result<()> {
    let mut scene = Scene::set("agent-memory")?;
    let group = "/sys/fs/cgroup/catenoid-agent";
    let read = |scene: &mut Scene, file: &str| scene.bench.device.root(&format!("cat {group}/{file}"));
    ensure!(read(&mut scene, "memory.max")? == LIMIT.to_string());
    ensure!(read(&mut scene, "memory.oom.group")? == "1");
    let members =
        scene.bench.device.root(&format!("for p in $(cat {group}/cgroup.procs); do cat /proc/$p/comm; done"))?;
    ensure!(members == "init", "only the agent is in there: {members}");
    println!("after the first manifest: {} of {LIMIT} bytes at most", read(&mut scene, "memory.peak")?);

    // As many manifests at once as are taken, each as large as one may be.
    let flood = "head -c 2097152 /dev/zero >/tmp/large; for n in $(seq 1 32); do curl -sS -o /dev/null \
                 --unix-socket /run/catenoid/control.sock -T /tmp/large http://catenoid/v1/manifest & done; wait";
    scene.bench.c0(flood)?;
    println!("after a flood of manifests: {} bytes at most", read(&mut scene, "memory.peak")?);
    scene.untouched("a flood of manifests")?;

    let (since, mark) = (scene.last_event()?, scene.bench.device.console().mark());
    // It is ended together with the agent: its own script has no answer.
    scene.bench.device.root(&format!("(sh -c '{EAT}' >/dev/null 2>&1 &)"))?;
    scene.bench.device.vm().wait_console_from(mark, "the agent killed: out of memory", SOON)?;
    scene.event(since, "AgentOutOfMemory")?;
    scene.well("the agent is back", scene.digest)?;
    scene.untouched("the agent ran out of memory")?;

    // A limit that somebody lowered ends it again and again, with pauses, until PID 1 sets it again.
    let since = scene.last_event()?;
    scene.bench.device.root(&format!("echo 1M >{group}/memory.max"))?;
    scene.event(since, "AgentOutOfMemory")?;
    scene.well("the agent is back", scene.digest)?;
    ensure!(read(&mut scene, "memory.max")? == LIMIT.to_string());
    scene.untouched("the agent's limit was lowered")?;
    Ok(())
}

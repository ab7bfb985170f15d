//! What is changed by hand is reported and put right, while nothing else is touched.

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_schema::control::Event;
use catenoid_schema::status::Status;

use crate::bench::author::resequenced;
use crate::bench::{Bench, author, converged, fact, subject};

/// From the change to the device as it was.
const LIMIT_MS: u64 = 1000;
/// How often a change is made until it was put right in that time: the machine may have something else to do.
const TRIES: usize = 3;
/// The last lines of the audit log that cover one change.
const LINES: usize = 60;
/// Prints the milliseconds since boot.
const STAMP: &str = "awk '{ print int($1 * 1000) }' /proc/uptime";
const SCHEDULER: &str = "/sys/block/vda/queue/scheduler";
/// The probe's own dmsetup.
const DMSETUP: &str = "chroot /proc/$PROBE/root /usr/sbin/dmsetup";

/// One change by hand.
struct Row {
    name: &'static str,
    /// Whom it is reported of.
    subject: &'static str,
    /// Does it, as root in the root namespace.
    change: String,
    /// What the report has to say.
    reported: &'static str,
    /// Prints `ok` in the root namespace once it is right again.
    check: String,
}

/// [req->APS-04]
#[test]
fn vm_drift_heals() -> Result<()> {
    let mut bench = Bench::ready("drift")?;
    let folder = bench.folder("documents")?;
    let shared = limited(&bench.author.example("demo")?, "weight: 500");
    let demo = bench.author.sign(&folder, &shared)?;
    bench.deliver(&["nginx-1.0.0", "busybox-1.0.0"])?;
    bench.apply(&demo)?;
    let digest = author::digest(&demo)?;
    let whole = converged(&bench.status()?);
    ensure!(whole == Some(digest), "the device is as the manifest says");
    let before = bench.processes()?;

    println!("{:<44} {:>9} {:>9}  reported", "changed by hand", "found ms", "healed ms");
    for index in 0..rows(&bench.status()?)?.len() {
        let mut tries = Vec::new();
        while tries.last().is_none_or(|healed| *healed >= LIMIT_MS) {
            // Who was ended by a try is another one now.
            let row = rows(&bench.status()?)?.swap_remove(index);
            let (found, healed, reported) = heal(&mut bench, &row)?;
            println!("{:<44} {found:>9} {healed:>9}  {reported}", row.name);
            assert!(reported.contains(row.reported), "{}: `{reported}`", row.name);
            tries.push(healed);
            ensure!(healed < LIMIT_MS || tries.len() < TRIES, "{}: healed only after {tries:?} ms", row.name);
        }
    }

    let after = bench.processes()?;
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (container, process) in &before {
        assert_eq!(process != &after[container], container == "web", "only `web` was ended: {container}");
    }
    bench.wait("everything is well", |status| converged(status) == Some(digest))?;
    reads_of_an_image_wait(&mut bench)
}

/// The demo whose `web` has a limit of the disk.
fn limited(demo: &str, io: &str) -> String {
    demo.replace("cpu: 1.0, pids: 64 }", &format!("cpu: 1.0, pids: 64, io: {{ {io} }} }}"))
}

/// What a container reads of its image goes through dm-verity, a loop device and the file system of the data: its limit
/// of the disk holds all the same.
fn reads_of_an_image_wait(bench: &mut Bench) -> Result<()> {
    let sequence = bench.status()?.accepted.context("nothing is accepted")?.sequence + 1;
    let slow = limited(&resequenced(&bench.author.example("demo")?, sequence)?, "readBps: 1MiB");
    let folder = bench.folder("slow")?;
    let envelope = bench.author.sign(&folder, &slow)?;
    bench.apply(&envelope)?;
    let status = bench.status()?;
    let web = subject(&status, "container/web")?;
    assert_eq!(fact(web, "io.readBps")?, "1MiB");

    let group = "/sys/fs/cgroup/catenoid/web";
    let files = format!("/proc/{}/root/usr/lib/x86_64-linux-gnu/*.so.*", fact(web, "pid")?);
    // A group that has read nothing yet has no line.
    let counted = format!(
        "n=$(sed -n \"s/^$(cat /sys/block/vda/dev) rbytes=\\([0-9]*\\) .*/\\1/p\" {group}/io.stat); echo ${{n:-0}}"
    );
    let script = format!(
        "echo 3 >/proc/sys/vm/drop_caches; {counted}; {STAMP}; \
         sh -c 'echo $$ >{group}/cgroup.procs; exec cat {files} >/dev/null'; {STAMP}; {counted}"
    );
    let printed = bench.device.root(&script)?;
    let numbers = printed.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>();
    let [before, began, ended, after] = numbers.with_context(|| printed.clone())?[..] else { bail!("{printed}") };
    let (bytes, milliseconds) = (after - before, ended - began);
    ensure!(bytes > 1 << 20, "the group has only {bytes} bytes of what its process read");
    ensure!(milliseconds >= bytes * 900 / (1 << 20), "{bytes} bytes took {milliseconds} ms: nobody waited");
    Ok(())
}

/// Makes one change; milliseconds until it was reported and until everything was right again, and what was reported.
fn heal(bench: &mut Bench, row: &Row) -> Result<(u64, u64, String)> {
    let since = bench.status()?.last_event;
    let printed = bench.device.root(&format!("{STAMP}; {}", row.change))?;
    let stamp = printed.lines().next().unwrap_or_default();
    let changed: u64 = stamp.parse().with_context(|| format!("{}: `{printed}` begins with no time", row.name))?;
    let about = |event: &Event| event.subject.as_ref().is_some_and(|subject| subject.as_str() == row.subject);
    let drift = bench.event(since, row.name, |event| event.kind == "DriftFound" && about(event))?;
    let ended = bench.event(drift.number, row.name, |event| {
        event.kind == "PassEnded" && event.message.ends_with("done, converged")
    })?;
    let records = bench.audit(LINES)?;
    let at = |event: &Event| {
        let found = records.iter().find(|record| record.event.number == event.number);
        found.map(|record| record.monotonic_ms).with_context(|| format!("{}: no {event:?} in {records:#?}", row.name))
    };
    let check = bench.device.root(&row.check)?;
    ensure!(check.lines().last() == Some("ok"), "{}: not right again: {check}", row.name);
    Ok((at(&drift)? - changed, at(&ended)? - changed, drift.message))
}

fn rows(status: &Status) -> Result<Vec<Row>> {
    let fact = |name: &str, fact: &str| self::fact(subject(status, name)?, fact);
    let guest = fact("guest/nginx@1.0.0", "id")?;
    let group = "/sys/fs/cgroup/catenoid/web";
    let leaf = format!("{group}/run.{}", fact("container/web", "launch")?);
    let init = fact("container/web", "pid")?;
    // The outer end of web's interface: the number of the other end is reported inside.
    let outer = format!(
        "n=$(cat /proc/{init}/root/sys/class/net/plant0/iflink); \
         p=$(grep -lx $n /sys/class/net/cv-*/ifindex | cut -d / -f 5)"
    );
    let inside = format!("nsenter -t {} -n", fact("container/core0", "pid")?);
    let shared = format!("grep -q '\\[bfq\\]' {SCHEDULER} && grep -qx 'default 500' {group}/io.bfq.weight && echo ok");
    let row = |name, subject, change: String, reported, check: String| Row { name, subject, change, reported, check };
    let mounted = format!("grep -q ' /run/catenoid/guests/{guest} ' /proc/1/mountinfo && echo ok");
    Ok(vec![
        row(
            "memory.max of a container",
            "container/web",
            format!("cat {group}/memory.max >/run/was; echo 999997440 >{group}/memory.max"),
            "memory is ",
            format!("cmp {group}/memory.max /run/was && echo ok"),
        ),
        row(
            "pids.max of a container",
            "container/web",
            format!("echo max >{group}/pids.max"),
            "pids is max, not ",
            format!("grep -qx max {group}/pids.max || echo ok"),
        ),
        row(
            "io.max of a container",
            "container/web",
            format!("echo $(cat /sys/block/vda/dev) rbps=262144 >{group}/io.max"),
            "io.readBps is 256KiB, not max",
            format!("[ -z \"$(cat {group}/io.max)\" ] && echo ok"),
        ),
        row(
            "io.bfq.weight of a container",
            "container/web",
            format!("echo 200 >{group}/io.bfq.weight"),
            "io.weight is 200, not 500",
            shared.clone(),
        ),
        row(
            "the scheduler of the disk, and io.bfq.weight",
            "container/web",
            format!("echo none >{SCHEDULER}; echo 200 >{group}/io.bfq.weight"),
            "io.weight needs the scheduler `bfq`",
            shared,
        ),
        row(
            "a container is frozen",
            "container/web",
            format!("echo 1 >{leaf}/cgroup.freeze"),
            "its processes are frozen, not running",
            format!("grep -qx 'frozen 0' {leaf}/cgroup.events && echo ok"),
        ),
        row(
            "the veth of a container is removed",
            "network/web",
            format!("{outer}; ip link del $p"),
            "it is not joined to zone `plant`",
            format!("{outer}; [ -n \"$p\" ] && echo ok"),
        ),
        row(
            "a bridge is switched off",
            "zone/plant",
            "ip link set cz-plant down".to_owned(),
            "has its link off, not on",
            "ip link show cz-plant | grep -q '[<,]UP[,>]' && echo ok".to_owned(),
        ),
        row(
            "the rules of the root namespace are flushed",
            "firewall/root",
            "nft flush ruleset".to_owned(),
            "lines of rules are missing",
            "nft list table bridge catenoid >/dev/null && nft list table inet catenoid >/dev/null && echo ok"
                .to_owned(),
        ),
        row(
            "the rules of c0 are flushed",
            "firewall/core0",
            format!("{inside} nft flush ruleset"),
            "lines of rules are missing",
            format!("{inside} nft list table inet catenoid >/dev/null && echo ok"),
        ),
        row(
            "an address of c0 is removed",
            "network/core0",
            format!("{inside} ip -6 addr flush dev plant0 scope global"),
            "has the addresses ",
            format!("{inside} ip -6 addr show dev plant0 | grep -q 'scope global' && echo ok"),
        ),
        row(
            "a guest's root is unmounted",
            "guest/nginx@1.0.0",
            format!("umount -l /run/catenoid/guests/{guest}"),
            "its image is mapped and not mounted",
            mounted.clone(),
        ),
        row(
            "a verity device is detached",
            "guest/nginx@1.0.0",
            format!("{DMSETUP} wipe_table --noudevsync --noflush catenoid1-guest-{guest}"),
            "its image is mapped through another table and mounted",
            format!("{mounted}; {DMSETUP} table catenoid1-guest-{guest} | grep -q ' verity ' || echo no"),
        ),
        row(
            "the first process of a container is killed",
            "container/web",
            format!("kill -9 {init}"),
            "was killed by SIGKILL",
            format!("grep -qx 'populated 1' {leaf}/cgroup.events && echo ok"),
        ),
        row(
            "the namespaces of a container are removed",
            "container/web",
            "cd /run/catenoid/namespaces; umount web/net web/user; rm -r web".to_owned(),
            "it runs outside of the namespaces that are its own",
            format!(
                "first=$(head -n 1 {leaf}/cgroup.procs)
                   [ $(stat -L -c %i /proc/$first/ns/net) = $(stat -c %i /run/catenoid/namespaces/web/net) ] && echo ok"
            ),
        ),
    ])
}

/// Settings of the whole kernel are looked at in each pass; nobody tells when one is changed.
#[test]
fn vm_kernel_settings_drift_heals() -> Result<()> {
    let mut bench = Bench::ready("settings")?;
    let since = bench.status()?.last_event;
    let changed = [("kernel/kptr_restrict", "0", "2"), ("fs/protected_symlinks", "0", "1"), ("kernel/sysrq", "1", "0")];
    for (key, other, _) in changed {
        bench.device.root(&format!("echo {other} >/proc/sys/{key}"))?;
    }
    for (key, other, wanted) in changed {
        let reported = format!("`{key}` was {other}, not {wanted}");
        bench.event(since, key, |event| event.kind == "KernelSettingHealed" && event.message == reported)?;
        ensure!(bench.device.root(&format!("cat /proc/sys/{key}"))? == wanted, "{key}");
    }
    Ok(())
}

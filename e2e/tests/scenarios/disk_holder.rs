//! Whoever has the disk in hand can bend all that lies on it, and put things beside what is signed: the device comes to c0 or
//! says why not, no byte that nobody signed runs, and nothing outside of the data partition is other than before.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::chance::{Chance, whole};
use catenoid_e2e::device::{AGENT, Image, machine, machine_without_firmware};
use catenoid_e2e::progress::Progress;
use catenoid_e2e::{Artefacts, Device};

use crate::bench::{Bench, SOON, converged, is_well, subject};

/// A shape that the data partition has when the agent begins.
struct Shape {
    name: &'static str,
    /// Makes it, in `/data`, while the agent is stopped.
    bend: &'static str,
    /// What is said of it, in an event of one of these kinds or none.
    event: Option<&'static str>,
    /// After which power cycle it is there, with the others of that number: those that exclude each other have different
    /// ones. Where there are more of them than cycles, the later one of a number takes the place of the earlier.
    cycle: usize,
}

const fn shape(cycle: usize, name: &'static str, bend: &'static str, event: Option<&'static str>) -> Shape {
    Shape { name, bend, event, cycle }
}

const FOREIGN: Option<&str> = Some("ForeignFile");
const CYCLES: usize = 3;

/// For the shell, below `/data`: `fix` sets the flag that forbids changes, `grow` the one that permits more bytes only; `unfix`
/// takes both.
const FIX: &str = "change() { chroot /proc/$PROBE/root /usr/bin/chattr $1 /proc/1/root/data/$2; };
    fix() { for f; do change +i $f; done; };
    grow() { for f; do change +a $f; done; };
    unfix() { change '-R -f -i -a' . >/dev/null 2>&1 || true; };";

/// One line for each kind of thing in the place of each kind of file; a new one joins here.
const SHAPES: &[Shape] = &[
    shape(
        0,
        "the audit log is a link to the loader's list",
        "rm audit/audit.jsonl; ln -s /etc/ld.so.preload audit/audit.jsonl",
        FOREIGN,
    ),
    shape(
        2,
        "the audit log is a link to a file that is there",
        "rm audit/audit.jsonl; ln -s /etc/catenoid/modules audit/audit.jsonl",
        FOREIGN,
    ),
    shape(2, "the audit log is a pipe", "rm audit/audit.jsonl; mkfifo audit/audit.jsonl", FOREIGN),
    shape(0, "the audit log is a folder", "rm audit/audit.jsonl; mkdir audit/audit.jsonl", FOREIGN),
    shape(0, "the audit log is a device", "rm audit/audit.jsonl; mknod audit/audit.jsonl c 1 3", FOREIGN),
    shape(
        0,
        "the older log is a link",
        "rm -f audit/audit.1.jsonl; ln -s /etc/ld.so.preload audit/audit.1.jsonl",
        FOREIGN,
    ),
    shape(1, "the folder of the log is a link", "rm -rf audit; ln -s /etc audit", FOREIGN),
    shape(1, "the folder of the log is a file", "rm -rf audit; echo >audit", FOREIGN),
    shape(0, "a slot is a pipe", "rm -f ledger/a; mkfifo ledger/a", FOREIGN),
    shape(0, "both slots are pipes", "rm -f ledger/?; mkfifo ledger/a ledger/b", FOREIGN),
    shape(1, "both slots are folders", "rm -f ledger/?; mkdir -p ledger/a/x ledger/b/y", FOREIGN),
    shape(2, "both slots are links", "rm -f ledger/?; ln -s /etc/ld.so.preload ledger/a; ln -s b ledger/b", FOREIGN),
    shape(2, "a slot has a second name", "rm -f ledger/b; ln ledger/a ledger/b", FOREIGN),
    shape(2, "a slot and the log are one file", "rm -f ledger/a; ln -f audit/audit.jsonl ledger/a", FOREIGN),
    shape(0, "what a slot is written to is a folder", "mkdir -p ledger/a.new ledger/b.new", FOREIGN),
    shape(
        1,
        "what a slot is written to is a link",
        "ln -sf /etc/ld.so.preload ledger/a.new; ln -sf /etc/ld.so.preload ledger/b.new",
        FOREIGN,
    ),
    shape(1, "the ledger is a link to the root", "rm -rf ledger; ln -s / ledger", FOREIGN),
    shape(1, "the ledger is a pipe", "rm -rf ledger; mkfifo ledger", FOREIGN),
    shape(2, "a slot cannot be changed", "touch ledger/b; fix ledger/a ledger/b ledger", FOREIGN),
    shape(1, "the blobs are a link", "mv blobs kept; ln -s /data/kept blobs", FOREIGN),
    shape(1, "pushes are a link", "rm -rf incoming; ln -s /run/catenoid incoming", FOREIGN),
    shape(1, "pushes are a file", "rm -rf incoming; echo >incoming", FOREIGN),
    shape(1, "every blob is a link", "cd blobs; for f in *; do mv $f ../$f; ln -s ../$f $f; done", FOREIGN),
    shape(0, "every blob is a pipe", "cd blobs; for f in *; do rm $f; mkfifo $f; done", FOREIGN),
    shape(0, "every blob is a folder", "cd blobs; for f in *; do rm $f; mkdir $f; done", FOREIGN),
    shape(0, "2000 more files among the blobs", "cd blobs; seq 2000 | xargs touch", FOREIGN),
    shape(
        0,
        "what a slot is written to is a folder that cannot be changed",
        "mkdir -p ledger/b.new/x; fix ledger/b.new",
        FOREIGN,
    ),
    shape(
        0,
        "the name aside is taken",
        "rm -rf ledger/b; mkfifo ledger/b; mkdir -p ledger/b.foreign-$(stat -c %i ledger/b)/x",
        FOREIGN,
    ),
    shape(
        0,
        "every push is a folder",
        "mkdir -p incoming; for f in saved/*; do mkdir -p incoming/${f#saved/}.part/x; done",
        FOREIGN,
    ),
    shape(
        0,
        "40 files among the pushes, 300 among the blobs",
        "mkdir -p incoming blobs; (cd incoming; seq 40 | xargs touch); cd blobs; seq 300 | xargs touch",
        FOREIGN,
    ),
    shape(1, "every blob has a second name", "cd blobs; for f in *; do ln $f $f.x; done", FOREIGN),
    shape(
        2,
        "every descriptor is too long",
        "cd blobs; for f in *; do [ $(stat -c %s $f) -gt 99999 ] || truncate -s 4M $f; done",
        Some("BlobAltered"),
    ),
    shape(1, "every blob is cut", "cd blobs; for f in *; do truncate -s 1 $f; done", None),
    shape(
        2,
        "something else was pushed of every blob",
        "mkdir -p incoming; for f in saved/*; do echo x >incoming/${f#saved/}.part; done",
        None,
    ),
    shape(
        2,
        "every push has a second name",
        "mkdir -p incoming; for f in saved/*; do f=incoming/${f#saved/}; echo >$f.part; ln -f $f.part $f.x; done",
        FOREIGN,
    ),
    shape(2, "the blobs are open to others", "touch blobs/*; chmod 1777 blobs; chown 1000 blobs/*", FOREIGN),
    shape(2, "300 empty blobs", "cd blobs; seq 300 | awk '{ printf \"%064x\\n\", $1 }' | xargs touch", None),
    shape(2, "the mark of an altered image is a folder", "cd blobs; for f in *; do mkdir $f.altered; done", FOREIGN),
    shape(2, "no blob can be changed", "for f in saved/*; do f=blobs/${f#saved/}; touch $f; fix $f; done", FOREIGN),
    shape(0, "the older log is a disk", "rm -f audit/audit.1.jsonl; mknod audit/audit.1.jsonl b 7 0", FOREIGN),
    shape(1, "both slots are devices", "rm -f ledger/?; mknod ledger/a c 1 3; mknod ledger/b b 7 0", FOREIGN),
    shape(2, "the ledger is a device", "rm -rf ledger; mknod ledger c 1 5", FOREIGN),
    shape(1, "pushes are a device", "rm -rf incoming; mknod incoming c 1 5", FOREIGN),
    shape(2, "every blob is a device", "cd blobs; for f in *; do rm -f $f; mknod $f c 1 5; done", FOREIGN),
    shape(1, "the log can only grow", "grow audit/audit.jsonl ledger", None),
    shape(
        0,
        "the record of boots is a link",
        "rm -rf boots; mkdir -m 700 boots; ln -s /etc/ld.so.preload boots/unclean",
        FOREIGN,
    ),
    shape(1, "the record of boots is a pipe", "rm -rf boots; mkdir -m 700 boots; mkfifo boots/unclean", FOREIGN),
    shape(2, "the records of boots are a file", "rm -rf boots; echo >boots", FOREIGN),
    shape(2, "nothing can be changed", "fix blobs incoming .", FOREIGN),
];

/// Alters images that nobody runs from: before a power cycle only, as whoever runs from one would read it.
const ALTER: &str = "for f in blobs/*; do printf x | dd of=$f bs=1 seek=5000 conv=notrunc; done";

/// Everything outside of `/data` that could be run or read as a setting, and each mount that can be written and executed.
const OUTSIDE: &str = "find / -xdev ! -type d -exec md5sum {} + | sort | md5sum; ls -a /";
const WRITABLE: &str =
    "grep -v nsfs /proc/1/mountinfo | awk '{ split($6, o, \",\"); w = o[1] == \"rw\"; x = $6 !~ /noexec/;
    if (w && x) print $5, $6 }'";

/// After [`AGENT`]: stops it, in whatever it does.
const STOP: &str = "kill -STOP $agent; usleep 100000;";

/// Puts the blobs back where they differ and a manifest into each slot, and removes what was put aside. These boots are no loop.
const WHOLE: &str = "cd /data && unfix && rm -rf boots kept *.foreign-* */*.foreign-* &&
    { [ \"$(ls -ln blobs)\" = \"$(ls -ln saved)\" ] || { rm -rf blobs && cp -a saved blobs; }; } &&
    { [ -f ledger/a ] || cp ledger/b ledger/a; } && { [ -f ledger/b ] || cp ledger/a ledger/b; }";

/// One of so many shapes is made while the device is on, in a sample; all of them at the next power cycles.
const SAMPLE: u64 = 4;

/// [whole: shapes]
#[test]
fn vm_bent_data_partition() -> Result<()> {
    let mut progress = Progress::open()?;
    let (mut bench, digest) = Bench::with_demo("bent")?;
    ensure!(bench.device.root(WRITABLE)?.is_empty(), "written and executed: {}", bench.device.root(WRITABLE)?);
    let (outside, core) = (bench.device.root(OUTSIDE)?, bench.processes()?["core0"].clone());
    bench.device.root("cp -a /data/blobs /data/saved")?;
    let each = if whole() { 1 } else { SAMPLE };
    let first = usize::try_from(Chance::new("shapes").below(each))?;
    for shape in SHAPES.iter().skip(first).step_by(usize::try_from(each)?) {
        let started = bench.status()?.heartbeat.agent_started;
        let bent = format!("{AGENT}{STOP}{FIX} {WHOLE} && ({}); kill -KILL $agent", shape.bend);
        let bent = bench.device.root(&bent)?;
        ensure!(bent.is_empty(), "{}: {bent}", shape.name);
        let back = bench.wait(&format!("{}: the agent is back", shape.name), |status| {
            status.heartbeat.agent_started != started && status.heartbeat.passes > 0
        })?;
        // The numbers begin anew with the log.
        let now = back.heartbeat.agent_started;
        let message = match shape.event {
            Some(kind) => bench.event(0, shape.name, |event| event.kind == kind && event.at >= now)?.message,
            None => String::new(),
        };
        let held = bench.status()?.accepted;
        println!("{:<50} {message}", shape.name);
        ensure!(held.is_some_and(|held| held.digest == digest), "{}", shape.name);
        progress.done(shape.name, "shapes on a running device")?;
    }
    ensure!(bench.device.root(OUTSIDE)? == outside, "something changed outside of the data partition");
    ensure!(bench.processes()?["core0"] == core, "c0 ran on");

    // After a power cut the device has nothing but the disk.
    for cycle in 0..CYCLES {
        let bends: Vec<_> = SHAPES.iter().filter(|shape| shape.cycle == cycle).map(|shape| shape.bend).collect();
        let bends = bends.join(") 2>/dev/null; (");
        bench
            .device
            .root(&format!("{AGENT}{STOP}{FIX} {WHOLE}; ({ALTER}) 2>/dev/null; ({bends}) 2>/dev/null; sync"))?;
        bench = bench.power_cycle()?;
        bench.wait(&format!("cycle {cycle}: the device comes to c0"), |status| converged(status).is_some())?;
        ensure!(
            bench.device.root(OUTSIDE)? == outside,
            "cycle {cycle}: something changed outside of the data partition"
        );
        progress.done(&format!("cycle {cycle}"), "cold boots with all shapes of a cycle")?;
    }
    Ok(())
}

/// A file system that the kernel does not take leaves a device that says so.
#[test]
fn vm_broken_file_system_is_reported() -> Result<()> {
    let mut bench = Bench::ready("broken")?;
    let zero = "dd if=/dev/urandom of=$(awk '$2 == \"/data\" { print $1 }' /proc/mounts) bs=1k seek=1 count=64; sync";
    bench.device.root(&format!("{AGENT} kill -STOP $agent; {zero}"))?;
    let vm = bench.device.off().start()?;
    vm.wait_console("failed to mount", SOON)?;
    Ok(())
}

/// Files beside the boot image that systemd-stub takes along, and where the device finds them.
const COMPANIONS: [(&str, &str); 3] = [
    ("::/EFI/BOOT/BOOTX64.EFI.extra.d/strange.cred", "/.extra/credentials/strange.cred"),
    ("::/EFI/BOOT/BOOTX64.EFI.extra.d/strange.raw", "/.extra/sysext/strange.raw"),
    ("::/loader/credentials/strange-global.cred", "/.extra/global_credentials/strange-global.cred"),
];

/// What lies beside the boot image on its partition was signed by nobody, and is nowhere when the device is up.
#[test]
fn vm_companion_files_are_left_out() -> Result<()> {
    let machine = machine(&Artefacts::new(), "companions")?;
    let disk = machine.prepare()?;
    let file = disk.with_file_name("strange");
    std::fs::write(&file, b"strange\n")?;
    let at = format!("{}@@1M", disk.display());
    run(Command::new("mmd").args([
        "-i",
        &at,
        "::/EFI/BOOT/BOOTX64.EFI.extra.d",
        "::/loader",
        "::/loader/credentials",
    ]))?;
    for (path, _) in COMPANIONS {
        run(Command::new("mcopy").args(["-i", &at]).arg(&file).arg(path))?;
    }
    let mut bench = Bench::start("companions", machine)?;
    let event = bench.event(0, "what was left out", |event| event.kind == "BootFilesForeign")?;
    println!("{}", event.message);
    for (path, name) in COMPANIONS {
        ensure!(event.message.contains(name), "{path}: {}", event.message);
    }
    let found = bench.device.root("find / -xdev -name 'strange*'; ls -A /.extra")?;
    ensure!(found.is_empty(), "{found}");
    Ok(())
}

/// Another disk has partitions of our names: the device has its own. A copy of its own is reported.
#[test]
fn vm_strange_disk_is_left_alone() -> Result<()> {
    let artefacts = Artefacts::new();
    let strange = artefacts.vm("strange-disk.img");
    catenoid_e2e::vm::copy_sparse(&Image::Test.disk(&artefacts)?, &strange)?;
    let machine = machine_without_firmware(&artefacts, Image::Test, "copied-disk")?.strange_disk(&strange);
    machine.start()?.wait_console("2 disks have the partition that the device booted from", SOON)?;

    for (part, guid) in
        ["CA7E401D-0000-4000-8000-00000000000A", "CA7E401D-0000-4000-8000-00000000000B"].iter().enumerate()
    {
        let number = (part * 2 + 1).to_string();
        run(Command::new("sfdisk").arg("--part-uuid").arg(&strange).args([&number, *guid]))?;
    }
    let machine = machine_without_firmware(&artefacts, Image::Test, "strange-disk")?.strange_disk(&strange);
    let mut bench = Bench::of(artefacts.clone(), Device::start(artefacts, machine)?);
    bench.wait("the factory manifest is converged", |status| converged(status).is_some())?;
    let data = bench.device.root("awk '$2 == \"/data\" { print $1 }' /proc/mounts")?;
    ensure!(data.starts_with("/dev/vdb"), "the data partition is `{data}`");
    Ok(fs::remove_file(strange)?)
}

/// Names of one file among the blobs, of as many files as it takes: in CI and in the whole set.
const ENTRIES: [u64; 2] = [100_000, 10_000_000];
/// As many of them the device looks at.
const LISTED: u64 = 1 << 20;
/// The most names that ext4 gives a file.
const NAMES: u64 = 65_000;

/// [whole: entries]
#[test]
fn vm_crowded_data_partition() -> Result<()> {
    let mut progress = Progress::open()?;
    let (mut bench, digest) = Bench::with_demo("crowded")?;
    let entries = ENTRIES[usize::from(whole())];
    bench.device.root("sync")?;
    let (disk, folder) = (bench.device.vm().dir().join("disk.img"), bench.folder("mounted")?);
    let machine = bench.device.off();
    let partition = data_partition(&disk)?;
    run(Command::new("mount").arg("-o").arg(format!("loop,offset={partition}")).args([&disk, &folder]))?;
    let crowded = crowd(&folder.join("blobs"), entries);
    // No shell of the device can make one.
    let sockets = ["audit/audit.1.jsonl", "boots/unclean"].map(|name| folder.join(name));
    let bound = sockets.iter().try_for_each(|path| {
        let _ = fs::remove_file(path);
        UnixListener::bind(path).map(drop)
    });
    run(Command::new("umount").arg(&folder))?;
    crowded.and(bound.map_err(Into::into))?;
    let begun = Instant::now();
    let mut bench = Bench::of(bench.artefacts.clone(), Device::start(bench.artefacts, machine)?);
    bench.wait("c0 runs", |status| subject(status, "container/core0").is_ok_and(is_well))?;
    progress.figure("c0 runs after, s", begun.elapsed().as_secs())?;
    if entries > LISTED {
        // What stands behind so many names is put aside with them, and reported; the factory bundle has c0's guest only.
        let folder = bench.folder("documents")?;
        let demo = bench.author.sign(&folder, &bench.author.example("demo")?)?;
        bench.event(0, "a guest", |event| event.kind == "GuestBroken" && event.message.contains("is not there"))?;
        bench.deliver(&["nginx-1.0.0", "busybox-1.0.0"])?;
        bench.apply(&demo)?;
    }
    bench.wait("all that the manifest wants runs", |status| converged(status) == Some(digest))?;
    bench.event(0, "a socket", |event| event.kind == "ForeignFile" && event.message.contains("it was a socket"))?;
    progress.figure("all runs after, s", begun.elapsed().as_secs())?;
    progress.done(&format!("{entries} names"), "crowds")
}

fn crowd(folder: &Path, entries: u64) -> Result<()> {
    for entry in 0..entries {
        let name = |entry: u64| folder.join(format!("crowd-{entry}"));
        match entry % NAMES {
            0 => fs::write(name(entry), "")?,
            another => fs::hard_link(name(entry - another), name(entry))?,
        }
    }
    Ok(())
}

/// Where the data partition begins on `disk`, in bytes.
fn data_partition(disk: &Path) -> Result<u64> {
    let listed = Command::new("sfdisk").arg("--json").arg(disk).output()?;
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout)?;
    let all = listed["partitiontable"]["partitions"].as_array().context("no partitions")?;
    let data = all.iter().find(|partition| partition["name"] == "catenoid-data").context("no data partition")?;
    Ok(data["start"].as_u64().context("it begins nowhere")? * 512)
}

/// Runs a program of the build host, which must succeed.
fn run(command: &mut Command) -> Result<()> {
    ensure!(command.status()?.success(), "{command:?} failed");
    Ok(())
}

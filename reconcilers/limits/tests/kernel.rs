//! The room on the kernel's own control groups, in a group of its own in a hierarchy that only the test has mounted.

#![cfg(feature = "kernel")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use catenoid_core::{Planner, Reconciler, RoomError, Step as _};
use catenoid_kernel_storage::loop_device::LoopDevice;
use catenoid_limits::{Bounds, Control, Desired, Error, Limits, LimitsPlanner, Observed, Step, Value};
use catenoid_names::Disk;
use catenoid_schema::{
    manifest::{IoLimits, ResourceLimits},
    status::Blame,
    units::{ByteSize, Cpu},
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

#[path = "kernel/second.rs"]
mod second;

struct Kernel {
    mount: tempfile::TempDir,
    base: PathBuf,
}

impl Kernel {
    fn mounted(test: &str) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("tests on the kernel run as root");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let folder = tempfile::tempdir().unwrap();
        mount(Some("none"), folder.path(), Some("cgroup2"), MsFlags::empty(), None::<&str>).unwrap();
        // What the hierarchy offers reaches the test's group only if its parent passes it on.
        let offered = fs::read_to_string(folder.path().join("cgroup.controllers")).unwrap();
        for controller in offered.split_whitespace() {
            let _ = fs::write(folder.path().join("cgroup.subtree_control"), format!("+{controller}"));
        }
        let base = folder.path().join(format!("{test}-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        Self { mount: folder, base }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        for group in ["catenoid/web/run.0123456789abcdef", "catenoid/web", "catenoid/db", "catenoid", ""] {
            let _ = fs::remove_dir(self.base.join(group));
        }
        let _ = umount2(self.mount.path(), MntFlags::MNT_DETACH);
    }
}

fn desired(text: &str) -> Desired {
    let containers = text.split_whitespace().map(|limits| {
        let (name, rest) = limits.split_once('=').unwrap();
        let [memory, cpu, pids, reserve] = rest.split(',').collect::<Vec<_>>().try_into().unwrap();
        let (memory, cpu, pids) = (memory.parse().unwrap(), cpu.parse().unwrap(), pids.parse().unwrap());
        (
            name.parse().unwrap(),
            Bounds { limits: ResourceLimits { memory, cpu, pids, io: None }, reserve: reserve.parse().unwrap() },
        )
    });
    Desired { containers: containers.collect() }
}

/// Does every step of the plan, each of them twice, and compares the kernel with the model after each.
async fn converge(room: &Limits, desired: &Desired) -> Observed {
    let mut model = room.observe().await.unwrap();
    let plan = LimitsPlanner::plan(desired, &model);
    for (_, step) in plan.steps() {
        step.effect_on(&mut model);
        for _ in 0..2 {
            room.apply(step).await.unwrap_or_else(|e| panic!("{step}: {e}: {:?}", std::error::Error::source(&e)));
            assert_eq!(room.observe().await.unwrap(), model, "after: {step}");
        }
    }
    assert!(LimitsPlanner::satisfied(desired, &model));
    model
}

#[tokio::test]
async fn mountns_a_group_is_made_and_goes_only_when_it_is_empty() {
    let kernel = Kernel::mounted("limits");
    let room = Limits::open(&kernel.base, None).unwrap();
    let before = room.observe().await.unwrap();
    let make = Step::MakeGroup { container: "web".to_owned() };
    let remove = Step::RemoveGroup { container: "web".to_owned() };
    let mut model = before.clone();
    make.effect_on(&mut model);
    room.apply(&make).await.unwrap();
    assert_eq!(room.observe().await.unwrap(), model);

    let leaf = kernel.base.join("catenoid/web/run.0123456789abcdef");
    fs::create_dir(&leaf).unwrap();
    let in_use = room.apply(&remove).await.unwrap_err();
    assert!(matches!(&in_use, Error::InUse { container } if container == "web"), "{in_use}");
    assert_eq!(in_use.blame(), Blame::Nobody);
    fs::remove_dir(&leaf).unwrap();
    for _ in 0..2 {
        room.apply(&remove).await.unwrap();
        assert_eq!(room.observe().await.unwrap(), before);
    }
}

#[tokio::test]
async fn mountns_a_controller_that_the_kernel_lacks_is_an_error_for_the_administrator() {
    let kernel = Kernel::mounted("lacking");
    let room = Limits::open(&kernel.base, None).unwrap();
    room.apply(&Step::MakeGroup { container: "web".to_owned() }).await.unwrap();
    // Controllers bound to version 1 are absent here; where all are present, there is nothing to see.
    let offered = room.observe().await.unwrap().offered;
    for control in Control::ALL {
        let step = Step::SetLimit { container: "web".to_owned(), control, value: Value::At(1 << 20), was: None };
        match room.apply(&step).await {
            Ok(_) => assert!(offered.contains(&control), "{control} was set but is not offered"),
            Err(error) if control.is_of_disk() => {
                assert_eq!(
                    error.to_string(),
                    format!("failed to set {control} of `web`: the device's data lie on no disk")
                );
                assert_eq!(error.blame(), Blame::Administrator);
            }
            Err(error) if offered.contains(&control) => assert_eq!(control, Control::OOM_GROUP, "{error}"),
            Err(error) => {
                assert_eq!(error.to_string(), format!("failed to set {control} of `web`"));
                assert_eq!(error.blame(), Blame::Administrator);
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs the cpu, memory and pids controllers in cgroup v2: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_limits_read_back_as_the_model_says() {
    let kernel = Kernel::mounted("converge");
    let room = Limits::open(&kernel.base, None).unwrap();
    let first = converge(&room, &desired("web=128MiB,0.5,64,0B db=64MiB,2,10,16MiB")).await;
    assert_eq!(first.groups["web"][&Control::CPU], Value::At(500));
    // Somebody changes a limit, and takes a controller away from all groups.
    fs::write(kernel.base.join("catenoid/web/memory.max"), "max").unwrap();
    fs::write(kernel.base.join("catenoid/cgroup.subtree_control"), "-pids").unwrap();
    let lacking = room.observe().await.unwrap();
    assert!(!lacking.offered.contains(&Control::PIDS));
    for (_, step) in LimitsPlanner::plan(&desired("web=128MiB,0.5,64,0B"), &lacking).steps() {
        room.apply(step).await.unwrap();
    }
    converge(&room, &desired("web=128MiB,0.5,64,0B")).await;
    converge(&room, &desired("")).await;
}

/// Limits of every size that a manifest may have, the least and the most among them.
fn any_limits() -> impl Strategy<Value = Bounds> {
    let number = |least: u64, most: u64| prop_oneof![Just(least), Just(most), least..=most, least..=least * 100];
    let pages = || number(1024, 1 << 32).prop_map(|pages| ByteSize::from_bytes(pages * 4096));
    (pages(), number(10, u32::MAX.into()), number(1, 1 << 22), pages()).prop_map(|(memory, cpu, pids, reserve)| {
        let [cpu, pids] = [cpu, pids].map(|number| u32::try_from(number).unwrap());
        let limits = ResourceLimits { memory, cpu: Cpu::from_thousandths(cpu), pids, io: None };
        Bounds { limits, reserve }
    })
}

/// The files themselves, read by nobody of ours.
#[tokio::test]
#[ignore = "needs the cpu, memory and pids controllers in cgroup v2: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_any_limits_are_what_the_files_say() {
    let kernel = Kernel::mounted("any");
    let room = Limits::open(&kernel.base, None).unwrap();
    let mut runner = TestRunner::deterministic();
    for _ in 0..60 {
        let limits = any_limits().new_tree(&mut runner).unwrap().current();
        converge(&room, &Desired { containers: BTreeMap::from([("web".parse().unwrap(), limits)]) }).await;
        let file = |name: &str| fs::read_to_string(kernel.base.join("catenoid/web").join(name)).unwrap();
        let cpu = file("cpu.max");
        let (quota, period) = cpu.trim().split_once(' ').unwrap();
        let [quota, period]: [u64; 2] = [quota, period].map(|number| number.parse().unwrap());
        let seen =
            ["memory.max", "memory.min", "pids.max", "memory.oom.group"].map(|name| file(name).trim().to_owned());
        let [memory, reserve] = [limits.limits.memory, limits.reserve].map(|size| size.bytes().to_string());
        assert_eq!(seen, [memory, reserve, limits.limits.pids.to_string(), "1".to_owned()], "{limits:?}");
        assert_eq!(quota * 1000, u64::from(limits.limits.cpu.thousandths()) * period, "{limits:?}");
    }
    converge(&room, &desired("")).await;
}

#[tokio::test]
#[ignore = "needs the pids controller in cgroup v2: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_a_process_too_many_is_refused() {
    let kernel = Kernel::mounted("hog");
    let room = Limits::open(&kernel.base, None).unwrap();
    converge(&room, &desired("web=128MiB,0.5,3,0B")).await;
    let leaf = kernel.base.join("catenoid/web/run.0123456789abcdef");
    fs::create_dir(&leaf).unwrap();
    let script =
        format!("echo $$ > {}/cgroup.procs; exec >/dev/null; for n in 1 2 3; do sleep 9 2>&1 & done", leaf.display());
    let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && printed.contains("fork"), "{:?}: {printed}", output.status);
    let events = fs::read_to_string(kernel.base.join("catenoid/web/pids.events")).unwrap();
    assert_ne!(events, "max 0\n");
    fs::write(leaf.join("cgroup.kill"), "1").unwrap();
}

/// A disk of 4 MiB, on which nothing lies.
fn disk() -> (LoopDevice, Disk) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(4 << 20).unwrap();
    let device = LoopDevice::attach(&file).unwrap();
    let (major, minor) = device.number().unwrap();
    (device, Disk { major, minor })
}

#[tokio::test]
#[ignore = "needs all controllers in cgroup v2 and loop devices: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_who_reads_more_than_he_may_waits() {
    let kernel = Kernel::mounted("disk");
    let (device, disk) = disk();
    let room = Limits::open(&kernel.base, Some(disk)).unwrap();
    let io = |io| {
        let limits = ResourceLimits { io, ..ResourceLimits::default() };
        let bounds = Bounds { limits, reserve: ByteSize::from_bytes(0) };
        Desired { containers: BTreeMap::from([("web".parse().unwrap(), bounds)]) }
    };
    let first = IoLimits { read_bps: Some(ByteSize::from_mebibytes(1)), write_iops: Some(100), ..IoLimits::default() };
    let second = IoLimits { read_bps: first.read_bps, ..IoLimits::default() };
    converge(&room, &io(Some(first))).await;
    let file = || fs::read_to_string(kernel.base.join("catenoid/web/io.max")).unwrap();
    assert_eq!(file(), format!("{disk} rbps=1048576 wbps=max riops=max wiops=100\n"));
    converge(&room, &io(Some(second))).await;
    assert_eq!(file(), format!("{disk} rbps=1048576 wbps=max riops=max wiops=max\n"), "one key leaves the others");

    let read = || {
        let (procs, device) = (kernel.base.join("catenoid/web/cgroup.procs"), device.path());
        let script = format!("echo $$ > {}; exec cat {} > /dev/null", procs.display(), device.display());
        let began = Instant::now();
        let status = std::process::Command::new("/bin/sh").args(["-c", &script]).status().unwrap();
        assert!(status.success(), "{status}");
        began.elapsed()
    };
    let slow = read();
    assert!(slow >= Duration::from_secs(2), "4 MiB at 1 MiB/s took {slow:?}");
    converge(&room, &io(None)).await;
    assert_eq!(file(), "", "without a limit there is no line");
    converge(&room, &desired("")).await;
}

#[tokio::test]
async fn mountns_a_share_of_a_disk_without_the_scheduler_is_an_error_for_the_administrator() {
    let kernel = Kernel::mounted("no-scheduler");
    let room = Limits::open(&kernel.base, Some(Disk { major: u32::MAX, minor: 0 })).unwrap();
    let (container, control) = ("web".to_owned(), Control::IO_WEIGHT);
    let error = room.apply(&Step::SetLimit { container, control, value: Value::At(500), was: None }).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "the kernel has no scheduler `bfq` for this disk");
    assert_eq!(error.blame(), Blame::Administrator);
    assert!(!room.observe().await.unwrap().offered.contains(&control));
}

#[tokio::test]
#[ignore = "needs all controllers in cgroup v2, bfq and loop devices: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_a_share_of_the_disk_brings_the_scheduler_that_it_needs() {
    let kernel = Kernel::mounted("share");
    let (_device, disk) = disk();
    let room = Limits::open(&kernel.base, Some(disk)).unwrap();
    let asked = |weight: Option<u32>| {
        let io = weight.map(|weight| IoLimits { weight: Some(weight), ..IoLimits::default() });
        let bounds = |io| {
            let limits = ResourceLimits { io, ..ResourceLimits::default() };
            Bounds { limits, reserve: ByteSize::from_bytes(0) }
        };
        let containers = [("db", bounds(None)), ("web", bounds(io))];
        Desired { containers: containers.map(|(name, bounds)| (name.parse().unwrap(), bounds)).into() }
    };
    let file =
        |group: &str| fs::read_to_string(kernel.base.join("catenoid").join(group).join("io.bfq.weight")).unwrap();
    let scheduler = PathBuf::from(format!("/sys/dev/block/{disk}/queue/scheduler"));
    let has_bfq = || fs::read_to_string(&scheduler).unwrap().contains("[bfq]");

    fs::write(&scheduler, "none").unwrap();
    let first = converge(&room, &asked(None)).await;
    assert!(!has_bfq() && !first.offered.contains(&Control::IO_WEIGHT), "nobody asks for it");
    // The usual weight is asked for as well.
    for weight in [100, 1, 1000] {
        let observed = converge(&room, &asked(Some(weight))).await;
        assert!(has_bfq() && observed.offered.contains(&Control::IO_WEIGHT));
        assert_eq!((file("web"), file("db")), (format!("default {weight}\n"), "default 100\n".to_owned()));
    }
    // Somebody changes the scheduler, and a share.
    fs::write(&scheduler, "none").unwrap();
    fs::write(kernel.base.join("catenoid/db/io.bfq.weight"), "200").unwrap();
    assert!(!room.observe().await.unwrap().groups["web"].contains_key(&Control::IO_WEIGHT));
    for (_, step) in LimitsPlanner::plan(&asked(Some(1000)), &room.observe().await.unwrap()).steps() {
        room.apply(step).await.unwrap();
    }
    converge(&room, &asked(Some(1000))).await;
    assert!(has_bfq());
    assert_eq!(file("db"), "default 100\n");
    converge(&room, &asked(None)).await;
    assert_eq!(file("web"), "default 100\n");
    converge(&room, &desired("")).await;
}

#[tokio::test]
#[ignore = "needs the cpu, memory and pids controllers in cgroup v2: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_a_group_is_read_again_where_it_was_written() {
    let kernel = Kernel::mounted("limits-known");
    let room = Limits::open(&kernel.base, None).unwrap();
    converge(&room, &desired("web=16MiB,0.5,16,0B")).await;
    let (groups, web) = (kernel.base.join("catenoid"), kernel.base.join("catenoid/web"));
    let pids = async || room.observe().await.unwrap().groups["web"][&Control::PIDS].clone();
    assert_eq!((pids().await, pids().await), (Value::At(16), Value::At(16)));

    fs::write(web.join("pids.max"), "7").unwrap();
    assert_eq!(pids().await, Value::At(7), "somebody wrote to it");
    fs::remove_dir(&web).unwrap();
    fs::create_dir(&web).unwrap();
    assert_eq!(pids().await, Value::Word("max".into()), "it is another one");
    fs::write(web.join("pids.max"), "9").unwrap();
    assert_eq!(pids().await, Value::At(9), "which is listened to as well");
    for change in ["-pids", "+pids"] {
        fs::write(groups.join("cgroup.subtree_control"), change).unwrap();
    }
    assert_eq!(pids().await, Value::Word("max".into()), "its controller was taken away and given back");
    fs::remove_dir(&web).unwrap();
    assert!(room.observe().await.unwrap().groups.is_empty());
}

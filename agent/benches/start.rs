//! From the start of a container to the first instruction of its program: ours, crun, runc and systemd-nspawn in turns.
//! `cargo xtask bench start` builds this as the device's programs are built and runs it on the device's kernel.
//!
//! ```text
//! start ROUNDS FOLDER    FOLDER holds: guest (mounted, with /bin/stamp), catenoid-launcher, crun, runc, systemd-nspawn,
//!                        stamp; as root, with /run, cgroup v2, and nobody else who makes containers
//! ```
//!
//! The program is `stamp`: it writes the monotonic clock as it finds it, then how confined it is, and ends. All get the same
//! image, ids, limits, masked paths, file systems and refused system calls, as far as they can: docs/performance.md says where
//! they differ. Each sample is a line `sample NANOSECONDS ns WHAT`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_containers::order::{LaunchAnswer, LaunchOrder, NamespacePaths, Request, RootMode};
use catenoid_containers::{Containers, Paths};
use catenoid_core::Reconciler as _;
use catenoid_kernel_base::process;
use catenoid_kernel_base::seccomp::calls::{CallAction, TABLE};
use catenoid_kernel_base::wait::Notify;
use catenoid_kernel_cgroup::Hierarchy;
use catenoid_kernel_net::namespace;
use catenoid_limits::{Control, Limits, Value};
use catenoid_schema::digest::Digest;
use catenoid_schema::manifest::Stop;
use catenoid_schema::name::Name;
use catenoid_zones::Zones;
use serde_json::json;

/// The first host id of every container here.
const BASE: u32 = 7 * 65_536;
/// Of every container here, ours and theirs.
const MEMORY: u64 = 16 << 20;
const PIDS: u64 = 16;
/// Thousandths of a processor: not less than one, or it is the limit that is measured.
const CPU: u64 = 1000;
/// A container that does not end within this is a fault.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [rounds, folder] = words.as_slice() else { bail!("usage: start ROUNDS FOLDER") };
    let rounds: usize = rounds.parse().context("ROUNDS is not a number")?;
    let folder = Path::new(folder);
    nix::sys::prctl::set_child_subreaper(true)?;
    let ours = Ours::new(folder)?;
    let oci = bundle(folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for round in 0..=rounds {
        let alone = tool(Command::new(folder.join("stamp")))?;
        let containers = [
            ("ours, launcher alone", ours.launch()?),
            ("ours, everything made anew", runtime.block_on(ours.anew())?),
            ("crun", tool(runner(folder, "crun", &oci, round))?),
            ("runc", tool(runner(folder, "runc", &oci, round))?),
            ("systemd-nspawn", tool(nspawn(folder))?),
        ];
        let confined = &containers[0].1.confined;
        for (what, started) in &containers {
            ensure!(started.confined == *confined, "{what} is not confined as ours: {} {confined}", started.confined);
        }
        // The first round fills the page cache and is not counted.
        match round {
            0 => println!("bench: all are confined alike: {confined}"),
            _ => [("fork and exec alone", alone)].iter().chain(&containers).for_each(|(what, started)| {
                println!("sample {} ns {what}", started.nanoseconds);
            }),
        }
    }
    println!("bench: done");
    Ok(())
}

/// The clock that `stamp` reads too, in nanoseconds.
fn now() -> Result<u64> {
    let now = nix::time::ClockId::CLOCK_MONOTONIC.now()?;
    Ok(u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?)
}

/// What `stamp` reported.
struct Started {
    /// From before the start to its first instruction.
    nanoseconds: u64,
    /// How it finds itself confined.
    confined: String,
}

impl Started {
    fn read(began: u64, mut output: impl BufRead) -> Result<Self> {
        let (mut stamp, mut confined) = (String::new(), String::new());
        output.read_line(&mut stamp)?;
        output.read_line(&mut confined)?;
        let stamp: u64 = stamp.trim().parse().with_context(|| format!("`{stamp}` is no time"))?;
        let nanoseconds = stamp.checked_sub(began).with_context(|| format!("{stamp} is before {began}"))?;
        Ok(Self { nanoseconds, confined: confined.trim().to_owned() })
    }
}

/// Runs a command to its end.
fn tool(mut command: Command) -> Result<Started> {
    let began = now()?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let started = Started::read(began, BufReader::new(child.stdout.take().context("stdout is piped")?));
    let status = child.wait()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    started.with_context(|| format!("{command:?}"))
}

/// Our launcher and our rooms.
struct Ours {
    paths: Paths,
    launcher: PathBuf,
    order: LaunchOrder,
    hierarchy: Hierarchy,
    zones: Zones,
    limits: Limits,
    containers: Containers,
}

impl Ours {
    fn new(folder: &Path) -> Result<Self> {
        let paths = Paths::default();
        let launcher = folder.join("catenoid-launcher");
        let zones = Zones::open(&paths.run.join("namespaces"))?;
        let limits = Limits::open(&paths.cgroup, None)?;
        let containers = Containers::open(paths.clone(), &launcher, Notify::new()?)?;
        let hierarchy = Hierarchy::open(&paths.cgroup)?;
        let order = order(&paths, folder, "again")?;
        namespace::make(BASE, 65_536)?.keep(&paths.run.join("namespaces/again"))?;
        hierarchy.make_group("again")?;
        process::make_fifo(&order.log)?;
        Ok(Self { paths, launcher, order, hierarchy, zones, limits, containers })
    }

    /// As on each start after the first: the pair of namespaces and the group are there.
    fn launch(&self) -> Result<Started> {
        let launch = self.order.id();
        let request = serde_json::to_vec(&Request { launch: launch.clone(), order: self.order.clone(), check: None })?;
        let mut output = output(&self.order)?;
        self.hierarchy.make_leaf("again", &launch)?;
        let began = now()?;
        let answer = process::run(&self.launcher, &request)?;
        let answer: LaunchAnswer = serde_json::from_slice(&answer.stdout)?;
        ensure!(matches!(answer, LaunchAnswer::Started { .. }), "{answer:?}");
        let started = Started::read(began, &mut output)?;
        self.ended("again", &launch)?;
        Ok(started)
    }

    /// As a container that was not there before, through the rooms, which check what is there before each step.
    async fn anew(&self) -> Result<Started> {
        let order = order(&self.paths, &self.paths.run.join("bench"), "anew")?;
        let order = LaunchOrder { image: self.order.image.clone(), ..order };
        let (name, launch) = (order.container.clone(), order.id());
        process::make_fifo(&order.log)?;
        let mut output = output(&order)?;
        let began = now()?;
        self.zones.apply(&catenoid_zones::Step::MakeNamespaces { container: name.clone(), base: BASE }).await?;
        let container = name.to_string();
        self.limits.apply(&catenoid_limits::Step::MakeGroup { container: container.clone() }).await?;
        for (control, value) in
            [(Control::CPU, CPU), (Control::MEMORY, MEMORY), (Control::OOM_GROUP, 1), (Control::PIDS, PIDS)]
        {
            let (container, value) = (container.clone(), Value::At(value));
            self.limits.apply(&catenoid_limits::Step::SetLimit { container, control, value, was: None }).await?;
        }
        let start = catenoid_containers::Step::Start {
            launch: launch.clone(),
            order: Box::new(order),
            stop: Stop::default(),
            ends: 0,
            check: None,
        };
        self.containers.apply(&start).await?;
        let started = Started::read(began, &mut output)?;
        self.ended("anew", &launch)?;
        self.limits.apply(&catenoid_limits::Step::RemoveGroup { container }).await?;
        self.zones.apply(&catenoid_zones::Step::RemoveNamespaces { container: name }).await?;
        Ok(started)
    }

    fn ended(&self, container: &str, launch: &str) -> Result<()> {
        ensure!(self.hierarchy.wait_empty(container, launch, PATIENCE)?, "`{container}` does not end");
        while let Some(zombie) = process::ended_child()? {
            process::reap(zombie)?;
        }
        Ok(self.hierarchy.remove_leaf(container, launch)?)
    }
}

/// The reading end of a container's output, opened before there is any, so that nothing of it is lost.
fn output(order: &LaunchOrder) -> Result<BufReader<File>> {
    let fifo: OwnedFd = File::options().read(true).write(true).open(&order.log)?.into();
    Ok(BufReader::new(fifo.into()))
}

fn order(paths: &Paths, folder: &Path, container: &str) -> Result<LaunchOrder> {
    let name: Name = container.parse()?;
    let namespaces = paths.run.join("namespaces").join(container);
    Ok(LaunchOrder {
        container: name.clone(),
        guest: Digest::of(b"guest"),
        image: folder.join("guest"),
        root: RootMode::ReadOnly,
        id_base: BASE,
        namespaces: NamespacePaths { user: namespaces.join("user"), network: namespaces.join("net") },
        group: paths.cgroup.join("catenoid").join(container),
        log: paths.run.join("logs").join(container),
        control: None,
        host_name: name,
        command: vec!["/bin/stamp".to_owned()],
        environment: [("PATH".to_owned(), "/bin".to_owned())].into(),
        working_directory: "/".to_owned(),
        user: 0,
        group_id: 0,
        capabilities: std::collections::BTreeSet::new(),
        needs: std::collections::BTreeSet::new(),
    })
}

/// A container of an OCI runtime.
fn runner(folder: &Path, runtime: &str, bundle: &Path, round: usize) -> Command {
    let mut command = Command::new(folder.join(runtime));
    command.arg("--root").arg(format!("/run/{runtime}"));
    if runtime == "crun" {
        command.args(["--cgroup-manager", "cgroupfs"]);
    }
    command.args(["run", "--bundle"]).arg(bundle).arg(format!("{runtime}-{round}"));
    command
}

/// The calls of our own table with one of these verdicts, but for those that this machine does not know.
fn calls(wanted: &[CallAction]) -> Vec<&'static str> {
    let groups = TABLE.iter().filter(|group| wanted.contains(&group.action));
    groups.flat_map(|group| group.calls).copied().collect()
}

/// As the launcher sets it up, in the words of the OCI runtime specification 1.0.
fn bundle(folder: &Path) -> Result<PathBuf> {
    let bundle = folder.join("bundle");
    fs::create_dir_all(&bundle)?;
    let mount = |kind: &str, at: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": kind, "options": options});
    let none_of = |call: &str, flags: u64| {
        json!({"names": [call], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": flags, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]})
    };
    let mut plain = calls(&[CallAction::Allowed, CallAction::Looked]);
    plain.retain(|call| !["clone", "unshare"].contains(call));
    let filter = json!([
        {"names": plain, "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        none_of("clone", 0x7e02_0000),
        none_of("unshare", 0x7e02_0080),
    ]);
    let kinds = ["user", "mount", "pid", "network", "ipc", "uts", "cgroup"].map(|kind| json!({"type": kind}));
    let none: [&str; 0] = [];
    let config = json!({
        "ociVersion": "1.0.0",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/stamp"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": none, "effective": none, "permitted": none},
            "noNewPrivileges": true,
        },
        "root": {"path": folder.join("guest"), "readonly": true},
        "hostname": "bench",
        "mounts": [
            mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
            mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
            mount("cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "ro"]),
            mount("tmpfs", "/dev", &["nosuid", "noexec", "mode=755", "size=64k", "nr_inodes=256"]),
            mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m", "nr_inodes=16384"]),
            mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
            mount("tmpfs", "/run", &["nosuid", "noexec", "nodev", "mode=755", "size=16m", "nr_inodes=4096"]),
            mount("tmpfs", "/tmp", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m", "nr_inodes=16384"]),
        ],
        "linux": {
            "uidMappings": [{"containerID": 0, "hostID": BASE, "size": 65_536}],
            "gidMappings": [{"containerID": 0, "hostID": BASE, "size": 65_536}],
            "namespaces": kinds,
            "cgroupsPath": "/bench/oci",
            "resources": {
                "memory": {"limit": MEMORY},
                "pids": {"limit": PIDS},
                "cpu": {"quota": CPU * 100, "period": 100_000},
            },
            "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": filter},
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
                "/sys/devices/virtual/powercap", "/sys/firmware",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    fs::write(bundle.join("config.json"), serde_json::to_vec(&config)?)?;
    Ok(bundle)
}

/// With no machine manager to register at, and so without limits.
fn nspawn(folder: &Path) -> Command {
    let mut command = Command::new(folder.join("systemd-nspawn"));
    command.args(["--quiet", "--register=no", "--keep-unit", "--settings=no", "--link-journal=no"]);
    command.args(["--resolv-conf=off", "--timezone=off", "--console=pipe", "--private-network", "--read-only"]);
    command.args(["--no-new-privileges=yes", "--drop-capability=all", "--machine=bench"]);
    command.arg(format!("--private-users={BASE}:65536")).arg("--private-users-ownership=map");
    command.arg(format!("--system-call-filter=~{}", calls(&[CallAction::Denied]).join(" ")));
    command.arg(format!("--directory={}", folder.join("guest").display())).arg("/bin/stamp");
    command
}

//! The container's file systems, made by its first process in its own namespaces.
//!
//! The kernel's file systems are mounted while the host's are still in sight: it shows new ones only to who can see all
//! of the old ones. Every path below the root is resolved without following links.

use catenoid_containers::order::LaunchOrder;
use catenoid_kernel_base::launch::{self, Error, Forbid, MountTarget, Tree};

use crate::prepare::Prepared;

/// Where the core container finds the control socket.
const CONTROL: &str = "/run/catenoid";

/// A file system of the container's own.
struct Mount {
    kind: &'static str,
    at: &'static str,
    forbid: Forbid,
    options: &'static [(&'static str, &'static str)],
}

/// The folders in `/dev` on which something is mounted.
const DEVICE_FOLDERS: [&str; 3] = ["pts", "shm", "mqueue"];
/// What programs expect in `/dev`.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

const PROC: Mount = Mount { kind: "proc", at: "/proc", forbid: Forbid::Execute, options: &[] };
const SYS: Mount = Mount { kind: "sysfs", at: "/sys", forbid: Forbid::WriteExecute, options: &[] };
const CGROUP: Mount = Mount { kind: "cgroup2", at: "/sys/fs/cgroup", forbid: Forbid::WriteExecute, options: &[] };
/// Sizes bound what a full one costs the container's own memory limit; they are not charged before they are used.
const DEV: Mount = Mount {
    kind: "tmpfs",
    at: "/dev",
    forbid: Forbid::Execute,
    options: &[("mode", "0755"), ("size", "64k"), ("nr_inodes", "256")],
};
const RUN: Mount = Mount {
    kind: "tmpfs",
    at: "/run",
    forbid: Forbid::Execute,
    options: &[("mode", "0755"), ("size", "16m"), ("nr_inodes", "4096")],
};
const REST: [Mount; 4] = [
    // Group 5 is `tty`, as glibc expects it of new terminals. `max` is what one container gets of them.
    Mount {
        kind: "devpts",
        at: "/dev/pts",
        forbid: Forbid::ExecuteNotDevices,
        options: &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5"), ("max", "64")],
    },
    Mount {
        kind: "tmpfs",
        at: "/dev/shm",
        forbid: Forbid::Execute,
        options: &[("mode", "1777"), ("size", "64m"), ("nr_inodes", "16384")],
    },
    Mount { kind: "mqueue", at: "/dev/mqueue", forbid: Forbid::Execute, options: &[] },
    Mount {
        kind: "tmpfs",
        at: "/tmp",
        forbid: Forbid::Execute,
        options: &[("mode", "1777"), ("size", "64m"), ("nr_inodes", "16384")],
    },
];

/// Out of sight: state of the whole device, which no namespace divides. The list of the OCI runtimes (`runc spec`,
/// Moby's default), with what newer kernels added, and how much the device is in want (a container sees its own want in its
/// groups).
const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/locks",
    "/proc/pressure",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// In sight, but not to be written: their files act on the whole device, or on what the manifest decides.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

// [req->SF-1] [req->CR-7.7]
pub(crate) fn mount(order: &LaunchOrder, prepared: &Prepared) -> Result<(), Error> {
    // In our own copy of the host's mounts, and while its folders may still be searched.
    let stage = MountTarget::of_host(&order.image)?;
    // Root of the own user namespace: what is made from here on belongs to the container.
    launch::set_ids(0, 0)?;
    launch::own_session()?;
    launch::own_cgroup()?;
    launch::set_host_name(order.host_name.as_str())?;

    let root = &prepared.root;
    root.attach(&stage)?;
    for mount in [PROC, SYS, CGROUP] {
        mount.make()?.attach(&root.place(mount.at)?)?;
    }
    devices(root, &prepared.devices)?;
    let run = RUN.make()?;
    if prepared.control.is_some() {
        run.make_folder("catenoid", 0o755)?;
    }
    run.attach(&root.place(RUN.at)?)?;
    if let Some(control) = &prepared.control {
        control.attach(&root.place(CONTROL)?)?;
    }
    for mount in REST {
        mount.make()?.attach(&root.place(mount.at)?)?;
    }
    for path in READ_ONLY {
        if let Some(place) = root.place_if_any(path)? {
            let tree = place.clone_tree()?;
            tree.restrict(Forbid::WriteExecute)?;
            tree.attach(&place)?;
        }
    }
    for path in MASKED {
        if let Some(place) = root.place_if_any(path)? {
            mask(root, &place)?;
        }
    }
    root.become_root()
}

impl Mount {
    fn make(&self) -> Result<Tree, Error> {
        Tree::new(self.kind, self.options, self.forbid)
    }
}

/// A small `/dev`.
fn devices(root: &Tree, devices: &[(&'static str, Tree)]) -> Result<(), Error> {
    let dev = DEV.make()?;
    for (name, _) in devices {
        dev.make_file(name)?;
    }
    for name in DEVICE_FOLDERS {
        dev.make_folder(name, 0o755)?;
    }
    for (name, target) in DEVICE_LINKS {
        dev.make_link(name, target)?;
    }
    dev.attach(&root.place(DEV.at)?)?;
    devices.iter().try_for_each(|(name, device)| device.attach(&root.place(&format!("{}/{name}", DEV.at))?))
}

/// Puts `/dev/null` over a file, and an empty folder over a folder.
fn mask(root: &Tree, place: &MountTarget) -> Result<(), Error> {
    if place.is_folder()? {
        let options = [("mode", "0555"), ("size", "4k"), ("nr_inodes", "2")];
        Tree::new("tmpfs", &options, Forbid::WriteExecute)?.attach(place)
    } else {
        root.place("/dev/null")?.clone_tree()?.attach(place)
    }
}

//! Mounts: new ones, moved ones, wider ones, and what lies under a mask.

use std::fs;

use super::{in_own_mounts, mount, open_for_writing, read_some};
use crate::sys::{Refusal, call};
use crate::table::{Outcome, Row};

/// `OPEN_TREE_CLONE` of linux/mount.h.
const CLONE: i64 = 1;

pub(super) fn rows() -> Vec<Row> {
    let kinds = [
        ("proc", c"proc"),
        ("sysfs", c"sysfs"),
        ("tmpfs", c"tmpfs"),
        ("cgroup2", c"cgroup2"),
        ("devtmpfs", c"devtmpfs"),
        ("devpts", c"devpts"),
        ("mqueue", c"mqueue"),
        ("debugfs", c"debugfs"),
        ("tracefs", c"tracefs"),
        ("securityfs", c"securityfs"),
        ("bpf", c"bpf"),
    ];
    let mut rows: Vec<Row> =
        kinds.into_iter().map(|(name, kind)| Row::new(format!("mount a new {name}"), move || new(kind, c""))).collect();
    rows.extend([
        Row::new("mount a new overlay of its root", || {
            in_own_mounts(|| {
                let made = ["/tmp/upper", "/tmp/work"].map(fs::create_dir);
                if let Some(Err(error)) = made
                    .into_iter()
                    .find(|made| made.as_ref().is_err_and(|e| e.kind() != std::io::ErrorKind::AlreadyExists))
                {
                    return Outcome::of::<()>(Err(error));
                }
                Outcome::of(mount(
                    c"none",
                    c"/tmp",
                    c"overlay",
                    0,
                    c"lowerdir=/dev,upperdir=/tmp/upper,workdir=/tmp/work",
                ))
            })
        }),
        Row::new("mount the data partition", || {
            in_own_mounts(|| {
                Outcome::past(mount(c"/dev/vda3", c"/tmp", c"ext4", libc::MS_RDONLY, c"noload"), &[libc::EBUSY])
            })
        }),
        Row::new("mount the firmware's variables", || {
            // The kernel asks who it is before it looks whether there is such a firmware.
            in_own_mounts(|| {
                Outcome::past(mount(c"none", c"/tmp", c"efivarfs", 0, c""), &[libc::EOPNOTSUPP, libc::ENODEV])
            })
        }),
        Row::new("mount control groups of version 1 (release_agent)", || new(c"cgroup", c"none,name=probe")),
        Row::new("make its root writable by a remount", || {
            in_own_mounts(|| Outcome::of(mount(c"none", c"/", c"", libc::MS_REMOUNT | libc::MS_BIND, c"")))
        }),
        Row::new("make /proc/sys writable by a remount", || {
            // In the root namespace it is no mount of its own: there it is /proc.
            in_own_mounts(|| {
                let remount = |at| mount(c"none", at, c"", libc::MS_REMOUNT | libc::MS_BIND, c"");
                let remounted = remount(c"/proc/sys");
                Outcome::of(
                    remounted.or_else(
                        |refusal| if refusal.errno == libc::EINVAL { remount(c"/proc") } else { Err(refusal) },
                    ),
                )
            })
        }),
        Row::new("allow devices in /dev/shm by a remount", || {
            in_own_mounts(|| {
                let remounted = mount(c"none", c"/dev/shm", c"", libc::MS_REMOUNT | libc::MS_BIND, c"");
                Outcome::past(remounted, &[libc::EINVAL, libc::ENOENT])
            })
        }),
        Row::new("bind over a masked file", || {
            in_own_mounts(|| Outcome::of(mount(c"/proc/self/status", c"/proc/kcore", c"", libc::MS_BIND, c"")))
        }),
        Row::new("take a mask off (umount)", || {
            in_own_mounts(|| {
                let gone = call(libc::SYS_umount2, [c"/proc/kcore".into(), i64::from(libc::MNT_DETACH).into()]);
                Outcome::past(gone, &[libc::EINVAL])
            })
        }),
        Row::new("make its mounts shared", || {
            in_own_mounts(|| Outcome::of(mount(c"none", c"/", c"", libc::MS_SHARED, c"")))
        }),
        Row::new("fsopen a file system", || Outcome::of(call(libc::SYS_fsopen, [c"tmpfs".into(), 0.into()]))),
        Row::new("fspick its root", || {
            in_own_mounts(|| Outcome::of(call(libc::SYS_fspick, [libc::AT_FDCWD.into(), c"/".into(), 0.into()])))
        }),
        Row::new("clone a mount (open_tree)", || {
            Outcome::of(call(libc::SYS_open_tree, [libc::AT_FDCWD.into(), c"/".into(), CLONE.into()]))
        }),
        Row::new("move a mount (move_mount)", || {
            in_own_mounts(|| {
                let moved = call(
                    libc::SYS_move_mount,
                    [libc::AT_FDCWD.into(), c"/proc".into(), libc::AT_FDCWD.into(), c"/tmp".into(), 0.into()],
                );
                Outcome::of(moved)
            })
        }),
        Row::new("widen a mount (mount_setattr)", || {
            in_own_mounts(|| {
                // Clears MOUNT_ATTR_RDONLY.
                let mut attributes: Vec<u8> = [0_u64, 1, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
                let set = call(
                    libc::SYS_mount_setattr,
                    [libc::AT_FDCWD.into(), c"/".into(), 0.into(), attributes.as_mut_slice().into(), 32.into()],
                );
                Outcome::of(set)
            })
        }),
        Row::new("see paths of the device in its list of mounts", || Outcome::found(&host_paths())),
        Row::new("see the folder of a control socket in its list of mounts", || {
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            Outcome::found(&table.lines().filter(|line| is_control(line)).map(str::to_owned).collect::<Vec<_>>())
        })
        .core("by its name; it is its own")
        .not_by_root("it has the folder itself"),
    ]);
    let masked = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"];
    rows.extend(masked.into_iter().map(|path| Row::new(format!("read {path}"), move || read_some(path))));
    rows.extend([
        Row::new("see what the firmware reports (/sys/firmware)", || entries("/sys/firmware")),
        Row::new("see ACPI's tables and switches (/proc/acpi)", || entries("/proc/acpi")),
        Row::new("see security modules (/sys/kernel/security)", || entries("/sys/kernel/security")),
        Row::new("see the debugging of the kernel", || entries("/sys/kernel/debug")).nobody("it is not mounted"),
        Row::new("see the tracing of the kernel", || entries("/sys/kernel/tracing")).nobody("it is not mounted"),
        Row::new("see pinned bpf programs", || entries("/sys/fs/bpf")).nobody("it is not mounted"),
        Row::new("see crash dumps (pstore)", || entries("/sys/fs/pstore")).nobody("it is not mounted"),
        Row::new("write below /sys", || Outcome::found(&writable("/sys", &|_| false))),
        Row::new("write below /proc, processes aside", || {
            let own =
                |name: &str| name.parse::<u32>().is_ok() || ["self", "thread-self", "net", "mounts"].contains(&name);
            Outcome::found(&writable("/proc", &own))
        }),
    ]);
    let files = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/power/state",
        "/sys/kernel/uevent_seqnum",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/cgroup.subtree_control",
        "/sys/class/mem/null/uevent",
        "/sys/module/loop/uevent",
    ];
    for path in files {
        let row = Row::new(format!("write to {path}"), move || Outcome::of(open_for_writing(path)));
        rows.push(if path.ends_with("seqnum") { row.nobody("it is read-only") } else { row });
    }
    rows.extend([
        Row::new("make a control group", || {
            let made = fs::create_dir("/sys/fs/cgroup/probe");
            let _ = fs::remove_dir("/sys/fs/cgroup/probe");
            Outcome::of(made)
        }),
        Row::new("see control groups of others", || Outcome::found(&groups())),
        Row::new("raise its own memory limit", || {
            let places = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/catenoid/core0/memory.max"];
            Outcome::of(open_for_writing(places[0]).or_else(|error| {
                if error.kind() == std::io::ErrorKind::NotFound { open_for_writing(places[1]) } else { Err(error) }
            }))
        }),
    ]);
    rows
}

fn new(kind: &'static std::ffi::CStr, options: &'static std::ffi::CStr) -> Outcome {
    in_own_mounts(|| Outcome::of(mount(c"none", c"/tmp", kind, 0, options)))
}

/// Places of the device that a mount reports: its root in its file system, where it lies, what it came from, its options.
fn host_paths() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let ours = [
        "/data",
        "/run/catenoid/guests",
        "/run/catenoid/namespaces",
        "/run/catenoid/logs",
        "/catenoid/",
        "/dev/vd",
        "/blobs",
    ];
    let names_ours = |line: &&str| ours.iter().any(|path| line.contains(path)) && !is_control(line);
    table.lines().filter(names_ours).map(str::to_owned).collect()
}

/// Whether a line of the list of mounts is about the folder of the control socket.
fn is_control(line: &str) -> bool {
    line.split(' ').nth(4) == Some("/run/catenoid")
}

fn entries(folder: &str) -> Outcome {
    match fs::read_dir(folder) {
        Ok(entries) => match entries.count() {
            0 => Outcome::Stopped("masked: it is empty".to_owned()),
            count => Outcome::Reached(format!("{count} entries")),
        },
        Err(error) => Outcome::Stopped(Refusal::from(error).to_string()),
    }
}

fn groups() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/fs/cgroup") else { return Vec::new() };
    entries.flatten().filter(|entry| entry.path().is_dir()).map(|entry| entry.path().display().to_string()).collect()
}

/// The first file below `folder` that can be opened for writing; links are not followed. A mask is `/dev/null`, which can.
fn writable(folder: &str, skip: &dyn Fn(&str) -> bool) -> Vec<String> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let mut folders = vec![std::path::PathBuf::from(folder)];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries.flatten() {
            if next.as_os_str() == folder && skip(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let mask = metadata.file_type().is_char_device() && metadata.rdev() == libc::makedev(1, 3);
            if !mask && !metadata.is_symlink() && open_for_writing(&path).is_ok() {
                return vec![path.display().to_string()];
            }
        }
    }
    Vec::new()
}

//! The launcher on the real kernel: what a container is, what it sees, and what it may do.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, symlink},
        net::UnixListener,
    },
};

use catenoid_containers::order::{LaunchAnswer, LaunchFailure, LaunchStage, RootMode};
use catenoid_kernel_base::process;
use catenoid_schema::units::ByteSize;

use crate::device::{BASE, Device, launcher};

/// The numbers of all that a manifest can grant.
const EVERY_CAPABILITY: [u8; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 18, 23, 31];

fn plain() -> Device {
    Device::new().with_image(|_| {})
}

// [req->SF-1] [req->OS-01]
#[test]
fn mountns_container_has_namespaces_of_its_own() {
    let mut device = plain();
    let order = device.order(
        "web",
        "echo self $$; echo name $(hostname); echo id $(id -u):$(id -g):$(id -G); echo map $(cat /proc/self/uid_map)
         echo group $(grep ^0: /proc/self/cgroup); echo parent $(grep PPid /proc/self/status); echo tty $(cat /dev/tty 2>&1)
         echo processes $(ls /proc | grep -c '^[0-9]'); echo links $(cat /sys/class/net/*/address | head -n 9)
         for kind in cgroup ipc mnt net pid time user uts; do echo $kind $(readlink /proc/self/ns/$kind); done",
    );
    let output = device.output(&order);
    let printed: BTreeMap<_, _> = output.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(printed["self"], "1");
    assert_eq!(printed["name"], "web");
    assert_eq!(printed["id"], "0:0:0");
    assert_eq!(printed["map"], format!("0 {BASE} 65536"));
    assert_eq!(printed["group"], "0::/");
    assert_eq!(printed["tty"], "cat: can't open '/dev/tty': No such device or address");
    assert_eq!(printed["links"], "00:00:00:00:00:00", "only the loopback interface");
    // The shell, the substitution's copy of it, `ls` and `grep`.
    assert!(printed["processes"].parse::<u32>().unwrap() <= 4, "{output}");
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert!(printed[kind].starts_with(&format!("{kind}:[")), "{output}");
        assert_ne!(printed[kind], ours.to_str().unwrap());
    }
}

fn rights(device: &mut Device, user: u32, capabilities: &[u8]) -> BTreeMap<String, String> {
    let mut order = device.order("web", "");
    order.command = vec!["/bin/cat".to_owned(), "/proc/self/status".to_owned()];
    (order.user, order.group_id) = (user, user);
    order.capabilities = capabilities.iter().copied().collect();
    let output = device.output(&order);
    output.lines().filter_map(|line| line.split_once(":\t")).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect()
}

// [req->SF-7] [req->CR-7.7]
#[test]
fn mountns_capabilities_are_those_granted_and_no_others() {
    let mut device = plain();
    // (user, granted, mask)
    for (user, granted) in [(0, &[][..]), (0, &[10]), (0, &EVERY_CAPABILITY), (33, &[]), (33, &[10, 13])] {
        let status = rights(&mut device, user, granted);
        let mask = format!("{:016x}", granted.iter().fold(0u64, |mask, number| mask | 1 << number));
        let none = format!("{:016x}", 0);
        let inherited = if user == 0 { &none } else { &mask };
        let expected = [
            ("CapInh", inherited),
            ("CapPrm", &mask),
            ("CapEff", &mask),
            ("CapBnd", &mask),
            ("CapAmb", inherited),
            ("NoNewPrivs", &"1".to_owned()),
            ("Seccomp", &"2".to_owned()),
            ("SigBlk", &none),
            ("SigIgn", &none),
            ("Uid", &[user.to_string().as_str(); 4].join("\t")),
            ("Gid", &[user.to_string().as_str(); 4].join("\t")),
            ("Groups", &String::new()),
            ("Umask", &"0022".to_owned()),
        ];
        for (key, value) in expected {
            assert_eq!(status[key], *value, "{key} of user {user} with {granted:?}");
        }
    }
}

#[test]
fn mountns_nothing_is_inherited_from_who_launches() {
    let mut device = plain();
    fs::write("/proc/self/oom_score_adj", "500").unwrap();
    let leak = fs::File::open("/proc/self/status").unwrap();
    keep_on_exec(&leak);
    let order = device.order("web", "ls /proc/self/fd; cat /proc/self/oom_score_adj; grep core /proc/self/limits; env");
    let output = device.output(&order);
    // 3 is the folder that `ls` itself reads.
    let printed: Vec<_> = output.split_whitespace().collect();
    assert_eq!(printed.join(" "), "0 1 2 3 0 Max core file size 0 0 bytes SHLVL=1 PATH=/bin PWD=/");
}

fn keep_on_exec(file: &fs::File) {
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
}

// [req->SF-1] [req->TSF-ISOLATION]
#[test]
fn mountns_every_mount_is_as_narrow_as_it_can_be() {
    let mut device = plain();
    let order = device.order("web", "cat /proc/self/mountinfo");
    let output = device.output(&order);
    // Mount point, options of the mount, type of the file system.
    let mut mounts: Vec<_> = output
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .map(|f| format!("{} {} {}", f[4], f[5], f[f.iter().position(|f| *f == "-").unwrap() + 1]))
        .filter(|line| !line.starts_with("/proc/") && !line.starts_with("/sys/firmware") && !line.contains("powercap"))
        .collect();
    mounts.sort();
    insta::assert_snapshot!(mounts.join("\n"), @r"
    / ro,nosuid,nodev,relatime overlay
    /dev rw,nosuid,nodev,noexec,relatime tmpfs
    /dev/full rw,nosuid,noexec,relatime tmpfs
    /dev/mqueue rw,nosuid,nodev,noexec,relatime mqueue
    /dev/null rw,nosuid,noexec,relatime tmpfs
    /dev/pts rw,nosuid,noexec,relatime devpts
    /dev/random rw,nosuid,noexec,relatime tmpfs
    /dev/shm rw,nosuid,nodev,noexec,relatime tmpfs
    /dev/tty rw,nosuid,noexec,relatime tmpfs
    /dev/urandom rw,nosuid,noexec,relatime tmpfs
    /dev/zero rw,nosuid,noexec,relatime tmpfs
    /proc rw,nosuid,nodev,noexec,relatime proc
    /run rw,nosuid,nodev,noexec,relatime tmpfs
    /sys ro,nosuid,nodev,noexec,relatime sysfs
    /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime cgroup2
    /tmp rw,nosuid,nodev,noexec,relatime tmpfs
    ");
    for field in output.lines().map(|line| line.split(' ').nth(5).unwrap()) {
        assert!(field.contains("nosuid"), "{output}");
    }
}

// [req->SF-1] [req->TSF-ISOLATION]
#[test]
fn mountns_state_of_the_whole_device_is_masked() {
    let mut device = plain();
    let mut order = device.order(
        "web",
        "for file in /proc/kcore /proc/timer_list /proc/interrupts /proc/keys /proc/sched_debug; do
             test -e $file && echo masked $(head -c 1 $file | wc -c)
         done
         for folder in /proc/acpi /proc/pressure /proc/scsi /sys/firmware; do test -e $folder && echo masked $(ls -A $folder | wc -l); done
         for file in /proc/sys/kernel/hostname /proc/sys/vm/drop_caches /sys/fs/cgroup/cgroup.procs /etc/new; do
             (echo 0 > $file) 2>&1 | grep -o '[A-Z][a-z -]*$'
         done
         test ! -e /proc/sysrq-trigger || (echo 0 > /proc/sysrq-trigger) 2>&1 | grep -o '[A-Z][a-z -]*$'
         mkdir /sys/fs/cgroup/new 2>&1 | grep -o '[A-Z][a-z -]*$'
         echo x > /proc/self/comm && echo own; cp /bin/busybox /tmp/sh; /tmp/sh 2>&1 | grep -o '[A-Z][a-z -]*$'",
    );
    // Root in the container with every capability that can be granted: it is the masks that hold.
    order.capabilities = EVERY_CAPABILITY.into();
    let output = device.output(&order);
    let (masked, rest): (Vec<_>, Vec<_>) = output.lines().partition(|line| line.starts_with("masked"));
    assert!(masked.len() >= 3, "{output}");
    assert_eq!(masked, vec!["masked 0"; masked.len()]);
    let (denied, rest) = rest.split_at(rest.iter().position(|line| *line == "own").unwrap());
    assert!(denied.len() >= 5, "{output}");
    assert_eq!(denied, vec!["Read-only file system"; denied.len()]);
    assert_eq!(rest, ["own", "Permission denied"]);
}

// [req->SF-1] [req->OS-05]
#[test]
fn mountns_what_no_container_needs_is_denied() {
    let mut device = plain();
    let mut order = device.order("web", "");
    order.command = vec!["/bin/probe".to_owned()];
    order.capabilities = EVERY_CAPABILITY.into();
    insta::assert_snapshot!(device.output(&order), @r"
    clone NEWUSER EPERM
    clone NEWNET EPERM
    clone 0
    x32 getpid SIGSYS
    i386 getpid SIGSYS
    kexec_load EPERM
    init_module EPERM
    finit_module EPERM
    delete_module EPERM
    bpf EPERM
    perf_event_open EPERM
    userfaultfd EPERM
    io_uring_setup EPERM
    add_key EPERM
    request_key EPERM
    keyctl EPERM
    mount EPERM
    umount2 EPERM
    move_mount EPERM
    open_tree EPERM
    fsopen EPERM
    mount_setattr EPERM
    pivot_root EPERM
    setns EPERM
    unshare EPERM
    unshare EPERM
    unshare EPERM
    unshare 0
    clone3 ENOSYS
    open_by_handle_at EPERM
    ptrace EPERM
    process_vm_readv EPERM
    pidfd_getfd EPERM
    reboot EPERM
    swapon EPERM
    acct EPERM
    syslog EPERM
    settimeofday EPERM
    clock_settime EPERM
    quotactl EPERM
    personality 0
    personality 0
    personality EPERM
    ioctl EPERM
    ioctl ENOTTY
    socket 0
    socket 0
    socket 0
    socket EAFNOSUPPORT
    socket EAFNOSUPPORT
    getpid 0
    ");
}

// [req->SF-8]
#[test]
fn mountns_dev_has_only_harmless_devices() {
    let mut device = plain();
    let order = device.order(
        "web",
        "cd /dev; ls -l | grep -v ^total | while read mode links owner group a b rest; do echo $mode $a $b; done | grep '^[cb]'
         ls; head -c 4 /dev/zero | wc -c; echo lost > /dev/null; echo full > /dev/full; ls /dev/pts; mknod /tmp/sda b 8 0",
    );
    insta::assert_snapshot!(device.output(&order), @r"
    crw-rw-rw- 1, 7
    crw-rw-rw- 1, 3
    crw-rw-rw- 1, 8
    crw-rw-rw- 5, 0
    crw-rw-rw- 1, 9
    crw-rw-rw- 1, 5
    fd
    full
    mqueue
    null
    ptmx
    pts
    random
    shm
    stderr
    stdin
    stdout
    tty
    urandom
    zero
    4
    sh: write error: No space left on device
    ptmx
    mknod: /tmp/sda: Operation not permitted
    ");
}

/// What the kernel keeps with a file, beside what is in it, is not shared with who else has the image or the device.
// [req->TSF-ISOLATION]
#[test]
fn mountns_locks_on_its_files_and_devices_are_its_own() {
    let mut device = plain();
    let mut order = device.order("web", "probe lock /srv/page; probe lock /dev/full");
    // As another container of the same guest has it, and another one of the same device.
    let held = [device.path("image/srv/page"), "/dev/full".into()].map(|path| fs::File::open(path).unwrap());
    held.iter().for_each(|file| file.try_lock().unwrap());
    assert_eq!(device.output(&order), "flock 0\nflock 0\n");
    order.root = RootMode::Tmpfs { size: ByteSize::from_mebibytes(1) };
    assert_eq!(device.output(&order), "flock 0\nflock 0\n");
}

#[test]
fn mountns_terminals_can_be_had_and_are_bounded() {
    let mut device = plain();
    let order = device.order(
        "web",
        "hold() { exec 3<>/dev/ptmx || exit 1; sleep 9 & }
         n=0; while [ $n -lt 70 ]; do (hold) 2>/dev/null || break; n=$((n+1)); done; echo $n",
    );
    assert_eq!(device.output(&order), "64\n");
}

#[test]
fn mountns_files_keep_their_owners_in_the_containers_own_ids() {
    let mut device = plain();
    let script = "stat -c '%u:%g %n' /srv/page /bin/busybox /; cat /srv/page";
    let order = device.order("web", script);
    assert_eq!(device.output(&order), "33:33 /srv/page\n0:0 /bin/busybox\n0:0 /\nhello\n");
    let mut order = device.order("web", script);
    order.root = RootMode::Tmpfs { size: ByteSize::from_mebibytes(1) };
    assert_eq!(device.output(&order), "33:33 /srv/page\n0:0 /bin/busybox\n0:0 /\nhello\n");
    // On the device itself nothing changed.
    assert_eq!(fs::metadata(device.path("image/srv/page")).unwrap().uid(), 33);
}

#[test]
fn mountns_what_is_written_is_bounded_and_gone_with_the_container() {
    let mut device = plain();
    let script =
        "cat /srv/page; echo changed > /srv/page && cat /srv/page; rm -r /etc; ls -d /etc; touch /new; ls -d /new
                  dd if=/dev/zero of=/big bs=64k count=64 2>&1 | grep -o 'No space.*'; stat -c %u:%g /new";
    let mut order = device.order("web", script);
    order.capabilities = [0, 1, 3].into();
    order.root = RootMode::Tmpfs { size: ByteSize::from_mebibytes(1) };
    let first = device.output(&order);
    assert_eq!(first, "hello\nchanged\nls: /etc: No such file or directory\n/new\nNo space left on device\n0:0\n");
    assert_eq!(device.output(&order), first, "nothing of the first run is found by the second");
    assert_eq!(fs::read_to_string(device.path("image/srv/page")).unwrap(), "hello\n");
}

// [req->SF-17]
#[test]
fn mountns_core_container_reaches_the_control_socket_and_cannot_replace_it() {
    let mut device = plain();
    let folder = device.path("control");
    fs::create_dir(&folder).unwrap();
    let listener = UnixListener::bind(folder.join("control.sock")).unwrap();
    fs::set_permissions(folder.join("control.sock"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let script = "rm /run/catenoid/control.sock; touch /run/catenoid/new; probe /run/catenoid/control.sock";
    let mut order = device.order("web", script);
    order.control = Some(folder.clone());
    order.capabilities = [1].into();
    let printed = device.output(&order);
    assert_eq!(
        printed,
        "rm: can't remove '/run/catenoid/control.sock': Read-only file system\n\
         touch: /run/catenoid/new: Read-only file system\nconnect 0\nwrite 0\n"
    );
    listener.set_nonblocking(true).unwrap();
    let (mut stream, _) = listener.accept().expect("the container connected");
    let mut word = String::new();
    stream.read_to_string(&mut word).unwrap();
    assert_eq!(word, "word");
    assert!(fs::metadata(folder.join("control.sock")).unwrap().file_type().is_socket());
}

#[test]
fn mountns_output_that_nobody_reads_holds_nobody_up() {
    let mut device = plain();
    let order = device.order("web", "dd if=/dev/zero bs=64k count=32; true");
    assert!(matches!(device.launch(&order), LaunchAnswer::Started { .. }));
    device.ended(&order);
}

/// A failed launch reports where and why, and leaves nothing alive.
fn failure(device: &Device, order: &catenoid_containers::order::LaunchOrder) -> LaunchFailure {
    let LaunchAnswer::Failed(failure) = device.launch(order) else { panic!("it started") };
    device.ended(order);
    failure
}

#[test]
fn mountns_failures_report_where_and_why() {
    let mut device = plain();
    let good = device.order("web", "true");

    let mut order = good.clone();
    order.command = vec!["/bin/none".to_owned()];
    let failed = failure(&device, &order);
    assert_eq!((failed.stage, failed.errno), (LaunchStage::Execute, Some(2)));
    assert_eq!(failed.message, "failed to execute `/bin/none`: No such file or directory (os error 2)");

    let mut order = good.clone();
    order.working_directory = "/none".to_owned();
    assert_eq!(failure(&device, &order).stage, LaunchStage::Confine);

    let mut order = good.clone();
    order.namespaces.user = device.path("none");
    assert_eq!(failure(&device, &order).stage, LaunchStage::Prepare);

    // A network namespace that belongs to another user namespace: the container would be powerless in it, or worse.
    let _ = device.order("db", "true");
    let mut order = good.clone();
    order.namespaces.network = device.path("namespaces/db/net");
    assert_eq!(failure(&device, &order).stage, LaunchStage::Clone);
}

#[test]
fn mountns_links_in_an_image_lead_nowhere() {
    for (path, target) in [("proc", "../../../../etc"), ("dev", "/etc"), ("tmp", "proc/1/root")] {
        let mut device = Device::new().with_image(|root| {
            fs::remove_dir(root.join(path)).unwrap();
            symlink(target, root.join(path)).unwrap();
        });
        let order = device.order("web", "true");
        let failed = failure(&device, &order);
        assert_eq!(
            (failed.stage, failed.message.as_str()),
            (
                LaunchStage::Mount,
                format!("failed to open `/{path}`: Too many levels of symbolic links (os error 40)").as_str()
            )
        );
    }
}

#[test]
fn mountns_a_zombie_still_shows_which_launch_it_was() {
    let mut device = plain();
    let order = device.order("web", "exit 7");
    let LaunchAnswer::Started { pid } = device.launch(&order) else { panic!("it did not start") };
    let zombie = loop {
        if let Some(zombie) = process::ended_child().unwrap() {
            break zombie;
        }
    };
    assert_eq!(zombie, process::Zombie { pid, end: process::End::Code(7) });
    let identity = process::identity(pid).unwrap().expect("it is not reaped yet");
    assert_eq!(identity.pids, [pid, 1]);
    assert!(identity.cgroup.ends_with(&format!("/catenoid/web/run.{}", order.id())), "{}", identity.cgroup);
    process::reap(zombie).unwrap();
}

#[test]
fn mountns_an_order_that_is_none_is_refused_before_anything_is_done() {
    let mut device = plain();
    let order = serde_json::to_value(device.order("web", "true")).unwrap();
    let request = |launch: &str, order: &serde_json::Value| {
        serde_json::to_vec(&serde_json::json!({ "launch": launch, "order": order })).unwrap()
    };
    let mut unknown = order.clone();
    unknown["privileged"] = true.into();
    for (request, message) in [
        (Vec::new(), "the order is not one: EOF while parsing a value at line 1 column 0"),
        (request("../../x", &order), "the launch is not named by 16 hex digits"),
        (vec![b' '; 1024 * 1024 + 1], "the order has more than 1048576 bytes"),
    ] {
        let output = process::run(&launcher(), &request).unwrap();
        let failure = LaunchFailure { stage: LaunchStage::Order, message: message.to_owned(), errno: None };
        assert_eq!(serde_json::from_slice::<LaunchAnswer>(&output.stdout).unwrap(), LaunchAnswer::Failed(failure));
        assert_eq!(output.status.code(), Some(1));
    }
    let output = process::run(&launcher(), &request("0123456789abcdef", &unknown)).unwrap();
    let LaunchAnswer::Failed(failure) = serde_json::from_slice(&output.stdout).unwrap() else { panic!("it was taken") };
    assert!(failure.message.starts_with("the order is not one: unknown field `privileged`"), "{failure:?}");
}

/// The least memory that a manifest may give is enough to come as far as the program.
#[test]
#[ignore = "needs the memory controller in cgroup v2: runs in vm_rooms_hold_on_the_device_kernel"]
fn mountns_the_least_memory_is_enough_to_start() {
    let mut device = plain();
    let order = device.order("web", "echo up");
    let least = catenoid_schema::limits::MEMORY_LEAST.to_string();
    fs::write(order.group.join("memory.max"), least).unwrap();
    fs::write(order.group.join("memory.swap.max"), "0").unwrap();
    assert_eq!(device.output(&order), "up\n");
}

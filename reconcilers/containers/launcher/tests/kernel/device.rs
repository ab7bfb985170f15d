//! A small device in a mount namespace of the test: control groups, a pinned pair of namespaces, an image.
//!
//! Needs root, `busybox-static`, `erofs-utils`, a C compiler with static libraries, and loop devices. Where nothing can be
//! built (on the device's kernel), `CATENOID_TEST_PROBE` names the compiled `probe.c` and `CATENOID_TEST_LAUNCHER` the
//! launcher.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    io::Read as _,
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use catenoid_containers::order::{LaunchAnswer, LaunchOrder, NamespacePaths, Request, RootMode};
use catenoid_kernel_base::process;
use catenoid_kernel_cgroup::Hierarchy;
use catenoid_kernel_net::namespace;
use catenoid_schema::digest::Digest;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::prctl,
};

/// What scripts of the tests call by name.
const APPLETS: [&str; 22] = [
    "cat", "cp", "dd", "echo", "env", "grep", "head", "hostname", "id", "ls", "mkdir", "mknod", "mount", "nc",
    "readlink", "rm", "sh", "sleep", "stat", "touch", "true", "wc",
];
/// The first host id of the test's containers.
pub(crate) const BASE: u32 = 7 * 65_536;

pub(crate) struct Device {
    folder: tempfile::TempDir,
    pub(crate) base: PathBuf,
    pub(crate) hierarchy: Hierarchy,
    containers: Vec<String>,
}

impl Device {
    pub(crate) fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("tests on the kernel run as root");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // What a mount of `/run` would be on the device; pinned namespaces need a mount that is private.
        mount(Some("none"), folder.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        for name in ["cgroup", "image", "exits"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let cgroup = folder.path().join("cgroup");
        mount(Some("none"), &cgroup, Some("cgroup2"), MsFlags::empty(), None::<&str>).unwrap();
        // What the hierarchy offers reaches the test's group only if its parent passes it on.
        let offered = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap();
        for controller in offered.split_whitespace() {
            let _ = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        let base = cgroup.join(format!("launch-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        let hierarchy = Hierarchy::open(&base).unwrap();
        hierarchy.prepare(&["cpu", "memory", "pids"], &[]).unwrap();
        // As PID 1 of the device: orphans of what is started here are to be its children.
        prctl::set_child_subreaper(true).unwrap();
        Self { folder, base, hierarchy, containers: Vec::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Mounts the test image at `image/`, after `change` was made to what is in it.
    pub(crate) fn with_image(self, change: impl FnOnce(&Path)) -> Self {
        let image = build_image(&self, change);
        run(
            "mount",
            ["-t", "erofs", "-o", "ro,loop"]
                .map(OsString::from)
                .into_iter()
                .chain([image.into_os_string(), self.path("image").into_os_string()]),
        );
        self
    }

    /// An order for `script`, with everything else at its least.
    pub(crate) fn order(&mut self, container: &str, script: &str) -> LaunchOrder {
        if !self.containers.iter().any(|known| known == container) {
            let fresh = namespace::make(BASE, 65_536).unwrap();
            fresh.keep(&self.path("namespaces").join(container)).unwrap();
            self.hierarchy.make_group(container).unwrap();
            process::make_fifo(&self.path("logs").join(container)).unwrap();
            self.containers.push(container.to_owned());
        }
        let namespaces = self.path("namespaces").join(container);
        LaunchOrder {
            container: container.parse().unwrap(),
            guest: Digest::of(b"guest"),
            image: self.path("image"),
            root: RootMode::ReadOnly,
            id_base: BASE,
            namespaces: NamespacePaths { user: namespaces.join("user"), network: namespaces.join("net") },
            group: self.base.join("catenoid").join(container),
            log: self.path("logs").join(container),
            control: None,
            host_name: container.parse().unwrap(),
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
            environment: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            working_directory: "/".to_owned(),
            user: 0,
            group_id: 0,
            capabilities: BTreeSet::new(),
            needs: BTreeSet::new(),
        }
    }

    /// Runs the launcher.
    pub(crate) fn launch(&self, order: &LaunchOrder) -> LaunchAnswer {
        let launch = order.id();
        let _ = self.hierarchy.make_leaf(order.container.as_str(), &launch).unwrap();
        let request = serde_json::to_vec(&Request { launch, order: order.clone(), check: None }).unwrap();
        let output = process::run(&launcher(), &request).unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.success(), matches!(answer, LaunchAnswer::Started { .. }), "{answer:?}");
        answer
    }

    /// Launches, waits for the end, and answers what the container wrote.
    pub(crate) fn output(&self, order: &LaunchOrder) -> String {
        let mut log = self.log(order);
        match self.launch(order) {
            LaunchAnswer::Started { .. } => {}
            other => panic!("{other:?}"),
        }
        self.ended(order);
        let mut text = Vec::new();
        let mut part = [0; 65_536];
        while let Ok(count @ 1..) = log.read(&mut part) {
            text.extend_from_slice(&part[..count]);
        }
        String::from_utf8(text).unwrap()
    }

    pub(crate) fn log(&self, order: &LaunchOrder) -> fs::File {
        fs::File::options().read(true).custom_flags(libc_nonblock()).open(&order.log).unwrap()
    }

    /// Waits until nothing of the launch lives, and takes its leaf away.
    pub(crate) fn ended(&self, order: &LaunchOrder) {
        let (container, launch) = (order.container.as_str(), order.id());
        assert!(self.hierarchy.wait_empty(container, &launch, Duration::from_secs(60)).unwrap(), "it does not end");
        self.hierarchy.remove_leaf(container, &launch).unwrap();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for container in &self.containers {
            for leaf in self.hierarchy.leaves(container).unwrap_or_default() {
                let _ = self.hierarchy.kill(container, &leaf.launch_id);
                let _ = self.hierarchy.wait_empty(container, &leaf.launch_id, Duration::from_secs(10));
                let _ = self.hierarchy.remove_leaf(container, &leaf.launch_id);
            }
            let _ = self.hierarchy.remove_group(container);
            let _ = namespace::remove(&self.path("namespaces").join(container));
        }
        let _ = fs::remove_dir(self.base.join("catenoid"));
        let _ = fs::remove_dir(&self.base);
        let _ = umount2(self.folder.path(), MntFlags::MNT_DETACH);
    }
}

pub(crate) fn launcher() -> PathBuf {
    std::env::var_os("CATENOID_TEST_LAUNCHER")
        .map_or_else(|| env!("CARGO_BIN_EXE_catenoid-launcher").into(), Into::into)
}

fn libc_nonblock() -> i32 {
    nix::fcntl::OFlag::O_NONBLOCK.bits()
}

fn build_image(device: &Device, change: impl FnOnce(&Path)) -> PathBuf {
    let (root, image) = (device.path("root"), device.path("image.erofs"));
    for folder in ["bin", "dev", "etc", "proc", "run", "srv", "sys", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("srv/page"), "hello\n").unwrap();
    std::os::unix::fs::chown(root.join("srv/page"), Some(33), Some(33)).unwrap();
    let probe = root.join("bin/probe");
    if let Some(compiled) = std::env::var_os("CATENOID_TEST_PROBE") {
        fs::copy(compiled, probe).unwrap();
    } else {
        let source = Path::new("tests/kernel/probe.c");
        run("cc", ["-static".into(), "-o".into(), probe.into_os_string(), source.into()]);
    }
    change(&root);
    run("mkfs.erofs", ["--quiet".into(), image.clone().into_os_string(), root.into_os_string()]);
    image
}

fn run(program: &str, arguments: impl IntoIterator<Item = OsString>) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

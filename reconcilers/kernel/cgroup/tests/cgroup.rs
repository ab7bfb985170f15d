//! The door to control groups: on a folder that looks like one, and on the kernel's own.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use catenoid_kernel_cgroup::{ControlFile, Error, Hierarchy, Leaf};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

const LAUNCH: &str = "0123456789abcdef";
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
const MEMORY_MAX: ControlFile = ControlFile { controller: "memory", file: "memory.max" };
const PIDS_MAX: ControlFile = ControlFile { controller: "pids", file: "pids.max" };

/// A folder that holds what a freshly mounted hierarchy does.
fn folder(controllers: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cgroup.controllers"), controllers).unwrap();
    fs::write(folder.path().join("cgroup.subtree_control"), "").unwrap();
    fs::create_dir(folder.path().join("catenoid")).unwrap();
    fs::write(folder.path().join("catenoid/cgroup.subtree_control"), "memory\n").unwrap();
    folder
}

/// A group of its own in the kernel's hierarchy, mounted where only this thread sees it.
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
        let base = folder.path().join(format!("{test}-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        Self { mount: folder, base }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.base.join("catenoid"));
        let _ = fs::remove_dir(&self.base);
        let _ = umount2(self.mount.path(), MntFlags::MNT_DETACH);
    }
}

/// A process that stays until it is killed.
fn lasting() -> Child {
    Command::new("/bin/sleep").arg("infinity").spawn().unwrap()
}

fn join(base: &Path, child: &Child) {
    fs::write(base.join(format!("catenoid/web/run.{LAUNCH}/cgroup.procs")), child.id().to_string()).unwrap();
}

#[test]
fn controllers_are_enabled_and_missing_ones_reported() {
    let folder = folder("cpuset cpu memory hugetlb\n");
    let hierarchy = Hierarchy::open(folder.path()).unwrap();
    assert_eq!(hierarchy.prepare(&CONTROLLERS, &[]).unwrap(), ["pids"]);
    let read = |file| fs::read_to_string(folder.path().join(file)).unwrap();
    // A plain file keeps the last write only.
    assert_eq!(read("cgroup.subtree_control"), "+memory");
    // `memory` was enabled already.
    assert_eq!(read("catenoid/cgroup.subtree_control"), "+cpu");
    assert_eq!(hierarchy.prepare(&["pids"], &["hugetlb", "io"]).unwrap(), ["pids", "io"]);
    assert_eq!(read("catenoid/cgroup.subtree_control"), "+hugetlb");
}

/// A group with a process of its own passes no controller on: what only some limits need is missing then.
#[test]
fn mountns_a_controller_that_cannot_be_enabled_is_missing_or_an_error() {
    let kernel = Kernel::mounted("busy");
    let offered = fs::read_to_string(kernel.mount.path().join("cgroup.controllers")).unwrap();
    let of_processes = ["hugetlb", "io", "memory", "misc", "rdma"];
    let controller = of_processes.into_iter().find(|controller| offered.split_whitespace().any(|o| o == *controller));
    let controller = controller.expect("the kernel has a controller of processes in cgroup v2");
    fs::write(kernel.mount.path().join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
    let mut child = lasting();
    fs::write(kernel.base.join("cgroup.procs"), child.id().to_string()).unwrap();

    let hierarchy = Hierarchy::open(&kernel.base).unwrap();
    let optional = hierarchy.prepare(&[], &[controller, "none"]);
    let needed = hierarchy.prepare(&[controller], &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(optional.unwrap(), [controller, "none"]);
    let busy = Some(nix::errno::Errno::EBUSY as i32);
    assert!(matches!(&needed, Err(Error::Write { source, .. }) if source.raw_os_error() == busy), "{needed:?}");
    assert_eq!(hierarchy.prepare(&[], &[controller]).unwrap(), [""; 0], "the process is gone");
}

#[test]
fn a_group_without_the_controller_differs_from_a_group_that_is_not_there() {
    let folder = folder("memory\n");
    let hierarchy = Hierarchy::open(folder.path()).unwrap();
    let missing = hierarchy.write_limit("web", PIDS_MAX, "64").unwrap_err();
    assert!(matches!(&missing, Error::Write { source, .. } if source.kind() == io::ErrorKind::NotFound), "{missing}");
    hierarchy.make_group("web").unwrap();
    let lacking = hierarchy.write_limit("web", PIDS_MAX, "64").unwrap_err();
    assert!(matches!(lacking, Error::Controller { control: PIDS_MAX, .. }), "{lacking}");
    assert_eq!(
        lacking.to_string(),
        format!(
            "cgroup `{}/catenoid/web` has no `pids.max`: the kernel lacks the controller `pids`",
            folder.path().display()
        )
    );
    assert_eq!(hierarchy.read_limit("web", PIDS_MAX).unwrap(), None);
}

#[test]
fn limits_are_read_as_they_were_written() {
    let folder = folder("memory\n");
    let hierarchy = Hierarchy::open(folder.path()).unwrap();
    hierarchy.make_group("web").unwrap();
    let file = folder.path().join("catenoid/web/memory.max");
    fs::write(&file, "max\n").unwrap();
    assert_eq!(hierarchy.read_limit("web", MEMORY_MAX).unwrap().as_deref(), Some("max"));
    hierarchy.write_limit("web", MEMORY_MAX, "134217728").unwrap();
    assert_eq!(hierarchy.read_limit("web", MEMORY_MAX).unwrap().as_deref(), Some("134217728"));
}

#[test]
fn names_that_leave_the_hierarchy_are_refused() {
    let folder = folder("memory\n");
    let hierarchy = Hierarchy::open(folder.path()).unwrap();
    for name in ["", ".", "..", "a/b", "/", "../other", "a\0"] {
        assert!(matches!(hierarchy.make_group(name), Err(Error::Name { .. })), "{name:?}");
        assert!(matches!(hierarchy.remove_group(name), Err(Error::Name { .. })), "{name:?}");
    }
    for launch in ["", "x", "../0123456789ab", "0123456789ABCDEF"] {
        assert!(matches!(hierarchy.make_leaf("web", launch), Err(Error::Name { .. })), "{launch:?}");
    }
    hierarchy.make_group("web").unwrap();
    let of_the_group = ["cgroup.procs", "cgroup.kill", "cgroup.subtree_control"];
    let outside = ["", ".", "..", "../pids.max", "run.0123456789abcdef/cgroup.procs", "a\0", "pids./x", "pids.\0"];
    let of_another = ["memory.max", "pidsx.max", "pids"];
    let files = [&of_the_group[..], &outside, &of_another].concat();
    let files = files.into_iter().map(|file| ControlFile { controller: "pids", file });
    for file in files.chain(of_the_group.map(|file| ControlFile { controller: "cgroup", file })) {
        assert!(matches!(hierarchy.read_limit("web", file), Err(Error::Name { .. })), "{file:?}");
        assert!(matches!(hierarchy.write_limit("web", file, "1"), Err(Error::Name { .. })), "{file:?}");
        assert!(matches!(hierarchy.offered([file]), Err(Error::Name { .. })), "{file:?}");
    }
    hierarchy.remove_group("web").unwrap();
    std::os::unix::fs::symlink("/tmp", folder.path().join("catenoid/link")).unwrap();
    assert!(hierarchy.write_limit("link", PIDS_MAX, "1").is_err());
    assert_eq!(hierarchy.groups().unwrap(), Vec::<String>::new());
}

#[test]
fn mountns_groups_and_leaves_come_and_go() {
    let kernel = Kernel::mounted("groups");
    let hierarchy = Hierarchy::open(&kernel.base).unwrap();
    assert_eq!(hierarchy.groups().unwrap(), Vec::<String>::new());
    hierarchy.prepare(&CONTROLLERS, &[]).unwrap();
    for _ in 0..2 {
        hierarchy.make_group("web").unwrap();
        hierarchy.make_leaf("web", LAUNCH).unwrap();
    }
    fs::create_dir(kernel.base.join("catenoid/web/foreign")).unwrap();
    let empty = Leaf { launch_id: LAUNCH.to_owned(), pids: vec![], populated: false, frozen: false };
    assert_eq!(hierarchy.leaves("web").unwrap(), [empty]);
    assert_eq!(hierarchy.leaves("nobody").unwrap(), []);
    fs::remove_dir(kernel.base.join("catenoid/web/foreign")).unwrap();
    assert!(matches!(hierarchy.remove_group("web"), Err(Error::Remove { .. })), "a group with a leaf was removed");
    for _ in 0..2 {
        hierarchy.remove_leaf("web", LAUNCH).unwrap();
        hierarchy.remove_group("web").unwrap();
    }
    assert_eq!(hierarchy.groups().unwrap(), Vec::<String>::new());
}

#[test]
fn mountns_a_killed_leaf_is_seen_to_be_empty() {
    let kernel = Kernel::mounted("kill");
    let hierarchy = Hierarchy::open(&kernel.base).unwrap();
    hierarchy.prepare(&CONTROLLERS, &[]).unwrap();
    hierarchy.make_group("web").unwrap();
    hierarchy.make_leaf("web", LAUNCH).unwrap();
    let mut child = lasting();
    join(&kernel.base, &child);
    let leaf = Leaf { launch_id: LAUNCH.to_owned(), pids: vec![child.id()], populated: true, frozen: false };
    assert_eq!(hierarchy.leaves("web").unwrap(), [leaf]);
    assert!(!hierarchy.wait_empty("web", LAUNCH, Duration::from_millis(20)).unwrap(), "a live process was not seen");

    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| hierarchy.wait_empty("web", LAUNCH, Duration::from_secs(60)));
        hierarchy.kill("web", LAUNCH).unwrap();
        waiting.join().unwrap()
    });
    assert!(waiting.unwrap(), "the end was not reported within a minute");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    hierarchy.remove_leaf("web", LAUNCH).unwrap();
    hierarchy.kill("web", LAUNCH).expect("nothing to kill is success");
    assert!(hierarchy.wait_empty("web", LAUNCH, Duration::ZERO).unwrap());
    hierarchy.remove_group("web").unwrap();
}

#[test]
fn mountns_a_frozen_leaf_can_be_thawed_and_killed() {
    let kernel = Kernel::mounted("freeze");
    let hierarchy = Hierarchy::open(&kernel.base).unwrap();
    hierarchy.prepare(&CONTROLLERS, &[]).unwrap();
    hierarchy.make_group("web").unwrap();
    hierarchy.make_leaf("web", LAUNCH).unwrap();
    let mut child = lasting();
    join(&kernel.base, &child);
    for frozen in [true, false, true] {
        let events = hierarchy.events("web", LAUNCH).unwrap();
        if frozen {
            hierarchy.freeze("web", LAUNCH).unwrap()
        } else {
            hierarchy.thaw("web", LAUNCH).unwrap()
        }
        while hierarchy.leaves("web").unwrap()[0].frozen != frozen {
            let mut poll = [rustix::event::PollFd::new(&events, rustix::event::PollFlags::PRI)];
            rustix::event::poll(&mut poll, None).unwrap();
            rustix::io::pread(&events, &mut [0; 64], 0).unwrap();
        }
    }
    hierarchy.kill("web", LAUNCH).unwrap();
    assert!(hierarchy.wait_empty("web", LAUNCH, Duration::from_secs(60)).unwrap());
    child.wait().unwrap();
    hierarchy.remove_leaf("web", LAUNCH).unwrap();
    hierarchy.remove_group("web").unwrap();
}

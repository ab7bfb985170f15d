//! What real programs ask the kernel for (`tests/calls`, recorded by `cargo xtask calls`) against the table of the filter.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use catenoid_kernel_base::seccomp::calls::{CallAction, action};

/// What was recorded and is refused in every container, and what the programs do then. Begins of lines.
const WITHOUT: &[(&str, &str)] = &[
    ("adjtimex", "node_exporter leaves the state of the clock out"),
    ("bpf ", "systemd leaves a unit's address lists and device policy out, and says so"),
    ("clock_adjtime", "timesyncd does not set the clock, which is the device's"),
    ("clone3", "the C library and Go's runtime go back to clone"),
    ("reboot", "systemd at its end exits instead, which ends the container"),
    ("socket AF_NETLINK NETLINK_AUDIT", "systemd goes on without audit, as on a kernel without it"),
    ("socket AF_NETLINK NETLINK_GENERIC", "who has NET_ADMIN may; node_exporter and networkd leave it out"),
    ("socket AF_PACKET", "who has NET_RAW may; the workload of Python tries it"),
    ("sync", "Python's os.sync returns"),
];
/// Of calls whose arguments decide: what needs `namespaces`, begins of lines; and the sockets that all have.
const NAMESPACES: &[&str] = &["clone CLONE_NEW", "unshare CLONE_NEW"];
const SOCKETS: &[&str] = &[
    "socket AF_UNIX",
    "socket AF_INET",
    "socket AF_INET6",
    "socket AF_NETLINK NETLINK_ROUTE",
    "socket AF_NETLINK NETLINK_KOBJECT_UEVENT",
];

/// What was recorded, by the file of each program.
fn recorded() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/calls");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn what_real_programs_call_is_allowed_or_a_need_or_known_to_be_done_without() {
    let programs = recorded();
    for (path, calls) in &programs {
        for line in calls.lines().filter(|line| !line.starts_with('#')) {
            let call = line.split(' ').next().unwrap();
            let (action, _) =
                action(call).unwrap_or_else(|| panic!("{}: `{call}` is not in the table", path.display()));
            let known = WITHOUT.iter().any(|(begin, _)| line == *begin || line.starts_with(begin));
            let fine = match action {
                CallAction::Allowed | CallAction::Needs(_) => true,
                CallAction::Looked if call == "socket" => SOCKETS.contains(&line) || known,
                // With namespaces it is the need of that name; of the others no refused argument was seen.
                CallAction::Looked => true,
                CallAction::Denied | CallAction::Absent => known,
            };
            assert!(fine, "{}: `{line}` is refused, and nobody wrote down what becomes of the program", path.display());
        }
    }
    assert!(programs.len() >= 9, "systemd, PostgreSQL, nginx, Redis, Mosquitto, OpenJDK, Node.js, Go, Python");
}

#[test]
fn every_exception_is_of_something_that_was_recorded() {
    let recorded: String = recorded().into_iter().map(|(_, calls)| calls).collect();
    let begins = WITHOUT.iter().map(|(begin, _)| *begin).chain(NAMESPACES.iter().copied());
    for begin in begins {
        assert!(recorded.lines().any(|line| line.starts_with(begin)), "`{begin}`");
    }
}

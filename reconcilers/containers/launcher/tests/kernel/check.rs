//! Health checks on the real kernel: from where they are done, with which rights, and what comes of them.

use std::{
    collections::BTreeMap,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use catenoid_containers::{
    Checked, Containers, ContainersPlanner, Desired, Launch, Observed, Paths, RunState, WantedContainer,
    order::{CheckOrder, LaunchAnswer, LaunchOrder, LaunchStage, Request},
};
use catenoid_core::{Applied, Planner, Reconciler};
use catenoid_kernel_base::{process, wait::Notify};
use catenoid_kernel_net::{namespace, netlink::Netlink};
use catenoid_schema::manifest::{HealthCheck, Restart, Stop};
use serde_json::{Value, json};

use crate::device::{Device, launcher};

fn health(check: Value) -> HealthCheck {
    serde_json::from_value(check).unwrap()
}

/// A check by a script.
fn script(script: &str) -> HealthCheck {
    health(json!({ "exec": ["/bin/sh", "-c", script], "timeout": "10s" }))
}

/// Starts `order`, with its loopback interface on as the room of zones has it.
fn started(device: &Device, order: &LaunchOrder) -> (u32, u64) {
    let net = namespace::net(order.namespaces.network.parent().unwrap()).unwrap().unwrap();
    namespace::inside(net.as_fd(), || Netlink::open().unwrap().switch_on("lo").unwrap()).unwrap();
    let LaunchAnswer::Started { pid } = device.launch(order) else { panic!("it was not started") };
    (pid, process::identity(pid).unwrap().unwrap().started)
}

fn ask(order: &LaunchOrder, process: (u32, u64), health: HealthCheck) -> LaunchAnswer {
    ask_in(&order.id(), order, process, health)
}

fn ask_in(launch: &str, order: &LaunchOrder, (pid, started): (u32, u64), health: HealthCheck) -> LaunchAnswer {
    let check = Some(CheckOrder { pid, started, health });
    let request = serde_json::to_vec(&Request { launch: launch.to_owned(), order: order.clone(), check }).unwrap();
    serde_json::from_slice(&process::run(&launcher(), &request).unwrap().stdout).unwrap()
}

fn said(answer: LaunchAnswer) -> (bool, String) {
    match answer {
        LaunchAnswer::Checked { passed, said } => (passed, said),
        other => panic!("{other:?}"),
    }
}

/// What the launcher holds open is of the device: a folder of its control groups, for one.
///
/// [req->SF-1]
#[test]
fn mountns_no_path_of_a_container_leads_to_what_the_launcher_holds() {
    let mut device = Device::new().with_image(|_| {});
    let good = device.order("web", "exec sleep 1000");
    let process = started(&device, &good);
    let (mut links, mut links_of_check) = (0, 0);
    for number in 3..24 {
        let folder = format!("/proc/self/fd/{number}");
        let file = format!("{folder}/cgroup.procs");
        let mut order = device.order("db", "exec sleep 1000");
        order.working_directory = folder.clone();
        let LaunchAnswer::Failed(failure) = device.launch(&order) else { panic!("it works in {folder}") };
        assert!(failure.stage == LaunchStage::Confine && matches!(failure.errno, Some(2 | 40)), "{failure:?}");
        links += u32::from(failure.errno == Some(40));
        let within = LaunchOrder { working_directory: folder, ..good.clone() };
        let (passed, reason) = said(ask_in(&good.id(), &within, process, script("pwd")));
        assert!(!passed && (reason.contains("(os error 2)") || reason.contains("(os error 40)")), "{reason}");
        links_of_check += u32::from(reason.contains("(os error 40)"));
        // A file that is there and is no program would not be allowed (13).
        (order.working_directory, order.command) = ("/".to_owned(), vec![file.clone()]);
        let LaunchAnswer::Failed(failure) = device.launch(&order) else { panic!("{file} was executed") };
        assert!(failure.stage == LaunchStage::Execute && matches!(failure.errno, Some(2 | 20)), "{failure:?}");
        let (passed, reason) = said(ask(&good, process, health(json!({ "exec": [file] }))));
        assert!(!passed && (reason.contains("(os error 2)") || reason.contains("(os error 20)")), "{reason}");
    }
    assert!(links > 0 && links_of_check > 0, "it held nothing: {links}, {links_of_check}");
}

// [req->SF-1] [req->OS-01]
#[test]
fn mountns_a_check_has_what_its_container_has_and_no_more() {
    let mut device = Device::new().with_image(|_| {});
    for (user, capabilities) in [(0, &[10, 13][..]), (33, &[10]), (33, &[])] {
        let mut order = device.order("web", "exec sleep 1000");
        (order.user, order.group_id, order.capabilities) = (user, user, capabilities.iter().copied().collect());
        let process = started(&device, &order);
        let same = "for kind in cgroup ipc mnt net pid time user uts; do
              [ $(readlink /proc/self/ns/$kind) = $(readlink /proc/1/ns/$kind) ] || echo $kind
            done
            for line in CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Uid Gid Groups; do
              [ \"$(grep ^$line: /proc/self/status)\" = \"$(grep ^$line: /proc/1/status)\" ] || echo $line
            done
            cmp -s /proc/self/cgroup /proc/1/cgroup; ls /proc/self/fd | grep -c .; echo $0 $PATH; exit 3";
        let (passed, said) = said(ask(&order, process, script(same)));
        assert!(!passed);
        // Its three descriptors, and that of the folder that `ls` reads.
        assert_eq!(said, "it exited with code 3: 4\\n/bin/sh /bin", "{user} {capabilities:?}");
        device.hierarchy.kill("web", &order.id()).unwrap();
        device.ended(&order);
    }
}

#[test]
fn mountns_each_way_of_asking_passes_and_fails() {
    let mut device = Device::new().with_image(|_| {});
    let serve = "answer() { while :; do printf \"$2\" | nc -l -p $1 >/dev/null; done; }
        answer 8080 'HTTP/1.0 200 OK\\r\\n\\r\\nhello' & answer 8081 'HTTP/1.1 503 Service Unavailable\\r\\n\\r\\n' &
        answer 8082 'SSH-2.0-x\\r\\n' & nc -l -p 8083 -e sleep 1000 & exec sleep 1000";
    let order = device.order("web", serve);
    let process = started(&device, &order);
    let until = Instant::now() + Duration::from_secs(30);
    let http = |port: u16| health(json!({ "http": { "port": port, "path": "/health?deep=1" }, "timeout": "1s" }));
    for (check, passed, expected) in [
        (script("true"), true, "it exited with code 0"),
        (script("echo not well; exit 1"), false, "it exited with code 1: not well"),
        (script("kill -9 $$"), false, "it was killed by SIGKILL"),
        (
            health(json!({ "exec": ["/bin/nothing"] })),
            false,
            "it exited with code 1: failed to execute `/bin/nothing`: No such file or directory (os error 2)",
        ),
        (health(json!({ "exec": ["/bin/sleep", "100"], "timeout": "200ms" })), false, "it took longer than 200ms"),
        (
            health(json!({ "exec": ["/bin/sh", "-c", "exec cat /dev/zero"], "timeout": "300ms" })),
            false,
            "it took longer than 300ms",
        ),
        (health(json!({ "tcp": 8083 })), true, "it exited with code 0"),
        (health(json!({ "tcp": 1 })), false, "port 1: Connection refused (os error 111)"),
        (http(8080), true, "it exited with code 0"),
        (http(8081), false, "it answered `GET /health?deep=1` with 503"),
        (http(8082), false, "it answered no HTTP: invalid HTTP version"),
        (http(1), false, "port 1: Connection refused (os error 111)"),
    ] {
        let mut reason = said(ask(&order, process, check.clone()));
        // Whoever is to answer may not listen yet.
        while reason.1.contains("refused") && !expected.contains("refused") {
            assert!(Instant::now() < until, "nobody listens: {check:?}");
            reason = said(ask(&order, process, check.clone()));
        }
        assert_eq!(reason, (passed, expected.to_owned()), "{check:?}");
    }
    // What a check started in the background and did not send away is gone with it.
    let left = || device.hierarchy.leaves("web").unwrap()[0].pids.len();
    let before = left();
    assert!(said(ask(&order, process, script("sleep 1000 & true"))).0);
    while left() > before {
        assert!(Instant::now() < until, "something of a check is left");
    }
    // It is another process, or none.
    for gone in [(process.0, process.1 + 1), (u32::MAX >> 1, process.1)] {
        let LaunchAnswer::Failed(failure) = ask(&order, gone, script("true")) else { panic!("it was asked") };
        assert_eq!((failure.stage, failure.message.as_str()), (LaunchStage::Join, "its first process is gone"));
    }
}

fn desired(order: &LaunchOrder, restart: Restart, health: &HealthCheck) -> Desired {
    let launch = Launch::new(order.clone(), restart, Stop::default(), Some(health.clone()));
    Desired { containers: BTreeMap::from([(order.container.clone(), WantedContainer::Ready(Box::new(launch)))]) }
}

fn room(device: &Device) -> Containers {
    let paths = Paths { run: device.path(""), cgroup: device.base.clone() };
    Containers::open(paths, &launcher(), Notify::new().unwrap()).unwrap()
}

async fn apply(room: &Containers, desired: &Desired, observed: &Observed) {
    for (_, step) in ContainersPlanner::plan(desired, observed).steps() {
        while matches!(room.apply(step).await.unwrap(), Applied::Underway { .. }) {
            tokio::task::yield_now().await;
        }
    }
}

/// Looks until the only run is as `wanted`, as a pass does that the room notifies.
async fn until(room: &Containers, desired: &Desired, wanted: impl Fn(&Checked) -> bool) -> Observed {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        room.look_for(desired);
        let observed = room.observe().await.unwrap();
        let run = observed.containers.values().flat_map(|container| container.runs.values()).next();
        if run.is_some_and(|run| run.checked.as_ref().is_some_and(&wanted)) {
            return observed;
        }
        assert!(Instant::now() < end, "{observed:#?}");
        tokio::task::yield_now().await;
    }
}

/// A container works, fails, works again and fails for good: each is observed, also by the next agent, and it is started again.
#[tokio::test]
async fn mountns_what_checks_come_to_is_observed_and_outlives_the_agent() {
    let mut device = Device::new().with_image(|_| {});
    let order = device.order("web", "while :; do touch /tmp/well; sleep 4; rm /tmp/well; sleep 4; done");
    let health = health(json!({
        "exec": ["/bin/sh", "-c", "[ -e /tmp/well ] || { echo not well; exit 1; }"],
        "every": "1s", "failures": 2, "start": "0s",
    }));
    let never = desired(&order, Restart::Never, &health);
    let first = room(&device);
    apply(&first, &never, &first.observe().await.unwrap()).await;
    let observed = until(&first, &never, |checked| checked.passed && checked.failures == 0).await;
    assert!(ContainersPlanner::lacking(&never, &observed).is_empty());
    let observed = until(&first, &never, |checked| checked.failures >= 2).await;
    let lacking: Vec<_> = ContainersPlanner::lacking(&never, &observed).into_values().collect();
    assert_eq!(lacking, ["container `web` fails its health check"]);
    until(&first, &never, |checked| checked.failures == 0 && checked.recovered >= 2).await;
    drop(first);

    let second = room(&device);
    let observed = second.observe().await.unwrap();
    let run = |observed: &Observed| observed.containers[&order.container].runs[&order.id()].clone();
    let kept = run(&observed).checked.unwrap();
    assert!(kept.passed && kept.recovered >= 2, "{kept:?}");

    let always = desired(&order, Restart::Always, &health);
    let observed = until(&second, &always, |checked| checked.failures >= 2).await;
    assert_eq!(run(&observed).checked.unwrap().said, "it exited with code 1: not well");
    apply(&second, &always, &observed).await;
    let after = run(&second.observe().await.unwrap());
    assert!(matches!(after.state, RunState::Running { .. }));
    assert_eq!((after.ends, after.leaf == run(&observed).leaf), (1, false));
}

//! The room of containers on the real kernel, with the launcher.
//!
//! PID 1's part, reaping, is done by the test where a container ended; the test process adopts orphans.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use catenoid_containers::{
    Containers, ContainersPlanner, Desired, Error, Launch, Observed, Paths, RunState, Step, WantedContainer,
    exit::{Exit, RunEnd, reap_orphans},
    order::LaunchOrder,
};
use catenoid_core::{Applied, Planner, Reconciler, RoomError, Step as _, testing::simulate};
use catenoid_kernel_base::{process, wait::Notify};
use catenoid_kernel_net::namespace;
use catenoid_schema::{
    manifest::{Restart, Stop, StopSignal},
    name::Name,
    status::{Blame, Health, Sync},
    units::Span,
};

use crate::device::{Device, launcher};

fn room(device: &Device) -> Containers {
    Containers::open(paths(device), &launcher(), Notify::new().unwrap()).unwrap()
}

fn paths(device: &Device) -> Paths {
    Paths { run: device.path(""), cgroup: device.base.clone() }
}

fn launch(order: &LaunchOrder, restart: Restart, grace: u64) -> (Name, WantedContainer) {
    let stop = Stop { signal: StopSignal::Term, grace: Span::from_milliseconds(grace) };
    let launch = Launch::new(order.clone(), restart, stop, None);
    (order.container.clone(), WantedContainer::Ready(Box::new(launch)))
}

fn always(order: &LaunchOrder) -> Desired {
    Desired { containers: BTreeMap::from([launch(order, Restart::Always, 60_000)]) }
}

fn nothing() -> Desired {
    Desired::default()
}

/// Does a step to its end, also where it goes on by itself.
async fn carry_out(room: &Containers, step: &Step) {
    loop {
        let came = room.apply(step).await;
        match came.unwrap_or_else(|e| panic!("{step}: {e}: {:?}", std::error::Error::source(&e))) {
            Applied::Done => break,
            Applied::Underway { .. } => tokio::task::yield_now().await,
        }
    }
}

/// Does every step of the plan, each of them twice, and compares the kernel with the model after each.
async fn converge(room: &Containers, desired: &Desired) -> Observed {
    let mut model = room.observe().await.unwrap();
    let plan = ContainersPlanner::plan(desired, &model);
    let after = simulate::<ContainersPlanner>(&plan, &model);
    for (_, step) in plan.steps() {
        step.effect_on(&mut model);
        for _ in 0..2 {
            carry_out(room, step).await;
            let observed = room.observe().await.unwrap();
            if !matches!(step, Step::Ask { .. }) {
                assert_eq!(shape(&observed), shape(&model), "after: {step}");
            }
        }
    }
    assert!(ContainersPlanner::satisfied(desired, &after));
    let observed = room.observe().await.unwrap();
    assert!(ContainersPlanner::satisfied(desired, &observed), "{observed:#?}");
    observed
}

/// What the model can know: which launches there are, whether they run, and whether they are frozen.
fn shape(observed: &Observed) -> Vec<(String, String, &'static str, bool)> {
    let runs =
        observed.containers.iter().flat_map(|(name, container)| container.runs.iter().map(move |run| (name, run)));
    runs.map(|(name, (launch, run))| {
        let state = match run.state {
            RunState::Running { .. } => "running",
            RunState::InitExited => "its first process is gone",
            RunState::Ended { .. } => "ended",
        };
        (name.to_string(), launch.clone(), state, run.frozen)
    })
    .collect()
}

fn running(observed: &Observed, order: &LaunchOrder) -> (u32, u64) {
    match observed.containers[&order.container].runs[&order.id()].state {
        RunState::Running { pid, started, .. } => (pid, started),
        ref other => panic!("{other:?}"),
    }
}

/// PID 1's part: waits until nothing lives in the leaf, and reaps until the container's end is recorded.
fn reaped(device: &Device, order: &LaunchOrder) -> Exit {
    let name = order.container.as_str();
    assert!(device.hierarchy.wait_empty(name, &order.id(), Duration::from_secs(60)).unwrap());
    loop {
        let reaped = reap_orphans(&paths(device)).unwrap();
        if let Some((container, exit)) = reaped.and_then(|reaped| reaped.container) {
            assert_eq!(container, order.container);
            return exit;
        }
    }
}

/// Waits until the container wrote `text`.
async fn wait_for_output(room: &Containers, order: &LaunchOrder, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !room.output(&order.container).is_some_and(|tail| tail.text().contains(text)) {
        assert!(Instant::now() < deadline, "`{text}` was not written");
        tokio::task::yield_now().await;
    }
}

// [req->APS-05]
#[tokio::test]
async fn mountns_what_runs_is_found_again_by_another_agent() {
    let mut device = Device::new().with_image(|_| {});
    let order = device.order("web", "echo up; exec sleep 1000");
    let first = room(&device);
    let observed = converge(&first, &always(&order)).await;
    wait_for_output(&first, &order, "up\n").await;
    drop(first);

    let second = room(&device);
    let again = second.observe().await.unwrap();
    assert_eq!(running(&again, &order), running(&observed, &order));
    assert!(ContainersPlanner::plan(&always(&order), &again).is_empty());
    let status = ContainersPlanner::status(&always(&order), &again);
    assert_eq!((status[0].sync, status[0].health), (Sync::Synced, Health::Healthy));
    let facts = serde_json::to_value(&status[0].facts).unwrap();
    assert_eq!(facts["pid"], running(&again, &order).0.to_string());
    assert!(facts["startedAt"].is_string());
}

#[tokio::test]
async fn mountns_an_end_is_recorded_reported_and_started_again_by_policy() {
    let mut device = Device::new().with_image(|_| {});
    let room = room(&device);
    let order = device.order("web", "exit 7");
    let never = Desired { containers: BTreeMap::from([launch(&order, Restart::Never, 1000)]) };
    for (_, step) in ContainersPlanner::plan(&never, &room.observe().await.unwrap()).steps() {
        carry_out(&room, step).await;
    }
    let exit = reaped(&device, &order);
    assert_eq!((exit.end, exit.launch.as_str()), (RunEnd::Code(7), order.id().as_str()));
    let observed = room.observe().await.unwrap();
    let run = &observed.containers[&order.container].runs[&order.id()];
    assert_eq!(run.state, RunState::Ended { exit: Some(exit.clone()) });
    assert_eq!(run.leaf, exit.leaf);
    assert!(ContainersPlanner::satisfied(&never, &observed));
    assert_eq!(ContainersPlanner::setbacks(&never, &observed), []);
    let status = ContainersPlanner::status(&never, &observed);
    assert!(status[0].conditions[0].message.starts_with("it exited with code 7 after "), "{status:?}");

    let setbacks = ContainersPlanner::setbacks(&always(&order), &observed);
    assert_eq!(setbacks.iter().map(|setback| setback.id).collect::<Vec<_>>(), [run.leaf]);
    for (_, step) in ContainersPlanner::plan(&always(&order), &observed).steps() {
        carry_out(&room, step).await;
    }
    let second = reaped(&device, &order);
    assert_ne!(second.leaf, exit.leaf, "the second run is distinguished from the first");
    // Another agent finds how often it failed, and goes on counting.
    let after = self::room(&device).observe().await.unwrap();
    assert_eq!(after.containers[&order.container].runs[&order.id()].ends, 1);
    let setbacks = ContainersPlanner::setbacks(&always(&order), &after);
    assert!(setbacks[0].message.ends_with("; 2 failures in a row"), "{setbacks:?}");
}

#[tokio::test]
async fn mountns_a_signal_that_kills_is_reported_by_name() {
    let mut device = Device::new().with_image(|_| {});
    let room = room(&device);
    let order = device.order("web", "exec sleep 1000");
    let (pid, started) = running(&converge(&room, &always(&order)).await, &order);
    // From outside, as the kernel's own: the first process of a pid namespace is deaf to all others.
    process::signal(pid, started, 9).unwrap();
    assert_eq!(reaped(&device, &order).end, RunEnd::Signal(9));
}

#[tokio::test]
async fn mountns_a_container_is_asked_and_may_take_its_time() {
    let mut device = Device::new().with_image(|_| {});
    let room = room(&device);
    let order = device.order("web", "trap 'echo bye; exit 3' TERM; echo up; while true; do sleep 0.05; done");
    converge(&room, &always(&order)).await;
    wait_for_output(&room, &order, "up\n").await;
    let begin = Instant::now();
    let plan = ContainersPlanner::plan(&nothing(), &room.observe().await.unwrap());
    for (_, step) in plan.steps() {
        carry_out(&room, step).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "the default grace was not used up");
    assert!(ContainersPlanner::satisfied(&nothing(), &room.observe().await.unwrap()));
    assert_eq!(reaped(&device, &order).end, RunEnd::Code(3));
    wait_for_output(&room, &order, "bye\n").await;
}

#[tokio::test]
async fn mountns_a_container_that_does_not_end_is_killed_after_its_time() {
    let mut device = Device::new().with_image(|_| {});
    let room = room(&device);
    // (script, the least time it takes): one that catches the signal and goes on, and one that the signal does not reach.
    for (name, script, least) in [
        ("busy", "trap 'echo no' TERM; echo up; while true; do sleep 0.05; done", 700),
        ("deaf", "echo up; sleep 1000; true", 0),
    ] {
        let order = device.order(name, script);
        let wanted = Desired { containers: BTreeMap::from([launch(&order, Restart::Always, 700)]) };
        for (_, step) in ContainersPlanner::plan(&wanted, &room.observe().await.unwrap()).steps() {
            carry_out(&room, step).await;
        }
        room.observe().await.unwrap();
        wait_for_output(&room, &order, "up\n").await;
        // Another order, so that the first is replaced with the grace of the second.
        let mut next = order.clone();
        next.working_directory = "/tmp".to_owned();
        let wanted = Desired { containers: BTreeMap::from([launch(&next, Restart::Always, 700)]) };
        let plan = ContainersPlanner::plan(&wanted, &room.observe().await.unwrap());
        let begin = Instant::now();
        for step in &plan.retire {
            carry_out(&room, step).await;
        }
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(least), "{name}: {took:?}");
        assert!(took < Duration::from_millis(least + 600), "{name}: {took:?}");
        let runs = &room.observe().await.unwrap().containers[&order.container].runs;
        assert!(runs.is_empty(), "the end is proven before the successor starts: {runs:?}");
        for step in &plan.establish {
            room.apply(step).await.unwrap();
        }
        assert!(ContainersPlanner::satisfied(&wanted, &room.observe().await.unwrap()));
        assert_eq!(reaped_of(&device, &order), RunEnd::Signal(9));
        for (_, step) in ContainersPlanner::plan(&nothing(), &room.observe().await.unwrap()).steps() {
            carry_out(&room, step).await;
        }
    }
}

/// As [`reaped`], of a launch whose leaf is gone.
fn reaped_of(device: &Device, order: &LaunchOrder) -> RunEnd {
    loop {
        let reaped = reap_orphans(&paths(device)).unwrap();
        if let Some((_, exit)) = reaped.and_then(|reaped| reaped.container)
            && exit.launch == order.id()
        {
            return exit.end;
        }
    }
}

#[tokio::test]
async fn mountns_several_containers_end_at_the_same_time() {
    let mut device = Device::new().with_image(|_| {});
    let room = room(&device);
    let orders: Vec<_> = ["one", "three", "two"]
        .map(|name| device.order(name, "trap 'sleep 0.5; exit 0' TERM; echo up; while true; do sleep 0.05; done"))
        .into();
    let wanted = Desired { containers: orders.iter().map(|order| launch(order, Restart::Always, 60_000)).collect() };
    converge(&room, &wanted).await;
    for order in &orders {
        wait_for_output(&room, order, "up\n").await;
    }
    let plan = ContainersPlanner::plan(&nothing(), &room.observe().await.unwrap());
    let begin = Instant::now();
    for (_, step) in plan.steps() {
        carry_out(&room, step).await;
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(1400), "{took:?}");
    assert!(ContainersPlanner::satisfied(&nothing(), &room.observe().await.unwrap()));
}

#[tokio::test]
async fn mountns_drift_is_taken_back() {
    let mut device = Device::new().with_image(|_| {});
    let room = room(&device);
    let order = device.order("web", "exec sleep 1000");
    let before = running(&converge(&room, &always(&order)).await, &order);

    // How it is asked to end lies with what runs, and follows the manifest.
    let stop_of = |observed: &Observed| observed.containers[&order.container].runs[&order.id()].stop;
    let mut later = always(&order);
    let Some(WantedContainer::Ready(launch)) = later.containers.get_mut(&order.container) else {
        panic!("it is wanted")
    };
    assert_eq!(stop_of(&room.observe().await.unwrap()), Some(launch.stop));
    let stop = Stop { signal: StopSignal::Int, ..launch.stop };
    launch.stop = stop;
    assert_eq!(stop_of(&converge(&room, &later).await), Some(stop));
    converge(&room, &always(&order)).await;

    // Frozen by the guard: that is no drift.
    device.hierarchy.freeze_group("web").unwrap();
    while !device.hierarchy.leaves("web").unwrap()[0].frozen {}
    assert!(ContainersPlanner::satisfied(&always(&order), &room.observe().await.unwrap()));
    device.hierarchy.thaw_group("web").unwrap();
    while device.hierarchy.leaves("web").unwrap()[0].frozen {}

    // Frozen by hand, the leaf and the group above it: it goes on, and is the same as before.
    device.hierarchy.freeze("web", &order.id()).unwrap();
    fs::write(order.group.join("cgroup.freeze"), "1").unwrap();
    while !room.observe().await.unwrap().containers[&order.container].runs[&order.id()].frozen {}
    let status = ContainersPlanner::status(&always(&order), &room.observe().await.unwrap());
    assert_eq!((status[0].sync, status[0].health), (Sync::OutOfSync, Health::Suspended));
    let plan = ContainersPlanner::plan(&always(&order), &room.observe().await.unwrap());
    assert_eq!(
        plan.establish.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["let frozen container `web` go on"]
    );
    room.apply(&plan.establish[0]).await.unwrap();
    while room.observe().await.unwrap().containers[&order.container].runs[&order.id()].frozen {}
    assert_eq!(running(&room.observe().await.unwrap(), &order), before);

    // Killed by hand: it is started again.
    process::signal(before.0, before.1, 9).unwrap();
    reaped(&device, &order);
    let after = running(&converge(&room, &always(&order)).await, &order);
    assert_ne!(after, before);

    // Its namespaces are removed by hand, and made anew by the room of zones: it is started again, in the new ones.
    let folder = device.path("namespaces/web");
    namespace::remove(&folder).unwrap();
    assert!(namespace::is_outside(after.0, &folder).unwrap(), "in namespaces that nothing keeps");
    namespace::make(order.id_base, 65_536).unwrap().keep(&folder).unwrap();
    let status = ContainersPlanner::status(&always(&order), &room.observe().await.unwrap());
    assert_eq!((status[0].sync, status[0].health), (Sync::OutOfSync, Health::Degraded));
    let moved = running(&converge(&room, &always(&order)).await, &order);
    assert_ne!(moved, after);
    assert!(!namespace::is_outside(moved.0, &folder).unwrap());
    assert!(!namespace::is_outside(after.0, &folder).unwrap(), "who ended is nowhere");
}

/// Starts a program in the leaf of `order`, where no first process is.
fn put_alone(device: &Device, order: &LaunchOrder, program: &mut Command) -> Child {
    let _ = device.hierarchy.make_leaf(order.container.as_str(), &order.id()).unwrap();
    let child = program.spawn().unwrap();
    let leaf = order.group.join(catenoid_names::objects::leaf(&order.id()));
    fs::write(leaf.join("cgroup.procs"), child.id().to_string()).unwrap();
    child
}

#[tokio::test]
async fn mountns_a_leaf_without_first_process_is_emptied_before_the_start() {
    let mut device = Device::new().with_image(|_| {});
    let room = room(&device);
    let order = device.order("web", "exec sleep 1000");
    let mut left = put_alone(&device, &order, Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()));
    let observed = room.observe().await.unwrap();
    assert_eq!(observed.containers[&order.container].runs[&order.id()].state, RunState::InitExited);
    converge(&room, &always(&order)).await;
    assert!(!left.wait().unwrap().success());
}

/// The kernel ends all others with the first process. Who looks in between sees no broken start: a container that is to run
/// once was started again.
#[tokio::test]
async fn mountns_who_ends_with_the_first_process_is_waited_for() {
    let mut device = Device::new().with_image(|_| {});
    let room = room(&device);
    let order = device.order("web", "exec sleep 1000");
    let mut last = put_alone(&device, &order, Command::new("sleep").arg("0.2"));
    let reaper = std::thread::spawn(move || last.wait().unwrap());
    let observed = room.observe().await.unwrap();
    let state = &observed.containers[&order.container].runs[&order.id()].state;
    assert!(matches!(state, RunState::Ended { .. }), "{state:?}");
    assert!(reaper.join().unwrap().success());
}

#[tokio::test]
async fn mountns_a_failed_start_leaves_nothing_and_says_who_must_act() {
    let mut device = Device::new().with_image(|_| {});
    let room = room(&device);
    let mut order = device.order("web", "");
    order.command = vec!["/bin/none".to_owned()];
    let plan = ContainersPlanner::plan(&always(&order), &room.observe().await.unwrap());
    let error = room.apply(&plan.establish[0]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to start container `web` (stage execute): failed to execute `/bin/none`: No such file or directory (os \
         error 2)"
    );
    assert_eq!(error.blame(), Blame::ManifestAuthor);
    assert!(room.observe().await.unwrap().containers[&order.container].runs.is_empty());

    // Without the namespaces of the room of zones it is nobody's fault: it is tried again.
    order.namespaces.user = device.path("none");
    let plan = ContainersPlanner::plan(&always(&order), &room.observe().await.unwrap());
    let error = room.apply(&plan.establish[0]).await.unwrap_err();
    assert!(matches!(error, Error::Start { .. }));
    assert_eq!(error.blame(), Blame::Nobody);
}

// [req->APS-04]
#[tokio::test]
#[ignore = "needs the memory controller in cgroup v2: runs in vm_rooms_hold_on_the_device_kernel"]
async fn mountns_memory_used_up_is_reported_as_such() {
    let mut device = Device::new().with_image(|_| {});
    let room = room(&device);
    let order = device.order("web", "dd if=/dev/zero of=/tmp/big bs=1M count=40");
    fs::write(order.group.join("memory.max"), "16777216").unwrap();
    fs::write(order.group.join("memory.oom.group"), "1").unwrap();
    fs::write(order.group.join("memory.swap.max"), "0").unwrap();
    for (_, step) in ContainersPlanner::plan(&always(&order), &room.observe().await.unwrap()).steps() {
        carry_out(&room, step).await;
    }
    let exit = reaped(&device, &order);
    assert_eq!(exit.end, RunEnd::OutOfMemory);
    assert!(exit.memory_kills > 0);
    assert!(!order.namespaces.network.exists(), "what it has put there would take the memory of the next run");
}

//! Manifests and devices: any, and the few that tables begin with.

use std::collections::BTreeMap;

use catenoid_containers::{
    Checked, ContainersPlanner, Desired, Launch, Observed, ObservedContainer, Run, RunState, Stopping, WantedContainer,
    exit::{Exit, RunEnd},
    order::{LaunchOrder, NamespacePaths, RootMode},
};
use catenoid_core::{Planner, testing::simulate};
use catenoid_schema::{
    digest::Digest,
    manifest::{HealthCheck, Restart, Stop, StopSignal},
    name::Name,
    status::Health,
    units::{Span, Timestamp},
};
use proptest::{collection, prelude::*, sample};

/// Few names and few launches, so that what is wanted and what is there meet often.
const NAMES: [&str; 3] = ["core0", "web", "db"];
pub(crate) const LAUNCHES: [&str; 3] = ["00000000000000aa", "00000000000000bb", "00000000000000cc"];

fn name() -> impl Strategy<Value = Name> {
    sample::select(&NAMES).prop_map(|name| name.parse().expect("each is a name"))
}

fn launch_id() -> impl Strategy<Value = String> {
    sample::select(&LAUNCHES).prop_map(str::to_owned)
}

fn order(name: &Name) -> LaunchOrder {
    LaunchOrder {
        container: name.clone(),
        guest: Digest::of(b"guest"),
        image: "/guest".into(),
        root: RootMode::ReadOnly,
        id_base: 65_536,
        namespaces: NamespacePaths { user: "/user".into(), network: "/net".into() },
        group: "/group".into(),
        log: "/log".into(),
        control: None,
        host_name: name.clone(),
        command: vec!["/bin/true".to_owned()],
        environment: BTreeMap::new(),
        working_directory: "/".to_owned(),
        user: 0,
        group_id: 0,
        capabilities: [].into(),
        needs: [].into(),
    }
}

fn wanted(name: &Name) -> impl Strategy<Value = WantedContainer> + use<> {
    let order = order(name);
    let restart = sample::select(vec![Restart::Always, Restart::OnFailure, Restart::Never]);
    let signal = sample::select(vec![StopSignal::Term, StopSignal::Kill]);
    let ready = (launch_id(), restart, signal, any::<bool>()).prop_map(move |(id, restart, signal, health)| {
        let stop = Stop { signal, grace: Span::from_milliseconds(1000) };
        WantedContainer::Ready(Box::new(Launch { id, ..Launch::new(order.clone(), restart, stop, health.then(check)) }))
    });
    let waiting = WantedContainer::Waiting { reason: "guest `web` is not there".to_owned() };
    let held_back = WantedContainer::HeldBack { reason: "it took too much".to_owned(), stop: Stop::default() };
    prop_oneof![4 => ready, 1 => Just(waiting), 1 => Just(held_back)]
}

/// A container that is checked does not work after two failures.
pub(crate) fn check() -> HealthCheck {
    serde_json::from_str(r#"{"tcp": 80, "failures": 2}"#).expect("it is a check")
}

fn checked() -> impl Strategy<Value = Checked> {
    let said = "it exited with code 1".to_owned();
    let of_now =
        Launch::new(order(&web()), Restart::Never, Stop::default(), Some(check())).check.expect("it has a check");
    let names = sample::select(vec![of_now, "another".to_owned()]);
    (names, any::<bool>(), 0..4u32, 0..3u32).prop_map(move |(check, passed, failures, recovered)| Checked {
        check,
        passed,
        failures,
        recovered,
        said: said.clone(),
    })
}

fn desired() -> impl Strategy<Value = Desired> {
    let each = name().prop_flat_map(|name| (Just(name.clone()), wanted(&name)));
    collection::vec(each, 0..4).prop_map(|all| Desired { containers: all.into_iter().collect() })
}

fn exit() -> impl Strategy<Value = Exit> {
    let end =
        prop_oneof![Just(RunEnd::Code(0)), Just(RunEnd::Code(1)), Just(RunEnd::Signal(9)), Just(RunEnd::OutOfMemory)];
    (launch_id(), end, 0..20_000u64).prop_map(|(launch, end, ran)| Exit {
        launch,
        leaf: 7,
        pid: 70,
        end,
        at: Timestamp::from_seconds(1_800_000_000).expect("it can be written"),
        ran: Span::from_milliseconds(ran),
        memory_kills: 0,
    })
}

fn run() -> impl Strategy<Value = Run> {
    let state = prop_oneof![
        4 => (1..9u32).prop_map(|pid| RunState::Running { pid, started: 5, since: None }),
        1 => Just(RunState::InitExited),
        2 => proptest::option::of(exit()).prop_map(|exit| RunState::Ended { exit }),
    ];
    let seldom = || proptest::bool::weighted(0.2);
    let signal = sample::select(vec![StopSignal::Term, StopSignal::Kill]);
    let stop = proptest::option::of(signal.prop_map(|signal| Stop { signal, grace: Span::from_milliseconds(1000) }));
    let history = (0..5u32, seldom(), seldom(), seldom(), proptest::option::of(checked()));
    (state, seldom(), seldom(), seldom(), stop, history).prop_map(
        |(state, frozen, wrong_namespace, outdated, stop, history)| {
            // A leaf in which nothing lives is not frozen, and who is not there is not outside.
            let frozen = frozen && !matches!(state, RunState::Ended { .. });
            let wrong_namespace = wrong_namespace && matches!(state, RunState::Running { .. });
            let outdated = outdated && matches!(state, RunState::Running { .. });
            let (ends, steady) = (history.0, history.1 && matches!(state, RunState::Running { .. }));
            let stopping = history.2.then_some(Stopping { until: None });
            let ending = history.3 && state == RunState::InitExited;
            Run {
                leaf: 7,
                state,
                frozen,
                wrong_namespace,
                outdated,
                stop,
                ends,
                steady,
                stopping,
                ending,
                checked: history.4,
            }
        },
    )
}

fn observed() -> impl Strategy<Value = Observed> {
    let runs = collection::btree_map(launch_id(), run(), 0..3);
    let container =
        (runs, proptest::option::of(exit())).prop_map(|(runs, last_exit)| ObservedContainer { runs, last_exit });
    collection::btree_map(name(), container, 0..4).prop_map(|containers| Observed { containers })
}

/// A desired state, and an observed one that is anything, or what the desired one leads to with one run disturbed.
pub(crate) fn states() -> impl Strategy<Value = (Desired, Observed)> {
    let near = (desired(), observed(), proptest::option::of((name(), launch_id(), proptest::option::of(run()))))
        .prop_map(|(desired, observed, disturbance)| {
            let mut observed = catenoid_core::testing::simulate::<ContainersPlanner>(
                &ContainersPlanner::plan(&desired, &observed),
                &observed,
            );
            if let Some((name, launch, run)) = disturbance
                && let Some(container) = observed.containers.get_mut(&name)
            {
                match run {
                    Some(run) => container.runs.insert(launch, run),
                    None => container.runs.remove(&launch),
                };
            }
            (desired, observed)
        });
    prop_oneof![(desired(), observed()), near]
}

pub(crate) fn web() -> Name {
    "web".parse().expect("it is a name")
}

pub(crate) fn web_is(restart: Restart) -> Desired {
    let (id, stop) = (LAUNCHES[0].to_owned(), Stop::default());
    let launch = Launch { id, ..Launch::new(order(&web()), restart, stop, None) };
    Desired { containers: BTreeMap::from([(web(), WantedContainer::Ready(Box::new(launch)))]) }
}

pub(crate) fn ended(end: RunEnd, ran: u64) -> Observed {
    let exit = Exit {
        launch: LAUNCHES[0].to_owned(),
        leaf: 7,
        pid: 70,
        end,
        at: Timestamp::from_seconds(1_800_000_000).expect("it can be written"),
        ran: Span::from_milliseconds(ran),
        memory_kills: 0,
    };
    let run = Run::new(7, RunState::Ended { exit: Some(exit.clone()) });
    let runs = BTreeMap::from([(LAUNCHES[0].to_owned(), run)]);
    Observed { containers: BTreeMap::from([(web(), ObservedContainer { runs, last_exit: Some(exit) })]) }
}

pub(crate) fn run_of(observed: &mut Observed) -> &mut Run {
    let runs = &mut observed.containers.get_mut(&web()).expect("it is there").runs;
    runs.values_mut().next().expect("it has a run")
}

pub(crate) fn step_on(desired: &Desired, observed: &Observed) -> Observed {
    simulate::<ContainersPlanner>(&ContainersPlanner::plan(desired, observed), observed)
}

/// The reasons of what is reported of the container.
pub(crate) fn health_and_reasons(desired: &Desired, observed: &Observed) -> (Health, Vec<String>) {
    let status = ContainersPlanner::status(desired, observed).remove(0);
    (status.health, status.conditions.into_iter().map(|condition| condition.reason).collect())
}

//! The planner: golden folders, the two properties, and what is told of it.

use std::{collections::BTreeMap, path::Path};

use catenoid_containers::{
    Container, Desired, Launch, Observed, Planning, Run, State, Wanted, early_ends,
    exit::{End, Exit},
    order::{LaunchOrder, Namespaces, RootMode},
};
use catenoid_core::{Planner, testing};
use catenoid_schema::{
    digest::Digest,
    manifest::{Restart, Stop, StopSignal},
    name::Name,
    status::{Health, Sync},
    units::{Span, Timestamp},
};
use proptest::{collection, prelude::*, sample};

#[test]
fn golden_plans() {
    testing::golden::<Planning>(Path::new("tests/plans"), 8);
}

/// Few names and few launches, so that what is wanted and what is there meet often.
const NAMES: [&str; 3] = ["core0", "web", "db"];
const LAUNCHES: [&str; 3] = ["00000000000000aa", "00000000000000bb", "00000000000000cc"];

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
        namespaces: Namespaces { user: "/user".into(), network: "/net".into() },
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

fn wanted(name: &Name) -> impl Strategy<Value = Wanted> + use<> {
    let order = order(name);
    let restart = sample::select(vec![Restart::Always, Restart::OnFailure, Restart::Never]);
    let signal = sample::select(vec![StopSignal::Term, StopSignal::Kill]);
    let ready = (launch_id(), restart, signal).prop_map(move |(id, restart, signal)| {
        let stop = Stop { signal, grace: Span::from_milliseconds(1000) };
        Wanted::Ready(Box::new(Launch { id, order: order.clone(), restart, stop }))
    });
    let waiting = Wanted::Waiting { reason: "guest `web` is not there".to_owned() };
    let held_back = Wanted::HeldBack { reason: "it took too much".to_owned(), stop: Stop::default() };
    prop_oneof![4 => ready, 1 => Just(waiting), 1 => Just(held_back)]
}

fn desired() -> impl Strategy<Value = Desired> {
    let each = name().prop_flat_map(|name| (Just(name.clone()), wanted(&name)));
    collection::vec(each, 0..4).prop_map(|all| Desired { containers: all.into_iter().collect() })
}

fn exit() -> impl Strategy<Value = Exit> {
    let end = prop_oneof![Just(End::Code(0)), Just(End::Code(1)), Just(End::Signal(9)), Just(End::OutOfMemory)];
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
        4 => (1..9u32).prop_map(|pid| State::Running { pid, started: 5, since: None }),
        1 => Just(State::Headless),
        2 => proptest::option::of(exit()).prop_map(|exit| State::Ended { exit }),
    ];
    let seldom = || proptest::bool::weighted(0.2);
    let signal = sample::select(vec![StopSignal::Term, StopSignal::Kill]);
    let stop = proptest::option::of(signal.prop_map(|signal| Stop { signal, grace: Span::from_milliseconds(1000) }));
    (state, seldom(), seldom(), seldom(), stop).prop_map(|(state, frozen, astray, outdated, stop)| {
        // A leaf in which nothing lives is not frozen, and who is not there is not outside.
        let frozen = frozen && !matches!(state, State::Ended { .. });
        let astray = astray && matches!(state, State::Running { .. });
        let outdated = outdated && matches!(state, State::Running { .. });
        Run { leaf: 7, state, frozen, astray, outdated, stop }
    })
}

fn observed() -> impl Strategy<Value = Observed> {
    let runs = collection::btree_map(launch_id(), run(), 0..3);
    let container = (runs, proptest::option::of(exit())).prop_map(|(runs, last_exit)| Container { runs, last_exit });
    collection::btree_map(name(), container, 0..4).prop_map(|containers| Observed { containers })
}

/// A desired state, and an observed one that is anything, or what the desired one leads to with one run disturbed.
fn states() -> impl Strategy<Value = (Desired, Observed)> {
    let near = (desired(), observed(), proptest::option::of((name(), launch_id(), proptest::option::of(run()))))
        .prop_map(|(desired, observed, disturbance)| {
            let mut observed = catenoid_core::simulate::<Planning>(&Planning::plan(&desired, &observed), &observed);
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_plan_leads_to_what_is_wanted_and_is_empty_only_there((desired, observed) in states()) {
        testing::properties::<Planning>(&desired, &observed).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_is_satisfied_is_told_as_synced_and_nothing_else((desired, observed) in states()) {
        let waits = desired.containers.values().any(|wanted| !matches!(wanted, Wanted::Ready(_)));
        let synced = Planning::status(&desired, &observed).iter().all(|subject| subject.sync == Sync::Synced);
        prop_assert_eq!(synced, Planning::satisfied(&desired, &observed) && !waits);
    }

    /// Whatever is there: a container that waits is left alone, and none is started before all others of it are ended.
    #[test]
    fn nothing_is_started_beside_its_predecessor((desired, observed) in states()) {
        let plan = Planning::plan(&desired, &observed);
        for (name, wanted) in &desired.containers {
            let steps: Vec<_> = plan.steps().filter(|(_, step)| step.container() == name).map(|(_, step)| step).collect();
            if matches!(wanted, Wanted::Waiting { .. }) {
                prop_assert!(steps.is_empty());
            }
            if matches!(wanted, Wanted::HeldBack { .. }) {
                let starts = steps.iter().any(|step| matches!(step, catenoid_containers::Step::Start { .. }));
                prop_assert!(!starts);
            }
            let mut before = observed.clone();
            for (_, step) in plan.steps() {
                if matches!(step, catenoid_containers::Step::Start { .. }) {
                    let left = before.containers.get(step.container()).map_or(0, |container| container.runs.len());
                    prop_assert_eq!(left, 0, "{}", step);
                }
                catenoid_core::Step::effect_on(step, &mut before);
            }
        }
    }
}

fn web() -> Name {
    "web".parse().expect("it is a name")
}

fn web_is(restart: Restart) -> Desired {
    let launch = Launch { id: LAUNCHES[0].to_owned(), order: order(&web()), restart, stop: Stop::default() };
    Desired { containers: BTreeMap::from([(web(), Wanted::Ready(Box::new(launch)))]) }
}

fn ended(end: End, ran: u64) -> Observed {
    let exit = Exit {
        launch: LAUNCHES[0].to_owned(),
        leaf: 7,
        pid: 70,
        end,
        at: Timestamp::from_seconds(1_800_000_000).expect("it can be written"),
        ran: Span::from_milliseconds(ran),
        memory_kills: 0,
    };
    let run = Run {
        leaf: 7,
        state: State::Ended { exit: Some(exit.clone()) },
        frozen: false,
        astray: false,
        outdated: false,
        stop: None,
    };
    let runs = BTreeMap::from([(LAUNCHES[0].to_owned(), run)]);
    Observed { containers: BTreeMap::from([(web(), Container { runs, last_exit: Some(exit) })]) }
}

#[test]
fn an_end_is_told_with_its_reason() {
    let (ten_minutes, code) = (Span::from_milliseconds(600_000), End::Code);
    for (restart, end, sync, health, reason, message) in [
        (
            Restart::Always,
            code(0),
            Sync::OutOfSync,
            Health::Degraded,
            "Ended",
            "it exited with code 0 after 10m; it is to be started again",
        ),
        (Restart::OnFailure, code(0), Sync::Synced, Health::Healthy, "Completed", "it exited with code 0 after 10m"),
        (
            Restart::OnFailure,
            code(1),
            Sync::OutOfSync,
            Health::Degraded,
            "Ended",
            "it exited with code 1 after 10m; it is to be started again",
        ),
        (
            Restart::Never,
            End::Signal(11),
            Sync::Synced,
            Health::Degraded,
            "Ended",
            "it was killed by SIGSEGV after 10m",
        ),
        (
            Restart::Never,
            End::OutOfMemory,
            Sync::Synced,
            Health::Degraded,
            "Ended",
            "it was killed: out of memory after 10m",
        ),
    ] {
        let status = Planning::status(&web_is(restart), &ended(end, ten_minutes.milliseconds()));
        let [told] = status.as_slice() else { panic!("{status:?}") };
        let condition = &told.conditions[0];
        assert_eq!((told.sync, told.health, condition.reason.as_str()), (sync, health, reason));
        assert_eq!(condition.message, message);
    }
}

#[test]
fn only_a_short_run_that_is_to_be_repeated_counts_as_a_failure() {
    let leaves = |restart, end, ran| {
        early_ends(&web_is(restart), &ended(end, ran)).iter().map(|early| early.leaf).collect::<Vec<_>>()
    };
    assert_eq!(leaves(Restart::Always, End::Code(0), 9_999), [7]);
    assert_eq!(leaves(Restart::Always, End::Code(1), 10_000), [0; 0]);
    assert_eq!(leaves(Restart::OnFailure, End::Code(1), 5), [7]);
    assert_eq!(leaves(Restart::OnFailure, End::Code(0), 5), [0; 0]);
    assert_eq!(leaves(Restart::Never, End::Signal(9), 5), [0; 0]);
}

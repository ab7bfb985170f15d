//! The planner: golden folders, the two properties, and what is reported of it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use catenoid_containers::{
    Checked, Container, ContainersPlanner, Desired, Launch, Observed, Run, State, Step, Stopping, WantedContainer,
    exit::{End, Exit},
    order::{LaunchOrder, Namespaces, RootMode},
};
use catenoid_core::{Planner, simulate, testing};
use catenoid_schema::{
    digest::Digest,
    manifest::{HealthCheck, Restart, Stop, StopSignal},
    name::Name,
    status::{Health, Kind, Subject, Sync},
    units::{Span, Timestamp},
};
use proptest::{collection, prelude::*, sample};

#[test]
fn golden_plans() {
    testing::golden::<ContainersPlanner>(Path::new("tests/plans"), 8);
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
fn check() -> HealthCheck {
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
        1 => Just(State::InitExited),
        2 => proptest::option::of(exit()).prop_map(|exit| State::Ended { exit }),
    ];
    let seldom = || proptest::bool::weighted(0.2);
    let signal = sample::select(vec![StopSignal::Term, StopSignal::Kill]);
    let stop = proptest::option::of(signal.prop_map(|signal| Stop { signal, grace: Span::from_milliseconds(1000) }));
    let history = (0..5u32, seldom(), seldom(), seldom(), proptest::option::of(checked()));
    (state, seldom(), seldom(), seldom(), stop, history).prop_map(
        |(state, frozen, wrong_namespace, outdated, stop, history)| {
            // A leaf in which nothing lives is not frozen, and who is not there is not outside.
            let frozen = frozen && !matches!(state, State::Ended { .. });
            let wrong_namespace = wrong_namespace && matches!(state, State::Running { .. });
            let outdated = outdated && matches!(state, State::Running { .. });
            let (ends, steady) = (history.0, history.1 && matches!(state, State::Running { .. }));
            let stopping = history.2.then_some(Stopping { until: None });
            let ending = history.3 && state == State::InitExited;
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
    let container = (runs, proptest::option::of(exit())).prop_map(|(runs, last_exit)| Container { runs, last_exit });
    collection::btree_map(name(), container, 0..4).prop_map(|containers| Observed { containers })
}

/// A desired state, and an observed one that is anything, or what the desired one leads to with one run disturbed.
fn states() -> impl Strategy<Value = (Desired, Observed)> {
    let near = (desired(), observed(), proptest::option::of((name(), launch_id(), proptest::option::of(run()))))
        .prop_map(|(desired, observed, disturbance)| {
            let mut observed =
                catenoid_core::simulate::<ContainersPlanner>(&ContainersPlanner::plan(&desired, &observed), &observed);
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
        testing::properties::<ContainersPlanner>(&desired, &observed).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_is_satisfied_is_reported_as_synced_and_nothing_else((desired, observed) in states()) {
        let waits = desired.containers.values().any(|wanted| !matches!(wanted, WantedContainer::Ready(_)));
        // Who runs and does not work is lacking, and yet as it is wanted.
        let ends = observed.containers.values().any(|container| container.runs.values().any(|run| run.ending));
        let synced = ContainersPlanner::status(&desired, &observed).iter().all(|subject| subject.sync == Sync::Synced);
        prop_assert_eq!(synced, ContainersPlanner::satisfied(&desired, &observed) && !waits && !ends);
    }

    /// Whatever is there: a container that waits is left alone, and none is started before all others of it are ended.
    #[test]
    fn nothing_is_started_beside_its_predecessor((desired, observed) in states()) {
        let plan = ContainersPlanner::plan(&desired, &observed);
        for (name, wanted) in &desired.containers {
            let steps: Vec<_> = plan.steps().filter(|(_, step)| step.container() == name).map(|(_, step)| step).collect();
            if matches!(wanted, WantedContainer::Waiting { .. }) {
                prop_assert!(steps.is_empty());
            }
            if matches!(wanted, WantedContainer::HeldBack { .. }) {
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
    let (id, stop) = (LAUNCHES[0].to_owned(), Stop::default());
    let launch = Launch { id, ..Launch::new(order(&web()), restart, stop, None) };
    Desired { containers: BTreeMap::from([(web(), WantedContainer::Ready(Box::new(launch)))]) }
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
        wrong_namespace: false,
        outdated: false,
        stop: None,
        ends: 0,
        steady: false,
        stopping: None,
        ending: false,
        checked: None,
    };
    let runs = BTreeMap::from([(LAUNCHES[0].to_owned(), run)]);
    Observed { containers: BTreeMap::from([(web(), Container { runs, last_exit: Some(exit) })]) }
}

#[test]
fn an_end_is_reported_with_its_reason() {
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
        let status = ContainersPlanner::status(&web_is(restart), &ended(end, ten_minutes.milliseconds()));
        let [health_and_reasons] = status.as_slice() else { panic!("{status:?}") };
        let condition = &health_and_reasons.conditions[0];
        assert_eq!(
            (health_and_reasons.sync, health_and_reasons.health, condition.reason.as_str()),
            (sync, health, reason)
        );
        assert_eq!(condition.message, message);
    }
}

#[test]
fn how_long_a_run_lasted_is_told_in_whole_seconds_from_one_on() {
    for (ran, time) in [(3_999, "3s"), (1_000, "1s"), (999, "999ms")] {
        let status = ContainersPlanner::status(&web_is(Restart::Never), &ended(End::Code(1), ran)).remove(0);
        assert_eq!(status.conditions[0].message, format!("it exited with code 1 after {time}"));
    }
}

#[test]
fn only_a_failure_that_is_to_be_repeated_is_a_setback() {
    for (restart, end, ran, is_one) in [
        (Restart::Always, End::Code(0), 9_999, true),
        (Restart::Always, End::Code(0), 10_000, false),
        (Restart::Always, End::Code(1), 10_000, true),
        (Restart::OnFailure, End::Code(1), 5, true),
        (Restart::OnFailure, End::Code(1), 11_000, true),
        (Restart::OnFailure, End::Code(0), 5, false),
        (Restart::Never, End::Signal(9), 5, false),
    ] {
        let setbacks = ContainersPlanner::setbacks(&web_is(restart), &ended(end, ran));
        let expected = if is_one { vec![7] } else { vec![] };
        assert_eq!(
            setbacks.iter().map(|setback| setback.id).collect::<Vec<_>>(),
            expected,
            "{restart:?} {end:?} {ran}"
        );
    }
    let mut unseen = ended(End::Code(0), 5);
    run_of(&mut unseen).state = State::Ended { exit: None };
    let setbacks = ContainersPlanner::setbacks(&web_is(Restart::OnFailure), &unseen);
    assert_eq!(setbacks[0].message, "it ended, and nobody saw how; 1 failure in a row");
}

/// Whoever ends so slowly that the first process is gone long before the others passed for one that never failed.
#[test]
fn a_slow_end_is_a_failure_like_any_other() {
    let desired = web_is(Restart::Always);
    let mut observed = step_on(&desired, &Observed::default());
    for failures in 1..5 {
        run_of(&mut observed).state = State::InitExited;
        let setbacks = ContainersPlanner::setbacks(&desired, &observed);
        assert_eq!(setbacks[0].pause.is_zero(), failures < 2, "{setbacks:?}");
        observed = step_on(&desired, &observed);
        assert_eq!(run_of(&mut observed).ends, failures);
    }
}

fn run_of(observed: &mut Observed) -> &mut Run {
    let runs = &mut observed.containers.get_mut(&web()).expect("it is there").runs;
    runs.values_mut().next().expect("it has a run")
}

fn step_on(desired: &Desired, observed: &Observed) -> Observed {
    simulate::<ContainersPlanner>(&ContainersPlanner::plan(desired, observed), observed)
}

/// The reasons of what is reported of the container.
fn health_and_reasons(desired: &Desired, observed: &Observed) -> (Health, Vec<String>) {
    let status = ContainersPlanner::status(desired, observed).remove(0);
    (status.health, status.conditions.into_iter().map(|condition| condition.reason).collect())
}

/// Row by row: a run, how often the container then failed in a row, how long its start waits, and what is reported once it runs again.
#[test]
fn a_loop_is_counted_reported_and_paused_for() {
    let (code, well, ill) = (End::Code, Health::Healthy, Health::Degraded);
    let desired = web_is(Restart::Always);
    let mut observed = step_on(&desired, &Observed::default());
    for (row, (end, ran, failures, pause, health)) in [
        (code(9), 11_000, 1, 0, well),
        (code(9), 11_000, 2, 500, well),
        (code(9), 11_000, 3, 1000, ill),
        (End::Signal(11), 599_999, 4, 2000, ill),
        (code(0), 9_999, 5, 4000, ill),
        (End::OutOfMemory, 5, 6, 8000, ill),
        // It ran well for ten minutes.
        (code(9), 600_000, 1, 0, well),
        (code(9), 11_000, 2, 500, well),
        (code(9), 11_000, 3, 1000, ill),
        // It did its work.
        (code(0), 10_000, 0, 0, well),
    ]
    .into_iter()
    .enumerate()
    {
        let exit = ended(end, ran).containers.remove(&web()).expect("it is there").last_exit;
        run_of(&mut observed).state = State::Ended { exit: exit.clone() };
        observed.containers.get_mut(&web()).expect("it is there").last_exit = exit;
        let setback = ContainersPlanner::setbacks(&desired, &observed).pop();
        let waits = setback.as_ref().map_or(Duration::ZERO, |setback| setback.pause);
        assert_eq!((setback.is_some(), waits), (failures > 0, Duration::from_millis(pause)), "row {row}");
        assert_eq!(health_and_reasons(&desired, &observed).0, ill, "row {row}: it is to be started again");
        observed = step_on(&desired, &observed);
        assert_eq!(run_of(&mut observed).ends, failures, "row {row}");
        let reasons: &[_] =
            if health == ill { &["Running", "LastExit", "CrashLoop"] } else { &["Running", "LastExit"] };
        assert_eq!(
            health_and_reasons(&desired, &observed),
            (health, reasons.iter().map(ToString::to_string).collect()),
            "row {row}"
        );
    }
}

#[test]
fn pauses_are_bounded_and_shorter_for_the_core_container() {
    let pause = |desired: &Desired, ends| {
        let mut observed = ended(End::Code(1), 5);
        run_of(&mut observed).ends = ends;
        ContainersPlanner::setbacks(desired, &observed).remove(0).pause
    };
    let service = web_is(Restart::Always);
    let mut core = service.clone();
    let Some(WantedContainer::Ready(launch)) = core.containers.get_mut(&web()) else { panic!("it is ready") };
    launch.order.control = Some("/run/control".into());
    for desired in [&service, &core] {
        assert!((0..40).all(|ends| pause(desired, ends) <= pause(desired, ends + 1)), "they grow");
    }
    for ends in [40, u32::MAX] {
        assert_eq!([pause(&service, ends), pause(&core, ends)], [300, 10].map(Duration::from_secs));
    }
}

#[test]
fn a_history_ends_with_a_new_version_an_order_and_a_long_run() {
    let desired = web_is(Restart::Always);
    let mut loops = step_on(&desired, &Observed::default());
    run_of(&mut loops).ends = 5;
    assert_eq!(health_and_reasons(&desired, &loops).0, Health::Degraded);

    let mut steady = loops.clone();
    run_of(&mut steady).steady = true;
    let status = ContainersPlanner::status(&desired, &steady).remove(0);
    assert_eq!(status.health, Health::Healthy);
    let recovered = status.conditions.last().expect("it is reported");
    let recovered = (recovered.reason.as_str(), recovered.message.as_str());
    assert_eq!(recovered, ("Recovered", "it has run for 10m, after 5 failures in a row"));

    let mut newer = desired.clone();
    let Some(WantedContainer::Ready(launch)) = newer.containers.get_mut(&web()) else { panic!("it is ready") };
    launch.id = LAUNCHES[1].to_owned();
    let (mut wrong_namespace, mut outdated) = (loops.clone(), loops.clone());
    run_of(&mut wrong_namespace).wrong_namespace = true;
    run_of(&mut outdated).outdated = true;
    for (desired, observed) in [(&newer, &loops), (&desired, &wrong_namespace), (&desired, &outdated)] {
        let mut after = step_on(desired, observed);
        assert_eq!(
            (run_of(&mut after).ends, health_and_reasons(desired, &after).0),
            (0, Health::Healthy),
            "{observed:?}"
        );
    }
    let mut over = loops.clone();
    run_of(&mut over).state = State::Ended { exit: None };
    assert_eq!(ContainersPlanner::setbacks(&newer, &over), [], "what ended is another version");
    let held_back = WantedContainer::HeldBack { reason: "it took too much".to_owned(), stop: Stop::default() };
    assert_eq!(ContainersPlanner::setbacks(&Desired { containers: [(web(), held_back)].into() }, &over), []);
    let gone = ContainersPlanner::plan(&desired, &Observed::default());
    assert!(matches!(gone.establish.as_slice(), [Step::Start { ends: 0, .. }]));
}

/// Row by row: what becomes of a run, and what is told of it.
#[test]
fn every_state_of_a_run_is_told() {
    let desired = web_is(Restart::Always);
    let running = step_on(&desired, &Observed::default());
    type Change = fn(&mut Run);
    let (well, ill, coming) = (Health::Healthy, Health::Degraded, Health::Progressing);
    let changes: [(Change, Health, &[&str]); 9] = [
        (|_| {}, well, &["Running"]),
        (|run| run.steady = true, well, &["Running"]),
        (|run| run.ends = 2, well, &["Running"]),
        (|run| run.stopping = Some(Stopping { until: None }), coming, &["Replacing", "Stopping"]),
        (|run| run.wrong_namespace = true, ill, &["WrongNamespace"]),
        (|run| run.outdated = true, ill, &["Outdated"]),
        (|run| run.frozen = true, Health::Suspended, &["Frozen"]),
        (|run| run.state = State::InitExited, ill, &["InitExited"]),
        (|run| (run.state, run.ending) = (State::InitExited, true), coming, &["Ending"]),
    ];
    let of = |reasons: &[&str]| reasons.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (row, (change, health, reasons)) in changes.into_iter().enumerate() {
        let mut observed = running.clone();
        change(run_of(&mut observed));
        assert_eq!(health_and_reasons(&desired, &observed), (health, of(reasons)), "row {row}");
    }
    let (mut waits, mut frozen) = (desired.clone(), running.clone());
    run_of(&mut frozen).frozen = true;
    ContainersPlanner::let_wait(&mut waits, &Subject::new(Kind::Container, "web"), "it is not there");
    for (observed, health) in [(&running, well), (&frozen, Health::Missing), (&Observed::default(), Health::Missing)] {
        assert_eq!(health_and_reasons(&waits, observed), (health, of(&["Waiting"])));
    }
    let mut newer = desired.clone();
    let Some(WantedContainer::Ready(launch)) = newer.containers.get_mut(&web()) else { panic!("it is ready") };
    launch.id = LAUNCHES[1].to_owned();
    assert_eq!(health_and_reasons(&newer, &running), (coming, of(&["Replacing"])));
    assert_eq!(health_and_reasons(&newer, &Observed::default()), (Health::Missing, of(&["NotStarted"])));
    assert_eq!(health_and_reasons(&Desired::default(), &running), (coming, of(&["Superfluous"])));
}

/// Row by row: a run that was the third failure in a row before, and how many there are once the next one runs.
#[test]
fn a_run_that_lasted_begins_a_new_count_only_if_it_worked() {
    let mut desired = web_is(Restart::Always);
    let Some(WantedContainer::Ready(launch)) = desired.containers.get_mut(&web()) else { panic!("it is ready") };
    **launch = Launch {
        id: launch.id.clone(),
        ..Launch::new(launch.order.clone(), Restart::Always, launch.stop, Some(check()))
    };
    let check = launch.check.clone().expect("it has a check");
    let exit = |end, ran| ended(end, ran).containers.remove(&web()).expect("it is there").last_exit;
    let (running, long) = (step_on(&desired, &Observed::default()), 600_000);
    let state = run_of(&mut running.clone()).state.clone();
    for (row, (state, steady, passed, failures, stopping, ends)) in [
        // Its checks failed.
        (state.clone(), false, true, 2, false, 4),
        (state.clone(), true, true, 2, false, 1),
        (state.clone(), true, false, 2, false, 4),
        (State::Ended { exit: exit(End::Code(9), long) }, false, true, 2, false, 1),
        (State::Ended { exit: exit(End::Code(9), long) }, false, false, 2, false, 4),
        (State::Ended { exit: exit(End::Code(9), long - 1) }, false, true, 2, false, 4),
        // It ended by itself.
        (State::Ended { exit: exit(End::Code(9), long) }, false, true, 0, false, 1),
        (State::Ended { exit: exit(End::Code(9), long - 1) }, false, true, 0, false, 4),
        (State::Ended { exit: exit(End::Code(0), 10_000) }, false, true, 0, false, 0),
        (State::Ended { exit: exit(End::Code(0), 9_999) }, false, true, 0, false, 4),
        (State::Ended { exit: None }, false, true, 0, false, 4),
        (State::InitExited, false, true, 0, false, 4),
        // It was asked to end.
        (State::Ended { exit: exit(End::Code(9), 11_000) }, false, true, 0, true, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let mut observed = running.clone();
        let run = run_of(&mut observed);
        (run.state, run.steady, run.ends) = (state, steady, 3);
        run.stopping = stopping.then_some(Stopping { until: None });
        run.checked = Some(Checked { check: check.clone(), passed, failures, ..Checked::default() });
        assert_eq!(run_of(&mut step_on(&desired, &observed)).ends, ends, "row {row}");
    }
}

#[test]
fn who_waits_stays_as_it_is_and_who_is_held_back_ends() {
    let mut desired = web_is(Restart::Always);
    let running = step_on(&desired, &Observed::default());
    let (web, other) = (Subject::new(Kind::Container, "web"), Subject::new(Kind::Container, "other"));
    for unknown in [&other, &Subject::new(Kind::Zone, "web")] {
        ContainersPlanner::let_wait(&mut desired, unknown, "it is not there");
        ContainersPlanner::hold_back(&mut desired, unknown, "it took too much");
    }
    assert_eq!(desired, web_is(Restart::Always), "who is not wanted is nobody");
    assert_eq!(ContainersPlanner::needs(&desired, "guests").len(), 1);
    assert_eq!(ContainersPlanner::needs(&desired, "zones"), []);

    ContainersPlanner::let_wait(&mut desired, &web, "it is not there");
    assert!(ContainersPlanner::plan(&desired, &running).is_empty(), "what runs runs");
    assert!(ContainersPlanner::plan(&desired, &Observed::default()).is_empty(), "and what does not is not started");
    assert_eq!(ContainersPlanner::needs(&desired, "guests"), []);
    ContainersPlanner::hold_back(&mut desired, &web, "it took too much");
    assert!(matches!(ContainersPlanner::plan(&desired, &running).retire.first(), Some(Step::Ask { .. })));
    ContainersPlanner::let_wait(&mut desired, &web, "it is not there");
    assert!(
        matches!(desired.containers[&self::web()], WantedContainer::HeldBack { .. }),
        "it does not wait for anything"
    );
}

/// What is not so is not written, and what is not written is not so: an older status says the same for ever.
#[test]
fn a_run_is_written_by_what_is_so() {
    let run = run_of(&mut step_on(&web_is(Restart::Always), &Observed::default())).clone();
    let bare = Run { stop: None, ..run };
    let of_checks = Checked { passed: true, failures: 1, recovered: 2, said: "no".to_owned(), check: "a".to_owned() };
    let full = Run {
        ends: 3,
        steady: true,
        ending: true,
        outdated: true,
        checked: Some(of_checks),
        frozen: true,
        ..bare.clone()
    };
    let empty = Run { checked: Some(Checked::default()), ..bare.clone() };
    let written = |run: &Run| {
        let value = serde_json::to_value(run).expect("it can be written");
        assert_eq!(serde_json::from_value::<Run>(value.clone()).expect("it can be read"), *run);
        let names = |value: &serde_json::Value| value.as_object().expect("it has fields").keys().cloned().collect();
        let checked: Vec<String> = value.get("checked").map(names).unwrap_or_default();
        (names(&value), checked)
    };
    let always = ["frozen", "leaf", "state", "wrongNamespace"];
    let all = ["checked", "ending", "ends", "frozen", "leaf", "outdated", "state", "steady", "wrongNamespace"];
    let checks = ["check", "failures", "passed", "recovered", "said"];
    let of = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(written(&bare), (of(&always), vec![]));
    assert_eq!(written(&full), (of(&all), of(&checks)));
    assert_eq!(written(&empty).1, of(&["check"]));
}

#[test]
fn who_is_about_to_end_is_no_failure_yet() {
    let desired = web_is(Restart::Always);
    let mut observed = step_on(&desired, &Observed::default());
    run_of(&mut observed).state = State::InitExited;
    assert_eq!(ContainersPlanner::setbacks(&desired, &observed).len(), 1);
    run_of(&mut observed).ending = true;
    assert_eq!(ContainersPlanner::setbacks(&desired, &observed), []);
}

#[test]
fn the_core_container_is_urgent_wherever_it_stands() {
    let mut desired = web_is(Restart::Always);
    assert_eq!(ContainersPlanner::urgent(&desired), []);
    let mut core = desired.containers[&web()].clone();
    let WantedContainer::Ready(launch) = &mut core else { panic!("it is ready") };
    launch.order.control = Some("/run/control".into());
    desired.containers.insert("zoo".parse().expect("it is a name"), core);
    assert_eq!(ContainersPlanner::urgent(&desired), [Subject::new(Kind::Container, "zoo")]);
}

/// Row by row: what the checks of a run came to, what is reported of it, and whether it is started again.
#[test]
fn a_health_check_is_reported_and_its_failure_ends_the_run() {
    let said = || "it exited with code 1".to_owned();
    let checked =
        |passed, failures, recovered| Some(Checked { passed, failures, recovered, said: said(), ..Checked::default() });
    let (well, ill, coming) = (Health::Healthy, Health::Degraded, Health::Progressing);
    for (restart, checked, health, reason, again) in [
        (Restart::Always, None, coming, Some("NotReady"), false),
        (Restart::Always, checked(false, 0, 0), coming, Some("NotReady"), false),
        (Restart::Always, checked(false, 1, 0), coming, Some("NotReady"), false),
        (Restart::Always, checked(true, 0, 0), well, None, false),
        (Restart::Always, checked(true, 1, 0), well, Some("HealthCheckFailed"), false),
        (Restart::Always, checked(true, 2, 0), ill, Some("Unhealthy"), true),
        (Restart::OnFailure, checked(false, 2, 0), ill, Some("Unhealthy"), true),
        (Restart::Never, checked(true, 7, 0), ill, Some("Unhealthy"), false),
        (Restart::Never, checked(true, 0, 7), well, Some("Recovered"), false),
    ] {
        let mut desired = web_is(restart);
        let Some(WantedContainer::Ready(launch)) = desired.containers.get_mut(&web()) else { panic!("it is ready") };
        **launch =
            Launch { id: launch.id.clone(), ..Launch::new(launch.order.clone(), restart, launch.stop, Some(check())) };
        let of = launch.check.clone().expect("it has a check");
        let mut observed = step_on(&desired, &Observed::default());
        assert_eq!(
            health_and_reasons(&desired, &observed),
            (well, vec!["Running".to_owned()]),
            "a start is for what works"
        );
        let another = Checked { check: "another".to_owned(), passed: true, failures: 2, ..Checked::default() };
        run_of(&mut observed).checked = Some(another);
        assert_eq!(health_and_reasons(&desired, &observed).0, coming, "what came of another check says nothing");
        run_of(&mut observed).checked = checked.clone().map(|checked| Checked { check: of, ..checked });
        let reasons: Vec<_> = ["Running"].into_iter().chain(reason).map(ToOwned::to_owned).collect();
        assert_eq!(health_and_reasons(&desired, &observed), (health, reasons), "{restart:?} {checked:?}");
        let works = health == well;
        assert_eq!(ContainersPlanner::lacking(&desired, &observed).is_empty(), works, "{restart:?} {checked:?}");
        assert_eq!(!ContainersPlanner::plan(&desired, &observed).is_empty(), again, "{restart:?} {checked:?}");
        let setbacks = ContainersPlanner::setbacks(&desired, &observed);
        let messages: Vec<_> = setbacks.into_iter().map(|setback| setback.message).collect();
        let message = "its health check failed 2 times in a row: it exited with code 1; 1 failure in a row";
        assert_eq!(messages, if again { vec![message] } else { vec![] });
        if again {
            let mut asked = observed.clone();
            run_of(&mut asked).stopping = Some(Stopping { until: None });
            for before in [observed, asked] {
                assert_eq!(run_of(&mut step_on(&desired, &before)).ends, 1, "also while it ends");
            }
        }
    }
}

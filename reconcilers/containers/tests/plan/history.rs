//! How often in a row a container failed.

use std::time::Duration;

use catenoid_containers::{
    Checked, ContainersPlanner, Desired, Launch, Observed, RunState, Step, Stopping, WantedContainer, exit::RunEnd,
};
use catenoid_core::Planner;
use catenoid_schema::{
    manifest::{Restart, Stop},
    status::Health,
};

use crate::states::{LAUNCHES, check, ended, health_and_reasons, run_of, step_on, web, web_is};

#[test]
fn only_a_failure_that_is_to_be_repeated_is_a_setback() {
    for (restart, end, ran, is_one) in [
        (Restart::Always, RunEnd::Code(0), 9_999, true),
        (Restart::Always, RunEnd::Code(0), 10_000, false),
        (Restart::Always, RunEnd::Code(1), 10_000, true),
        (Restart::OnFailure, RunEnd::Code(1), 5, true),
        (Restart::OnFailure, RunEnd::Code(1), 11_000, true),
        (Restart::OnFailure, RunEnd::Code(0), 5, false),
        (Restart::Never, RunEnd::Signal(9), 5, false),
    ] {
        let setbacks = ContainersPlanner::setbacks(&web_is(restart), &ended(end, ran));
        let expected = if is_one { vec![7] } else { vec![] };
        assert_eq!(
            setbacks.iter().map(|setback| setback.id).collect::<Vec<_>>(),
            expected,
            "{restart:?} {end:?} {ran}"
        );
    }
    let mut unseen = ended(RunEnd::Code(0), 5);
    run_of(&mut unseen).state = RunState::Ended { exit: None };
    let setbacks = ContainersPlanner::setbacks(&web_is(Restart::OnFailure), &unseen);
    assert_eq!(setbacks[0].message, "it ended, and nobody saw how; 1 failure in a row");
}

/// Whoever ends so slowly that the first process is gone long before the others passed for one that never failed.
#[test]
fn a_slow_end_is_a_failure_like_any_other() {
    let desired = web_is(Restart::Always);
    let mut observed = step_on(&desired, &Observed::default());
    for failures in 1..5 {
        run_of(&mut observed).state = RunState::InitExited;
        let setbacks = ContainersPlanner::setbacks(&desired, &observed);
        assert_eq!(setbacks[0].pause.is_zero(), failures < 2, "{setbacks:?}");
        observed = step_on(&desired, &observed);
        assert_eq!(run_of(&mut observed).ends, failures);
    }
}

/// Row by row: a run, how often the container then failed in a row, how long its start waits, and what is reported once it runs
/// again.
#[test]
fn a_loop_is_counted_reported_and_paused_for() {
    let (code, well, ill) = (RunEnd::Code, Health::Healthy, Health::Degraded);
    let desired = web_is(Restart::Always);
    let mut observed = step_on(&desired, &Observed::default());
    for (row, (end, ran, failures, pause, health)) in [
        (code(9), 11_000, 1, 0, well),
        (code(9), 11_000, 2, 500, well),
        (code(9), 11_000, 3, 1000, ill),
        (RunEnd::Signal(11), 599_999, 4, 2000, ill),
        (code(0), 9_999, 5, 4000, ill),
        (RunEnd::OutOfMemory, 5, 6, 8000, ill),
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
        run_of(&mut observed).state = RunState::Ended { exit: exit.clone() };
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
        let mut observed = ended(RunEnd::Code(1), 5);
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
    run_of(&mut over).state = RunState::Ended { exit: None };
    assert_eq!(ContainersPlanner::setbacks(&newer, &over), [], "what ended is another version");
    let held_back = WantedContainer::HeldBack { reason: "it took too much".to_owned(), stop: Stop::default() };
    assert_eq!(ContainersPlanner::setbacks(&Desired { containers: [(web(), held_back)].into() }, &over), []);
    let gone = ContainersPlanner::plan(&desired, &Observed::default());
    assert!(matches!(gone.establish.as_slice(), [Step::Start { ends: 0, .. }]));
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
        (RunState::Ended { exit: exit(RunEnd::Code(9), long) }, false, true, 2, false, 1),
        (RunState::Ended { exit: exit(RunEnd::Code(9), long) }, false, false, 2, false, 4),
        (RunState::Ended { exit: exit(RunEnd::Code(9), long - 1) }, false, true, 2, false, 4),
        // It ended by itself.
        (RunState::Ended { exit: exit(RunEnd::Code(9), long) }, false, true, 0, false, 1),
        (RunState::Ended { exit: exit(RunEnd::Code(9), long - 1) }, false, true, 0, false, 4),
        (RunState::Ended { exit: exit(RunEnd::Code(0), 10_000) }, false, true, 0, false, 0),
        (RunState::Ended { exit: exit(RunEnd::Code(0), 9_999) }, false, true, 0, false, 4),
        (RunState::Ended { exit: None }, false, true, 0, false, 4),
        (RunState::InitExited, false, true, 0, false, 4),
        // It was asked to end.
        (RunState::Ended { exit: exit(RunEnd::Code(9), 11_000) }, false, true, 0, true, 0),
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
fn who_is_about_to_end_is_no_failure_yet() {
    let desired = web_is(Restart::Always);
    let mut observed = step_on(&desired, &Observed::default());
    run_of(&mut observed).state = RunState::InitExited;
    assert_eq!(ContainersPlanner::setbacks(&desired, &observed).len(), 1);
    run_of(&mut observed).ending = true;
    assert_eq!(ContainersPlanner::setbacks(&desired, &observed), []);
}

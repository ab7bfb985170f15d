//! What is reported, and how it is written.

use catenoid_containers::{
    Checked, ContainersPlanner, Desired, Launch, Observed, Run, RunState, Stopping, WantedContainer, exit::RunEnd,
};
use catenoid_core::Planner;
use catenoid_schema::{
    manifest::Restart,
    status::{Health, Kind, Subject, Sync},
    units::Span,
};

use crate::states::{LAUNCHES, check, ended, health_and_reasons, run_of, step_on, web, web_is};

#[test]
fn an_end_is_reported_with_its_reason() {
    let (ten_minutes, code) = (Span::from_milliseconds(600_000), RunEnd::Code);
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
            RunEnd::Signal(11),
            Sync::Synced,
            Health::Degraded,
            "Ended",
            "it was killed by SIGSEGV after 10m",
        ),
        (
            Restart::Never,
            RunEnd::OutOfMemory,
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
fn how_long_a_run_lasted_is_reported_in_whole_seconds_from_one_on() {
    for (ran, time) in [(3_999, "3s"), (1_000, "1s"), (999, "999ms")] {
        let status = ContainersPlanner::status(&web_is(Restart::Never), &ended(RunEnd::Code(1), ran)).remove(0);
        assert_eq!(status.conditions[0].message, format!("it exited with code 1 after {time}"));
    }
}

/// Row by row: what becomes of a run, and what is reported of it.
#[test]
fn every_state_of_a_run_is_reported() {
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
        (|run| run.state = RunState::InitExited, ill, &["InitExited"]),
        (|run| (run.state, run.ending) = (RunState::InitExited, true), coming, &["Ending"]),
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

/// Statuses of the first versions have other words.
#[test]
fn a_run_is_read_by_its_older_words() {
    let older = serde_json::json!({"leaf": 1, "state": "headless", "frozen": false, "astray": true});
    let run: Run = serde_json::from_value(older).expect("it can be read");
    assert_eq!((run.state, run.wrong_namespace), (RunState::InitExited, true));
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

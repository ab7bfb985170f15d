//! What a pass reports: status, forecast and events.

use std::time::{Duration, Instant};

use catenoid_limits::{Control, Value};
use catenoid_schema::{
    control::Outcome,
    digest::Digest,
    status::{Kind, ManifestState, Subject, Sync},
    units::Timestamp,
};
use serde_json::json;

use super::{Device, base, contain, converged, reasons, status, target, with};
use crate::{
    clock,
    pass::{
        executor::{MOMENT, plan_for},
        status::Snapshot,
    },
};

/// The moment that tests take for long ago.
fn long_ago() -> Timestamp {
    Timestamp::from_seconds(1_000_000_000).unwrap()
}

fn web() -> Subject {
    Subject::new(Kind::Container, "web")
}

/// A settled device that is to change a limit of `web`, and cannot.
fn failing() -> Device {
    let mut device = Device::settled(target(1, base()));
    device.world.limits.model().fails = Some("of `web`");
    device.accept(target(2, with(&[("web", json!({"limits": {"pids": 99}}))])));
    device
}

#[test]
fn passes_are_counted_and_the_last_one_has_its_time() {
    let (mut device, before) = (Device::new(&converged(&target(1, base()))), clock::now());
    device.accept(target(1, base()));
    assert_eq!([device.pass().snapshot.passes, device.pass().snapshot.passes], [1, 2]);
    assert!(device.pass().snapshot.at.is_some_and(|at| at >= before));
}

#[test]
fn since_when_a_manifest_stands_or_is_on_its_way_is_kept_until_it_is_another_one() {
    let before = clock::now();
    let mut device = Device::settled(target(1, base()));
    let accepted_at = device.accepted.borrow().as_ref().unwrap().accepted_at;
    let since = |state: &Option<ManifestState>| state.as_ref().map(|state| (state.sequence, state.since));
    let (_, first) = since(&device.pass.snapshot.converged).unwrap();
    assert!(first >= before && first != accepted_at, "not when it was accepted, but when it was reached");
    device.pass.snapshot.converged.as_mut().unwrap().since = long_ago();
    assert_eq!(since(&device.pass().snapshot.converged), Some((1, long_ago())));

    device.world.limits.model().fails = Some("of `web`");
    let to = |sequence, pids: u32| target(sequence, with(&[("web", json!({"limits": {"pids": pids}}))]));
    device.accept(to(2, 99));
    let outcome = device.pass();
    assert_eq!(since(&outcome.snapshot.converged), Some((1, long_ago())), "the last one that was reached");
    let (sequence, begun) = since(&outcome.snapshot.reconciling).unwrap();
    assert!(sequence == 2 && begun >= before && begun != accepted_at);
    device.pass.snapshot.reconciling.as_mut().unwrap().since = long_ago();
    assert_eq!(since(&device.pass().snapshot.reconciling), Some((2, long_ago())));
    device.accept(to(3, 98));
    assert!(since(&device.pass().snapshot.reconciling).is_some_and(|(sequence, at)| sequence == 3 && at >= before));
}

#[test]
fn what_failed_is_due_again_in_a_moment_at_the_soonest() {
    let mut device = failing();
    let before = Instant::now();
    assert_eq!(device.pass.again(), None);
    device.pass.retries.failed(web(), before.checked_sub(Duration::from_secs(3600)).unwrap());
    assert!(device.pass.again().is_some_and(|again| again >= before + MOMENT));
    let now = clock::now();
    let outcome = device.pass();
    let retry = outcome.snapshot.retries[&web()];
    assert!(retry >= now && retry.seconds() <= now.seconds() + 300, "{retry}");
}

#[test]
fn a_failure_is_recorded_once_beside_what_is_not_known() {
    let mut device = failing();
    device.pass();
    device.world.zones.model().is_unreadable = true;
    let outcome = device.pass();
    let recorded = reasons(&outcome, "container/web");
    assert_eq!(recorded.iter().filter(|reason| *reason == "StepFailed").count(), 1, "{recorded:?}");
    assert_eq!(status(&outcome, "container/db").sync, Sync::Unknown);
}

#[test]
fn a_failure_is_forgotten_where_nothing_is_to_be_done_any_more() {
    let mut device = failing();
    let pids = [("db", json!({"limits": {"pids": 98}})), ("web", json!({"limits": {"pids": 99}}))];
    device.world.limits.model().fails = Some("set pids");
    device.accept(target(2, with(&pids)));
    device.pass();
    assert_eq!(device.pass.failures.len(), 2);
    // Somebody else did it.
    device.world.limits.model().observed.groups.get_mut("web").unwrap().insert(Control::PIDS, Value::At(99));
    let outcome = device.pass();
    let db = Subject::new(Kind::Container, "db");
    assert_eq!(device.pass.failures.keys().collect::<Vec<_>>(), [&db]);
    assert_eq!(outcome.snapshot.retries.keys().collect::<Vec<_>>(), [&db]);
    assert!(!outcome.as_it_is_to_be);
    assert_eq!(reasons(&outcome, "container/web"), ["Running"]);
}

#[test]
fn the_end_of_a_pass_is_recorded_where_it_did_or_found_something() {
    let mut device = Device::settled(target(1, base()));
    let seen = device.pass.snapshot.clone();
    let of = |sequence| target(sequence, base()).state();
    let reconciling = Snapshot { reconciling: Some(of(2)), ..seen.clone() };
    let fewer = Snapshot { subjects: seen.subjects[1..].to_vec(), ..seen.clone() };
    let table = [
        (0, &seen, None),
        (1, &seen, Some("1 steps done, converged")),
        (0, &reconciling, Some("0 steps done, not converged")),
        (0, &fewer, Some("0 steps done, converged")),
        (2, &fewer, Some("2 steps done, converged")),
    ];
    for (done, snapshot, wanted) in table {
        let recorded = device.pass.ended(snapshot, done);
        assert_eq!(
            recorded.as_ref().map(|recorded| (recorded.kind, &*recorded.message)),
            wanted.map(|recorded| ("PassEnded", recorded))
        );
    }
    let other = Snapshot { converged: Some(of(2)), ..seen.clone() };
    assert_eq!(device.pass.ended(&other, 0).map(|recorded| recorded.kind), Some("Converged"));
    // Of a device that matches nothing any more nothing is reported but what stands in its place.
    let none = Snapshot { converged: None, ..seen };
    assert!(device.pass.ended(&none, 0).is_none());
    device.world.limits.model().observed.groups.get_mut("web").unwrap().insert(Control::PIDS, Value::At(7));
    assert_eq!(device.pass().ended.map(|recorded| recorded.message), Some("1 steps done, converged".to_owned()));
}

#[test]
fn what_a_manifest_would_do_is_planned_before_it_is_accepted() {
    let moved = target(2, with(&[("web", json!({"guest": "other"}))]));
    let mut observed = converged(&target(1, base()));
    // Pushed for another manifest: stays until one is accepted that does not need it.
    let pushed = Digest::of(b"pushed");
    observed.guests.blobs.insert(pushed, catenoid_guests::Blob { size: 1, fresh: true });
    let plan = |outcome| -> Vec<String> {
        plan_for(&moved, outcome, observed.clone()).into_iter().map(|step| step.description).collect()
    };
    let (accepted, unchanged) = (plan(Outcome::Accepted), plan(Outcome::Unchanged));
    let goes = |steps: &[String]| {
        contain(steps, "remove blob") && contain(steps, &pushed.to_string()["sha256:".len()..][..16])
    };
    assert!(contain(&accepted, "start container `web`") && goes(&accepted), "{accepted:#?}");
    assert!(contain(&unchanged, "start container `web`") && !goes(&unchanged), "{unchanged:#?}");
    // The image, which is not there yet, is taken for pushed; without it nothing could be mounted.
    assert!(contain(&accepted, "verify and mount guest"), "{accepted:#?}");
}

#[test]
fn what_is_as_long_as_may_be_is_not_cut() {
    for (text, reported) in [("drift", "drift"), ("drifts", "drift ...")] {
        let mut message = text.to_owned();
        crate::record::event::cut(&mut message, 5);
        assert_eq!(message, reported);
    }
}

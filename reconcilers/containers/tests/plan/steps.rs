//! Which steps there are, and which there are not.

use catenoid_containers::{ContainersPlanner, Observed, Step, WantedContainer};
use catenoid_core::Planner;
use catenoid_schema::{
    manifest::Restart,
    status::{Kind, Subject},
};

use crate::states::{step_on, web, web_is};

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

#[test]
fn who_runs_is_right_only_if_nothing_is_wrong_with_it() {
    type Wrong = fn(&mut catenoid_containers::Run);
    const WRONGS: [Wrong; 5] = [
        |run| run.frozen = true,
        |run| run.wrong_namespace = true,
        |run| run.outdated = true,
        |run| run.stopping = Some(catenoid_containers::Stopping { until: None }),
        |run| run.stop.as_mut().expect("it is known").grace = catenoid_schema::units::Span::from_milliseconds(9),
    ];
    let desired = web_is(Restart::Always);
    let running = step_on(&desired, &Observed::default());
    assert!(ContainersPlanner::satisfied(&desired, &running));
    for (number, wrong) in WRONGS.into_iter().enumerate() {
        let mut observed = running.clone();
        wrong(crate::states::run_of(&mut observed));
        assert!(!ContainersPlanner::satisfied(&desired, &observed), "{number}");
        assert!(!ContainersPlanner::plan(&desired, &observed).is_empty(), "{number}");
    }
}

#[test]
fn a_program_has_ids_of_its_containers_range_on_the_device() {
    let mut desired = web_is(Restart::Always);
    let Some(WantedContainer::Ready(launch)) = desired.containers.get_mut(&web()) else { panic!("it is ready") };
    (launch.order.user, launch.order.group_id) = (7, 9);
    assert_eq!(launch.order.host_ids(), (65_536 + 7, 65_536 + 9));
}

//! The planner: golden folders, the two properties, and what is reported of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use catenoid_core::{Planner, testing};
use catenoid_limits::{Bounds, Control, Desired, Group, LimitsPlanner, Observed, Value};
use catenoid_schema::{
    manifest::{IoLimits, ResourceLimits},
    name::Name,
    status::{Blame, Health, Sync},
    units::{ByteSize, Cpu},
};
use proptest::{collection, prelude::*, sample};

#[test]
fn golden_plans() {
    testing::golden::<LimitsPlanner>(Path::new("tests/plans"), 8);
}

/// Few names and few values, so that what is wanted and what is there meet often.
const NAMES: [&str; 4] = ["core0", "web", "db", "mail"];

fn name() -> impl Strategy<Value = Name> {
    sample::select(&NAMES).prop_map(|name| name.parse().expect("each is a name"))
}

fn limits() -> impl Strategy<Value = Bounds> {
    let io = || proptest::option::of(1..3u32);
    let weight = proptest::option::of(sample::select(&[1, 100]));
    let io = (io(), io(), io(), io(), weight).prop_map(|(read_bps, write_bps, read_iops, write_iops, weight)| {
        let mebibytes = |bps: Option<u32>| bps.map(ByteSize::from_mebibytes);
        IoLimits { read_bps: mebibytes(read_bps), write_bps: mebibytes(write_bps), read_iops, write_iops, weight }
    });
    let io = proptest::option::of(io);
    (1..3u32, 1..3u32, 1..3u32, 0..2u32, io).prop_map(|(memory, cpu, pids, reserve, io)| Bounds {
        limits: ResourceLimits { memory: ByteSize::from_mebibytes(memory), cpu: Cpu::from_thousandths(cpu), pids, io },
        reserve: ByteSize::from_mebibytes(reserve),
    })
}

fn desired() -> impl Strategy<Value = Desired> {
    collection::btree_map(name(), limits(), 0..4).prop_map(|containers| Desired { containers })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => sample::select(vec![0, 1, 2, 100, 1 << 20, 2 << 20, u64::MAX]).prop_map(Value::At),
        1 => sample::select(vec!["max", "33333 100000", ""]).prop_map(|word| Value::Word(word.to_owned().into())),
    ]
}

fn control() -> impl Strategy<Value = Control> {
    sample::select(&Control::ALL)
}

fn observed() -> impl Strategy<Value = Observed> {
    let offered = prop_oneof![
        2 => Just(BTreeSet::from(Control::ALL)),
        1 => collection::btree_set(control(), 0..Control::ALL.len()),
    ];
    let group = collection::btree_map(control(), value(), 0..=Control::ALL.len());
    let groups = collection::btree_map(prop_oneof![4 => sample::select(&NAMES), 1 => Just("Not A Name")], group, 0..5);
    (offered, groups).prop_map(|(offered, groups): (_, BTreeMap<_, Group>)| Observed {
        offered,
        groups: groups.into_iter().map(|(name, group)| (name.to_owned(), group)).collect(),
    })
}

/// A desired state, and an observed one that is anything, or what the desired one leads to with one group disturbed.
fn states() -> impl Strategy<Value = (Desired, Observed)> {
    let near = (desired(), observed(), proptest::option::of((name(), control(), proptest::option::of(value()))))
        .prop_map(|(desired, observed, disturbance)| {
            let mut observed =
                catenoid_core::testing::simulate::<LimitsPlanner>(&LimitsPlanner::plan(&desired, &observed), &observed);
            if let Some((name, control, value)) = disturbance
                && let Some(group) = observed.groups.get_mut(name.as_str())
            {
                match value {
                    Some(value) => group.insert(control, value),
                    None => group.remove(&control),
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
        testing::properties::<LimitsPlanner>(&desired, &observed).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_is_satisfied_is_reported_as_synced_and_nothing_else((desired, observed) in states()) {
        let status = LimitsPlanner::status(&desired, &observed);
        let synced = status.iter().all(|subject| subject.sync == Sync::Synced);
        prop_assert_eq!(synced, LimitsPlanner::satisfied(&desired, &observed));
    }
}

fn web() -> Desired {
    let (memory, cpu) = (ByteSize::from_mebibytes(128), Cpu::from_thousandths(1000));
    let limits = ResourceLimits { memory, cpu, pids: 128, io: None };
    let bounds = Bounds { limits, reserve: ByteSize::from_bytes(0) };
    Desired { containers: BTreeMap::from([("web".parse().expect("it is a name"), bounds)]) }
}

#[test]
fn a_controller_that_the_kernel_lacks_is_for_the_administrator() {
    let offered = BTreeSet::from([Control::CPU, Control::MEMORY, Control::OOM_GROUP]);
    let mut observed = Observed { offered, groups: BTreeMap::from([("web".to_owned(), Group::new())]) };
    observed = catenoid_core::testing::simulate::<LimitsPlanner>(&LimitsPlanner::plan(&web(), &observed), &observed);
    observed.groups.get_mut("web").expect("it is there").remove(&Control::PIDS);
    let status = LimitsPlanner::status(&web(), &observed);
    assert_eq!(status.len(), 1);
    assert_eq!((status[0].sync, status[0].health), (Sync::OutOfSync, Health::Degraded));
    let reported: Vec<_> =
        status[0].conditions.iter().map(|c| (c.reason.as_str(), c.message.as_str(), c.blame)).collect();
    assert_eq!(reported, [("ControllerMissing", "the kernel cannot limit pids", Some(Blame::Administrator))]);
}

/// A failed step holds the rest of its container back.
#[test]
fn what_a_device_may_lack_is_set_after_what_every_container_needs() {
    let observed = Observed { offered: BTreeSet::from([Control::MEMORY]), groups: BTreeMap::new() };
    let desired = asked("{guest: tiny, limits: {io: {readBps: 1MiB, weight: 100}}}");
    let plan = LimitsPlanner::plan(&desired, &observed);
    let steps: Vec<_> = plan.steps().map(|(_, step)| step.to_string()).filter(|step| step.contains("`web`")).collect();
    let wanted = [
        "make the control group of `web`",
        "set cpu of `web` to 1 (was not there)",
        "set memory of `web` to 128MiB (was max)",
        "set oom group of `web` to 1 (was not there)",
        "set pids of `web` to 128 (was not there)",
        "set io.readBps of `web` to 1MiB (was not there)",
        "set io.weight of `web` to 100 (was not there)",
    ];
    assert_eq!(steps, wanted);
}

#[test]
fn what_is_missing_of_a_disk_is_for_the_administrator() {
    let is_of_disk = |control: &Control| control.is_of_disk();
    let offered: BTreeSet<_> = Control::ALL.into_iter().filter(|control| !is_of_disk(control)).collect();
    let observed = Observed { offered, groups: BTreeMap::new() };
    let mut observed =
        catenoid_core::testing::simulate::<LimitsPlanner>(&LimitsPlanner::plan(&web(), &observed), &observed);
    observed.groups.insert("db".to_owned(), observed.groups["web"].clone());
    let status = LimitsPlanner::status(&asked("{guest: tiny, limits: {io: {readBps: 1MiB, weight: 500}}}"), &observed);
    let web = status.iter().find(|status| status.subject.as_str() == "container/web").expect("it is there");
    let reported: Vec<_> = web.conditions.iter().map(|c| (c.reason.as_str(), c.message.as_str(), c.blame)).collect();
    let missing = [
        ("ControllerMissing", "the kernel or the disk cannot limit io.readBps", Some(Blame::Administrator)),
        (
            "ControllerMissing",
            "io.weight needs the scheduler `bfq`, which the disk does not have",
            Some(Blame::Administrator),
        ),
    ];
    assert_eq!(reported, missing);
}

#[test]
fn limits_are_reported_as_they_are_in_force() {
    let observed = Observed { offered: BTreeSet::from(Control::ALL), groups: BTreeMap::new() };
    let observed =
        catenoid_core::testing::simulate::<LimitsPlanner>(&LimitsPlanner::plan(&web(), &observed), &observed);
    let status = LimitsPlanner::status(&web(), &observed);
    let facts = [("cpu", "1"), ("memory", "128MiB"), ("pids", "128")];
    assert_eq!(status[0].facts, facts.into_iter().map(|(key, value)| (key, value.to_owned())).collect());
}

#[test]
fn a_limit_that_differs_is_mended_and_for_nobody() {
    let observed = Observed { offered: BTreeSet::from(Control::ALL), groups: BTreeMap::new() };
    let mut observed =
        catenoid_core::testing::simulate::<LimitsPlanner>(&LimitsPlanner::plan(&web(), &observed), &observed);
    let group = observed.groups.get_mut("web").expect("it is there");
    group.insert(Control::PIDS, Value::At(7));
    group.remove(&Control::MEMORY);
    let status = LimitsPlanner::status(&web(), &observed);
    assert_eq!((status[0].sync, status[0].health), (Sync::OutOfSync, Health::Progressing));
    let reported: Vec<_> =
        status[0].conditions.iter().map(|c| (c.reason.as_str(), c.message.as_str(), c.blame)).collect();
    let differs =
        [("LimitDiffers", "memory is not there, not 128MiB", None), ("LimitDiffers", "pids is 7, not 128", None)];
    assert_eq!(reported, differs);
}

/// What a manifest asks that has this one container beside another.
fn asked(container: &str) -> Desired {
    let text = format!(
        "{{apiVersion: catenoid.dev/v1, kind: Manifest,
          metadata: {{name: line, sequence: 1, notAfter: 2030-01-01T00:00:00Z}}, target: {{serials: [QEMU-0001]}},
          guests: {{}}, zones: {{}}, containers: {{web: {container}, db: {{guest: tiny, zones: []}}}}}}"
    );
    let manifest = serde_yaml::from_str(&text).expect("it is a manifest");
    let (guests, paths) = (BTreeMap::new(), catenoid_core::Paths::default());
    LimitsPlanner::desired(&catenoid_core::Asked { manifest: &manifest, guests: &guests, paths: &paths })
}

#[test]
fn a_container_has_the_limits_of_the_manifest_and_the_core_one_keeps_half_of_its_memory() {
    for (role, memory, reserve) in [
        ("core", "16MiB", "8MiB"),
        ("core", "192MiB", "64MiB"),
        ("core", "1GiB", "64MiB"),
        // Half of it in whole pages.
        ("core", "4100KiB", "2048KiB"),
        ("service", "64MiB", "0B"),
    ] {
        let text = format!("{{guest: tiny, role: {role}, limits: {{memory: {memory}, cpu: 0.5, pids: 7}}}}");
        let desired = asked(&text);
        let (memory, cpu, pids): (ByteSize, _, _) = (memory.parse().unwrap(), Cpu::from_thousandths(500), 7);
        let wanted =
            Bounds { limits: ResourceLimits { memory, cpu, pids, io: None }, reserve: reserve.parse().unwrap() };
        assert_eq!(desired.containers[&"web".parse::<Name>().unwrap()], wanted, "{text}");
        assert_eq!(desired.containers.len(), 2);
    }
}

/// A field that no control reads would be accepted, and would bound nothing.
#[test]
fn every_limit_that_a_manifest_can_have_is_asked_of_the_kernel() {
    let values = BTreeMap::from([("memory", "4MiB"), ("cpu", "0.5"), ("pids", "7"), ("io", "{readBps: 1MiB}")]);
    let schema = std::fs::read_to_string("../../schema/manifest.schema.json").expect("it is there");
    let schema: serde_yaml::Value = serde_yaml::from_str(&schema).expect("JSON is YAML");
    let fields = schema["$defs"]["Limits"]["properties"].as_mapping().expect("it has fields");
    let fields: BTreeSet<_> = fields.keys().filter_map(|field| field.as_str()).collect();
    assert_eq!(fields, values.keys().copied().collect(), "each field has a value here that is not its default");

    let steps = |limits: &str| {
        let observed = Observed { offered: BTreeSet::from(Control::ALL), groups: BTreeMap::new() };
        let plan = LimitsPlanner::plan(&asked(&format!("{{guest: tiny, limits: {limits}}}")), &observed);
        plan.steps().map(|(_, step)| step.to_string()).collect::<Vec<_>>()
    };
    for (field, value) in values {
        assert_ne!(steps(&format!("{{{field}: {value}}}")), steps("{}"), "{field}");
    }
    for (limit, step) in [
        ("readBps: 20MiB", "set io.readBps of `web` to 20MiB (was max)"),
        ("writeBps: 1025KiB", "set io.writeBps of `web` to 1025KiB (was max)"),
        ("readIops: 500", "set io.readIops of `web` to 500 (was max)"),
        ("writeIops: 100", "set io.writeIops of `web` to 100 (was max)"),
        ("weight: 500", "set io.weight of `web` to 500 (was 100)"),
    ] {
        let steps = steps(&format!("{{io: {{{limit}}}}}"));
        let io: Vec<_> = steps.iter().filter(|step| step.contains("io.")).collect();
        assert_eq!(io, [step], "{limit}");
    }
}

#[test]
fn a_limit_of_the_disk_is_written_only_where_there_is_one() {
    let disk = catenoid_names::Disk { major: 253, minor: 1 };
    let written = |disk| Control::ALL.map(|control| (control, control.text(&Value::At(7), disk)));
    let bare: Vec<_> =
        written(None).into_iter().filter(|(_, text)| text.is_none()).map(|(control, _)| control).collect();
    let of_disk: Vec<_> = Control::ALL.into_iter().filter(|control| control.is_of_disk()).collect();
    assert_eq!(bare, of_disk, "without a disk");
    for (control, text) in written(Some(disk)) {
        let keys = ["rbps", "riops", "wbps", "wiops"].map(|key| format!("253:1 {key}=7"));
        let text = text.expect("there is a disk");
        assert_eq!(control.file().file == "io.max", keys.contains(&text), "{control}: {text}");
    }
}

#[test]
fn only_what_a_group_keeps_is_bounded_by_the_group_above_it() {
    let bounded: Vec<_> = Control::ALL.into_iter().filter(|control| control.is_bounded_above()).collect();
    assert_eq!(bounded, [Control::RESERVE]);
    assert_eq!(format!("{bounded:?}"), "[reserve]");
}

/// What nobody asks, what the core container keeps, and all that can be asked of the disk.
const ASKED: [&str; 3] = [
    "{guest: tiny}",
    "{guest: tiny, role: core}",
    "{guest: tiny, limits: {io: {readBps: 1MiB, readIops: 100, writeBps: 1MiB, writeIops: 100, weight: 500}}}",
];

/// A device on which all is as `desired` asks.
fn as_asked(desired: &Desired) -> Observed {
    let observed = Observed { offered: BTreeSet::from(Control::ALL), groups: BTreeMap::new() };
    testing::simulate::<LimitsPlanner>(&LimitsPlanner::plan(desired, &observed), &observed)
}

#[test]
fn each_limit_by_itself_is_planned_exactly_where_it_is_not_as_asked() {
    for asks in ASKED {
        let desired = asked(asks);
        let whole = as_asked(&desired);
        assert!(LimitsPlanner::satisfied(&desired, &whole), "{asks}");
        for control in Control::ALL {
            let others = [Some(Value::At(3)), Some(Value::Word("max".into())), Some(Value::Word("x".into())), None];
            for (other, is_offered) in others.into_iter().flat_map(|other| [(other.clone(), true), (other, false)]) {
                let mut observed = whole.clone();
                let group = observed.groups.get_mut("web").expect("it was made");
                group.remove(&control);
                group.extend(other.clone().map(|value| (control, value)));
                observed.offered.retain(|offered| is_offered || *offered != control);
                let (satisfies, plan) =
                    (LimitsPlanner::satisfied(&desired, &observed), LimitsPlanner::plan(&desired, &observed));
                assert_eq!(satisfies, plan.is_empty(), "{asks} {control} {other:?} {is_offered} {plan:?}");
                assert!(!satisfies || other != Some(Value::At(3)), "{asks} {control}");
            }
        }
    }
}

#[test]
fn limits_of_the_disk_are_shown_where_they_are_asked() {
    for asks in ASKED {
        let desired = asked(asks);
        let status = LimitsPlanner::status(&desired, &as_asked(&desired));
        let web = status.iter().find(|status| status.subject.as_str() == "container/web").expect("it is there");
        let shown = web.facts.shown().filter(|(name, _)| name.starts_with("io")).count();
        assert_eq!(shown, if asks.contains("io:") { 5 } else { 0 }, "{asks}: {:?}", web.facts);
    }
}

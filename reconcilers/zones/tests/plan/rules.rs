//! The rules of firewalls, and how they are compared.

use catenoid_core::Planner;
use catenoid_schema::status::Health;
use catenoid_zones::{NetworkNamespace, Rules, ZonesPlanner, desired};
use serde_json::json;

use crate::states::{converged, everything, fresh, name};

#[test]
fn a_changed_rule_is_reported_by_counting_lines() {
    let wanted = desired(&everything());
    let mut observed = converged(&wanted, &fresh());
    let root = observed.firewalls.get_mut(&NetworkNamespace::Root).expect("it is there");
    let mut objects = root.objects();
    let lost = objects.pop().expect("there are rules");
    objects.push(json!({"table": {"family": "ip", "name": "catenoid"}}));
    *root = Rules::normal(objects);
    assert!(lost.get("rule").is_some());
    let status = ZonesPlanner::status(&wanted, &observed);
    let root = status.iter().find(|subject| subject.subject.as_str() == "firewall/root").expect("it is reported");
    let message = "1 lines of rules are missing, 1 lines are not ours";
    assert_eq!((root.health, root.conditions[0].message.as_str()), (Health::Progressing, message));
}

#[test]
fn rules_in_another_order_are_reported() {
    let wanted = desired(&everything());
    let mut observed = converged(&wanted, &fresh());
    let root = observed.firewalls.get_mut(&NetworkNamespace::Root).expect("it is there");
    let mut objects = root.objects();
    let chain = |object: &serde_json::Value| object["rule"]["chain"].as_str().map(str::to_owned);
    let first = objects.windows(2).position(|pair| chain(&pair[0]).is_some() && chain(&pair[0]) == chain(&pair[1]));
    let first = first.expect("some chain has two rules");
    objects.swap(first, first + 1);
    *root = Rules::normal(objects);
    let status = ZonesPlanner::status(&wanted, &observed);
    let root = status.iter().find(|subject| subject.subject.as_str() == "firewall/root").expect("it is reported");
    assert_eq!(root.conditions[0].message, "the rules are in another order");
}

#[test]
fn rules_differ_by_what_each_has_more() {
    let rules = |names: &[&str]| {
        let rule = |name: &&str| json!({"rule": {"family": "ip", "table": "t", "chain": name}});
        Rules::normal(names.iter().map(rule))
    };
    let table = [
        (rules(&[]), rules(&[]), (0, 0)),
        (rules(&["a", "a", "b"]), rules(&["a"]), (2, 0)),
        (rules(&["a"]), rules(&["a", "b", "b", "c"]), (0, 3)),
        (rules(&["a", "b"]), rules(&["b", "c", "d"]), (1, 2)),
    ];
    for (these, others, difference) in table {
        assert_eq!(these.difference(&others), difference, "{these:?} {others:?}");
    }
}

/// A rule may use what stands before it.
#[test]
fn rules_stand_behind_what_they_use() {
    let rule = json!({"rule": {"family": "ip", "table": "t", "chain": "c"}});
    let kinds = ["table", "set", "chain", "map"].map(|kind| json!({kind: {"name": "x"}}));
    let all = Rules::normal(std::iter::once(rule).chain(kinds.into_iter().rev())).objects();
    let order: Vec<_> = all.iter().filter_map(|object| object.as_object()?.keys().next().cloned()).collect();
    assert_eq!(order, ["table", "set", "chain", "map", "rule"]);
}

/// nft lists a set of one as that one: rules that say it otherwise would be drift for ever.
#[test]
fn a_core_container_outside_of_all_zones_is_recognised_by_one_name() {
    let mut manifest = everything();
    manifest.containers.get_mut(&name("core0")).expect("it").zones.clear();
    let objects = desired(&manifest).firewalls[&NetworkNamespace::Container(name("core0"))].objects();
    let elsewhere = |object: &&serde_json::Value| object["rule"]["expr"][0]["match"]["op"] == "!=";
    let names: Vec<_> =
        objects.iter().filter(elsewhere).map(|object| object["rule"]["expr"][0]["match"]["right"].clone()).collect();
    assert!(names.len() >= 4 && names.iter().all(|name| name == "lo"), "{names:?}");
}

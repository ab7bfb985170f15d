//! Which steps there are, and which there are not.

use std::collections::BTreeSet;

use catenoid_core::Planner;
use catenoid_schema::manifest::Capability;
use catenoid_zones::{BridgePort, Inner, Step, ZonesPlanner, desired};

use crate::states::{converged, everything, fresh, mac, name};

#[test]
fn an_untouched_container_is_touched_by_no_step() {
    let before = converged(&desired(&everything()), &fresh());
    let mut manifest = everything();
    manifest.containers.remove(&name("web"));
    let plan = ZonesPlanner::plan(&desired(&manifest), &before);
    let subjects: BTreeSet<_> = plan.steps().map(|(_, step)| catenoid_core::Step::subject(step)).collect();
    let subjects: Vec<_> = subjects.iter().map(|subject| subject.as_str()).collect();
    assert_eq!(subjects, ["container/web", "firewall/root"]);
}

#[test]
fn only_who_may_change_its_network_is_read_anew_each_time() {
    let mut manifest = everything();
    manifest.containers.get_mut(&name("db")).expect("it").capabilities.insert(Capability::NetAdmin);
    assert_eq!(desired(&manifest).free, ["core0", "db"].map(name).into());
}

#[test]
fn a_pair_that_leads_elsewhere_is_made_anew_and_another_is_set() {
    let wanted = desired(&everything());
    let whole = converged(&wanted, &fresh());
    let outer = whole.ports.keys().next().expect("a port");
    let steps = |change: fn(&mut BridgePort)| {
        let mut observed = whole.clone();
        change(observed.ports.get_mut(outer).expect("it"));
        let plan = ZonesPlanner::plan(&wanted, &observed);
        let step = |step: &Step| match step {
            Step::SetPort { .. } => "set",
            Step::RemovePort { .. } => "remove",
            Step::MakePort { .. } => "make",
            _ => "other",
        };
        let mut steps: Vec<_> = plan.steps().map(|(_, one)| step(one)).collect();
        steps.sort_unstable();
        steps
    };
    fn inner(port: &mut BridgePort) -> &mut Inner {
        port.inner.as_mut().expect("it is whole")
    }
    assert_eq!(steps(|port| port.up = false), ["set"]);
    assert_eq!(steps(|port| inner(port).up = false), ["set"]);
    assert_eq!(steps(|port| inner(port).name = "other".to_owned()), ["make", "remove"]);
    assert_eq!(steps(|port| inner(port).mac = mac(7)), ["make", "remove"]);
    assert_eq!(steps(|port| inner(port).container = name("idle")), ["make", "remove"]);
    assert_eq!(steps(|port| port.inner = None), ["make", "remove"]);
}

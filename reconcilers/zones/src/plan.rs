//! From the namespaces, segments and firewalls that are there to those that are wanted.

use std::collections::BTreeMap;

use catenoid_core::{Asked, Plan, Planner};
use catenoid_schema::{
    manifest::{Addressing, MacAddress},
    name::Name,
    status::SubjectStatus,
};

use crate::{
    Bridge, BridgePort, Desired, Joint, NetworkNamespace, Observed, ObservedInterface, Rules, Step, Uplink, desired,
    status,
};

/// The pure half of this room.
#[derive(Debug, Clone, Copy)]
pub enum ZonesPlanner {}

impl Planner for ZonesPlanner {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    const NAME: &'static str = "zones";

    fn desired(asked: &Asked<'_>) -> Desired {
        desired::desired(asked.manifest)
    }

    fn satisfied(desired: &Desired, observed: &Observed) -> bool {
        let desired = &*desired.held_back(&observed.interfaces);
        let namespaces = desired.namespaces.iter().map(|(name, pair)| (name.clone(), Some(pair.clone()))).collect();
        let bridges = desired.bridges.keys().map(|name| (name.clone(), Bridge::WANTED)).collect();
        let ports = desired.joints.iter().map(|(name, joint)| (name.clone(), joint.port.clone())).collect();
        // An interface that is not plugged in is waited for; one that is there has one right place.
        let placed =
            |(mac, interface): (&MacAddress, &ObservedInterface)| match (desired.uplinks.get(mac), &interface.place) {
                (None, NetworkNamespace::Root) => true,
                (None, NetworkNamespace::Container(_)) => !interface.physical,
                (Some(_), NetworkNamespace::Root) => false,
                (Some(uplink), NetworkNamespace::Container(_)) => stands(uplink, interface) && !interface.is_flooded(),
            };
        observed.namespaces == namespaces
            && observed.bridges == bridges
            && observed.ports == ports
            && observed.strays.is_empty()
            && observed.firewalls == desired.firewalls
            && observed.interfaces.iter().all(placed)
    }

    fn plan(desired: &Desired, observed: &Observed) -> Plan<Step> {
        let retire = retire(desired, observed);
        // What is established is what is missing once that is gone.
        let mut left = observed.clone();
        retire.iter().for_each(|step| catenoid_core::Step::effect_on(step, &mut left));
        // What is wanted of the core container's ports depends on where its uplinks will be.
        let (uplinks, interfaces) = uplinks(desired, &left);
        let mut establish = establish(&desired.held_back(&interfaces), &left);
        establish.extend(uplinks);
        Plan { prepare: Vec::new(), establish, retire }
    }

    fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
        status::status(desired, observed)
    }
}

/// Ports first, then what they lead to: no packet passes anything that is only half there.
fn retire(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let stays = |container: &Name| {
        let (is, wanted) = (observed.namespaces.get(container), desired.namespaces.get(container));
        matches!((is, wanted), (Some(Some(is)), Some(wanted)) if is.base == wanted.base)
    };
    let mut steps = Vec::new();
    for (outer, port) in &observed.ports {
        let wanted = desired.joints.get(outer).is_some_and(|joint| same_pair(joint, port));
        let container = port.inner.as_ref().map(|inner| &inner.container);
        if !wanted || !container.is_some_and(stays) {
            steps.push(Step::RemovePort { container: container.cloned(), outer: outer.clone() });
        }
    }
    steps.extend(observed.strays.iter().map(|interface| Step::RemoveStray { interface: interface.clone() }));
    for (mac, interface) in &observed.interfaces {
        let NetworkNamespace::Container(from) = &interface.place else { continue };
        let wanted = desired.uplinks.get(mac).is_some_and(|uplink| uplink.container == *from);
        if interface.physical && !(wanted && stays(from)) {
            steps.push(Step::ReturnInterface { mac: *mac, from: from.clone() });
        }
    }
    for container in observed.namespaces.keys() {
        if !stays(container) {
            steps.push(Step::RemoveNamespaces { container: container.clone() });
        }
    }
    steps.extend(settle(desired, observed, false, stays));
    for place in observed.firewalls.keys().filter(|place| !desired.firewalls.contains_key(*place)) {
        let goes_with_it = matches!(place, NetworkNamespace::Container(name) if !stays(name) && observed.namespaces.contains_key(name));
        if !goes_with_it {
            steps.push(Step::SetFirewall { place: place.clone(), rules: Rules::default() });
        }
    }
    for (bridge, is) in &observed.bridges {
        // A port that the spanning tree protocol held back would stay so for half a minute after it is off.
        if is.stp || !desired.bridges.contains_key(bridge) {
            steps.push(Step::RemoveBridge { bridge: bridge.clone() });
        }
    }
    steps
}

/// Sets what differs in the namespaces that are to forward, or in those that are not: nothing forwards before its firewall
/// is there.
fn settle(
    desired: &Desired,
    observed: &Observed,
    forwarding: bool,
    stays: impl Fn(&Name) -> bool,
) -> impl Iterator<Item = Step> {
    let wanted = desired.namespaces.iter().filter(move |(_, pair)| pair.forwarding == Some(forwarding));
    let differ = wanted.filter(|(name, pair)| observed.namespaces.get(*name).and_then(Option::as_ref) != Some(pair));
    let stay = differ.filter(move |(name, _)| stays(name));
    stay.map(move |(name, _)| Step::Settle { container: name.clone(), forwarding })
}

/// Whether a pair leads where it should; what is set on its ends can be set anew.
fn same_pair(joint: &Joint, port: &BridgePort) -> bool {
    match (&joint.port.inner, &port.inner) {
        (Some(wanted), Some(is)) => (&wanted.container, &wanted.name, wanted.mac) == (&is.container, &is.name, is.mac),
        _ => false,
    }
}

/// Whether an interface is where it should be, and as it should be there.
fn stands(uplink: &Uplink, is: &ObservedInterface) -> bool {
    matches!(&is.place, NetworkNamespace::Container(container) if *container == uplink.container)
        && is.name == uplink.name
        && is.up
        && is.advertisements == (uplink.address == Addressing::Dhcp)
        && is.settings.is_empty()
}

/// Firewalls before anything that they guard.
fn establish(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    for (container, pair) in &desired.namespaces {
        if !observed.namespaces.contains_key(container) {
            steps.push(Step::MakeNamespaces { container: container.clone(), base: pair.base });
        }
    }
    for (place, rules) in &desired.firewalls {
        if observed.firewalls.get(place) != Some(rules) {
            steps.push(Step::SetFirewall { place: place.clone(), rules: rules.clone() });
        }
    }
    steps.extend(settle(desired, observed, true, |_| true));
    for (bridge, zone) in &desired.bridges {
        if observed.bridges.get(bridge) != Some(&Bridge::WANTED) {
            steps.push(Step::SetBridge { zone: zone.clone(), bridge: bridge.clone() });
        }
    }
    for (outer, Joint { zone, port }) in &desired.joints {
        let (zone, outer, wanted) = (zone.clone(), outer.clone(), port.clone());
        match observed.ports.get(&outer) {
            None => steps.push(Step::MakePort { zone, outer, port: wanted }),
            Some(port) if *port != wanted => steps.push(Step::SetPort { zone, outer, port: wanted }),
            Some(_) => {}
        }
    }
    steps
}

/// What brings the uplinks to their places and sets them right, and what the interfaces are then.
fn uplinks(desired: &Desired, observed: &Observed) -> (Vec<Step>, BTreeMap<MacAddress, ObservedInterface>) {
    let mut then = Observed { interfaces: observed.interfaces.clone(), ..Observed::default() };
    let mut steps = Vec::new();
    let mut plan = |step: Step, then: &mut Observed| {
        catenoid_core::Step::effect_on(&step, then);
        steps.push(step);
    };
    for (mac, uplink) in &desired.uplinks {
        let (mac, zone, container, name) = (*mac, uplink.zone.clone(), uplink.container.clone(), uplink.name.clone());
        let Some(interface) = then.interfaces.get(&mac) else { continue };
        if !stands(uplink, interface) {
            let (from, address) = (interface.place.clone(), uplink.address);
            let (zone, container, name) = (zone.clone(), container.clone(), name.clone());
            plan(Step::MoveInterface { mac, zone, from, container, name, address }, &mut then);
        }
        if then.interfaces.get(&mac).is_some_and(ObservedInterface::is_flooded) {
            plan(Step::ForgetAdvertised { mac, zone, container, name }, &mut then);
        }
    }
    (steps, then.interfaces)
}

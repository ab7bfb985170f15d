//! What to tell about zones, about the network of each container, and about the firewalls.

use std::collections::BTreeMap;

use catenoid_schema::{
    name::Name,
    status::{Blame, Condition, Health, Subject, SubjectStatus, Sync},
};

use crate::{Bridge, Desired, Inner, Observed, Place, Rules};

/// The status of every zone, of every container's network and of every firewall that there is or should be.
pub(crate) fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let mut all = zones(desired, observed);
    all.extend(desired.namespaces.keys().map(|container| network(container, desired, observed)));
    let unwanted = observed.namespaces.keys().filter(|container| !desired.namespaces.contains_key(*container));
    all.extend(unwanted.map(|container| {
        let superfluous =
            condition("Superfluous", "no container of the manifest has these namespaces".to_owned(), None);
        told(Subject::new("network", container), vec![superfluous], BTreeMap::new())
    }));
    all.extend(firewalls(desired, observed));
    all.extend(superfluous(desired, observed));
    all
}

/// Interfaces that no zone of the manifest asks for.
fn superfluous(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let bridges = observed.bridges.keys().filter(|name| !desired.bridges.contains_key(*name));
    let ports = observed.ports.keys().filter(|name| !desired.joints.contains_key(*name));
    let kept = observed.interfaces.iter().filter(|(mac, interface)| {
        interface.physical && interface.place != Place::Root && !desired.uplinks.contains_key(mac)
    });
    let kept = kept.map(|(_, interface)| &interface.name);
    bridges
        .chain(ports)
        .chain(&observed.strays)
        .chain(kept)
        .map(|name| {
            let message = "no zone of the manifest has this interface".to_owned();
            told(Subject::new("interface", name), vec![condition("Superfluous", message, None)], BTreeMap::new())
        })
        .collect()
}

fn zones(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let mut conditions: BTreeMap<&Name, Vec<Condition>> = BTreeMap::new();
    for (bridge, zone) in &desired.bridges {
        let conditions = conditions.entry(zone).or_default();
        match observed.bridges.get(bridge) {
            Some(is) if *is == Bridge::WANTED => {}
            Some(_) => conditions.push(condition("BridgeDiffers", format!("bridge `{bridge}` is not set right"), None)),
            None => conditions.push(condition("BridgeMissing", format!("there is no bridge `{bridge}` yet"), None)),
        }
    }
    for (mac, uplink) in &desired.uplinks {
        let conditions = conditions.entry(&uplink.zone).or_default();
        match observed.interfaces.get(mac) {
            None => {
                let message = format!("waiting for an interface with the address {mac}");
                conditions.push(condition("WaitingForInterface", message, Some(Blame::Administrator)));
            }
            Some(is) if is.place != Place::Container(uplink.container.clone()) => {
                let message = format!("interface {mac} is not in `{}` yet", uplink.container);
                conditions.push(condition("InterfaceElsewhere", message, None));
            }
            Some(is) if is.name != uplink.name || !is.up => {
                let message = format!("interface {mac} is not switched on as `{}`", uplink.name);
                conditions.push(condition("InterfaceDiffers", message, None));
            }
            Some(_) => {}
        }
    }
    conditions
        .into_iter()
        .map(|(zone, conditions)| told(Subject::new("zone", zone), conditions, BTreeMap::new()))
        .collect()
}

fn network(container: &Name, desired: &Desired, observed: &Observed) -> SubjectStatus {
    let mut conditions = Vec::new();
    match (observed.namespaces.get(container), desired.namespaces.get(container)) {
        (None, _) => conditions.push(condition("NamespacesMissing", "it has no namespaces yet".to_owned(), None)),
        (Some(is), wanted) if is.as_ref() != wanted => {
            conditions.push(condition("NamespacesDiffer", "its namespaces are not set right".to_owned(), None));
        }
        _ => {}
    }
    let mut facts = BTreeMap::new();
    for (outer, joint) in &desired.joints {
        let Some(inner) = joint.port.inner.as_ref().filter(|inner| inner.container == *container) else { continue };
        let zone = &joint.zone;
        match observed.ports.get(outer) {
            Some(port) if *port == joint.port => {
                facts.insert(inner.name.clone(), addresses(inner));
            }
            Some(_) => {
                conditions.push(condition("PortDiffers", format!("its port in zone `{zone}` is not set right"), None));
            }
            None => conditions.push(condition("PortMissing", format!("it is not joined to zone `{zone}` yet"), None)),
        }
    }
    told(Subject::new("network", container), conditions, facts)
}

fn addresses(inner: &Inner) -> String {
    inner.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn firewalls(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let none = Rules::default();
    let mut places: Vec<_> = desired.firewalls.keys().chain(observed.firewalls.keys()).collect();
    places.sort();
    places.dedup();
    let told = places.into_iter().map(|place| {
        let name = match place {
            Place::Root => "root",
            Place::Container(name) => name.as_str(),
        };
        let wanted = desired.firewalls.get(place).unwrap_or(&none);
        let is = observed.firewalls.get(place).unwrap_or(&none);
        let conditions = match wanted.difference(is) {
            _ if wanted == is => Vec::new(),
            (0, 0) => vec![condition("RulesDiffer", "the rules are in another order".to_owned(), None)],
            (missing, foreign) => {
                let message = format!("{missing} lines of rules are missing and {foreign} are not ours");
                vec![condition("RulesDiffer", message, None)]
            }
        };
        told(Subject::new("firewall", name), conditions, BTreeMap::from([("rules".to_owned(), is.count().to_string())]))
    });
    told.collect()
}

fn told(subject: Subject, conditions: Vec<Condition>, facts: BTreeMap<String, String>) -> SubjectStatus {
    let (sync, health) = if conditions.is_empty() {
        (Sync::Synced, Health::Healthy)
    } else if conditions.iter().any(|condition| condition.blame.is_some()) {
        (Sync::OutOfSync, Health::Degraded)
    } else {
        (Sync::OutOfSync, Health::Progressing)
    };
    SubjectStatus { subject, sync, health, conditions, facts }
}

fn condition(reason: &str, message: String, blame: Option<Blame>) -> Condition {
    Condition { reason: reason.to_owned(), message, blame, since: None, observed_sequence: None }
}

//! What is reported of zones, about the network of each container, and about the firewalls.

use std::collections::{BTreeMap, BTreeSet};

use catenoid_schema::{
    manifest::{Addressing, ROOT},
    name::Name,
    status::{Blame, Condition, Facts, Health, Kind, Subject, SubjectStatus, Sync},
};

use crate::{
    ADVERTISED_MOST, Bridge, BridgePort, Desired, Differing, Inner, Joint, Namespaces, NetworkNamespace, Observed, Of,
    Rules,
    overlap::{Overlap, overlaps},
    settings::about,
};

/// The status of every zone, of every container's network and of every firewall that there is or should be.
pub(crate) fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let mut all = zones(desired, observed);
    let desired = &*desired.held_back(&observed.interfaces);
    let mut joints: BTreeMap<&Name, Vec<_>> = BTreeMap::new();
    for (outer, joint) in &desired.joints {
        if let Some(inner) = &joint.port.inner {
            joints.entry(&inner.container).or_default().push((outer.as_str(), joint, inner));
        }
    }
    let joints = |container| joints.get(container).map_or(&[][..], Vec::as_slice);
    all.extend(desired.namespaces.keys().map(|container| network(container, joints(container), desired, observed)));
    let unwanted = observed.namespaces.keys().filter(|container| !desired.namespaces.contains_key(*container));
    all.extend(unwanted.map(|container| {
        let superfluous =
            Condition::new("Superfluous", "no container of the manifest has these namespaces".to_owned(), None);
        status_of(Subject::new(Kind::Network, container), vec![superfluous], Facts::default())
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
        interface.physical && interface.place != NetworkNamespace::Root && !desired.uplinks.contains_key(mac)
    });
    let kept = kept.map(|(_, interface)| &interface.name);
    bridges
        .chain(ports)
        .chain(&observed.strays)
        .chain(kept)
        .map(|name| {
            let message = "no zone of the manifest has this interface".to_owned();
            status_of(
                Subject::new(Kind::Interface, name),
                vec![Condition::new("Superfluous", message, None)],
                Facts::default(),
            )
        })
        .collect()
}

fn zones(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let mut conditions: BTreeMap<&Name, Vec<Condition>> = BTreeMap::new();
    for (bridge, zone) in &desired.bridges {
        let conditions = conditions.entry(zone).or_default();
        match observed.bridges.get(bridge) {
            Some(is) if *is == Bridge::WANTED => {}
            Some(is) => {
                let message = format!("bridge `{bridge}` {}", bridge_differs(is).join(", "));
                conditions.push(Condition::new("BridgeDiffers", message, None));
            }
            None => conditions.push(Condition::new("BridgeMissing", format!("there is no bridge `{bridge}`"), None)),
        }
    }
    for (mac, uplink) in &desired.uplinks {
        let conditions = conditions.entry(&uplink.zone).or_default();
        match observed.interfaces.get(mac) {
            None => {
                let message = format!("waiting for an interface with the address {mac}");
                conditions.push(Condition::new("WaitingForInterface", message, Some(Blame::Administrator)));
            }
            Some(is) if is.place != NetworkNamespace::Container(uplink.container.clone()) => {
                let message = format!("interface {mac} is in `{}`, not in `{}`", is.place, uplink.container);
                conditions.push(Condition::new("InterfaceElsewhere", message, None));
            }
            Some(is) if is.name != uplink.name || !is.up => {
                let is_on = switched(is.up);
                let message =
                    format!("interface {mac} is switched {is_on} as `{}`, not on as `{}`", is.name, uplink.name);
                conditions.push(Condition::new("InterfaceDiffers", message, None));
            }
            Some(is) if is.advertisements != (uplink.address == Addressing::Dhcp) => {
                let does = if is.advertisements { "takes" } else { "does not take" };
                let message = format!("interface {mac} {does} router advertisements, against its zone's `address`");
                conditions.push(Condition::new("InterfaceDiffers", message, None));
            }
            Some(is) if !is.settings.is_empty() => {
                let message = format!("interface {mac} {}", settings_differ(Of::Uplink, &is.settings).join(", "));
                conditions.push(Condition::new("InterfaceDiffers", message, None));
            }
            Some(is) if is.is_flooded() => {
                let message = format!(
                    "routers advertised more than {ADVERTISED_MOST} routes to interface {mac}, all of which are forgotten"
                );
                conditions.push(Condition::new("AdvertisementsForgotten", message, None));
            }
            Some(_) => {}
        }
    }
    for Overlap { zone, subnet, uplink, network } in overlaps(desired, &observed.interfaces) {
        let message = format!(
            "its subnet {subnet} overlaps {network}, a network of uplink interface {uplink}: the core container has no address \
             in it until one of them is another (hint: give the zone another subnet)"
        );
        conditions.entry(zone).or_default().push(Condition::new(
            "OverlapsUplink",
            message,
            Some(Blame::ManifestAuthor),
        ));
    }
    conditions
        .into_iter()
        .map(|(zone, conditions)| status_of(Subject::new(Kind::Zone, zone), conditions, Facts::default()))
        .collect()
}

fn network(
    container: &Name,
    joints: &[(&str, &Joint, &Inner)],
    desired: &Desired,
    observed: &Observed,
) -> SubjectStatus {
    let mut conditions = Vec::new();
    match (observed.namespaces.get(container), desired.namespaces.get(container)) {
        (None, _) => conditions.push(Condition::new("NamespacesMissing", "it has no namespaces".to_owned(), None)),
        (Some(is), Some(wanted)) if is.as_ref() != Some(wanted) => {
            conditions.push(Condition::new("NamespacesDiffer", namespaces_differ(is.as_ref(), wanted), None));
        }
        _ => {}
    }
    let mut facts = Facts::default();
    for (outer, joint, inner) in joints {
        let zone = &joint.zone;
        match observed.ports.get(*outer) {
            Some(port) if *port == joint.port => {
                facts.add(&inner.name, addresses(inner));
            }
            Some(port) => {
                let message = format!("its port in zone `{zone}` {}", port_differs(port, &joint.port).join(", "));
                conditions.push(Condition::new("PortDiffers", message, None));
            }
            None => conditions.push(Condition::new("PortMissing", format!("it is not joined to zone `{zone}`"), None)),
        }
    }
    status_of(Subject::new(Kind::Network, container), conditions, facts)
}

fn addresses(inner: &Inner) -> String {
    listed(&inner.addresses)
}

fn listed<T: ToString>(items: &BTreeSet<T>) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

const fn switched(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// In what a bridge is not the one that is wanted: each what is, and what should be.
fn bridge_differs(is: &Bridge) -> Vec<String> {
    let set = |bridge: &Bridge| [bridge.up, bridge.stp, bridge.snooping, bridge.filtered, bridge.ipv6];
    let named = ["link", "spanning tree", "multicast snooping", "IP filter", "IPv6"];
    let both = set(is).into_iter().zip(set(&Bridge::WANTED));
    let differing = named.into_iter().zip(both).filter(|(_, (is, wanted))| is != wanted);
    let switches =
        differing.map(|(name, (is, wanted))| format!("has its {name} {}, not {}", switched(is), switched(wanted)));
    switches.chain(settings_differ(Of::Outer, &is.settings)).collect()
}

/// In what settings are not as the table has them. Of a line that another version has, nobody knows what it should be.
fn settings_differ(of: Of, is: &Differing) -> Vec<String> {
    let wanted = |key| about(of).find(|line| line.key == key).map_or("as wanted", |line| line.value);
    is.iter().map(|(key, is)| format!("has `{key}` {is}, not {}", wanted(key))).collect()
}

fn namespaces_differ(is: Option<&Namespaces>, wanted: &Namespaces) -> String {
    let forwards = |forwarding| match forwarding {
        Some(true) => "forwards packets",
        Some(false) => "forwards no packets",
        None => "forwards packets of one family only",
    };
    match is {
        None => "its namespaces are not the pair that they should be".to_owned(),
        Some(is) if is.base != wanted.base => format!("its ids begin at {}, not at {}", is.base, wanted.base),
        Some(is) => {
            let forwarding = (is.forwarding != wanted.forwarding)
                .then(|| format!("{}, but {} as wanted", forwards(is.forwarding), forwards(wanted.forwarding)));
            let settings = settings_differ(Of::Namespace, &is.settings);
            format!("it {}", forwarding.into_iter().chain(settings).collect::<Vec<_>>().join(", "))
        }
    }
}

fn port_differs(is: &BridgePort, wanted: &BridgePort) -> Vec<String> {
    let mut differing = Vec::new();
    let mut compare = |what: &str, is: String, wanted: String| {
        if is != wanted {
            differing.push(format!("has {what} {is}, not {wanted}"));
        }
    };
    let bridge =
        |port: &BridgePort| port.bridge.as_ref().map_or_else(|| "none".to_owned(), |bridge| format!("`{bridge}`"));
    compare("its bridge", bridge(is), bridge(wanted));
    compare("its outer end", switched(is.up).to_owned(), switched(wanted.up).to_owned());
    compare("IPv6 of its outer end", switched(is.ipv6).to_owned(), switched(wanted.ipv6).to_owned());
    match (&is.inner, &wanted.inner) {
        (Some(is), Some(wanted)) => {
            compare("its inner end in", format!("`{}`", is.container), format!("`{}`", wanted.container));
            compare("the name", format!("`{}`", is.name), format!("`{}`", wanted.name));
            compare("the address", is.mac.to_string(), wanted.mac.to_string());
            compare("its inner end", switched(is.up).to_owned(), switched(wanted.up).to_owned());
            compare("the addresses", addresses(is), addresses(wanted));
            compare("the gateways", listed(&is.gateways), listed(&wanted.gateways));
        }
        (is, wanted) => {
            let place = |inner: &Option<Inner>| {
                inner.as_ref().map_or_else(|| "no container".to_owned(), |inner| format!("`{}`", inner.container))
            };
            compare("its inner end in", place(is), place(wanted));
        }
    }
    differing.extend(settings_differ(Of::Outer, &is.settings));
    differing.extend(is.inner.iter().flat_map(|inner| settings_differ(Of::Inner, &inner.settings)));
    differing
}

fn firewalls(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let none = Rules::default();
    let mut places: Vec<_> = desired.firewalls.keys().chain(observed.firewalls.keys()).collect();
    places.sort();
    places.dedup();
    let statuses = places.into_iter().map(|place| {
        let name = match place {
            NetworkNamespace::Root => ROOT,
            NetworkNamespace::Container(name) => name.as_str(),
        };
        let wanted = desired.firewalls.get(place).unwrap_or(&none);
        let is = observed.firewalls.get(place).unwrap_or(&none);
        let conditions = match wanted.difference(is) {
            _ if wanted == is => Vec::new(),
            (0, 0) => vec![Condition::new("RulesDiffer", "the rules are in another order".to_owned(), None)],
            (missing, foreign) => {
                let message = format!("{missing} lines of rules are missing, {foreign} lines are not ours");
                vec![Condition::new("RulesDiffer", message, None)]
            }
        };
        status_of(Subject::new(Kind::Firewall, name), conditions, Facts::from_iter([("rules", is.count().to_string())]))
    });
    statuses.collect()
}

fn status_of(subject: Subject, conditions: Vec<Condition>, facts: Facts) -> SubjectStatus {
    let (sync, health) = if conditions.is_empty() {
        (Sync::Synced, Health::Healthy)
    } else if conditions.iter().any(|condition| condition.blame.is_some()) {
        (Sync::OutOfSync, Health::Degraded)
    } else {
        (Sync::OutOfSync, Health::Progressing)
    };
    SubjectStatus { subject, sync, health, conditions, facts }
}

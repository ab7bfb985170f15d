//! What there is of namespaces, segments and firewalls, and the steps from there to what is wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use catenoid_core::{Asked, Plan, Planner};
use catenoid_schema::{
    manifest::{Addressing, MacAddress, ROOT},
    name::{Name, NameError},
    status::{Kind, Subject, SubjectStatus},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Desired, Differing, Joint, Rules, Uplink, desired, name, status};

/// What there is of this room in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The pairs of namespaces, by container; none where there is only half a pair, or two that do not belong together.
    #[serde(default)]
    pub namespaces: BTreeMap<Name, Option<Namespaces>>,
    /// The bridges, by name.
    #[serde(default)]
    pub bridges: BTreeMap<String, Bridge>,
    /// The pairs of virtual interfaces, by the name of the outer end.
    #[serde(default)]
    pub ports: BTreeMap<String, Port>,
    /// Interfaces in the root namespace that are called like ours and are neither bridge nor pair.
    #[serde(default)]
    pub strays: BTreeSet<String>,
    /// Other interfaces, by the hardware address they were built with.
    #[serde(default)]
    pub interfaces: BTreeMap<MacAddress, Interface>,
    /// The rules in each place that has a table of ours.
    #[serde(default)]
    pub firewalls: BTreeMap<NetworkNamespace, Rules>,
}

/// A user namespace and the network namespace that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// The first of the ids that its ids stand for.
    pub base: u32,
    /// Whether packets are forwarded between its interfaces; none where it is one thing for IPv4 and another for IPv6,
    /// which is never wanted.
    pub forwarding: Option<bool>,
    /// What is set otherwise than the [table](crate::SETTINGS) has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: Differing,
}

impl Namespaces {
    /// With everything as it should be.
    #[must_use]
    pub const fn new(base: u32, forwarding: bool) -> Self {
        Self { base, forwarding: Some(forwarding), settings: Differing::new() }
    }
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it speaks the spanning tree protocol.
    pub stp: bool,
    /// Whether it follows multicast memberships.
    pub snooping: bool,
    /// Whether frames of IP pass the rules of the IP layer.
    pub filtered: bool,
    /// Whether the root namespace speaks IPv6 by it.
    pub ipv6: bool,
    /// What is set otherwise than the [table](crate::SETTINGS) has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: Differing,
}

impl Bridge {
    /// What every bridge is to be: one that says and learns nothing by itself.
    pub const WANTED: Self =
        Self { up: true, stp: false, snooping: false, filtered: true, ipv6: false, settings: Differing::new() };
}

/// A pair of virtual interfaces, seen from its outer end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The bridge that the outer end is in.
    pub bridge: Option<String>,
    /// Whether the outer end is switched on.
    pub up: bool,
    /// Whether the root namespace speaks IPv6 by it.
    pub ipv6: bool,
    /// The inner end; none if it is in no container's network namespace.
    pub inner: Option<Inner>,
    /// What is set otherwise than the [table](crate::SETTINGS) has it on the outer end.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: Differing,
}

/// The inner end of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inner {
    /// The container whose network namespace it is in.
    pub container: Name,
    /// What it is called there.
    pub name: String,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Whether it is switched on.
    pub up: bool,
    /// Its addresses.
    pub addresses: BTreeSet<IpNet>,
    /// Where default routes by it lead.
    pub gateways: BTreeSet<IpAddr>,
    /// What is set otherwise than the [table](crate::SETTINGS) has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: Differing,
}

/// A physical interface, or a stand-in for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Whose network namespace it is in.
    pub place: NetworkNamespace,
    /// What it is called there.
    pub name: String,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it is hardware. A virtual one in a container may be the container's own, and is never taken away.
    pub physical: bool,
    /// Whether it takes router advertisements. Looked for in containers only.
    #[serde(default)]
    pub advertisements: bool,
    /// What is set otherwise than the [table](crate::SETTINGS) has it. Looked for in containers only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: Differing,
    /// The networks that its addresses are in, of its first 64. Looked for in containers only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub networks: BTreeSet<IpNet>,
    /// The routes of router advertisements for which it has no address; one more than there may be
    /// ([`ADVERTISED_MOST`]), if there are more. Looked for in containers only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub advertised: BTreeSet<Advertised>,
}

/// The most routes of router advertisements that an interface keeps without an address for them. The kernel itself has no
/// limit, and takes their memory from everybody.
pub const ADVERTISED_MOST: usize = 64;

/// A route that a router advertised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Advertised {
    /// Where it leads.
    pub to: IpNet,
    /// By which router; none if that is on the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<IpAddr>,
}

impl Interface {
    /// Whether routers advertised more than is kept.
    pub(crate) fn is_flooded(&self) -> bool {
        self.advertised.len() > ADVERTISED_MOST
    }

    /// With the addresses and routes that an interface keeps in another namespace: none.
    fn forget(&mut self) {
        self.networks.clear();
        self.advertised.clear();
    }
}

/// A network namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NetworkNamespace {
    /// The one that the agent is in.
    Root,
    /// A container's.
    Container(Name),
}

impl NetworkNamespace {
    /// The container whose it is.
    #[must_use]
    pub const fn container(&self) -> Option<&Name> {
        match self {
            Self::Root => None,
            Self::Container(name) => Some(name),
        }
    }
}

impl fmt::Display for NetworkNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Container(name) => write!(f, "container/{name}"),
        }
    }
}

impl From<NetworkNamespace> for String {
    fn from(place: NetworkNamespace) -> Self {
        place.to_string()
    }
}

impl TryFrom<String> for NetworkNamespace {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        match text.strip_prefix("container/") {
            None if text == "root" => Ok(Self::Root),
            name => name.unwrap_or_default().parse().map(Self::Container),
        }
    }
}

/// One effect of this room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "camelCase")]
pub enum Step {
    /// Makes a pair of namespaces.
    MakeNamespaces {
        /// Whose.
        container: Name,
        /// The first id of its range.
        base: u32,
    },
    /// Lets go of a pair of namespaces, or what there is of one.
    RemoveNamespaces {
        /// Whose.
        container: Name,
    },
    /// Sets everything that a container's network namespace is to have set.
    Settle {
        /// Whose.
        container: Name,
        /// Whether it forwards from then on.
        forwarding: bool,
    },
    /// Replaces all tables in one place.
    SetFirewall {
        /// Where.
        place: NetworkNamespace,
        /// By these.
        rules: Rules,
    },
    /// Makes a bridge, or sets what one that is there has set wrongly.
    SetBridge {
        /// Of this zone.
        zone: Name,
        /// Called.
        bridge: String,
    },
    /// Removes a bridge.
    RemoveBridge {
        /// Which.
        bridge: String,
    },
    /// Makes a pair of interfaces and sets everything on it.
    MakePort {
        /// The zone that it joins.
        zone: Name,
        /// The name of its outer end.
        outer: String,
        /// What it is to be.
        port: Port,
    },
    /// Sets what a pair that is there has set wrongly.
    SetPort {
        /// The zone that it joins.
        zone: Name,
        /// The name of its outer end.
        outer: String,
        /// What it is to be.
        port: Port,
    },
    /// Removes a pair of interfaces.
    RemovePort {
        /// Of this container, if its inner end was seen.
        container: Option<Name>,
        /// The name of its outer end.
        outer: String,
    },
    /// Removes an interface that is called like ours.
    RemoveStray {
        /// Which.
        interface: String,
    },
    /// Brings a physical interface into the core container and switches it on there.
    MoveInterface {
        /// Which.
        mac: MacAddress,
        /// The zone it makes.
        zone: Name,
        /// Where it is.
        from: NetworkNamespace,
        /// The core container.
        container: Name,
        /// What it is called there.
        name: String,
        /// Whether it takes router advertisements.
        address: Addressing,
    },
    /// Removes the routes of router advertisements for which a physical interface has no address.
    ForgetAdvertised {
        /// Which.
        mac: MacAddress,
        /// The zone it makes.
        zone: Name,
        /// The core container.
        container: Name,
        /// What it is called there.
        name: String,
    },
    /// Takes a physical interface back into the root namespace, switched off.
    ReturnInterface {
        /// Which.
        mac: MacAddress,
        /// The container it is in.
        from: Name,
    },
}

impl catenoid_core::Step for Step {
    type Observed = Observed;

    fn subject(&self) -> Subject {
        match self {
            Self::MakeNamespaces { container, .. }
            | Self::RemoveNamespaces { container }
            | Self::Settle { container, .. }
            | Self::RemovePort { container: Some(container), .. }
            | Self::SetFirewall { place: NetworkNamespace::Container(container), .. }
            | Self::ReturnInterface { from: container, .. } => Subject::new(Kind::Container, container),
            Self::SetFirewall { place: NetworkNamespace::Root, .. } => Subject::new(Kind::Firewall, ROOT),
            Self::SetBridge { zone, .. } | Self::MoveInterface { zone, .. } | Self::ForgetAdvertised { zone, .. } => {
                Subject::new(Kind::Zone, zone)
            }
            Self::MakePort { zone, port, .. } | Self::SetPort { zone, port, .. } => match &port.inner {
                Some(inner) => Subject::new(Kind::Container, &inner.container),
                None => Subject::new(Kind::Zone, zone),
            },
            Self::RemovePort { container: None, outer: interface }
            | Self::RemoveBridge { bridge: interface }
            | Self::RemoveStray { interface } => Subject::new(Kind::Interface, interface),
        }
    }

    fn effect_on(&self, observed: &mut Observed) {
        match self {
            Self::MakeNamespaces { container, base } => {
                observed.namespaces.insert(container.clone(), Some(Namespaces::new(*base, false)));
            }
            Self::RemoveNamespaces { container } => {
                let place = NetworkNamespace::Container(container.clone());
                observed.namespaces.remove(container);
                observed.firewalls.remove(&place);
                observed.interfaces.retain(|_, interface| interface.place != place);
                for port in observed.ports.values_mut() {
                    port.inner = port.inner.take().filter(|inner| inner.container != *container);
                }
            }
            Self::Settle { container, forwarding } => {
                if let Some(Some(namespaces)) = observed.namespaces.get_mut(container) {
                    *namespaces = Namespaces::new(namespaces.base, *forwarding);
                }
            }
            Self::SetFirewall { place, rules } => {
                observed.firewalls.remove(place);
                if !rules.is_empty() {
                    observed.firewalls.insert(place.clone(), rules.clone());
                }
            }
            Self::SetBridge { bridge, .. } => {
                observed.bridges.insert(bridge.clone(), Bridge::WANTED);
            }
            Self::RemoveBridge { bridge } => {
                observed.bridges.remove(bridge);
                for port in observed.ports.values_mut() {
                    port.bridge = port.bridge.take().filter(|in_it| in_it != bridge);
                }
            }
            Self::MakePort { outer, port, .. } | Self::SetPort { outer, port, .. } => {
                observed.ports.insert(outer.clone(), port.clone());
            }
            Self::RemovePort { outer, .. } => {
                observed.ports.remove(outer);
            }
            Self::RemoveStray { interface } => {
                observed.strays.remove(interface);
            }
            Self::MoveInterface { mac, container, name, address, .. } => {
                if let Some(interface) = observed.interfaces.get_mut(mac) {
                    interface.advertisements = *address == Addressing::Dhcp;
                    let place = NetworkNamespace::Container(container.clone());
                    if interface.place != place {
                        interface.forget();
                    } else if interface.name != *name {
                        // It is switched off for that, and IPv6 does not outlast it.
                        interface.networks.retain(|network| network.addr().is_ipv4());
                        interface.advertised.clear();
                    }
                    interface.place = place;
                    interface.name.clone_from(name);
                    interface.up = true;
                    interface.settings.clear();
                }
            }
            Self::ForgetAdvertised { mac, .. } => {
                observed.interfaces.get_mut(mac).into_iter().for_each(|interface| interface.advertised.clear());
            }
            Self::ReturnInterface { mac, .. } => {
                if let Some(interface) = observed.interfaces.get_mut(mac) {
                    interface.forget();
                    interface.place = NetworkNamespace::Root;
                    interface.name = name::returned(*mac);
                    interface.up = false;
                    interface.advertisements = false;
                    interface.settings.clear();
                }
            }
        }
    }
}

impl Step {
    /// The containers in whose namespaces it changes something.
    #[cfg(feature = "kernel")]
    pub(crate) fn changes(&self) -> Vec<&Name> {
        match self {
            Self::MakeNamespaces { container, .. }
            | Self::RemoveNamespaces { container }
            | Self::Settle { container, .. }
            | Self::RemovePort { container: Some(container), .. }
            | Self::ForgetAdvertised { container, .. }
            | Self::ReturnInterface { from: container, .. } => vec![container],
            Self::MoveInterface { container, from, .. } => from.container().into_iter().chain([container]).collect(),
            Self::SetFirewall { place, .. } => place.container().into_iter().collect(),
            Self::MakePort { port, .. } | Self::SetPort { port, .. } => {
                port.inner.iter().map(|inner| &inner.container).collect()
            }
            Self::RemovePort { container: None, .. }
            | Self::SetBridge { .. }
            | Self::RemoveBridge { .. }
            | Self::RemoveStray { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeNamespaces { container, base } => {
                write!(f, "make the namespaces of `{container}`, ids from {base} on")
            }
            Self::RemoveNamespaces { container } => write!(f, "remove the namespaces of `{container}`"),
            // As it was called before it set all the others: a step's name is compared over versions.
            Self::Settle { container, forwarding: true } => write!(f, "let `{container}` forward packets"),
            Self::Settle { container, forwarding: false } => {
                write!(f, "stop `{container}` from forwarding packets")
            }
            Self::SetFirewall { place, rules } if rules.is_empty() => write!(f, "remove the firewall of `{place}`"),
            Self::SetFirewall { place, rules } => {
                write!(f, "set the {} rules of the firewall of `{place}`", rules.count())
            }
            Self::SetBridge { zone, bridge } => write!(f, "set up bridge `{bridge}` of zone `{zone}`"),
            Self::RemoveBridge { bridge } => write!(f, "remove bridge `{bridge}`"),
            Self::MakePort { zone, outer, port } => match &port.inner {
                Some(Inner { container, addresses, .. }) => {
                    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                    write!(f, "join `{container}` to zone `{zone}` by `{outer}` with {}", addresses.join(", "))
                }
                None => write!(f, "make port `{outer}` of zone `{zone}`"),
            },
            Self::SetPort { zone, outer, .. } => write!(f, "set port `{outer}` of zone `{zone}` right"),
            Self::RemovePort { container: Some(container), outer } => {
                write!(f, "remove port `{outer}` of `{container}`")
            }
            Self::RemovePort { container: None, outer } => write!(f, "remove port `{outer}` that leads nowhere"),
            Self::RemoveStray { interface } => write!(f, "remove foreign interface `{interface}`"),
            Self::MoveInterface { mac, zone, container, name, .. } => {
                write!(f, "give interface {mac} of zone `{zone}` to `{container}` as `{name}`")
            }
            Self::ForgetAdvertised { mac, zone, .. } => {
                write!(f, "forget the routes that routers advertised to interface {mac} of zone `{zone}`")
            }
            Self::ReturnInterface { mac, from } => write!(f, "take interface {mac} back from `{from}`"),
        }
    }
}

/// The pure half of this room.
#[derive(Debug, Clone, Copy)]
pub struct ZonesPlanner;

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
        let placed = |(mac, interface): (&MacAddress, &Interface)| match (desired.uplinks.get(mac), &interface.place) {
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
fn same_pair(joint: &Joint, port: &Port) -> bool {
    match (&joint.port.inner, &port.inner) {
        (Some(wanted), Some(is)) => (&wanted.container, &wanted.name, wanted.mac) == (&is.container, &is.name, is.mac),
        _ => false,
    }
}

/// Whether an interface is where it should be, and as it should be there.
fn stands(uplink: &Uplink, is: &Interface) -> bool {
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
fn uplinks(desired: &Desired, observed: &Observed) -> (Vec<Step>, BTreeMap<MacAddress, Interface>) {
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
        if then.interfaces.get(&mac).is_some_and(Interface::is_flooded) {
            plan(Step::ForgetAdvertised { mac, zone, container, name }, &mut then);
        }
    }
    (steps, then.interfaces)
}

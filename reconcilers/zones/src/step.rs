//! One effect of this room, and what is there once it is done.

use std::fmt;

use catenoid_schema::{
    manifest::{Addressing, MacAddress, ROOT},
    name::Name,
    status::{Kind, Subject},
};
use serde::Serialize;

use crate::{Bridge, BridgePort, Inner, Namespaces, NetworkNamespace, Observed, Rules, name};

/// One effect of this room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "camelCase")]
pub enum Step {
    /// Makes a pair of namespaces.
    MakeNamespaces {
        /// The container that is to have them.
        container: Name,
        /// The first id of its range.
        base: u32,
    },
    /// Lets go of a pair of namespaces, or what there is of one.
    RemoveNamespaces {
        /// The container that had them.
        container: Name,
    },
    /// Sets everything that a container's network namespace is to have set.
    Settle {
        /// The container that has the namespace.
        container: Name,
        /// Whether it forwards from then on.
        forwarding: bool,
    },
    /// Replaces all tables in one place.
    SetFirewall {
        /// The place that has them.
        place: NetworkNamespace,
        /// The rules that are there from then on.
        rules: Rules,
    },
    /// Makes a bridge, or sets what one that is there has set wrongly.
    SetBridge {
        /// The zone that the bridge makes.
        zone: Name,
        /// The name of the bridge.
        bridge: String,
    },
    /// Removes a bridge.
    RemoveBridge {
        /// The name of the bridge.
        bridge: String,
    },
    /// Makes a pair of interfaces and sets everything on it.
    MakePort {
        /// The zone that it joins.
        zone: Name,
        /// The name of its outer end.
        outer: String,
        /// What it is to be.
        port: BridgePort,
    },
    /// Sets what a pair that is there has set wrongly.
    SetPort {
        /// The zone that it joins.
        zone: Name,
        /// The name of its outer end.
        outer: String,
        /// What it is to be.
        port: BridgePort,
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
        /// The name of the interface.
        interface: String,
    },
    /// Brings a physical interface into the core container and switches it on there.
    MoveInterface {
        /// The hardware address of the interface.
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
        /// The hardware address of the interface.
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
        /// The hardware address of the interface.
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

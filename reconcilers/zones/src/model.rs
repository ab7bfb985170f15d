//! What there is of namespaces, segments and firewalls.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use catenoid_schema::{
    manifest::MacAddress,
    name::{Name, NameError},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Differing, Rules};

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
    pub ports: BTreeMap<String, BridgePort>,
    /// Interfaces in the root namespace that are called like ours and are neither bridge nor pair.
    #[serde(default)]
    pub strays: BTreeSet<String>,
    /// Other interfaces, by the hardware address they were built with.
    #[serde(default)]
    pub interfaces: BTreeMap<MacAddress, ObservedInterface>,
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
    pub(crate) const WANTED: Self =
        Self { up: true, stp: false, snooping: false, filtered: true, ipv6: false, settings: Differing::new() };
}

/// A pair of virtual interfaces, seen from its outer end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePort {
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
pub struct ObservedInterface {
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

impl ObservedInterface {
    /// Whether routers advertised more than is kept.
    pub(crate) fn is_flooded(&self) -> bool {
        self.advertised.len() > ADVERTISED_MOST
    }

    /// With the addresses and routes that an interface keeps in another namespace: none.
    pub(crate) fn forget(&mut self) {
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

//! Zones whose subnet is a network of an uplink as well. The network outside cannot be chosen, and the core container is
//! reached through it: so the core container has no address in such a subnet until one of the two has changed. The members
//! of the zone still reach each other.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use catenoid_schema::{manifest::MacAddress, name::Name};
use ipnet::IpNet;

use crate::{Desired, Inner, NetworkNamespace, ObservedInterface};

/// A subnet that overlaps a network of an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overlap<'a> {
    /// Whose subnet.
    pub(crate) zone: &'a Name,
    pub(crate) subnet: IpNet,
    /// The uplink's interface, and one of its networks.
    pub(crate) uplink: MacAddress,
    pub(crate) network: IpNet,
}

/// One overlap of each subnet that the core container is to have an address in and that has some.
pub(crate) fn overlaps<'a>(
    desired: &'a Desired,
    interfaces: &BTreeMap<MacAddress, ObservedInterface>,
) -> Vec<Overlap<'a>> {
    let networks = desired.uplinks.iter().flat_map(|(mac, uplink)| {
        let there =
            |is: &&ObservedInterface| matches!(&is.place, NetworkNamespace::Container(name) if *name == uplink.container);
        let networks = interfaces.get(mac).filter(there).into_iter().flat_map(on_link);
        networks.map(|network| (*mac, network))
    });
    let networks: Vec<_> = networks.collect();
    if networks.is_empty() {
        return Vec::new();
    }
    let joints = desired.joints.values().filter_map(|joint| Some((&joint.zone, joint.port.inner.as_ref()?)));
    let of_core =
        joints.filter(|(_, inner)| desired.uplinks.values().any(|uplink| uplink.container == inner.container));
    let subnets = of_core.flat_map(|(zone, inner)| inner.addresses.iter().map(move |net| (zone, net.trunc())));
    // Every link has the link-local network.
    let subnets = subnets.filter(|(_, subnet)| !is_link_local(subnet));
    let overlap = |(zone, subnet): (&'a Name, IpNet)| {
        let (uplink, network) = networks.iter().find(|(_, network)| meet(*network, subnet)).copied()?;
        Some(Overlap { zone, subnet, uplink, network })
    };
    subnets.filter_map(overlap).collect()
}

/// The networks that an interface has without a router.
fn on_link(interface: &ObservedInterface) -> impl Iterator<Item = IpNet> {
    let advertised = interface.advertised.iter().filter(|route| route.router.is_none()).map(|route| route.to);
    interface.networks.iter().copied().chain(advertised)
}

/// Whether a network is the one that every link of IPv6 has.
pub(crate) fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

/// Whether two networks have an address in common.
fn meet(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

impl Desired {
    /// This, with what is held back where the uplinks are these `interfaces`.
    #[must_use]
    pub fn held_back(&self, interfaces: &BTreeMap<MacAddress, ObservedInterface>) -> Cow<'_, Self> {
        let held: BTreeSet<IpNet> = overlaps(self, interfaces).into_iter().map(|overlap| overlap.subnet).collect();
        if held.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut wanted = self.clone();
        let cores: BTreeSet<_> = self.uplinks.values().map(|uplink| &uplink.container).collect();
        let inner = wanted.joints.values_mut().filter_map(|joint| joint.port.inner.as_mut());
        for Inner { addresses, .. } in inner.filter(|inner| cores.contains(&inner.container)) {
            addresses.retain(|address| !held.contains(&address.trunc()));
        }
        for container in cores {
            if let Some(rules) = wanted.firewalls.get_mut(&NetworkNamespace::Container(container.clone())) {
                *rules = rules.held_back(&held);
            }
        }
        Cow::Owned(wanted)
    }
}

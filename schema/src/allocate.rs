//! What a manifest does not say but every reader must agree on: id ranges, addresses and hardware addresses.
//!
//! Pure functions of the manifest, so that signer, device and tests come to the same answer and nothing is stored. Each
//! container's place is the hash of its name, or the next free one, taken in the order of names: adding or removing a
//! container moves another one only if their hashes collide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::{
    digest::Digest,
    manifest::{ContainerRole, MacAddress, Manifest, Zone},
    name::Name,
};

/// Ids in a container's range.
pub const RANGE: u32 = 65_536;
/// Ranges that can be given out: 1 to 32767, so that every id stays below 2^31, past which some programs count signed.
const RANGES: u32 = 32_767;

/// The first user and group id of each container's range of [`RANGE`] ids.
#[must_use]
pub fn id_ranges(manifest: &Manifest) -> BTreeMap<Name, u32> {
    let places = place(manifest.containers.keys(), RANGES);
    places.into_iter().map(|(name, place)| (name.clone(), (place + 1) * RANGE)).collect()
}

/// The addresses of each member of `zone`, one in each subnet, with the subnet's prefix length. The core container has the
/// first host address. A member for which there is no room is left out.
#[must_use]
pub fn addresses(manifest: &Manifest, zone: &Name) -> BTreeMap<Name, Vec<IpNet>> {
    let Some(segment) = manifest.zones.get(zone) else { return BTreeMap::new() };
    let core = manifest.containers.iter().filter(|(_, c)| c.role == ContainerRole::Core && c.zones.contains(zone));
    let members = core.map(|(name, _)| (name.clone(), 1)).chain(hosts(manifest, zone, segment));
    let placed = members.map(|(name, host)| (name, segment.subnet.iter().filter_map(|net| nth(net, host)).collect()));
    placed.collect()
}

/// The address of the core container in each subnet of `zone`: where its members send what is not for them.
#[must_use]
pub fn gateways(zone: &Zone) -> Vec<IpAddr> {
    zone.subnet.iter().filter_map(|net| nth(net, 1)).map(|net| net.addr()).collect()
}

/// The hardware address of `container`'s interface in `zone`: locally administered, from the hash of both names.
#[must_use]
pub fn mac(zone: &Name, container: &Name) -> MacAddress {
    let digest = Digest::of(format!("mac\0{zone}\0{container}").as_bytes());
    let bytes = digest.as_bytes();
    MacAddress::from_bytes([0x02, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]])
}

/// Zones and members for which there is no address left.
#[must_use]
pub(crate) fn unplaced(manifest: &Manifest) -> Vec<(Name, Name)> {
    let mut missing = Vec::new();
    for (zone, segment) in manifest.zones.iter().filter(|(_, segment)| !segment.subnet.is_empty()) {
        let hosts = hosts(manifest, zone, segment);
        let members = services(manifest, zone).filter(|name| !hosts.contains_key(*name));
        missing.extend(members.map(|name| (zone.clone(), name.clone())));
    }
    missing
}

fn services<'a>(manifest: &'a Manifest, zone: &'a Name) -> impl Iterator<Item = &'a Name> {
    let members =
        manifest.containers.iter().filter(|(_, c)| c.role == ContainerRole::Service && c.zones.contains(zone));
    members.map(|(name, _)| name)
}

/// Host numbers from 2 on (1 is the core container's), as many as the smallest subnet has.
fn hosts(manifest: &Manifest, zone: &Name, segment: &Zone) -> BTreeMap<Name, u32> {
    let bits = segment.subnet.iter().map(|net| u32::from(net.max_prefix_len() - net.prefix_len())).min().unwrap_or(0);
    // Without the network, the core container, and (IPv4) the broadcast address.
    let room = (1u32 << bits.min(16)).saturating_sub(3);
    let places = place(services(manifest, zone), room);
    places.into_iter().map(|(name, place)| (name.clone(), place + 2)).collect()
}

fn nth(net: &IpNet, host: u32) -> Option<IpNet> {
    let address = match net.network() {
        IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from(u32::from(base).checked_add(host)?)),
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base).checked_add(u128::from(host))?)),
    };
    IpNet::new(address, net.prefix_len()).ok().filter(|found| net.contains(&found.addr()))
}

/// Gives each name a place of `0..room`; names that find none are left out.
fn place<'a>(names: impl Iterator<Item = &'a Name>, room: u32) -> BTreeMap<&'a Name, u32> {
    let mut taken = BTreeSet::new();
    let mut places = BTreeMap::new();
    for name in names {
        if taken.len() as u64 >= u64::from(room) {
            break;
        }
        let digest = Digest::of(name.as_str().as_bytes());
        let [a, b, c, d, ..] = *digest.as_bytes();
        let mut place = u32::from_be_bytes([a, b, c, d]) % room;
        while !taken.insert(place) {
            place = (place + 1) % room;
        }
        places.insert(name, place);
    }
    places
}

//! Every name that we give to a kernel object is made and read here: prefix, format version, id.
//!
//! What bears one of these names is ours; a room observes all of it and nothing else. Lengths: an interface name has at
//! most 15 bytes (IFNAMSIZ - 1), a device-mapper name 127 (DM_NAME_LEN - 1).

use sha2::{Digest as _, Sha256};

/// The cgroup below the root of the hierarchy that holds one group for each container.
pub const CGROUP: &str = "catenoid";
/// The nftables table, in whichever namespace and family.
pub const TABLE: &str = "catenoid";
/// Leaf cgroups in which a container's processes live: `run.<16 hex of the launch order's digest>`.
const LEAF: &str = "run.";
/// Device-mapper devices of guests: `catenoid1-guest-<16 hex of the descriptor's digest>`.
const VERITY: &str = "catenoid1-guest-";
/// Bridges of zones.
const BRIDGE: &str = "cz-";
/// The outer ends of virtual Ethernet pairs.
const VETH: &str = "cv-";
/// The longest interface name.
pub const INTERFACE_LIMIT: usize = 15;

/// The leaf cgroup of a launch order.
#[must_use]
pub fn leaf(launch: &str) -> String {
    format!("{LEAF}{launch}")
}

/// The launch order that a leaf cgroup belongs to, if it is one.
#[must_use]
pub fn leaf_launch(name: &str) -> Option<&str> {
    name.strip_prefix(LEAF).filter(|id| is_id(id))
}

/// The device-mapper device of a guest.
#[must_use]
pub fn verity(guest: &str) -> String {
    format!("{VERITY}{guest}")
}

/// The guest that a device-mapper device belongs to, if it is one of ours.
#[must_use]
pub fn verity_guest(name: &str) -> Option<&str> {
    name.strip_prefix(VERITY).filter(|id| is_id(id))
}

/// The bridge of a zone.
#[must_use]
pub fn bridge(zone: &str) -> String {
    shortened(BRIDGE, &[zone])
}

/// Whether an interface in the root namespace is a bridge or a veth end of ours.
#[must_use]
pub fn is_ours(interface: &str) -> bool {
    interface.starts_with(BRIDGE) || interface.starts_with(VETH)
}

/// The outer end of the pair that joins `container` to `zone`.
#[must_use]
pub fn veth(zone: &str, container: &str) -> String {
    format!("{VETH}{}", hash(&[zone, container]))
}

/// The interface inside of a container that joins it to `zone`; `index` counts the physical interfaces of an uplink.
#[must_use]
pub fn inner(zone: &str, index: usize) -> String {
    let name = format!("{zone}{index}");
    if name.len() <= INTERFACE_LIMIT { name } else { format!("{}-{}{index}", &zone[..4], &hash(&[zone])[..6]) }
}

/// `prefix` and the only part as they are, where that is short enough; a hash in place of what is not.
fn shortened(prefix: &str, parts: &[&str]) -> String {
    let name = format!("{prefix}{}", parts.join("-"));
    if name.len() <= INTERFACE_LIMIT { name } else { format!("{prefix}{}", hash(parts)) }
}

/// 12 hex digits (48 bits): prefix and hash fill the 15 bytes of an interface name.
fn hash(parts: &[&str]) -> String {
    let digest = Sha256::digest(parts.join("\0").as_bytes());
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `text` is an id as these names have it: 16 lower-case hex digits.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_fit_and_differ() {
        let zones = ["a", "plant", "a23456789012345678901234", "a23456789012345678901235"];
        let mut names = std::collections::BTreeSet::new();
        for zone in zones {
            names.insert(bridge(zone));
            names.insert(veth(zone, "web"));
            names.insert(inner(zone, 0));
            names.insert(inner(zone, 9));
        }
        assert_eq!(names.len(), zones.len() * 4);
        assert_eq!(names.iter().find(|name| name.len() > INTERFACE_LIMIT), None);
    }

    #[test]
    fn only_our_own_names_are_read_back() {
        let id = "0123456789abcdef";
        assert_eq!(leaf_launch(&leaf(id)), Some(id));
        assert_eq!(verity_guest(&verity(id)), Some(id));
        for foreign in
            ["run.", "run.x", "run.0123456789ABCDEF", "vg-root", "catenoid1-guest-", "catenoid2-guest-0123456789abcdef"]
        {
            assert_eq!((leaf_launch(foreign), verity_guest(foreign)), (None, None), "{foreign}");
        }
    }
}

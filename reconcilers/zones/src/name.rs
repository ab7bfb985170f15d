//! The names of interfaces and tables.
//!
//! Here and not in the kernel's doors, because rules name interfaces and the planner, which also runs where there is no
//! kernel of ours, makes rules. An interface name has at most 15 bytes (IFNAMSIZ - 1).

use catenoid_schema::manifest::MacAddress;
use sha2::{Digest as _, Sha256};

/// Every table of ours, in whichever namespace and family.
pub const TABLE: &str = "catenoid";
/// The longest interface name.
pub const LIMIT: usize = 15;
/// Bridges of zones.
const BRIDGE: &str = "cz-";
/// The outer ends of virtual Ethernet pairs.
const VETH: &str = "cv-";

/// The bridge of a zone.
#[must_use]
pub fn bridge(zone: &str) -> String {
    let name = format!("{BRIDGE}{zone}");
    if name.len() <= LIMIT { name } else { format!("{BRIDGE}{}", hash(&[zone])) }
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
    // A zone's own digits would run into the index: `a1` and 0, `a` and 10.
    let ambiguous = zone.ends_with(|c: char| c.is_ascii_digit());
    if name.len() <= LIMIT && !ambiguous { name } else { format!("z{}-{index}", &hash(&[zone])[..10]) }
}

/// What a physical interface is called that was taken back: as udev would, after its hardware address.
#[must_use]
pub fn returned(mac: MacAddress) -> String {
    let digits: String = mac.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("enx{digits}")
}

/// Whether an interface in the root namespace is called like a bridge of ours.
#[must_use]
pub fn is_bridge(interface: &str) -> bool {
    interface.starts_with(BRIDGE)
}

/// Whether an interface in the root namespace is called like a port of ours.
#[must_use]
pub fn is_port(interface: &str) -> bool {
    interface.starts_with(VETH)
}

/// 12 hex digits (48 bits): prefix and hash fill the 15 bytes of an interface name.
fn hash(parts: &[&str]) -> String {
    let digest = Sha256::digest(parts.join("\0").as_bytes());
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn interface_names_fit_and_differ() {
        let zones = ["a", "a1", "plant", "plant-floor-7", "a23456789012345678901234", "a23456789012345678901235"];
        let mut names = BTreeSet::new();
        for zone in zones {
            names.insert(bridge(zone));
            names.insert(veth(zone, "web"));
            names.extend([0, 1, 9, 10, 11].map(|index| inner(zone, index)));
        }
        names.insert(returned(MacAddress::from_bytes([0xff; 6])));
        assert_eq!(names.len(), zones.len() * 7 + 1);
        assert_eq!(names.iter().find(|name| name.len() > LIMIT), None);
    }

    /// Interfaces that each network namespace has, and folders of settings that stand beside those of interfaces.
    #[test]
    fn a_zone_takes_no_word_of_the_kernel() {
        for word in ["lo", "all", "default"] {
            for name in [bridge(word), veth(word, word), inner(word, 0), inner(word, 10)] {
                assert_ne!(name, word);
            }
        }
    }
}

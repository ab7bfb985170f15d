//! Every name that we give to a kernel object is made and read here: prefix, format version, id.
//!
//! What bears one of these names is ours; a room observes all of it and nothing else. A device-mapper name has at most
//! 127 bytes (DM_NAME_LEN - 1). Interfaces and tables are named in the room of zones (`catenoid_zones::name`), whose
//! rules name them on the build host too.

/// The cgroup below the root of the hierarchy that holds one group for each container.
pub const CGROUP: &str = "catenoid";
/// The cgroup of the agent and of the tools that it runs.
pub const AGENT_CGROUP: &str = "catenoid-agent";
/// Leaf cgroups in which a container's processes live: `run.<16 hex of the launch order's digest>`.
const LEAF: &str = "run.";
/// Device-mapper devices of guests: `catenoid1-guest-<16 hex of the descriptor's digest>`.
const VERITY: &str = "catenoid1-guest-";

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

/// Whether `text` is an id as these names have it: 16 lower-case hex digits.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

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

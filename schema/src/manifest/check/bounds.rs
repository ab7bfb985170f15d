//! What no version ever accepted.

use crate::{
    manifest::{Container, ContainerRole, Manifest},
    violation::Violation,
};

/// What no version ever accepted and no room could carry, if `manifest` is so: asked of what is held already, besides its
/// signatures. These bounds are those of the first version; they may be widened and never be narrowed, or a device loses what
/// it accepted. A test holds that whatever [`super::check`] takes is within them.
#[must_use]
pub fn bounds(manifest: &Manifest) -> Option<Violation> {
    let violation =
        |path: &str, message: &str| Some(Violation { path: path.to_owned(), message: message.to_owned(), hint: None });
    let cores = manifest.containers.values().filter(|c| c.role == ContainerRole::Core).count();
    if cores != 1 {
        return violation("containers", "not exactly one has the role `core`");
    }
    if manifest.containers.len() > 1000 || manifest.zones.len() > 64 {
        return violation("containers", "there are more containers or zones than any version takes");
    }
    for zone in manifest.zones.values() {
        let ports = zone.flows.iter().map(|flow| flow.tcp.len() + flow.udp.len()).max().unwrap_or_default();
        if zone.subnet.len() > 2 || zone.flows.len() > 256 || ports > 256 {
            return violation("zones", "one has more subnets, flows or ports than any version takes");
        }
        if zone.interfaces.is_empty() == zone.subnet.is_empty() {
            return violation("zones", "one has not either `interfaces` or a `subnet`");
        }
    }
    let entries = |container: &Container| {
        container.environment.len().max(container.command.as_ref().map_or(0, Vec::len)).max(container.zones.len())
    };
    if manifest.containers.values().map(entries).max() > Some(256) {
        return violation("containers", "one has more entries than any version takes");
    }
    None
}

//! `check --flows`: everything that may pass between zones, written or not. What is not in the table is denied.
//!
//! [req->TSF-ISOLATION]

use catenoid_schema::{
    manifest::{CORE, ContainerRole, Flow, Manifest},
    name::Name,
};

use crate::table::columns;

/// One permission: everybody in `from` may open connections to everybody in `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permission {
    from: String,
    senders: Vec<Name>,
    to: String,
    receivers: Vec<Name>,
    permits: String,
}

/// What `manifest` permits: written flows, and what holds without being written (members of a segment reach each
/// other, the core container reaches every segment that it is in).
pub(crate) fn permissions(manifest: &Manifest) -> Vec<Permission> {
    let members = |zone: &Name, role| -> Vec<Name> {
        let in_zone = manifest.containers.iter().filter(|(_, c)| c.zones.contains(zone) && c.role == role);
        in_zone.map(|(name, _)| name.clone()).collect()
    };
    let core: Vec<Name> = manifest
        .containers
        .iter()
        .filter(|(_, container)| container.role == ContainerRole::Core)
        .map(|(name, _)| name.clone())
        .collect();
    let mut found = Vec::new();
    for (name, zone) in &manifest.zones {
        let services = members(name, ContainerRole::Service);
        if services.len() > 1 {
            found.push(Permission {
                from: name.to_string(),
                senders: services.clone(),
                to: name.to_string(),
                receivers: services.clone(),
                permits: "everything: same segment".to_owned(),
            });
        }
        if !members(name, ContainerRole::Core).is_empty() {
            let (receivers, permits) = match zone.interfaces.is_empty() {
                true => (services.clone(), "everything: it is the gateway"),
                false => (Vec::new(), "everything: it owns the interfaces"),
            };
            found.push(Permission {
                from: CORE.to_owned(),
                senders: core.clone(),
                to: name.to_string(),
                receivers,
                permits: permits.to_owned(),
            });
        }
        for flow in &zone.flows {
            found.push(Permission {
                from: name.to_string(),
                senders: services.clone(),
                to: flow.to.to_string(),
                receivers: match flow.to.as_str() {
                    CORE => core.clone(),
                    _ => members(&flow.to, ContainerRole::Service),
                },
                permits: ports(flow),
            });
        }
    }
    found
}

fn ports(flow: &Flow) -> String {
    let list = |protocol: &str, ports: &[catenoid_schema::manifest::Port]| {
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        (!ports.is_empty()).then(|| format!("{protocol} {}", ports.join(" ")))
    };
    [list("tcp", &flow.tcp), list("udp", &flow.udp)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The table, one permission a line.
pub(crate) fn table(permissions: &[Permission]) -> String {
    let names = |names: &[Name]| match names {
        [] => "-".to_owned(),
        names => names.iter().map(Name::as_str).collect::<Vec<_>>().join(" "),
    };
    let head = ["FROM", "CONTAINERS", "TO", "CONTAINERS", "PERMITS"].map(str::to_owned);
    let rows = permissions.iter().map(|permission| {
        let Permission { from, senders, to, receivers, permits } = permission;
        [from.clone(), names(senders), to.clone(), names(receivers), permits.clone()]
    });
    columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

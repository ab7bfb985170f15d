//! The rules of a manifest that span fields. The signing tool shows each violation at its place in the YAML; the device
//! refuses a manifest that has one.
//!
//! One file a section, as the sections are; each adds to `Found` what it finds.

mod bounds;
mod containers;
mod found;
mod guests;
mod health;
mod limits;
mod metadata;
mod zones;

pub use bounds::bounds;
pub use guests::{Stage, permissions};

pub use crate::violation::Violation;

use found::Found;

use crate::{
    limits::{CONTAINERS_LIMIT, ENTRIES_LIMIT, ZONES_LIMIT},
    manifest::Manifest,
};

/// The rules that `manifest` breaks, the first [`VIOLATIONS_LIMIT`](crate::limits::VIOLATIONS_LIMIT) of them, in the order of
/// the document. Empty means that it can be applied.
#[must_use]
pub fn check(manifest: &Manifest, stage: Stage) -> Vec<Violation> {
    let mut found = Found::default();
    counts(manifest, &mut found);
    if !found.0.is_empty() {
        // What is compared with each other is never more than that.
        return found.0;
    }
    metadata::metadata(manifest, &mut found);
    guests::guests(manifest, stage, &mut found);
    zones::zones(manifest, &mut found);
    containers::containers(manifest, &mut found);
    found.0
}

fn counts(manifest: &Manifest, found: &mut Found) {
    let counts = [
        ("guests", manifest.guests.len(), CONTAINERS_LIMIT),
        ("zones", manifest.zones.len(), ZONES_LIMIT),
        ("containers", manifest.containers.len(), CONTAINERS_LIMIT),
    ];
    for (what, count, most) in counts.into_iter().filter(|(_, count, most)| count > most) {
        found.add(what, format!("{count} {what} are more than {most}"));
    }
    for (name, container) in manifest.containers.iter().filter(|(_, container)| container.zones.len() > ZONES_LIMIT) {
        let count = container.zones.len();
        found.add(format!("containers.{name}.zones"), format!("{count} zones are more than {ZONES_LIMIT}"));
    }
    for (name, zone) in manifest.zones.iter().filter(|(_, zone)| zone.flows.len() > ENTRIES_LIMIT) {
        let count = zone.flows.len();
        found.add(format!("zones.{name}.flows"), format!("{count} flows are more than {ENTRIES_LIMIT}"));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::limits::VIOLATIONS_LIMIT;
    use serde_json::{Value, json};

    /// What is reported has a bound, whatever a manifest of a permitted size says.
    #[test]
    fn a_manifest_with_many_faults_is_reported_in_short() {
        let zones = |count: usize| -> BTreeMap<String, Value> {
            let subnet = |number: usize| json!({"subnet": [format!("10.{}.{}.0/24", number / 250, number % 250)]});
            (0..count).map(|number| (format!("a-zone-of-a-name-{number}"), subnet(number))).collect()
        };
        let manifest = |zones: BTreeMap<String, Value>, containers: usize, members: usize| -> Manifest {
            let container = json!({"guest": "nowhere", "zones": vec!["z"; members]});
            let containers: BTreeMap<_, _> = (0..containers).map(|n| (format!("c{n}"), container.clone())).collect();
            let manifest = json!({
                "apiVersion": "catenoid.dev/v1",
                "kind": "Manifest",
                "metadata": {"name": "many", "sequence": 1, "notAfter": "2036-01-01T00:00:00Z"},
                "target": {"serials": ["MANY"]},
                "guests": {},
                "zones": zones,
                "containers": containers,
            });
            serde_json::from_value(manifest).expect("a manifest")
        };
        for (zone_count, containers, members, first) in [
            (6000, 1, 100_000, "zones: 6000 zones are more than 64"),
            (60, 1000, 64, "containers: none has the role `core`"),
            (60, 1, 65, "containers.c0.zones: 65 zones are more than 64"),
        ] {
            let found = check(&manifest(zones(zone_count), containers, members), Stage::Signed);
            assert_eq!(found[0].to_string(), first);
            let bytes: usize = found.iter().map(|v| v.to_string().len() + v.hint.as_ref().map_or(0, String::len)).sum();
            assert!(found.len() <= VIOLATIONS_LIMIT && bytes < 256 * 1024, "{} violations, {bytes} bytes", found.len());
        }
    }
}

//! What a document can ask of the agent that reads it, beyond what the first version could do.
//!
//! Whatever is added to a document joins [`FEATURES`] with one line. `catenoid-sign` then writes its name into `requires` of
//! each document that uses it, and an agent that is older says "newer agent needed" instead of "malformed":
//! [`crate::document::decode`] looks at `requires` before it looks at any other field.

use std::collections::BTreeSet;

use crate::{foreign::listed, guest::Guest, manifest::Manifest, name::Name};

/// Something that agents can do since a certain version.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// What `requires` and `catenoid version` call it.
    pub name: &'static str,
    /// The fields that it added, as `Type.field` of the JSON Schema. A test finds one that no feature names.
    pub fields: &'static [&'static str],
    /// Whether a manifest makes use of it.
    pub in_manifest: fn(&Manifest) -> bool,
    /// Whether a guest makes use of it.
    pub in_guest: fn(&Guest) -> bool,
}

/// All that this version can do beyond the first, oldest first. A name stays for ever.
pub const FEATURES: &[Feature] =
    // Whoever reads the field has it: a document need not name it.
    &[
        Feature {
            name: "requires",
            fields: &["Manifest.requires", "Guest.requires"],
            in_manifest: |_| false,
            in_guest: |_| false,
        },
        Feature {
            name: "needs",
            fields: &["Container.permits", "Guest.needs"],
            in_manifest: |manifest| manifest.containers.values().any(|container| !container.permits.is_empty()),
            in_guest: |guest| !guest.needs.is_empty(),
        },
        Feature {
            name: "health",
            fields: &[
                "Container.health",
                "HealthCheck.exec",
                "HealthCheck.tcp",
                "HealthCheck.http",
                "HealthCheck.every",
                "HealthCheck.timeout",
                "HealthCheck.failures",
                "HealthCheck.start",
                "HttpCheck.port",
                "HttpCheck.path",
            ],
            in_manifest: |manifest| manifest.containers.values().any(|container| container.health.is_some()),
            in_guest: |_| false,
        },
        Feature {
            name: "io",
            fields: &[
                "Limits.io",
                "IoLimits.readBps",
                "IoLimits.writeBps",
                "IoLimits.readIops",
                "IoLimits.writeIops",
                "IoLimits.weight",
            ],
            in_manifest: |manifest| manifest.containers.values().any(|container| container.limits.io.is_some()),
            in_guest: |_| false,
        },
    ];

/// Their names, as `catenoid version` lists them.
#[must_use]
pub fn names() -> Vec<&'static str> {
    FEATURES.iter().map(|feature| feature.name).collect()
}

/// Those of `required` that this version lacks, in words; none if it has them all. Any text may be asked: how later versions
/// name their features is not known.
#[must_use]
pub fn lacking(required: &BTreeSet<String>) -> Option<String> {
    let lacks = |name: &&String| FEATURES.iter().all(|feature| feature.name != name.as_str());
    let shown = |name: &String| name.chars().take(SHOWN_CHARACTERS).collect::<String>().escape_debug().to_string();
    let lacking: Vec<_> = required.iter().filter(lacks).map(shown).collect();
    listed(lacking.into_iter(), SHOWN)
}

/// The most features in a message.
const SHOWN: usize = 5;
/// The most of a name in a message.
const SHOWN_CHARACTERS: usize = 40;

/// Writes into `manifest` what it requires, so that no author has to know.
pub fn complete_manifest(manifest: &mut Manifest) {
    let used = FEATURES.iter().filter(|feature| (feature.in_manifest)(manifest));
    let used: Vec<_> = used.map(named).collect();
    manifest.requires.extend(used);
}

/// Writes into `guest` what it requires.
pub fn complete_guest(guest: &mut Guest) {
    let used = FEATURES.iter().filter(|feature| (feature.in_guest)(guest));
    let used: Vec<_> = used.map(named).collect();
    guest.requires.extend(used);
}

fn named(feature: &Feature) -> Name {
    feature.name.parse().expect("a test reads every feature's name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_named_as_documents_can_name_them_and_only_once() {
        let names: Vec<_> = FEATURES.iter().map(named).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(lacking(&names.iter().map(ToString::to_string).collect()), None);
        assert_eq!(lacking(&set(&["Volumes.of/2027\u{7}"])).as_deref(), Some("`Volumes.of/2027\\u{7}`"));
        assert_eq!(lacking(&set(&["requires", "later"])).as_deref(), Some("`later`"));
        let many = set(&["a", "b", "c", "d", "e", "f", "g"]);
        assert_eq!(lacking(&many).as_deref(), Some("`a`, `b`, `c`, `d`, `e` and 2 more"));
    }
}

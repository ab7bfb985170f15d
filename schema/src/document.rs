//! The three documents that are signed, who may sign which, and how their bytes are read for ever.
//!
//! A document of any version is read by every later one. Fields of the first version are always written. A field that came
//! later is written only where it is used, and its absence means the same for ever: so older bytes encode to themselves
//! again, and an older agent reads what uses nothing new. What uses something new says so in `requires` ([`feature`]).

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{anchors::Anchors, cbor, feature, guest::Guest, manifest::Manifest};

/// The version of the document formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first one.
    #[serde(rename = "catenoid.dev/v1")]
    V1,
}

/// Who may sign what. A signature counts for its own role only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs anchors: who is believed.
    Root,
    /// Signs manifests: what a device runs.
    Operator,
    /// Signs guests: what can be run.
    Software,
    /// Identifies devices.
    Device,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Root, Self::Operator, Self::Software, Self::Device];

    /// The extended key usage that a certificate of this role must carry, as dotted numbers.
    ///
    /// 32473 is the private enterprise number that RFC 5612 sets aside for examples; a vendor replaces the arc by
    /// one of its own before the first device ships.
    #[must_use]
    pub const fn extended_key_usage(self) -> &'static str {
        match self {
            Self::Root => "1.3.6.1.4.1.32473.7.1",
            Self::Operator => "1.3.6.1.4.1.32473.7.2",
            Self::Software => "1.3.6.1.4.1.32473.7.3",
            Self::Device => "1.3.6.1.4.1.32473.7.4",
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Operator => "operator",
            Self::Software => "software",
            Self::Device => "device",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A document that is only believed when signed.
pub trait Document: Serialize + DeserializeOwned {
    /// The role whose signatures count.
    const ROLE: Role;
    /// The COSE content type. It is also the external data under each signature, so that a signature on one kind of
    /// document can never serve another.
    const CONTENT_TYPE: &'static str;
    /// What a payload may be at most.
    const LIMITS: cbor::InputLimits;
}

impl Document for Manifest {
    const ROLE: Role = Role::Operator;
    const CONTENT_TYPE: &'static str = "application/vnd.catenoid.manifest.v1+cbor";
    /// 500 containers with all their fields take about 400 KiB.
    const LIMITS: cbor::InputLimits = cbor::InputLimits { bytes: 1024 * 1024, depth: 12, items: 200_000 };
}

impl Document for Guest {
    const ROLE: Role = Role::Software;
    const CONTENT_TYPE: &'static str = "application/vnd.catenoid.guest.v1+cbor";
    /// A descriptor is about 1 KiB; most of the room is for environment and command.
    const LIMITS: cbor::InputLimits = cbor::InputLimits { bytes: 64 * 1024, depth: 8, items: 4_000 };
}

impl Document for Anchors {
    const ROLE: Role = Role::Root;
    const CONTENT_TYPE: &'static str = "application/vnd.catenoid.anchors.v1+cbor";
    /// A certificate is about 1 KiB: room for some hundred.
    const LIMITS: cbor::InputLimits = cbor::InputLimits { bytes: 256 * 1024, depth: 8, items: 2_000 };
}

/// Reads a document from its deterministic bytes. What it requires of its reader is looked at before any other field: those
/// that a later version added would be unknown, and say nothing to whoever reads the error.
///
/// # Errors
/// As [`cbor::decode`]; [`cbor::Error::NewerNeeded`] if it requires what this version lacks.
pub fn decode<T: Document>(bytes: &[u8]) -> Result<T, cbor::Error> {
    /// The one field that every version knows.
    #[derive(Deserialize)]
    struct Requires {
        #[serde(default)]
        requires: BTreeSet<String>,
    }
    cbor::check(bytes, T::LIMITS, cbor::Profile::Document)?;
    // What is no map, or requires nothing that can be read, is told by the reader of the whole.
    if let Ok(Requires { requires }) = ciborium::de::from_reader_with_recursion_limit(bytes, T::LIMITS.depth + 2)
        && let Some(lacking) = feature::lacking(&requires)
    {
        return Err(cbor::Error::NewerNeeded { type_name: cbor::short_name::<T>(), lacking });
    }
    cbor::decode(bytes, T::LIMITS)
}

/// Reads a part of a `T`, whatever else a later version has put beside it. For those who decide nothing by it: who believes a
/// document reads all of it.
///
/// # Errors
/// As [`cbor::check`]; [`cbor::Error::Type`] if the part is not there in its form.
pub fn part_of<T: Document, P: DeserializeOwned>(bytes: &[u8]) -> Result<P, cbor::Error> {
    cbor::check(bytes, T::LIMITS, cbor::Profile::Document)?;
    ciborium::de::from_reader_with_recursion_limit(bytes, T::LIMITS.depth + 2)
        .map_err(|e| cbor::Error::Type { type_name: cbor::short_name::<T>(), reason: cbor::reason(&e) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest() -> serde_json::Value {
        json!({
            "apiVersion": "catenoid.dev/v1", "kind": "Manifest",
            "metadata": {"name": "small", "sequence": 1, "notAfter": "2049-01-01T00:00:00Z"},
            "target": {"serials": ["A"]}, "containers": {},
        })
    }

    fn signed(manifest: &Manifest) -> ciborium::Value {
        ciborium::from_reader(cbor::encode(manifest).unwrap().as_slice()).unwrap()
    }

    #[test]
    fn what_is_not_used_is_not_written() {
        let plain: Manifest = serde_json::from_value(manifest()).unwrap();
        let keys = |value: &ciborium::Value| -> Vec<String> {
            value.as_map().unwrap().iter().map(|(key, _)| key.as_text().unwrap().to_owned()).collect()
        };
        assert!(!keys(&signed(&plain)).contains(&"requires".to_owned()));
        let mut asking = plain.clone();
        asking.requires.insert("requires".parse().unwrap());
        assert!(keys(&signed(&asking)).contains(&"requires".to_owned()));
        for document in [plain, asking] {
            assert_eq!(decode::<Manifest>(&cbor::encode(&document).unwrap()), Ok(document));
        }
    }

    /// Also where the fields of the newer version are ones that this one cannot know.
    #[test]
    fn newer_agent_needed_is_said_before_anything_is_unknown() {
        let mut plain: Manifest = serde_json::from_value(manifest()).unwrap();
        plain.requires = ["volumes", "requires", "clocks"].map(|name| name.parse().unwrap()).into();
        let mut value = signed(&plain);
        value.as_map_mut().unwrap().push(("volumes".into(), ciborium::Value::Map(Vec::new())));
        let bytes = cbor::encode(&value).unwrap();
        let lacking = "`clocks`, `volumes`".to_owned();
        assert_eq!(decode::<Manifest>(&bytes), Err(cbor::Error::NewerNeeded { type_name: "Manifest", lacking }));
        // The same without a word about it is not what this version knows.
        value.as_map_mut().unwrap().retain(|(key, _)| key.as_text() != Some("requires"));
        let silent = decode::<Manifest>(&cbor::encode(&value).unwrap());
        assert!(matches!(&silent, Err(cbor::Error::Type { reason, .. }) if reason.contains("volumes")), "{silent:?}");
        // What cannot be read as names is malformed, not newer.
        let mut value = signed(&plain);
        for (key, requires) in value.as_map_mut().unwrap() {
            if key.as_text() == Some("requires") {
                *requires = 7.into();
            }
        }
        let number = decode::<Manifest>(&cbor::encode(&value).unwrap());
        assert!(matches!(number, Err(cbor::Error::Type { .. })), "{number:?}");
    }
}

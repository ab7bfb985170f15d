//! Reading a document from its bytes.

use std::collections::BTreeSet;

use serde::{Deserialize, de::DeserializeOwned};

use super::Document;
use crate::{cbor, feature};

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
    // What is no map, or requires nothing that can be read, is reported by the reader of the whole.
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
    use crate::manifest::Manifest;
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

//! Whom a device believes, and for what.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    cbor::InputLimits,
    document::{ApiVersion, Document, Role},
    name::Name,
};

/// The certification authorities of each role. A device carries one in its signed boot image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Catenoid anchors")]
pub struct Anchors {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// Always `Anchors`.
    pub kind: AnchorsKind,
    /// Whose they are.
    pub metadata: AnchorsMetadata,
    /// The authorities by role. A role that is not here can sign nothing.
    pub roles: BTreeMap<Role, RoleAnchors>,
}

impl Document for Anchors {
    const ROLE: Role = Role::Root;
    const CONTENT_TYPE: &'static str = "application/vnd.catenoid.anchors.v1+cbor";
    /// A certificate is about 1 KiB: room for some hundred.
    const LIMITS: InputLimits = InputLimits { bytes: 256 * 1024, depth: 8, items: 2_000 };
}

/// The kind of this document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AnchorsKind {
    /// Anchors.
    Anchors,
}

/// Whose anchors these are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnchorsMetadata {
    /// A name for people.
    pub name: Name,
    /// Rises by one with every change.
    pub version: u64,
}

/// One role's authorities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleAnchors {
    /// How many different signers must have signed; at least 1.
    pub threshold: u8,
    /// The certificates of the authorities.
    pub certificates: Vec<CertificateDer>,
}

/// An X.509 certificate in DER. Hex where a person reads it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateDer(Vec<u8>);

impl CertificateDer {
    /// Takes the bytes as they are; whoever uses the certificate parses it.
    #[must_use]
    pub fn new(der: Vec<u8>) -> Self {
        Self(der)
    }

    /// The DER bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for CertificateDer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateDer({} bytes, {})", self.0.len(), crate::digest::Digest::of(&self.0))
    }
}

impl Serialize for CertificateDer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&hex::encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for CertificateDer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            hex::decode(String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
        } else {
            crate::byte_string::deserialize(deserializer).map(Self)
        }
    }
}

impl JsonSchema for CertificateDer {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CertificateDer".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^([0-9a-f]{2})+$", "description": "An X.509 certificate, DER in hex."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor;

    #[test]
    fn a_certificate_of_any_length_is_read_back() {
        let limits = cbor::InputLimits { bytes: 1 << 20, depth: 2, items: 2 };
        for length in [0, 1, 4095, 4096, 4097, 70_000] {
            let certificate = CertificateDer::new(vec![7; length]);
            let read: CertificateDer = cbor::decode(&cbor::encode(&certificate).unwrap(), limits).unwrap();
            assert_eq!(read, certificate, "{length} bytes");
        }
    }
}

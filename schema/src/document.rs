//! The three documents that are signed, and who may sign which.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{anchors::Anchors, cbor, guest::Guest, manifest::Manifest};

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
    const LIMITS: cbor::Limits;
}

impl Document for Manifest {
    const ROLE: Role = Role::Operator;
    const CONTENT_TYPE: &'static str = "application/vnd.catenoid.manifest.v1+cbor";
    /// 500 containers with all their fields take about 400 KiB.
    const LIMITS: cbor::Limits = cbor::Limits { bytes: 1024 * 1024, depth: 12, items: 200_000 };
}

impl Document for Guest {
    const ROLE: Role = Role::Software;
    const CONTENT_TYPE: &'static str = "application/vnd.catenoid.guest.v1+cbor";
    /// A descriptor is about 1 KiB; most of the room is for environment and command.
    const LIMITS: cbor::Limits = cbor::Limits { bytes: 64 * 1024, depth: 8, items: 4_000 };
}

impl Document for Anchors {
    const ROLE: Role = Role::Root;
    const CONTENT_TYPE: &'static str = "application/vnd.catenoid.anchors.v1+cbor";
    /// A certificate is about 1 KiB: room for some hundred.
    const LIMITS: cbor::Limits = cbor::Limits { bytes: 256 * 1024, depth: 8, items: 2_000 };
}

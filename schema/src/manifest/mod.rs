//! The manifest: the whole desired state of one device, or of a signed selection of devices.
//!
//! One set of types serves the author and the device. What the author leaves out is a default here. What is signed has
//! every field of the first version written out, and a later field only where it is used ([`crate::document`]): a default
//! means the same for ever.
//! [`check`] holds the rules that span fields.

pub mod check;
mod container;
mod zone;

pub use container::{
    Capability, Container, ContainerRole, HealthCheck, HttpCheck, ResourceLimits, Restart, Stop, StopSignal,
};
pub use zone::{Addressing, CORE, Flow, Interface, MacAddress, Port, Zone};

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    document::ApiVersion,
    guest::Version,
    name::{Name, Serial},
    units::{self, Timestamp},
};

/// The network namespace of the device itself, where a status reports namespaces by the container that has one; no
/// container can have this name.
pub const ROOT: &str = "root";

/// The desired state of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Catenoid manifest")]
pub struct Manifest {
    /// The version of this format.
    #[serde(deserialize_with = "units::word")]
    pub api_version: ApiVersion,
    /// Always `Manifest`.
    #[serde(deserialize_with = "units::word")]
    pub kind: ManifestKind,
    /// What an agent must be able to do to apply it, by the names that `catenoid version` lists. `catenoid-sign sign` adds what
    /// the manifest makes use of.
    #[serde(default, deserialize_with = "units::set", skip_serializing_if = "BTreeSet::is_empty")]
    pub requires: BTreeSet<Name>,
    /// Name, order and validity.
    pub metadata: Metadata,
    /// Which devices may apply it.
    pub target: Target,
    /// The guests that containers are run from, by a name that is local to this manifest.
    #[serde(default)]
    pub guests: BTreeMap<Name, GuestReference>,
    /// The network segments. Nothing passes between two of them that no flow permits.
    #[serde(default)]
    pub zones: BTreeMap<Name, Zone>,
    /// What runs.
    pub containers: BTreeMap<Name, Container>,
}

/// The kind of this document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ManifestKind {
    /// A manifest.
    Manifest,
}

/// Name, order and validity of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// A name for people; shown in status.
    pub name: Name,
    /// Must rise with every manifest a device accepts. To go back, sign the old content under a new sequence.
    #[serde(deserialize_with = "units::number")]
    #[schemars(range(min = 1, max = check::COUNT_MOST))]
    pub sequence: u64,
    /// The security floor: a device that accepted epoch 3 never again accepts a manifest of epoch 2.
    #[serde(default, deserialize_with = "units::number")]
    #[schemars(range(max = check::COUNT_MOST))]
    pub epoch: u64,
    /// Not accepted before this moment.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// Not accepted after this moment. What it started keeps running: expiry holds change, it stops nothing.
    pub not_after: Timestamp,
}

/// Which devices a manifest is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// The serials of the devices, as their firmware states them.
    #[serde(deserialize_with = "units::set")]
    #[schemars(length(min = 1))]
    pub serials: BTreeSet<Serial>,
}

/// One version of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestReference {
    /// Name and version, for people and for the signing tool: `debian-web@12.11.3`.
    #[serde(rename = "ref")]
    pub reference: GuestVersion,
    /// The digest of the signed descriptor; written by `catenoid-sign sign`, which looks the version up.
    #[serde(default)]
    pub descriptor: Option<Digest>,
}

/// `name@version` of a guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GuestVersion {
    /// The guest's name.
    pub name: Name,
    /// Its version.
    pub version: Version,
}

/// Why a text is not a [`GuestVersion`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a guest's `name@version`, such as `debian-web@12.11.3`")]
pub struct GuestVersionError(String);

impl std::str::FromStr for GuestVersion {
    type Err = GuestVersionError;

    fn from_str(text: &str) -> Result<Self, GuestVersionError> {
        let error = || GuestVersionError(text.chars().take(80).collect());
        let (name, version) = text.split_once('@').ok_or_else(error)?;
        let name = name.parse().map_err(|_| error())?;
        let version = version.parse().map_err(|_| error())?;
        Ok(Self { name, version })
    }
}

impl std::fmt::Display for GuestVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl TryFrom<String> for GuestVersion {
    type Error = GuestVersionError;

    fn try_from(text: String) -> Result<Self, GuestVersionError> {
        text.parse()
    }
}

impl From<GuestVersion> for String {
    fn from(value: GuestVersion) -> String {
        value.to_string()
    }
}

impl JsonSchema for GuestVersion {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GuestVersion".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^[a-z]([a-z0-9-]{0,22}[a-z0-9])?@[A-Za-z0-9._+~-]{1,32}$",
            "description": "A guest's name and version.", "examples": ["debian-web@12.11.3"]
        })
    }
}

//! The guests that containers are run from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{digest::Digest, guest::Version, name::Name};

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

//! The descriptor of a guest: a signed, versioned, read-only image from which containers are run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{digest::Digest, document::ApiVersion, name::Name, units::ByteSize};

/// The block size of image data and hash tree, in bytes. The one that every page size we run on can read.
pub const BLOCK_SIZE: u32 = 4096;

/// What a software signer vouches for: one image, how to verify it, and how it likes to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Catenoid guest descriptor")]
pub struct Guest {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// Always `Guest`.
    pub kind: GuestKind,
    /// What it is called.
    pub metadata: GuestMetadata,
    /// The processor it was built for.
    pub architecture: Architecture,
    /// The image.
    pub image: Image,
    /// How its container is run where the manifest does not say otherwise.
    pub defaults: Defaults,
    /// How the root file system can be written to.
    pub root: Root,
}

/// The kind of this document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GuestKind {
    /// A guest descriptor.
    Guest,
}

/// What a guest is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestMetadata {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// One line for people.
    #[serde(default)]
    pub description: String,
}

/// A version such as `12.11.3`: 1 to 32 of `A-Z a-z 0-9 . _ + ~ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

/// Why a text is not a [`Version`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of 1 to 32 letters, digits, `.`, `_`, `+`, `~`, `-`")]
pub struct VersionError(String);

impl Version {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b));
        if fits && (1..=32).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(VersionError(text.chars().take(40).collect()))
        }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(value: Version) -> String {
        value.0
    }
}

impl JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[A-Za-z0-9._+~-]{1,32}$", "description": "A version."})
    }
}

/// A processor architecture, by the kernel's word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64 bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64 bit ARM.
    Aarch64,
}

/// An erofs image with its dm-verity superblock and hash tree behind it, in one blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// The digest of the whole blob.
    pub digest: Digest,
    /// The size of the whole blob.
    pub size: ByteSize,
    /// How each block of it is verified when it is read.
    pub verity: Verity,
}

/// The dm-verity parameters (format 1, SHA-256, blocks of [`BLOCK_SIZE`]). The device takes them from here, never from
/// the superblock in the image, which is there for `veritysetup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verity {
    /// The root of the hash tree.
    pub root_hash: Digest,
    /// 32 bytes in front of every block that is hashed.
    pub salt: Digest,
    /// Blocks of data; the superblock stands right behind them, the tree one block further.
    pub data_blocks: u64,
}

/// How a guest likes to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Defaults {
    /// Program and arguments; the program is an absolute path.
    pub command: Vec<String>,
    /// Environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Where it starts.
    #[serde(default = "root_directory")]
    pub working_directory: String,
    /// User id inside of the container.
    #[serde(default)]
    pub user: u16,
    /// Group id inside of the container.
    #[serde(default)]
    pub group: u16,
}

fn root_directory() -> String {
    "/".to_owned()
}

/// How the root file system can be written to. What is written is gone when the container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Root {
    /// Not at all.
    ReadOnly,
    /// Into memory, up to this size, charged to the container.
    Tmpfs {
        /// The most it can hold.
        size: ByteSize,
    },
}

//! The three documents that are signed, who may sign which, and how their bytes are read for ever.
//!
//! A document of any version is read by every later one. Fields of the first version are always written. A field that came
//! later is written only where it is used, and its absence means the same for ever: so older bytes encode to themselves
//! again, and an older agent reads what uses nothing new. What uses something new says so in `requires` ([`crate::feature`]).

mod decode;

pub use decode::{decode, part_of};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::cbor;

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

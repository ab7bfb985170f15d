//! Name, order and validity of a manifest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    limits::COUNT_MOST,
    name::Name,
    units::{self, Timestamp},
};

/// Name, order and validity of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// A name for people; shown in status.
    pub name: Name,
    /// Must rise with every manifest a device accepts. To go back, sign the old content under a new sequence.
    #[serde(deserialize_with = "units::number")]
    #[schemars(range(min = 1, max = COUNT_MOST))]
    pub sequence: u64,
    /// The security floor: a device that accepted epoch 3 never again accepts a manifest of epoch 2.
    #[serde(default, deserialize_with = "units::number")]
    #[schemars(range(max = COUNT_MOST))]
    pub epoch: u64,
    /// Not accepted before this moment.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// Not accepted after this moment. What it started keeps running: expiry holds change, it stops nothing.
    pub not_after: Timestamp,
}

//! What a container can take of the disk.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    limits::{IO_OPERATIONS, IO_WEIGHT},
    units::{self, ByteSize},
};

/// What a container can take of the disk that the device's data lie on (cgroup v2 `io.max`). What is not named has no
/// limit. What another container of the same guest has read is in memory, and counts for nobody. All containers of a
/// guest read through one device: one that waits for its limit can make the others of its guest wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct IoLimits {
    /// Bytes read in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bps: Option<ByteSize>,
    /// Bytes written in a second. A container writes to memory for now: this binds nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_bps: Option<ByteSize>,
    /// Reads in a second.
    #[serde(default, deserialize_with = "some_number", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = *IO_OPERATIONS.start(), max = *IO_OPERATIONS.end()))]
    pub read_iops: Option<u32>,
    /// Writes in a second. A container writes to memory for now: this binds nothing yet.
    #[serde(default, deserialize_with = "some_number", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = *IO_OPERATIONS.start(), max = *IO_OPERATIONS.end()))]
    pub write_iops: Option<u32>,
    /// Its share of the disk while others want it too (`io.bfq.weight`): 100 if nothing is said.
    #[serde(default, deserialize_with = "some_number", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = *IO_WEIGHT.start(), max = *IO_WEIGHT.end()))]
    pub weight: Option<u32>,
}

fn some_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    #[derive(Deserialize)]
    struct Number(#[serde(deserialize_with = "units::number")] u32);
    Ok(Option::deserialize(deserializer)?.map(|Number(number)| number))
}

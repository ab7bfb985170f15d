//! Which devices a manifest is for.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{name::Serial, units};

/// Which devices a manifest is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// The serials of the devices, as their firmware states them.
    #[serde(deserialize_with = "units::set")]
    #[schemars(length(min = 1))]
    pub serials: BTreeSet<Serial>,
}

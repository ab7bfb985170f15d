//! A container: a running instance of a guest.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{capability::Capability, health::HealthCheck, limits::ResourceLimits, stop::Stop};
use crate::{guest::Need, name::Name, units};

/// The network namespace of the device itself, where a status reports namespaces by the container that has one; no
/// container can have this name.
pub const ROOT: &str = "root";

/// A running instance of a guest. Nothing is granted that is not written here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Container {
    /// The guest it is run from, by its name in `guests`.
    pub guest: Name,
    /// `service`, or `core` for the one container that owns the uplink and gets the control socket.
    #[serde(default, deserialize_with = "units::word")]
    pub role: ContainerRole,
    /// Program and arguments; the guest's own if left out.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Environment variables, on top of the guest's.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The zones it has an interface in, first one first.
    #[serde(default)]
    #[schemars(extend("uniqueItems" = true))]
    pub zones: Vec<Name>,
    /// What it can use up.
    #[serde(default)]
    pub limits: ResourceLimits,
    /// Linux capabilities in its own user namespace, without the `CAP_`.
    #[serde(default, deserialize_with = "units::words")]
    pub capabilities: BTreeSet<Capability>,
    /// What happens when it ends.
    #[serde(default, deserialize_with = "units::word")]
    pub restart: Restart,
    /// How it is asked to end.
    #[serde(default)]
    pub stop: Stop,
    /// How it is asked whether it works. Without this it does as long as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// What its guest may need of system calls beyond those of every container.
    #[serde(default, deserialize_with = "units::words", skip_serializing_if = "BTreeSet::is_empty")]
    pub permits: BTreeSet<Need>,
}

/// What a container is to the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ContainerRole {
    /// A workload.
    #[default]
    Service,
    /// The less privileged core container (c0).
    Core,
}

/// What happens when a container ends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Restart {
    /// It is started again.
    #[default]
    Always,
    /// It is started again unless it ended with exit code 0.
    OnFailure,
    /// It stays ended.
    Never,
}

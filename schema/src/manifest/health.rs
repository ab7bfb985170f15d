//! How a container is asked whether it works.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::zone::{Port, PortNumber};
use crate::{
    limits::{FAILURES_MOST, HTTP_PATH},
    units::{self, Span},
};

/// How a container is asked whether it works: by a program of its own, a connection, or a question by HTTP. Each is done
/// within its namespaces and limits, with no more rights than it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// A program of the guest, by absolute path, and its arguments: it works if that ends with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// A port: it works if it takes a TCP connection at one of its addresses.
    #[serde(default, deserialize_with = "port", skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Port>,
    /// A question by HTTP: it works if the answer's status is from 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// From one check to the next. Until the first one passes, it is checked each second.
    #[serde(default = "default_every")]
    pub every: Span,
    /// How long a check may take before it has failed.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// After so many failures in a row it does not work: it is `Degraded`, and started again if `restart` says so.
    #[serde(default = "default_failures", deserialize_with = "units::number")]
    #[schemars(range(min = 1, max = FAILURES_MOST))]
    pub failures: u32,
    /// For so long after its start failures do not count, unless a check passed before.
    #[serde(default = "default_start")]
    pub start: Span,
}

/// What is asked for by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpCheck {
    /// The port.
    #[serde(deserialize_with = "units::number")]
    pub port: Port,
    /// The path, perhaps with a query.
    #[serde(default = "default_path")]
    #[schemars(extend("pattern" = HTTP_PATH))]
    pub path: String,
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Port>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(|PortNumber(port)| port))
}

const fn default_every() -> Span {
    Span::from_milliseconds(30_000)
}

const fn default_timeout() -> Span {
    Span::from_milliseconds(5000)
}

const fn default_failures() -> u32 {
    3
}

const fn default_start() -> Span {
    Span::from_milliseconds(60_000)
}

fn default_path() -> String {
    "/".to_owned()
}

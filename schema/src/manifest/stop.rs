//! How a container is asked to end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{self, Span};

/// How a container is asked to end, before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stop {
    /// The signal that asks.
    #[serde(default, deserialize_with = "units::word")]
    pub signal: StopSignal,
    /// How long it may take before everything in it is killed.
    #[serde(default = "default_grace")]
    pub grace: Span,
}

const fn default_grace() -> Span {
    Span::from_milliseconds(10_000)
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: StopSignal::default(), grace: default_grace() }
    }
}

/// A signal that asks a container to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StopSignal {
    /// SIGTERM.
    #[default]
    #[serde(rename = "TERM")]
    Term,
    /// SIGINT.
    #[serde(rename = "INT")]
    Int,
    /// SIGQUIT.
    #[serde(rename = "QUIT")]
    Quit,
    /// SIGKILL, for programs that hold nothing worth saving.
    #[serde(rename = "KILL")]
    Kill,
}

//! What a device says of itself. For programs first: stable names, and since when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    name::{Name, Serial},
    units::Timestamp,
};

/// The state of a device at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "Catenoid status")]
pub struct Status {
    /// The device.
    pub device: Device,
    /// The last manifest that was accepted: verified and written to the ledger.
    pub accepted: Option<ManifestState>,
    /// The manifest that the pass is working towards; none when there is nothing to do.
    pub reconciling: Option<ManifestState>,
    /// The last manifest that the device was seen to match in full.
    pub converged: Option<ManifestState>,
    /// That the agent lives.
    pub heartbeat: Heartbeat,
    /// The number of the last event this status knows of: who follows `/v1/events?since=` it misses nothing.
    #[serde(default)]
    pub last_event: u64,
    /// Every subject, in the order of names.
    pub subjects: Vec<SubjectStatus>,
    /// What each room observed last, by room name; input of `catenoid-sign plan`.
    pub observed: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Which device this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// The serial that manifests target.
    pub serial: Serial,
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// The agent's version.
    pub agent: String,
    /// The kernel's release.
    pub kernel: String,
}

/// One manifest, by what names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestState {
    /// Its name.
    pub name: Name,
    /// Its sequence.
    pub sequence: u64,
    /// The digest of its content.
    pub digest: Digest,
    /// Since when it is in this state.
    pub since: Timestamp,
}

/// That the agent lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// When this status was made.
    pub at: Timestamp,
    /// When the agent started.
    pub agent_started: Timestamp,
    /// Passes since then.
    pub passes: u64,
}

/// One subject: a container, guest, zone, limit set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubjectStatus {
    /// Kind and name: `container/web`.
    pub subject: Subject,
    /// Does the kernel hold what the manifest says?
    pub sync: Sync,
    /// Does it work?
    pub health: Health,
    /// What is behind the two, and since when.
    pub conditions: Vec<Condition>,
    /// Facts worth showing, such as `pid` or `startedAt`.
    #[serde(default)]
    pub facts: Facts,
}

/// Facts for people, by their names. A text that is shown is nothing to act on: none can be asked for by its name, and whoever
/// needs what is behind it takes it from what was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Facts(std::collections::BTreeMap<String, String>);

impl Facts {
    /// With one more.
    pub fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// All of them, to be shown.
    pub fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// With all that another room knows.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl<N: Into<String>> FromIterator<(N, String)> for Facts {
    fn from_iter<T: IntoIterator<Item = (N, String)>>(facts: T) -> Self {
        Self(facts.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// What a subject is. A later version may know more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What a guest is made of, as it lies on the disk.
    Blob,
    /// What runs, with its limits.
    Container,
    /// The rules in one network namespace.
    Firewall,
    /// An image that containers are run from.
    Guest,
    /// An interface that belongs to nothing.
    Interface,
    /// A container's namespaces and its ports in zones.
    Network,
    /// A part of the device that cannot be observed.
    Room,
    /// What the agent keeps for itself.
    State,
    /// A network segment.
    Zone,
}

impl Kind {
    /// As it stands before the slash.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Container => "container",
            Self::Firewall => "firewall",
            Self::Guest => "guest",
            Self::Interface => "interface",
            Self::Network => "network",
            Self::Room => "room",
            Self::State => "state",
            Self::Zone => "zone",
        }
    }
}

/// Kind and name of something with a status: `container/web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Subject(String);

impl Subject {
    /// `kind/name`.
    #[must_use]
    pub fn new(kind: Kind, name: impl std::fmt::Display) -> Self {
        Self::named(kind.as_str(), name)
    }

    /// The same of whatever kind, as somebody else names it.
    #[must_use]
    pub fn named(kind: &str, name: impl std::fmt::Display) -> Self {
        Self(format!("{kind}/{name}"))
    }

    /// Whether it is of this kind.
    #[must_use]
    pub fn is(&self, kind: Kind) -> bool {
        self.kind() == kind.as_str()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the slash.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// What stands behind the slash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Does the kernel hold what the manifest says?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Sync {
    /// It does.
    Synced,
    /// It does not.
    OutOfSync,
    /// It could not be observed.
    Unknown,
}

/// Does it work? From the best to the worst: where several report one subject, the worst of them counts. What somebody has to
/// look at is never hidden behind what is only not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Health {
    /// It does.
    Healthy,
    /// It was asked not to.
    Suspended,
    /// It is on its way.
    Progressing,
    /// It is not there.
    Missing,
    /// It does not, or not fully.
    Degraded,
}

/// One fact behind a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What for a program to match on: `Running`, `ImageCorrupt`, `WaitingForBlob`, `StepFailed`.
    pub reason: String,
    /// What for a person to read.
    pub message: String,
    /// Who must act, if somebody must.
    pub blame: Option<Blame>,
    /// Since when; set by the agent, which keeps it while reason and message stay.
    pub since: Option<Timestamp>,
    /// The sequence of the manifest it was seen under.
    pub observed_sequence: Option<u64>,
}

impl Condition {
    /// A condition as whoever sees it reports it; the agent knows since when, and under which manifest.
    #[must_use]
    pub fn new(reason: &str, message: String, blame: Option<Blame>) -> Self {
        Self { reason: reason.to_owned(), message, blame, since: None, observed_sequence: None }
    }
}

/// Who must act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Blame {
    /// Whoever wrote the manifest.
    ManifestAuthor,
    /// Whoever runs the device.
    Administrator,
    /// Nobody: it is tried again.
    Nobody,
    /// Us: it is a defect of Catenoid.
    Us,
}

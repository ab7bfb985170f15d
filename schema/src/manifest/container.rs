//! A container: a running instance of a guest.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    guest::Need,
    manifest::{
        Port,
        check::{FAILURES_MOST, HTTP_PATH, PIDS_MOST},
    },
    name::Name,
    units::{self, ByteSize, Cpu, Span},
};

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
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Number(#[serde(deserialize_with = "units::number")] Port);
    Ok(Option::deserialize(deserializer)?.map(|Number(port)| port))
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

/// What a container can use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub struct ResourceLimits {
    /// Memory, including what it writes to memory file systems (cgroup v2 `memory.max`).
    #[serde(default = "default_memory")]
    pub memory: ByteSize,
    /// Processors (cgroup v2 `cpu.max`).
    #[serde(default = "default_cpu")]
    pub cpu: Cpu,
    /// Processes and threads (cgroup v2 `pids.max`).
    #[serde(default = "default_pids", deserialize_with = "units::number")]
    #[schemars(range(min = 1, max = PIDS_MOST))]
    pub pids: u32,
}

const fn default_memory() -> ByteSize {
    ByteSize::from_mebibytes(128)
}

const fn default_cpu() -> Cpu {
    Cpu::from_thousandths(1000)
}

const fn default_pids() -> u32 {
    128
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self { memory: default_memory(), cpu: default_cpu(), pids: default_pids() }
    }
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

/// The capabilities that can be granted. Each one is held in the container's own user namespace only; those that reach
/// past it, or widen what a user namespace exposes of the kernel (SYS_ADMIN, SYS_MODULE, SYS_PTRACE, BPF, ...), are not
/// here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "capabilities(7) describes each")]
pub enum Capability {
    Chown,
    DacOverride,
    DacReadSearch,
    Fowner,
    Fsetid,
    Kill,
    Setgid,
    Setuid,
    Setpcap,
    NetBindService,
    NetAdmin,
    NetRaw,
    SysChroot,
    SysNice,
    Setfcap,
}

impl Capability {
    /// The number that the kernel gives it (`linux/capability.h`).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Chown => 0,
            Self::DacOverride => 1,
            Self::DacReadSearch => 2,
            Self::Fowner => 3,
            Self::Fsetid => 4,
            Self::Kill => 5,
            Self::Setgid => 6,
            Self::Setuid => 7,
            Self::Setpcap => 8,
            Self::NetBindService => 10,
            Self::NetAdmin => 12,
            Self::NetRaw => 13,
            Self::SysChroot => 18,
            Self::SysNice => 23,
            Self::Setfcap => 31,
        }
    }
}

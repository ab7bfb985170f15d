//! The messages of the control interface: HTTP/1.1 and JSON over a unix socket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    status::{Blame, Heartbeat, ManifestState, Subject},
    units::{ByteSize, Timestamp},
};

/// The most bytes of a manifest envelope: the document with room for signatures and chains.
pub const MANIFEST_LIMIT: ByteSize = ByteSize::from_mebibytes(2);
/// The most bytes of one blob.
pub const BLOB_LIMIT: ByteSize = ByteSize::from_mebibytes(8 * 1024);
/// The media type of an error.
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// One step of a plan, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// The room that does it.
    pub room: String,
    /// When in the pass.
    pub phase: Phase,
    /// What it is about.
    pub subject: Subject,
    /// What it does, as a sentence without a full stop.
    pub description: String,
}

/// The phases of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Adds what can stand beside the running thing.
    Prepare,
    /// Takes away.
    Retire,
    /// Sets up.
    Establish,
}

/// The answer to a manifest that was accepted, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// What was accepted.
    pub manifest: ManifestState,
    /// Whether this changed anything: `unchanged` when the same content is held already, `dryRun` when only asked.
    pub outcome: Outcome,
    /// What follows from it, as planned against the state of this moment.
    pub plan: Vec<PlannedStep>,
    /// The agent's at this moment, with the pass under way counted: what a status with more passes says was seen under
    /// this manifest and the guests that are here now.
    pub heartbeat: Heartbeat,
}

/// What became of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is in the ledger now.
    Accepted,
    /// It was in the ledger already.
    Unchanged,
    /// It would be accepted.
    DryRun,
}

/// The plan of this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanAnswer {
    /// What the next pass would do; empty when the device holds what the manifest says.
    pub plan: Vec<PlannedStep>,
}

/// The answer to whoever says that everything is to be started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {
    /// What was held back, each as a sentence.
    pub held: Vec<String>,
}

/// A blob that the device holds in full or in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlobState {
    /// Its digest.
    pub digest: Digest,
    /// Bytes held so far; a push goes on from here.
    pub held: u64,
    /// Whether these are all, and their digest was verified.
    pub complete: bool,
}

/// The blobs that the device holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blobs {
    /// In the order of digests.
    pub blobs: Vec<BlobState>,
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionAnswer {
    /// The agent's version.
    pub agent: String,
    /// The version of this interface: `v1`.
    pub api: String,
    /// What documents may require of the agent ([`crate::feature`]); an agent of before that says nothing.
    #[serde(default)]
    pub features: Vec<String>,
}

/// Why something is as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// Its status.
    pub status: crate::status::SubjectStatus,
    /// What the next pass would do about it.
    pub plan: Vec<PlannedStep>,
    /// When it is tried again, if something failed.
    pub retry_at: Option<Timestamp>,
    /// The last events about it, oldest first.
    pub events: Vec<Event>,
}

/// What a container wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerOutput {
    /// The container.
    pub container: crate::name::Name,
    /// The last 64 KiB at most of its standard output and error, since the agent started; what is not UTF-8 is replaced.
    pub text: String,
}

/// Something that happened; also a line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Rises by one with each event of this device.
    pub number: u64,
    /// Wall time.
    pub at: Timestamp,
    /// What happened: `ManifestAccepted`, `ManifestRefused`, `StepDone`, `StepFailed`, `Converged`, ...
    pub kind: String,
    /// What it is about.
    pub subject: Option<Subject>,
    /// Who caused it: a container and a user in it, or the device itself.
    pub actor: String,
    /// What for a person to read.
    pub message: String,
}

/// An error (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A stable name for programs, `urn:catenoid:error:<name>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One line for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The whole chain of causes.
    pub detail: String,
    /// Who must act.
    pub blame: Blame,
    /// What to do, if there is one thing.
    pub hint: Option<String>,
}

//! What a pass works with, and what is remembered from one to the next.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use catenoid_core::Retries;
use catenoid_house::Doors;
use catenoid_schema::{
    digest::Digest,
    status::{Blame, Subject},
};
use tokio::sync::watch;

use super::status::Snapshot;
use crate::{accept::manifest::AcceptedManifest, record::audit::Audit};

/// Whether the agent ends: no step is begun any more.
pub(super) static ENDS: AtomicBool = AtomicBool::new(false);
/// As the room of a failure: that a room could not be observed.
pub(super) const OBSERVE: &str = "observe";

/// The rooms' doors, and what is remembered between passes: failures to pause after, never facts.
pub(crate) struct Pass {
    pub(super) doors: Doors,
    pub(super) gate: Gate,
    pub(super) audit: Arc<Audit>,
    pub(super) retries: Retries,
    pub(super) failures: BTreeMap<Subject, StepFailure>,
    /// The manifest of the last pass.
    pub(super) digest: Option<Digest>,
    /// What the last pass left behind.
    pub(super) snapshot: Snapshot,
}

impl Pass {
    /// With these doors. `gate` is the intake's.
    pub(crate) fn new(doors: Doors, audit: Arc<Audit>, gate: Gate) -> Self {
        let (retries, failures, snapshot) = (Retries::default(), BTreeMap::new(), Snapshot::default());
        Self { doors, gate, audit, retries, failures, digest: None, snapshot }
    }
}

/// Closed while a manifest is accepted: see [`crate::accept::intake::Intake`].
pub(super) type Gate = Arc<tokio::sync::Mutex<()>>;

/// What was accepted last.
pub(crate) type AcceptedReceiver = watch::Receiver<Option<Arc<AcceptedManifest>>>;

/// A step that failed, or a room that could not be observed.
#[derive(Debug, Clone)]
pub(super) struct StepFailure {
    /// The room whose step failed, or [`OBSERVE`].
    pub room: &'static str,
    /// What failed, and why.
    pub message: String,
    /// Who must act.
    pub blame: Blame,
}

/// No step is begun from now on: what ends with the device is not set up again.
pub(crate) fn begin_no_more() {
    ENDS.store(true, Ordering::Relaxed);
}

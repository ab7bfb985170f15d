//! What the agent keeps for itself on the data partition (ledger, audit log, room for pushes, boots), and the settings of the
//! kernel: looked after in each pass. What can be mended is mended; the rest is reported as subjects of the status, as long as
//! it lasts.

use std::sync::Arc;

use catenoid_core::chain;
use catenoid_guests::Store;
use catenoid_kernel_boot::settings;
use catenoid_schema::status::{Condition, Facts, Health, Kind, Subject, SubjectStatus, Sync};

use super::hold::Holds;
use crate::{
    accept::intake::Intake,
    record::{audit::Audit, condition::condition, event::NewEvent},
};

/// What is looked after.
pub(crate) struct Upkeep {
    /// Has the ledger.
    pub intake: Arc<Intake>,
    /// Where blobs are pushed to.
    pub store: Arc<Store>,
    /// What is held back.
    pub holds: Arc<Holds>,
    /// What happened.
    pub audit: Arc<Audit>,
}

impl Upkeep {
    /// Looks after everything; the subjects that something is wrong with.
    pub(crate) fn look(&self) -> Vec<SubjectStatus> {
        let ledger = self.intake.look_after();
        let audit = self.audit.look_after().map(|fault| {
            let message = format!("events wait in memory until they can be written: {fault}");
            condition("AuditLogUnwritable", message)
        });
        let audit = audit.into_iter().collect();
        let boot = self.holds.boot_condition().into_iter().collect();
        let subjects =
            [("ledger", ledger), ("audit", audit), ("disk", self.disk()), ("kernel", self.kernel()), ("boot", boot)];
        let wrong = subjects.into_iter().filter(|(_, conditions)| !conditions.is_empty());
        wrong.map(|(name, conditions)| subject(name, conditions)).collect()
    }

    /// Puts the kernel's settings right; what cannot be stays reported.
    fn kernel(&self) -> Vec<Condition> {
        let differed = settings::settle();
        let (set, stays): (Vec<_>, Vec<_>) = differed.iter().partition(|differed| differed.set.is_ok());
        for differed in set {
            let subject = Some(Subject::new(Kind::State, "kernel"));
            self.audit.note(NewEvent::by_device("KernelSettingHealed", subject, differed.to_string()));
        }
        stays.into_iter().map(|differed| condition("KernelSettingDiffers", differed.to_string())).collect()
    }

    fn disk(&self) -> Vec<Condition> {
        let full = self.store.free_space().map(|free| {
            let left = format!("{} and {} files are left on the data partition", free.bytes, free.files);
            let message = format!("{left}: nothing can be pushed; a manifest that needs less makes room");
            free.is_full.then(|| condition("DiskFull", message))
        });
        let missed = self.store.missed().map(|missed| missed.map(|error| condition("DiskUnreadable", chain(&error))));
        // What keeps one look from an answer mostly keeps the other as well.
        full.and_then(|full| Ok(full.into_iter().chain(missed?).collect()))
            .unwrap_or_else(|error| vec![condition("DiskUnreadable", chain(&error))])
    }
}

/// What is wrong with this part of the device itself is no difference from the manifest.
fn subject(name: &str, conditions: Vec<Condition>) -> SubjectStatus {
    let (sync, health, facts) = (Sync::Synced, Health::Degraded, Facts::default());
    SubjectStatus { subject: Subject::new(Kind::State, name), sync, health, conditions, facts }
}

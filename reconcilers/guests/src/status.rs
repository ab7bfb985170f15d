//! What is reported of each guest.

use std::collections::BTreeSet;

use catenoid_schema::{
    digest::Digest,
    status::{Blame, Condition, Facts, Health, SubjectStatus, Sync},
};

use crate::{Desired, Observed, WantedGuest, model::subject};

/// The status of every guest that is wanted or there.
pub(crate) fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
    let wanted = desired.guests.iter().map(|(descriptor, guest)| wanted(&descriptor.short(), guest, observed));
    let unread = desired.unread.iter().map(unread);
    let known: BTreeSet<String> = desired.guests.keys().chain(&desired.unread).map(Digest::short).collect();
    let there: BTreeSet<&String> = observed.devices.keys().chain(observed.mounts.keys()).collect();
    let others = there.into_iter().filter(|id| !known.contains(*id)).map(|id| superfluous(id));
    wanted.chain(unread).chain(others).collect()
}

fn wanted(id: &str, guest: &WantedGuest, observed: &Observed) -> SubjectStatus {
    let device = observed.device(id, guest);
    let (sync, health, condition) = match (device, observed.is_mounted(id)) {
        (Some(device), true) if device.corrupt => (
            Sync::Synced,
            Health::Degraded,
            Some(corrupt("blocks of its image differ from what was signed; reading them fails")),
        ),
        (Some(_), true) => (Sync::Synced, Health::Healthy, None),
        (Some(device), false) if device.corrupt => (
            Sync::OutOfSync,
            Health::Degraded,
            Some(corrupt("its image differs from what was signed; it is not mounted")),
        ),
        (Some(_), false) if observed.read.contains_key(id) => {
            let message = "all of its image is read, and compared with what was signed".to_owned();
            (Sync::OutOfSync, Health::Progressing, Some(Condition::new("Verifying", message, None)))
        }
        _ if observed.holds(guest) => {
            let mapped = match (device, observed.devices.contains_key(id)) {
                (Some(_), _) => "mapped",
                (None, true) => "mapped through another table",
                (None, false) => "not mapped",
            };
            let mounted = match (observed.is_mounted(id), observed.mounts.contains_key(id)) {
                (true, _) => "mounted",
                (false, true) => "covered by another mount",
                (false, false) => "not mounted",
            };
            let message = format!("its image is {mapped} and {mounted}, not both mapped and mounted");
            (Sync::OutOfSync, Health::Progressing, Some(Condition::new("Activating", message, None)))
        }
        _ if observed.altered.contains(&guest.image) => {
            let message = "its image was altered on the device and discarded; push it again";
            (Sync::OutOfSync, Health::Degraded, Some(corrupt(message)))
        }
        _ => {
            let message = format!("its image {} is not on the device; push it", guest.image);
            let condition = Condition::new("WaitingForBlob", message, Some(Blame::Administrator));
            (Sync::OutOfSync, Health::Missing, Some(condition))
        }
    };
    let facts = [("image", guest.image.to_string()), ("size", guest.size.to_string()), ("id", id.to_owned())];
    let read = observed.read.get(id).map(|percent| ("verified", format!("{percent} %")));
    status_of(&guest.label, sync, health, condition, facts.into_iter().chain(read).collect())
}

fn unread(descriptor: &Digest) -> SubjectStatus {
    let message = format!("its descriptor {descriptor} could not be read; what is mounted stays");
    let condition = Condition::new("WaitingForDescriptor", message, Some(Blame::Administrator));
    status_of(&descriptor.short(), Sync::Unknown, Health::Degraded, Some(condition), Facts::default())
}

fn superfluous(id: &str) -> SubjectStatus {
    let condition = Condition::new("Superfluous", "no container of the manifest is run from it".to_owned(), None);
    status_of(id, Sync::OutOfSync, Health::Progressing, Some(condition), Facts::default())
}

fn status_of(label: &str, sync: Sync, health: Health, condition: Option<Condition>, facts: Facts) -> SubjectStatus {
    SubjectStatus { subject: subject(label), sync, health, conditions: condition.into_iter().collect(), facts }
}

fn corrupt(message: &str) -> Condition {
    Condition::new("ImageCorrupt", message.to_owned(), Some(Blame::Administrator))
}

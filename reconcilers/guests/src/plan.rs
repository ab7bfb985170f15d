//! From what is stored, mapped and mounted to what is wanted.

use std::collections::{BTreeMap, BTreeSet};

use catenoid_core::{Asked, Plan, Planner, Step as _};
use catenoid_schema::{digest::Digest, guest::Guest, status::SubjectStatus};

use crate::{Desired, Observed, ObservedMount, Step, WantedGuest, desired::desired, status::status};

/// The pure half of this room.
#[derive(Debug)]
pub enum GuestsPlanner {}

impl Planner for GuestsPlanner {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    const NAME: &'static str = "guests";
    /// Another manifest may need the image that this one does not.
    const LETS_GO_LAST: bool = true;

    fn desired(asked: &Asked<'_>) -> Desired {
        let read: BTreeMap<Digest, Guest> = asked.guests.values().cloned().collect();
        let named = asked.manifest.guests.values().filter_map(|reference| reference.descriptor);
        let unread = named.filter(|descriptor| !read.contains_key(descriptor)).collect();
        desired(&read, &unread)
    }

    /// A guest whose image is not stored is waited for: it is satisfied as it is, and its status says so.
    fn satisfied(desired: &Desired, observed: &Observed) -> bool {
        let guests = desired.guests.iter().all(|(descriptor, wanted)| {
            let id = descriptor.short();
            let stored = observed.blobs.get(&wanted.image).is_some_and(|blob| blob.size == wanted.size.bytes());
            let device = observed.devices.get(&id).is_some_and(|device| {
                device.image == Some(wanted.image) && device.verity.as_ref() == Some(&wanted.verity)
            });
            let mount = observed.mounts.get(&id);
            !stored || (device && mount == Some(&ObservedMount { device: Some(id), locked: true }))
        });
        let known: BTreeSet<String> = desired.guests.keys().chain(&desired.unread).map(Digest::short).collect();
        let no_others = observed.devices.keys().chain(observed.mounts.keys()).all(|id| known.contains(id));
        let images = || desired.guests.values().map(|wanted| (wanted.image, wanted.size.bytes()));
        let blobs = observed.blobs.iter().all(|(digest, blob)| {
            let sizes: Vec<u64> = images().filter(|(image, _)| image == digest).map(|(_, size)| size).collect();
            let whole = sizes.is_empty() || sizes.contains(&blob.size);
            let reached = !sizes.is_empty() || desired.guests.contains_key(digest);
            whole && (reached || !desired.unread.is_empty() || blob.fresh)
        });
        let altered =
            observed.altered.iter().all(|i| !observed.blobs.contains_key(i) && images().any(|(image, _)| image == *i));
        guests && no_others && blobs && altered && observed.partials.values().all(|fresh| *fresh)
    }

    fn plan(desired: &Desired, observed: &Observed) -> Plan<Step> {
        let mut prepare: Vec<Step> = desired
            .guests
            .iter()
            .flat_map(|(descriptor, wanted)| activate(&descriptor.short(), wanted, observed))
            .collect();
        // A device can be mounted in the place of another guest: it is free once that place is cleared.
        prepare.sort_by_key(|step| !matches!(step, Step::UnmountGuest { .. }));
        // An image that is there in part is in the way of a push.
        prepare.extend(cut(desired, observed));
        let mut prepared = observed.clone();
        for step in &prepare {
            step.effect_on(&mut prepared);
        }
        Plan { prepare, retire: retire(desired, &prepared), establish: Vec::new() }
    }

    /// Guests that cannot be run from, by the digests of their descriptors.
    fn lacking(desired: &Desired, observed: &Observed) -> BTreeMap<String, String> {
        let unread = desired.unread.iter();
        let unread =
            unread.map(|descriptor| (descriptor.to_string(), format!("the descriptor {descriptor} could not be read")));
        let unready = desired.guests.iter().filter_map(|(descriptor, wanted)| {
            let id = descriptor.short();
            let ready = observed.device(&id, wanted).is_some() && observed.is_mounted(&id);
            (!ready).then(|| (descriptor.to_string(), format!("guest `{}` is not mounted", wanted.label)))
        });
        unread.chain(unready).collect()
    }

    fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
        status(desired, observed)
    }
}

/// What leads to a mounted guest, as far as its image is stored.
fn activate(id: &str, wanted: &WantedGuest, observed: &Observed) -> Vec<Step> {
    let (guest, label) = (id.to_owned(), wanted.label.clone());
    // Nothing is taken away because an image is missing.
    if !observed.holds(wanted) {
        return Vec::new();
    }
    let (device, mounted) = (observed.device(id, wanted), observed.is_mounted(id));
    let mut steps = Vec::new();
    match device {
        Some(_) if mounted => return steps,
        Some(device) if device.corrupt => steps.extend([
            Step::UnmapVerity { guest: guest.clone(), label: label.clone() },
            Step::DiscardAltered { label: label.clone(), image: wanted.image },
        ]),
        Some(_) => {}
        // In place: whoever runs from the device reads on, through the right table from then on.
        None => {
            let (guest, label, verity) = (guest.clone(), label.clone(), wanted.verity.clone());
            steps.push(Step::MapVerity { guest, label, image: wanted.image, verity });
        }
    }
    if !mounted {
        if observed.mounts.contains_key(id) {
            steps.insert(0, Step::UnmountGuest { guest: guest.clone(), label: label.clone() });
        }
        if !device.is_some_and(|device| device.corrupt) {
            steps.push(Step::MountGuest { guest, label });
        }
    }
    steps
}

/// The images that have another size than what was signed: the disk lost a part of them.
fn cut(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let is_cut = |digest: &Digest, size: u64| {
        let mut guests = desired.guests.values().filter(|wanted| wanted.image == *digest).peekable();
        guests.peek().is_some() && guests.all(|wanted| wanted.size.bytes() != size)
    };
    let cut = observed.blobs.iter().filter(|(digest, blob)| is_cut(digest, blob.size));
    cut.map(|(digest, _)| Step::RemoveCut { image: *digest }).collect()
}

/// What takes away all that is not wanted.
fn retire(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let known: BTreeSet<String> = desired.guests.keys().chain(&desired.unread).map(Digest::short).collect();
    let unmounts = observed.mounts.keys().filter(|id| !known.contains(*id));
    let unmaps = observed.devices.keys().filter(|id| !known.contains(*id));
    let blobs = observed
        .blobs
        .iter()
        .filter(|(digest, blob)| !desired.reaches(digest) && desired.unread.is_empty() && !blob.fresh);
    let partials = observed.partials.iter().filter(|(_, fresh)| !**fresh);
    let is_image = |digest: &Digest| desired.guests.values().any(|wanted| wanted.image == *digest);
    let altered = observed.altered.iter().filter(|image| observed.blobs.contains_key(image) || !is_image(image));
    unmounts
        .map(|id| Step::UnmountGuest { guest: id.clone(), label: id.clone() })
        .chain(unmaps.map(|id| Step::UnmapVerity { guest: id.clone(), label: id.clone() }))
        .chain(blobs.map(|(digest, _)| Step::RemoveBlob { blob: *digest }))
        .chain(partials.map(|(digest, _)| Step::RemovePartial { blob: *digest }))
        .chain(altered.map(|image| Step::ForgetAltered { image: *image }))
        .collect()
}

//! From what is stored, mapped and mounted to what is wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use catenoid_core::{Asked, Plan, Planner, Step as _};
use catenoid_schema::{
    digest::Digest,
    guest::{Guest, Verity},
    status::{Kind, Subject, SubjectStatus},
};
use serde::{Deserialize, Serialize};

use crate::{
    Desired, WantedGuest,
    desired::desired,
    status::{status, subject},
};

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The blobs that were pushed in full and had the right digest then.
    #[serde(default)]
    pub blobs: BTreeMap<Digest, Blob>,
    /// Images that were found to be altered since, and removed for that.
    #[serde(default)]
    pub altered: BTreeSet<Digest>,
    /// Blobs that are pushed in part, and whether any of it came since the last manifest was accepted.
    #[serde(default)]
    pub partials: BTreeMap<Digest, bool>,
    /// The verity devices of guests, by id.
    #[serde(default)]
    pub devices: BTreeMap<String, Device>,
    /// What is mounted where guests are, by id.
    #[serde(default)]
    pub mounts: BTreeMap<String, Mount>,
    /// How much of the images that are read whole was what was signed by now, in hundredths, by the guest's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub read: BTreeMap<String, u8>,
}

/// A stored blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    /// Bytes.
    pub size: u64,
    /// Whether it was pushed since the last manifest was accepted: then it may be for the next one, and stays.
    pub fresh: bool,
}

/// A verity device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// What it verifies; none if its table is not in the form that we write.
    pub verity: Option<Verity>,
    /// The stored blob that it reads; none if it reads something else.
    pub image: Option<Digest>,
    /// Whether a block was read that is not what was signed.
    pub corrupt: bool,
}

/// A mount where a guest belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// The guest whose device is mounted; none if it is something else, or several things.
    pub device: Option<String>,
    /// Whether it is the whole image, read-only, without devices and set-user-id.
    pub locked: bool,
}

impl Device {
    fn fits(&self, wanted: &WantedGuest) -> bool {
        self.verity.as_ref() == Some(&wanted.verity) && self.image == Some(wanted.image)
    }
}

impl Mount {
    fn fits(&self, id: &str) -> bool {
        self.device.as_deref() == Some(id) && self.locked
    }
}

impl Observed {
    /// Whether the image of `wanted` is stored.
    pub(crate) fn holds(&self, wanted: &WantedGuest) -> bool {
        self.blobs.get(&wanted.image).is_some_and(|blob| blob.size == wanted.size.bytes())
    }

    /// The device of `wanted`, if it is as it should be.
    pub(crate) fn device(&self, id: &str, wanted: &WantedGuest) -> Option<&Device> {
        self.devices.get(id).filter(|device| device.fits(wanted))
    }

    /// Whether the guest is mounted as it should be.
    pub(crate) fn is_mounted(&self, id: &str) -> bool {
        self.mounts.get(id).is_some_and(|mount| mount.fits(id))
    }

    /// How this will be seen once another manifest is accepted: nothing was pushed since.
    pub fn settle(&mut self) {
        self.blobs.values_mut().map(|blob| &mut blob.fresh).chain(self.partials.values_mut()).for_each(|f| *f = false);
    }

    /// What was named `blob` has no such name any more. Whoever had it open goes on reading it.
    fn unname(&mut self, blob: &Digest) {
        self.blobs.remove(blob);
        for device in self.devices.values_mut().filter(|device| device.image == Some(*blob)) {
            device.image = None;
        }
    }
}

/// One effect of this room. `guest` is the id, `label` what people call the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Step {
    /// Maps the image through dm-verity.
    MapVerity {
        /// Which guest.
        guest: String,
        /// Its name for people.
        label: String,
        /// Its image.
        image: Digest,
        /// What to verify it with.
        verity: Verity,
    },
    /// Reads every block of the device, and mounts it only if each is what was signed.
    MountGuest {
        /// Which guest.
        guest: String,
        /// Its name for people.
        label: String,
    },
    /// Unmounts all that is mounted where the guest belongs.
    UnmountGuest {
        /// Which guest.
        guest: String,
        /// Its name for people.
        label: String,
    },
    /// Removes the verity device.
    UnmapVerity {
        /// Which guest.
        guest: String,
        /// Its name for people.
        label: String,
    },
    /// Removes an image that was altered on the device, and remembers that; it can be pushed again then.
    DiscardAltered {
        /// Its name for people.
        label: String,
        /// Which.
        image: Digest,
    },
    /// Removes a blob that nothing wanted needs.
    RemoveBlob {
        /// Which.
        blob: Digest,
    },
    /// Removes an image that the disk lost a part of; it can be pushed again then.
    RemoveCut {
        /// Which.
        image: Digest,
    },
    /// Removes what came of a blob.
    RemovePartial {
        /// Which.
        blob: Digest,
    },
    /// Forgets that an image was altered.
    ForgetAltered {
        /// Which.
        image: Digest,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MapVerity { label, image, .. } => write!(f, "map image {} of guest `{label}`", image.short()),
            Self::MountGuest { label, .. } => write!(f, "verify and mount guest `{label}`"),
            Self::UnmountGuest { label, .. } => write!(f, "unmount guest `{label}`"),
            Self::UnmapVerity { label, .. } => write!(f, "unmap guest `{label}`"),
            Self::DiscardAltered { label, image } => {
                write!(f, "discard altered image {} of guest `{label}`", image.short())
            }
            Self::RemoveBlob { blob } => write!(f, "remove blob {}", blob.short()),
            Self::RemoveCut { image } => write!(f, "remove image {}, of which a part is lost", image.short()),
            Self::RemovePartial { blob } => write!(f, "remove partial blob {}", blob.short()),
            Self::ForgetAltered { image } => write!(f, "forget that image {} was altered", image.short()),
        }
    }
}

impl catenoid_core::Step for Step {
    type Observed = Observed;

    fn subject(&self) -> Subject {
        match self {
            Self::MapVerity { label, .. }
            | Self::MountGuest { label, .. }
            | Self::UnmountGuest { label, .. }
            | Self::UnmapVerity { label, .. }
            | Self::DiscardAltered { label, .. } => subject(label),
            Self::RemoveBlob { blob }
            | Self::RemoveCut { image: blob }
            | Self::RemovePartial { blob }
            | Self::ForgetAltered { image: blob } => Subject::new(Kind::Blob, blob.short()),
        }
    }

    fn effect_on(&self, observed: &mut Observed) {
        match self {
            Self::MapVerity { guest, image, verity, .. } => {
                let device = Device { verity: Some(verity.clone()), image: Some(*image), corrupt: false };
                observed.devices.insert(guest.clone(), device);
            }
            Self::MountGuest { guest, .. } => {
                observed.mounts.insert(guest.clone(), Mount { device: Some(guest.clone()), locked: true });
                observed.read.remove(guest);
            }
            Self::UnmountGuest { guest, .. } => {
                observed.mounts.remove(guest);
            }
            Self::UnmapVerity { guest, .. } => {
                observed.devices.remove(guest);
                observed.read.remove(guest);
            }
            Self::DiscardAltered { image, .. } => {
                observed.unname(image);
                observed.altered.insert(*image);
            }
            Self::RemoveBlob { blob } | Self::RemoveCut { image: blob } => observed.unname(blob),
            Self::RemovePartial { blob } => {
                observed.partials.remove(blob);
            }
            Self::ForgetAltered { image } => {
                observed.altered.remove(image);
            }
        }
    }
}

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

    /// A guest whose image is not stored is waited for: it is satisfied as it is, and its status tells.
    fn satisfied(desired: &Desired, observed: &Observed) -> bool {
        let guests = desired.guests.iter().all(|(descriptor, wanted)| {
            let id = descriptor.short();
            let stored = observed.blobs.get(&wanted.image).is_some_and(|blob| blob.size == wanted.size.bytes());
            let device = observed.devices.get(&id).is_some_and(|device| {
                device.image == Some(wanted.image) && device.verity.as_ref() == Some(&wanted.verity)
            });
            let mount = observed.mounts.get(&id);
            !stored || (device && mount == Some(&Mount { device: Some(id), locked: true }))
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

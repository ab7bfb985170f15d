//! One effect of this room, and what is there once it is done.

use std::fmt;

use catenoid_schema::{
    digest::Digest,
    guest::Verity,
    status::{Kind, Subject},
};
use serde::Serialize;

use crate::{Observed, ObservedDevice, ObservedMount, model::subject};

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
        /// The image that was altered.
        image: Digest,
    },
    /// Removes a blob that nothing wanted needs.
    RemoveBlob {
        /// The blob that nothing needs.
        blob: Digest,
    },
    /// Removes an image that the disk lost a part of; it can be pushed again then.
    RemoveCut {
        /// The image that is there in part.
        image: Digest,
    },
    /// Removes what came of a blob.
    RemovePartial {
        /// The blob that was pushed in part.
        blob: Digest,
    },
    /// Forgets that an image was altered.
    ForgetAltered {
        /// The image that was altered once.
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
                let device = ObservedDevice { verity: Some(verity.clone()), image: Some(*image), corrupt: false };
                observed.devices.insert(guest.clone(), device);
            }
            Self::MountGuest { guest, .. } => {
                observed.mounts.insert(guest.clone(), ObservedMount { device: Some(guest.clone()), locked: true });
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

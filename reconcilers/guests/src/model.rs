//! What there is of guests: what is stored, mapped and mounted.

use std::collections::{BTreeMap, BTreeSet};

use catenoid_schema::{
    digest::Digest,
    guest::Verity,
    status::{Kind, Subject},
};
use serde::{Deserialize, Serialize};

use crate::WantedGuest;

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
    pub devices: BTreeMap<String, ObservedDevice>,
    /// What is mounted where guests are, by id.
    #[serde(default)]
    pub mounts: BTreeMap<String, ObservedMount>,
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
pub struct ObservedDevice {
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
pub struct ObservedMount {
    /// The guest whose device is mounted; none if it is something else, or several things.
    pub device: Option<String>,
    /// Whether it is the whole image, read-only, without devices and set-user-id.
    pub locked: bool,
}

impl ObservedDevice {
    fn fits(&self, wanted: &WantedGuest) -> bool {
        self.verity.as_ref() == Some(&wanted.verity) && self.image == Some(wanted.image)
    }
}

impl ObservedMount {
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
    pub(crate) fn device(&self, id: &str, wanted: &WantedGuest) -> Option<&ObservedDevice> {
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
    pub(crate) fn unname(&mut self, blob: &Digest) {
        self.blobs.remove(blob);
        for device in self.devices.values_mut().filter(|device| device.image == Some(*blob)) {
            device.image = None;
        }
    }
}

/// The subject that a guest is reported under: by name and version, or by id if nothing else is known of it.
pub(crate) fn subject(label: &str) -> Subject {
    Subject::new(Kind::Guest, label)
}

//! What the manifest and the descriptors of its guests ask of this room.

use std::collections::{BTreeMap, BTreeSet};

use catenoid_schema::{
    digest::Digest,
    guest::{Guest, Verity},
    units::ByteSize,
};
use serde::{Deserialize, Serialize};

/// The guests that are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Desired {
    /// By the digest of their descriptors. The first 64 bits of it name their kernel objects.
    pub guests: BTreeMap<Digest, WantedGuest>,
    /// Descriptors that the manifest names but that could not be read. What belongs to them is left as it is, and no blob
    /// is removed, since it could be an image of theirs.
    #[serde(default)]
    pub unread: BTreeSet<Digest>,
}

/// One guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WantedGuest {
    /// What people call it: name and version.
    pub label: String,
    /// The digest of its image.
    pub image: Digest,
    /// The size of its image with the hash tree.
    pub size: ByteSize,
    /// How each block of it is verified.
    pub verity: Verity,
}

impl Desired {
    /// Whether `blob` is a descriptor or an image of a guest that is wanted.
    pub(crate) fn reaches(&self, blob: &Digest) -> bool {
        self.guests.contains_key(blob) || self.unread.contains(blob) || self.guests.values().any(|g| g.image == *blob)
    }
}

/// What `guests`, by the digests of their verified descriptors, ask of this room. `unread` are the descriptors that the
/// manifest names as well but that could not be read or verified.
#[must_use]
pub fn desired(guests: &BTreeMap<Digest, Guest>, unread: &BTreeSet<Digest>) -> Desired {
    let name = |guest: &Guest| format!("{}@{}", guest.metadata.name, guest.metadata.version);
    let wanted = |(descriptor, guest): (&Digest, &Guest)| {
        // Two descriptors can bear the same name and version: then their digests distinguish them.
        let alone = guests.values().filter(|other| name(other) == name(guest)).count() == 1;
        let label = if alone { name(guest) } else { format!("{}-{}", name(guest), descriptor.short()) };
        let (image, size) = (guest.image.digest, guest.image.size);
        (*descriptor, WantedGuest { label, image, size, verity: guest.image.verity.clone() })
    };
    Desired { guests: guests.iter().map(wanted).collect(), unread: unread.clone() }
}

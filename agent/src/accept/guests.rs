//! The guests that a manifest names: each is there, signed by its own role, and what the manifest says.

use std::{collections::BTreeMap, io, path::Path};

use catenoid_envelope::{Reading, Verified, open_as};
use catenoid_house::{DesiredState, Paths};
use catenoid_kernel_base::files::{self, Entry, Folder};
use catenoid_schema::{
    anchors::Anchors,
    control::BLOB_LIMIT,
    digest::Digest,
    document::Document as _,
    guest::{Architecture, Guest},
    manifest::{GuestReference, GuestVersion, Manifest},
    name::Name,
    units::Timestamp,
};

use super::{absence::Absence, manifest::AcceptedManifest, refused::Refused};
use crate::record::{audit::Audit, event::NewEvent};

/// A descriptor's envelope: the document with room for signatures and chains.
const DESCRIPTOR_LIMIT: u64 = (Guest::LIMITS.bytes + 256 * 1024) as u64;
/// The architecture this agent was built for, and with it the device.
const ARCHITECTURE: Architecture =
    if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };

/// The guests of manifests, as the store holds them.
pub(super) struct StoredGuests<'a> {
    /// Whom the device believes.
    pub anchors: &'a Anchors,
    /// The store's folder.
    pub blobs: &'a Path,
    /// Where it is reported that a blob was altered.
    pub audit: &'a Audit,
}

impl StoredGuests<'_> {
    /// Finds and verifies every guest that the manifest names, and asks `rules` of each before any room hears of it; `broken`
    /// decides what one means that is not there.
    pub(super) fn complete(
        &self,
        verified: Verified<Manifest>,
        accepted_at: Timestamp,
        generation: u64,
        reading: Reading,
        rules: fn(&Name, &Guest) -> Result<(), Refused>,
        broken: &mut dyn FnMut(&Name, Refused) -> Result<(), Refused>,
    ) -> Result<AcceptedManifest, Refused> {
        let digest = verified.digest();
        let manifest = verified.into_document();
        let mut guests = BTreeMap::new();
        for (name, reference) in &manifest.guests {
            let found = self.guest(name, reference, accepted_at, reading);
            match found.and_then(|found| rules(name, &found.1).map(|()| found)) {
                Ok(found) => drop(guests.insert(name.clone(), found)),
                Err(refused) => broken(name, refused)?,
            }
        }
        let wanted = DesiredState::new(&manifest, &guests, &Paths::default());
        Ok(AcceptedManifest { manifest, digest, accepted_at, generation, guests, wanted })
    }

    /// Reads and verifies a descriptor.
    fn guest(
        &self,
        name: &Name,
        reference: &GuestReference,
        at: Timestamp,
        reading: Reading,
    ) -> Result<(Digest, Guest), Refused> {
        let missing = |digest, why| Refused::GuestMissing { guest: name.clone(), what: "descriptor", digest, why };
        let differs = |difference: String| Refused::GuestDiffers { guest: name.clone(), difference };
        let descriptor = reference.descriptor.ok_or_else(|| differs("it has no digest".to_owned()))?;
        let absent = || missing(descriptor, Absence::of(descriptor, self.audit));
        let envelope = self.blob(descriptor)?.ok_or_else(absent)?;
        if envelope.len() as u64 > DESCRIPTOR_LIMIT {
            if self.is_altered(descriptor)? {
                return Err(missing(descriptor, Absence::Altered));
            }
            return Err(differs(format!("what it names has more than {DESCRIPTOR_LIMIT} bytes and is no descriptor")));
        }
        if Digest::of(&envelope) != descriptor {
            self.discard(descriptor)?;
            return Err(missing(descriptor, Absence::Altered));
        }
        let guest: Verified<Guest> = open_as(&envelope, self.anchors, at, reading)
            .map_err(|source| Refused::GuestEnvelope { guest: name.clone(), source })?;
        let guest = guest.into_document();
        let version = GuestVersion { name: guest.metadata.name.clone(), version: guest.metadata.version.clone() };
        if version != reference.reference {
            return Err(differs(format!("the manifest says `{}`, its descriptor `{version}`", reference.reference)));
        }
        if guest.architecture != ARCHITECTURE {
            return Err(differs(format!("it is for {:?}, and this device is {ARCHITECTURE:?}", guest.architecture)));
        }
        Ok((descriptor, guest))
    }

    /// Whether the image of a guest is there in full. That it is what was signed is checked by dm-verity, block by block.
    pub(super) fn image(&self, name: &Name, guest: &Guest) -> Result<(), Refused> {
        let image = &guest.image;
        let missing = |why| Refused::GuestMissing { guest: name.clone(), what: "image", digest: image.digest, why };
        let absent = || missing(Absence::of(image.digest, self.audit));
        let size = self.held(image.digest)?.ok_or_else(absent)?.size;
        if size != image.size.bytes() {
            if self.is_altered(image.digest)? {
                return Err(missing(Absence::Altered));
            }
            let difference = format!("its image has {size} bytes instead of {}", image.size.bytes());
            return Err(Refused::GuestDiffers { guest: name.clone(), difference });
        }
        Ok(())
    }

    /// What the store holds of a blob.
    pub(super) fn held(&self, digest: Digest) -> Result<Option<Entry>, Refused> {
        self.in_store(digest, |blobs, name| blobs.entry(name))
    }

    fn blob(&self, digest: Digest) -> Result<Option<Vec<u8>>, Refused> {
        self.in_store(digest, |blobs, name| blobs.insist(name, || blobs.read_bounded(name, DESCRIPTOR_LIMIT + 1)))
    }

    /// What `look` finds of a blob; nothing where there is no store. Reading makes none.
    fn in_store<T>(
        &self,
        digest: Digest,
        look: impl FnOnce(&Folder, &str) -> Result<Option<T>, files::Error>,
    ) -> Result<Option<T>, Refused> {
        let found =
            Folder::find(self.blobs).and_then(|blobs| blobs.map_or(Ok(None), |blobs| look(&blobs, &digest.to_hex())));
        found.map_err(|source| Refused::Blob { digest, source })
    }

    /// Whether a blob of another size than was signed was altered on the disk, and not signed so. Then it is taken away.
    fn is_altered(&self, digest: Digest) -> Result<bool, Refused> {
        let hash = |blobs: &Folder, name: &str| match blobs.insist(name, || blobs.hash(name)) {
            Err(files::Error::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            hashed => hashed.map(Some),
        };
        // What is larger than any blob was not pushed, and reading it need not end.
        let is_whole = self.held(digest)?.is_some_and(|held| held.size <= BLOB_LIMIT.bytes())
            && self.in_store(digest, hash)?.is_some_and(|actual| Digest::from_bytes(actual) == digest);
        if !is_whole {
            self.discard(digest)?;
        }
        Ok(!is_whole)
    }

    /// Takes away a blob that was altered on the disk: as long as it is there, nobody can push it again.
    fn discard(&self, digest: Digest) -> Result<(), Refused> {
        self.in_store(digest, |blobs, name| blobs.remove(name).map(Some))?;
        let message = format!("`{digest}` was altered on the disk and was removed; it has to be pushed again");
        self.audit.note(NewEvent::by_device("BlobAltered", None, message));
        Ok(())
    }
}

/// Asked when a manifest is taken, and never again.
pub(super) fn keeps_the_rules(name: &Name, guest: &Guest) -> Result<(), Refused> {
    match catenoid_schema::guest::check(guest).first() {
        None => Ok(()),
        Some(violation) => {
            let difference = format!("its descriptor breaks a rule: {violation}");
            Err(Refused::GuestDiffers { guest: name.clone(), difference })
        }
    }
}

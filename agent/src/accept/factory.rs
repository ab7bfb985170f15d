//! The factory bundle: for a device that holds no manifest yet, and for blobs that the store has lost.

use std::{
    collections::BTreeSet,
    io::{self, Read},
};

use catenoid_core::chain;
use catenoid_guests::Store;
use catenoid_kernel_storage::block;
use catenoid_schema::{control::MANIFEST_LIMIT, digest::Digest, feature};

use super::{intake::Intake, refused::Refused};
use crate::{
    init::partition,
    paths::FACTORY_LABEL,
    record::{audit::Audit, event::NewEvent},
};

/// Bytes read from the bundle at a time.
const CHUNK: usize = 1024 * 1024;
/// The most bytes of what a bundle requires: far more names than there are features.
const REQUIRES_BYTES: u64 = 4096;
/// The most entries of a bundle: a manifest and a few guests.
const ENTRIES: usize = 64;

/// Why the factory bundle was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// There is none.
    #[error(transparent)]
    Storage(#[from] partition::Error),
    /// It could not be read.
    #[error("failed to read the factory bundle")]
    Read(#[from] io::Error),
    /// It has an entry that no bundle has.
    #[error("the factory bundle has an unexpected entry `{0}`")]
    Entry(String),
    /// It was made for a later version.
    #[error("newer agent needed: the factory bundle requires {lacking}, which this version does not know")]
    NewerNeeded {
        /// The features, for people.
        lacking: String,
    },
    /// What it requires cannot be read.
    #[error("what the factory bundle requires cannot be read")]
    Requires(#[source] serde_json::Error),
    /// It has no manifest.
    #[error("the factory bundle holds no manifest")]
    NoManifest,
    /// A blob of it is not what it says.
    #[error("a blob of the factory bundle was not taken")]
    Blob(#[from] catenoid_guests::StoreError),
    /// Its manifest is not accepted.
    #[error("the factory manifest was refused")]
    Refused(#[from] Refused),
}

/// Takes from the factory bundle what the device has not: a first manifest, or blobs that the store has lost.
#[derive(Debug, Default)]
pub(crate) struct FactoryRestore {
    /// What was lost at the last try and is not in the bundle: it is not looked for again.
    sought: BTreeSet<Digest>,
    /// Why the last try failed.
    refused: Option<String>,
}

impl FactoryRestore {
    /// Looks whether anything is missing and tries to get it. Without any manifest it tries each time.
    pub(crate) fn look(&mut self, intake: &Intake, store: &Store, audit: &Audit) {
        let holds_nothing = intake.watch().borrow().is_none();
        let lost = intake.missing_blobs();
        if !holds_nothing && lost.is_subset(&self.sought) {
            return;
        }
        let taken = if holds_nothing {
            take_factory_bundle(intake, store).map(|()| BTreeSet::new())
        } else {
            refill(intake, store)
        };
        let refused = match taken {
            Ok(found) => {
                // Not what is lost by now: under a removal that is not over, that is more than was looked for. And what was in
                // the bundle and is lost already again is there to be found again.
                self.sought = lost;
                self.sought.retain(|digest| !found.contains(digest));
                None
            }
            // Nobody knows what is in the bundle: each pass tries again.
            Err(error) => Some(chain(&error)),
        };
        if let Some(message) = refused.clone().filter(|_| refused != self.refused) {
            audit.note(NewEvent::by_device("FactoryBundleRefused", None, message));
        }
        self.refused = refused;
    }
}

/// Takes the factory bundle, by the same acceptance as any other manifest. Its partition is a tar: `requires`, where it needs
/// more than the first version could do, `manifest.cose`, and blobs under `blobs/<64 hex>`.
///
/// # Errors
/// The first thing wrong with it; nothing of it is in force then.
fn take_factory_bundle(intake: &Intake, store: &Store) -> Result<(), BundleError> {
    let device = partition::wait_for_partition(FACTORY_LABEL)?;
    let mut missed = BTreeSet::new();
    loop {
        match take_bundle(intake, store, block::open(&device).map_err(partition::Error::Block)?) {
            // A blob that was altered on the disk is gone now, and is taken from the bundle the next time.
            Err(BundleError::Refused(Refused::GuestMissing { digest, .. })) if missed.insert(digest) => {}
            taken => return taken,
        }
    }
}

/// Takes the bundle that is read from `tar`.
pub(crate) fn take_bundle(intake: &Intake, store: &Store, tar: impl Read) -> Result<(), BundleError> {
    let mut archive = tar::Archive::new(tar);
    let mut manifest = None;
    for entry in archive.entries()?.raw(true).take(ENTRIES) {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if path == "requires" {
            can_read(&mut entry)?;
        } else if path == "manifest.cose" {
            let mut envelope = Vec::new();
            (&mut entry).take(MANIFEST_LIMIT.bytes() + 1).read_to_end(&mut envelope)?;
            manifest = Some(envelope);
        } else if let Some(digest) = path.strip_prefix("blobs/").and_then(|hex| Digest::from_hex(hex).ok()) {
            take_blob(store, digest, &mut entry)?;
        } else {
            return Err(BundleError::Entry(path.escape_default().take(80).collect()));
        }
    }
    Ok(intake.accept_factory(&manifest.ok_or(BundleError::NoManifest)?)?)
}

/// Whether this version can do what the entry names.
fn can_read(entry: &mut impl Read) -> Result<(), BundleError> {
    let mut names = Vec::new();
    entry.take(REQUIRES_BYTES).read_to_end(&mut names)?;
    let names = serde_json::from_slice(&names).map_err(BundleError::Requires)?;
    match feature::lacking(&names) {
        None => Ok(()),
        Some(lacking) => Err(BundleError::NewerNeeded { lacking }),
    }
}

/// Takes from the factory bundle what the accepted manifest needs and the store has lost: with luck the core container's
/// guest is among it, and then somebody can push the rest. Gives what it found.
///
/// # Errors
/// The first thing wrong with the bundle.
fn refill(intake: &Intake, store: &Store) -> Result<BTreeSet<Digest>, BundleError> {
    let mut all = BTreeSet::new();
    // Descriptors first: they name the images.
    for _ in 0..2 {
        let (lost, before) = (intake.missing_blobs(), all.len());
        if lost.is_empty() {
            break;
        }
        let device = partition::wait_for_partition(FACTORY_LABEL)?;
        let mut archive = tar::Archive::new(block::open(&device).map_err(partition::Error::Block)?);
        for entry in archive.entries()?.raw(true).take(ENTRIES) {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let digest = path.strip_prefix("blobs/").and_then(|hex| Digest::from_hex(hex).ok());
            if let Some(digest) = digest.filter(|digest| lost.contains(digest)) {
                take_blob(store, digest, &mut entry)?;
                all.insert(digest);
            }
        }
        if all.len() == before {
            break;
        }
        intake.recover_blobs(all.len() - before);
    }
    Ok(all)
}

fn take_blob(store: &Store, digest: Digest, from: &mut impl Read) -> Result<(), BundleError> {
    if store.state(digest)?.is_some_and(|state| state.complete) {
        return Ok(());
    }
    // What is there in part need not be a part of it, and then the whole would be refused.
    store.begin_anew(digest)?;
    let mut offset = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        store.restore(digest, offset, &chunk[..count])?;
        offset += count as u64;
    }
    store.finish(digest)?;
    Ok(())
}

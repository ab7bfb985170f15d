//! The accepted manifest, with all that was verified for it.

use std::collections::BTreeMap;

use catenoid_house::DesiredState;
use catenoid_schema::{
    digest::Digest, guest::Guest, manifest::Manifest, name::Name, status::ManifestState, units::Timestamp,
};

/// An accepted manifest with all that was verified for it.
#[derive(Debug)]
pub(crate) struct AcceptedManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// Digest of its content.
    pub digest: Digest,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Its number in the ledger; 0 while it is not in there.
    pub generation: u64,
    /// Its guests by their name in it, each with the digest of its descriptor. One whose descriptor was lost since it was
    /// accepted is not here; its containers wait.
    pub guests: BTreeMap<Name, (Digest, Guest)>,
    /// What all of that asks of the rooms.
    pub wanted: DesiredState,
}

impl AcceptedManifest {
    /// What names it in status.
    pub(crate) fn state(&self) -> ManifestState {
        let metadata = &self.manifest.metadata;
        ManifestState {
            name: metadata.name.clone(),
            sequence: metadata.sequence,
            digest: self.digest,
            since: self.accepted_at,
        }
    }
}

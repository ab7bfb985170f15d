//! Whether this device may take a manifest that it believes.

use catenoid_schema::{
    digest::Digest,
    foreign::listed,
    manifest::{
        Manifest,
        check::{self, Stage, Violation},
    },
    name::Serial,
    status::Blame,
    units::Timestamp,
};

use crate::open::Verified;

/// What the device knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The serial that manifests target.
    pub serial: Serial,
    /// The manifest that the ledger holds.
    pub accepted: Option<AcceptedFacts>,
}

/// What the ledger says of the accepted manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedFacts {
    /// Its sequence.
    pub sequence: u64,
    /// The highest epoch that was ever accepted.
    pub epoch: u64,
    /// Its digest.
    pub digest: Digest,
}

/// What may be done with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// It takes the place of what is held.
    New(Verified<Manifest>),
    /// It is what is held.
    Unchanged(Verified<Manifest>),
}

impl Admitted {
    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Verified<Manifest> {
        let (Self::New(manifest) | Self::Unchanged(manifest)) = self;
        manifest
    }
}

/// Why this device does not take a manifest that it believes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Meant for others.
    #[error("the manifest is for {targets}, and this is `{serial}`")]
    Target {
        /// This device.
        serial: Serial,
        /// The devices that it names, cut to a readable length.
        targets: String,
    },
    /// Below the security floor.
    #[error("epoch {found} is below {floor}, which this device has accepted")]
    Epoch {
        /// The manifest's.
        found: u64,
        /// The device's.
        floor: u64,
    },
    /// Older than what is held.
    #[error("sequence {found} is older than {held}, which this device has accepted")]
    SequenceOlder {
        /// The manifest's.
        found: u64,
        /// The device's.
        held: u64,
    },
    /// The same sequence was signed twice.
    #[error("sequence {sequence} was accepted before with other content (`{held}`, this is `{found}`)")]
    SequenceReused {
        /// The sequence of both.
        sequence: u64,
        /// The digest of the accepted one.
        held: Digest,
        /// The digest of this one.
        found: Digest,
    },
    /// Too early.
    #[error("the manifest is not valid before {not_before}, and it is {at}")]
    NotYetValid {
        /// When it begins.
        not_before: Timestamp,
        /// The device's time.
        at: Timestamp,
    },
    /// Too late.
    #[error("the manifest was valid until {not_after}, and it is {at}")]
    Expired {
        /// When it ended.
        not_after: Timestamp,
        /// The device's time.
        at: Timestamp,
    },
    /// A rule of the manifest is broken.
    #[error("the manifest breaks {count} rules, first `{first}`", count = violations.len(), first = first(violations))]
    Violations {
        /// All of them.
        violations: Vec<Violation>,
    },
}

fn first(violations: &[Violation]) -> String {
    violations.first().map_or_else(String::new, ToString::to_string)
}

impl Refusal {
    /// A stable name for programs: the last part of `urn:catenoid:error:<name>`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Target { .. } => "manifest-other-target",
            Self::Epoch { .. } => "manifest-epoch-below-floor",
            Self::SequenceOlder { .. } => "manifest-sequence-older",
            Self::SequenceReused { .. } => "manifest-sequence-reused",
            Self::NotYetValid { .. } => "manifest-not-yet-valid",
            Self::Expired { .. } => "manifest-expired",
            Self::Violations { .. } => "manifest-breaks-rules",
        }
    }

    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        Blame::ManifestAuthor
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Target { .. } => "add the serial to `target.serials` and sign again, or apply it to the right device",
            Self::Epoch { .. } => "raise `metadata.epoch` and sign again",
            Self::SequenceOlder { .. } => "to go back, sign the old content under a new `metadata.sequence`",
            Self::SequenceReused { .. } => "raise `metadata.sequence` and sign again",
            Self::NotYetValid { .. } => "apply it later; if it is later already, check the clock of the device",
            Self::Expired { .. } => "move `metadata.notAfter` and sign again",
            Self::Violations { .. } => "run `catenoid-sign check` on the manifest, which shows each at its place",
        })
    }
}

/// Decides whether the device with `facts` takes `verified` at `at`, as [`judge`] does. Has no part in reading the ledger
/// back: what was accepted stays accepted ([`meant_for`]).
///
/// [req->TSF-UPDATE]
///
/// # Errors
/// The first [`Refusal`].
pub fn admit(verified: Verified<Manifest>, facts: &DeviceFacts, at: Timestamp) -> Result<Admitted, Refusal> {
    match judge(verified.document(), verified.digest(), facts, at)? {
        Verdict::New => Ok(Admitted::New(verified)),
        Verdict::Unchanged => Ok(Admitted::Unchanged(verified)),
    }
}

/// What a device with certain facts makes of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the place of what is held.
    New,
    /// It is what is held.
    Unchanged,
}

/// What the device with `facts` would make of `manifest`, whose bytes have `digest`, once its signatures held: target,
/// epoch, sequence, validity, rules, in this order. For the build host, which plans before anything is signed.
///
/// # Errors
/// The first [`Refusal`].
pub fn judge(manifest: &Manifest, digest: Digest, facts: &DeviceFacts, at: Timestamp) -> Result<Verdict, Refusal> {
    let metadata = &manifest.metadata;
    meant_for(manifest, &facts.serial)?;
    if let Some(held) = facts.accepted {
        if metadata.epoch < held.epoch {
            return Err(Refusal::Epoch { found: metadata.epoch, floor: held.epoch });
        }
        if metadata.sequence < held.sequence {
            return Err(Refusal::SequenceOlder { found: metadata.sequence, held: held.sequence });
        }
        if metadata.sequence == held.sequence {
            return if digest == held.digest {
                Ok(Verdict::Unchanged)
            } else {
                Err(Refusal::SequenceReused { sequence: held.sequence, held: held.digest, found: digest })
            };
        }
    }
    if let Some(not_before) = metadata.not_before.filter(|start| at < *start) {
        return Err(Refusal::NotYetValid { not_before, at });
    }
    if at > metadata.not_after {
        return Err(Refusal::Expired { not_after: metadata.not_after, at });
    }
    let violations = check::check(manifest, Stage::Signed);
    if violations.is_empty() { Ok(Verdict::New) } else { Err(Refusal::Violations { violations }) }
}

/// Whether the device with `serial` is among those that `manifest` names. This is all that is asked of a manifest that was
/// accepted before, besides its signatures: a rule that was tightened since must not take it from a device.
///
/// # Errors
/// [`Refusal::Target`].
pub fn meant_for(manifest: &Manifest, serial: &Serial) -> Result<(), Refusal> {
    if manifest.target.serials.contains(serial) {
        return Ok(());
    }
    let targets = listed(manifest.target.serials.iter(), SHOWN_TARGETS).unwrap_or_else(|| "no device".to_owned());
    Err(Refusal::Target { serial: serial.clone(), targets })
}

/// The most serials in a message.
const SHOWN_TARGETS: usize = 3;

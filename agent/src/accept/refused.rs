//! Why a manifest is not accepted, with who must act.

use catenoid_kernel_base::files;
use catenoid_schema::{control::MANIFEST_LIMIT, digest::Digest, name::Name, status::Blame};

use super::{absence::Absence, ledger};

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Over the limit.
    #[error("an envelope of {size} bytes is over the limit of {MANIFEST_LIMIT}")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// Not believed.
    #[error("the manifest is not believed")]
    Envelope(#[from] catenoid_envelope::Error),
    /// Believed, but not for this device at this moment.
    #[error("the manifest cannot be taken")]
    Admission(#[from] catenoid_envelope::Refusal),
    /// A guest is not on the device.
    #[error("guest `{guest}` is not there: its {what} `{digest}` {why}")]
    GuestMissing {
        /// Its name in the manifest.
        guest: Name,
        /// Which part of it.
        what: &'static str,
        /// The blob that is wanted.
        digest: Digest,
        /// What became of it.
        why: Absence,
    },
    /// A guest is there but not believed.
    #[error("guest `{guest}` is not believed")]
    GuestEnvelope {
        /// Its name in the manifest.
        guest: Name,
        /// The cause.
        source: catenoid_envelope::Error,
    },
    /// A guest is believed but is not what the manifest says.
    #[error("guest `{guest}` is not what the manifest says: {difference}")]
    GuestDiffers {
        /// Its name in the manifest.
        guest: Name,
        /// In what.
        difference: String,
    },
    /// A blob could not be read.
    #[error("failed to read blob `{digest}`")]
    Blob {
        /// The blob.
        digest: Digest,
        /// The cause.
        source: files::Error,
    },
    /// It could not be written down.
    #[error("the manifest could not be kept")]
    Ledger(#[from] ledger::Error),
}

impl Refused {
    /// The stable name of the reason, for programs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Envelope(error) => error.name(),
            Self::Admission(refusal) => refusal.name(),
            Self::GuestMissing { .. } => "guest-missing",
            Self::GuestEnvelope { source, .. } => source.name(),
            Self::GuestDiffers { .. } => "guest-differs",
            Self::Blob { .. } => "blob-unreadable",
            Self::Ledger(_) => "ledger-unwritable",
        }
    }

    /// Who must act.
    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::TooLarge { .. } | Self::GuestDiffers { .. } => Blame::ManifestAuthor,
            Self::Envelope(error) | Self::GuestEnvelope { source: error, .. } => error.blame(),
            Self::Admission(refusal) => refusal.blame(),
            Self::GuestMissing { .. } | Self::Blob { .. } | Self::Ledger(_) => Blame::Administrator,
        }
    }

    /// What to do about it, if there is one thing.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Envelope(error) | Self::GuestEnvelope { source: error, .. } => error.hint(),
            Self::Admission(refusal) => refusal.hint(),
            Self::GuestMissing { why, .. } => Some(why.hint()),
            Self::Ledger(_) => Some("look for a full or failing disk; what runs goes on running"),
            Self::TooLarge { .. } | Self::GuestDiffers { .. } | Self::Blob { .. } => None,
        }
    }
}

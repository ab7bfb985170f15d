//! From bytes to an accepted manifest: the only way by which the device's desired state changes.
//!
//! size -> signatures and role -> target, epoch, sequence, validity, meaning -> every guest there, signed by its own role
//! and whole -> ledger. Nothing is changed before the last step; a refusal is an event with its reason.
//!
//! [req->TSF-INIT] [req->TSF-UPDATE] [req->APS-01] [req->APS-02]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use catenoid_envelope::{Admitted, DeviceFacts, Verified, admit, open};
use catenoid_schema::{
    anchors::Anchors,
    control::{MANIFEST_LIMIT, Outcome},
    digest::Digest,
    document::Document as _,
    guest::{Architecture, Guest},
    manifest::{GuestReference, GuestVersion, Manifest},
    name::{Name, Serial},
    status::{Blame, ManifestState},
    units::Timestamp,
};
use tokio::sync::watch;

use crate::{
    audit::{Audit, Happening},
    clock,
    ledger::{self, Ledger},
};

/// A descriptor's envelope: the document with room for signatures and chains.
const DESCRIPTOR_LIMIT: u64 = (Guest::LIMITS.bytes + 256 * 1024) as u64;

/// An accepted manifest with all that was verified for it.
#[derive(Debug)]
pub(crate) struct Target {
    /// The manifest.
    pub manifest: Manifest,
    /// Digest of its content.
    pub digest: Digest,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Its guests by their name in it, each with the digest of its descriptor. One whose descriptor was lost since it was
    /// accepted is not here; its containers wait.
    pub guests: BTreeMap<Name, (Digest, Guest)>,
}

impl Target {
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
    #[error("guest `{guest}` was never pushed: its {what} `{digest}` is not on this device")]
    GuestMissing {
        /// Its name in the manifest.
        guest: Name,
        /// Which part of it.
        what: &'static str,
        /// The blob that is wanted.
        digest: Digest,
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
        /// Which one.
        digest: Digest,
        /// The cause.
        source: io::Error,
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
            Self::GuestMissing { .. } => Some("push it first: `catenoid apply --guests FOLDER` does both"),
            Self::Ledger(_) => Some("look for a full or failing disk; what runs goes on running"),
            Self::TooLarge { .. } | Self::GuestDiffers { .. } | Self::Blob { .. } => None,
        }
    }
}

/// A manifest that may be accepted.
pub(crate) struct Candidate {
    /// What it is.
    pub target: Target,
    /// Whether it is what is held already.
    pub outcome: Outcome,
    envelope: Vec<u8>,
}

/// The gate: anchors, serial and ledger in one hand.
pub(crate) struct Intake {
    anchors: Anchors,
    serial: Serial,
    blobs: PathBuf,
    ledger: Mutex<Ledger>,
    /// Held while a manifest is looked at and accepted, and while the pass removes blobs: what a manifest was found to
    /// need is not removed before it is accepted.
    gate: std::sync::Arc<tokio::sync::Mutex<()>>,
    accepted: watch::Sender<Option<std::sync::Arc<Target>>>,
    audit: std::sync::Arc<Audit>,
}

impl Intake {
    /// Opens the gate and takes up what the ledger holds: the newest entry whose signatures hold. One that lost a guest
    /// since is taken up all the same, for going back to an older one would be worse.
    ///
    /// # Errors
    /// If the ledger cannot be read at all.
    pub(crate) fn open(
        anchors: Anchors,
        serial: Serial,
        data: &Path,
        audit: std::sync::Arc<Audit>,
        gate: std::sync::Arc<tokio::sync::Mutex<()>>,
    ) -> Result<Self, ledger::Error> {
        let ledger = Ledger::open(&data.join("ledger"))?;
        let held = ledger.read()?;
        let intake = Self {
            anchors,
            serial,
            blobs: data.join("blobs"),
            ledger: Mutex::new(ledger),
            gate,
            accepted: watch::Sender::new(None),
            audit,
        };
        for corrupt in &held.corrupt {
            intake.tell("LedgerSlotCorrupt", chain(corrupt));
        }
        let floor = held.floor();
        for entry in held.entries {
            // One that is older was superseded; below the security floor it must not run, whatever became of the newer.
            if entry.floor.epoch < floor.epoch {
                intake.tell(
                    "LedgerEntryRefused",
                    format!("generation {}: below epoch {}", entry.generation, floor.epoch),
                );
                continue;
            }
            match intake.replay(&entry) {
                Ok(target) => {
                    intake.accepted.send_replace(Some(target.into()));
                    break;
                }
                Err(refused) => {
                    intake.tell("LedgerEntryRefused", format!("generation {}: {}", entry.generation, chain(&refused)));
                }
            }
        }
        Ok(intake)
    }

    /// The accepted manifest, and a call for whoever wants to know of the next.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<std::sync::Arc<Target>>> {
        self.accepted.subscribe()
    }

    /// Verifies `envelope` as if it were to be accepted; changes nothing.
    ///
    /// # Errors
    /// The first reason against it; the caller audits it with [`Intake::refused`].
    pub(crate) fn consider(&self, envelope: &[u8]) -> Result<Candidate, Refused> {
        let at = clock::now();
        let verified = self.believe(envelope, at)?;
        let held = self.accepted.borrow().clone();
        let floor = self.ledger().read()?.floor();
        let accepted = held.as_ref().map(|target| catenoid_envelope::Held {
            sequence: floor.sequence.max(target.manifest.metadata.sequence),
            epoch: floor.epoch.max(target.manifest.metadata.epoch),
            digest: target.digest,
        });
        let facts = DeviceFacts { serial: self.serial.clone(), accepted };
        let (verified, outcome) = match admit(verified, &facts, at)? {
            Admitted::New(verified) => (verified, Outcome::Accepted),
            Admitted::Unchanged(verified) => (verified, Outcome::Unchanged),
        };
        let accepted_at = match (outcome, held) {
            (Outcome::Unchanged, Some(held)) => held.accepted_at,
            _ => at,
        };
        let target = self.complete(verified, accepted_at, &mut |_, refused| Err(refused))?;
        target.guests.iter().try_for_each(|(name, (_, guest))| self.image(name, guest))?;
        Ok(Candidate { target, outcome, envelope: envelope.to_vec() })
    }

    /// Verifies `envelope`, writes it to the ledger and makes it the desired state. `actor` is who brought it.
    ///
    /// # Errors
    /// As [`Intake::consider`]; or [`Refused::Ledger`]. In each case what was accepted before stays.
    pub(crate) fn accept(&self, envelope: &[u8], actor: &str) -> Result<(std::sync::Arc<Target>, Outcome), Refused> {
        // Held to the end: two manifests at once are taken one after the other, each seeing the one before.
        let _gate = self.gate.blocking_lock();
        let candidate = self.consider(envelope)?;
        let target = std::sync::Arc::new(candidate.target);
        if candidate.outcome == Outcome::Unchanged {
            // A guest that was lost may have been pushed again.
            let found = |held: &std::sync::Arc<Target>| held.guests.len() < target.guests.len();
            self.accepted.send_if_modified(|held| {
                let more = held.as_ref().is_some_and(found);
                if more {
                    *held = Some(target.clone());
                }
                more
            });
            return Ok((target, Outcome::Unchanged));
        }
        let metadata = &target.manifest.metadata;
        let floor = ledger::Floor { epoch: metadata.epoch, sequence: metadata.sequence };
        self.ledger().write(&candidate.envelope, target.accepted_at, floor)?;
        let state = target.state();
        self.audit.note(Happening {
            kind: "ManifestAccepted",
            subject: None,
            actor: actor.to_owned(),
            message: format!("`{}` sequence {} ({})", state.name, state.sequence, state.digest),
        });
        self.accepted.send_replace(Some(target.clone()));
        Ok((target, Outcome::Accepted))
    }

    /// Audits a refusal.
    pub(crate) fn refused(&self, refused: &Refused, actor: &str) {
        let message = format!("{}: {}", refused.name(), chain(refused));
        self.audit.note(Happening { kind: "ManifestRefused", subject: None, actor: actor.to_owned(), message });
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // It holds no state but a path.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, kind: &'static str, message: String) {
        self.audit.note(Happening::by_device(kind, None, message));
    }

    fn believe(&self, envelope: &[u8], at: Timestamp) -> Result<Verified<Manifest>, Refused> {
        if envelope.len() as u64 > MANIFEST_LIMIT.bytes() {
            return Err(Refused::TooLarge { size: envelope.len() });
        }
        Ok(open(envelope, &self.anchors, at)?)
    }

    /// Takes up an entry of the ledger again, as of the moment when it was accepted.
    fn replay(&self, entry: &ledger::Entry) -> Result<Target, Refused> {
        let verified = self.believe(&entry.envelope, entry.accepted_at)?;
        let facts = DeviceFacts { serial: self.serial.clone(), accepted: None };
        let admitted = admit(verified, &facts, entry.accepted_at)?;
        let (Admitted::New(verified) | Admitted::Unchanged(verified)) = admitted;
        self.complete(verified, entry.accepted_at, &mut |name, refused| {
            self.tell("GuestBroken", format!("`{name}`: {}", chain(&refused)));
            Ok(())
        })
    }

    /// Finds and verifies every guest that the manifest names; `broken` decides what one means that is not there.
    fn complete(
        &self,
        verified: Verified<Manifest>,
        accepted_at: Timestamp,
        broken: &mut dyn FnMut(&Name, Refused) -> Result<(), Refused>,
    ) -> Result<Target, Refused> {
        let digest = verified.digest();
        let manifest = verified.into_document();
        let mut guests = BTreeMap::new();
        for (name, reference) in &manifest.guests {
            match self.guest(name, reference, accepted_at) {
                Ok(found) => drop(guests.insert(name.clone(), found)),
                Err(refused) => broken(name, refused)?,
            }
        }
        Ok(Target { manifest, digest, accepted_at, guests })
    }

    /// Reads and verifies a descriptor.
    fn guest(&self, name: &Name, reference: &GuestReference, at: Timestamp) -> Result<(Digest, Guest), Refused> {
        let missing = |what, digest| Refused::GuestMissing { guest: name.clone(), what, digest };
        let differs = |difference: String| Refused::GuestDiffers { guest: name.clone(), difference };
        let descriptor = reference.descriptor.ok_or_else(|| differs("it has no digest".to_owned()))?;
        let envelope = self.blob(descriptor)?.ok_or_else(|| missing("descriptor", descriptor))?;
        if Digest::of(&envelope) != descriptor {
            return Err(differs("its descriptor was altered on the disk".to_owned()));
        }
        let guest: Verified<Guest> = open(&envelope, &self.anchors, at)
            .map_err(|source| Refused::GuestEnvelope { guest: name.clone(), source })?;
        let guest = guest.into_document();
        if let Some(violation) = catenoid_schema::guest::check(&guest).first() {
            return Err(differs(format!("its descriptor breaks a rule: {violation}")));
        }
        let version = GuestVersion { name: guest.metadata.name.clone(), version: guest.metadata.version.clone() };
        if version != reference.reference {
            return Err(differs(format!("the manifest says `{}`, its descriptor `{version}`", reference.reference)));
        }
        if guest.architecture != ARCHITECTURE {
            return Err(differs(format!("it is for {:?}, and this device is {ARCHITECTURE:?}", guest.architecture)));
        }
        Ok((descriptor, guest))
    }

    /// Whether the image of a guest is there in full. That it is what was signed is told by dm-verity, block by block.
    fn image(&self, name: &Name, guest: &Guest) -> Result<(), Refused> {
        let image = &guest.image;
        let size = match fs::metadata(self.blobs.join(image.digest.to_hex())) {
            Ok(metadata) => metadata.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Refused::GuestMissing { guest: name.clone(), what: "image", digest: image.digest });
            }
            Err(source) => return Err(Refused::Blob { digest: image.digest, source }),
        };
        if size != image.size.bytes() {
            let difference = format!("its image has {size} bytes instead of {}", image.size.bytes());
            return Err(Refused::GuestDiffers { guest: name.clone(), difference });
        }
        Ok(())
    }

    fn blob(&self, digest: Digest) -> Result<Option<Vec<u8>>, Refused> {
        let file = match File::open(self.blobs.join(digest.to_hex())) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Refused::Blob { digest, source }),
        };
        let mut bytes = Vec::new();
        file.take(DESCRIPTOR_LIMIT).read_to_end(&mut bytes).map_err(|source| Refused::Blob { digest, source })?;
        Ok(Some(bytes))
    }
}

/// The architecture this agent was built for, and with it the device.
const ARCHITECTURE: Architecture =
    if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

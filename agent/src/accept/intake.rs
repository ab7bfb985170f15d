//! From bytes to an accepted manifest: the only way by which the device's desired state changes.
//!
//! size -> signatures and role -> target, epoch, sequence, validity, meaning -> every guest there, signed by its own role
//! and whole -> ledger. Nothing is changed before the last step; a refusal is an event with its reason.
//!
//! [req->TSF-INIT] [req->TSF-UPDATE] [req->APS-01] [req->APS-02]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use catenoid_core::chain;
use catenoid_envelope::{
    Admitted, DeviceFacts, NEWER_AGENT_NEEDED, Reading, Unverified, Verified, admit, meant_for, open_as,
};
use catenoid_guests::Generation;
use catenoid_kernel_base::lock;
use catenoid_schema::{
    anchors::Anchors,
    control::{Event, MANIFEST_LIMIT, Outcome},
    digest::Digest,
    document::Document as _,
    guest::Guest,
    manifest::{Manifest, check},
    name::{Name, Serial},
    status::Condition,
    units::Timestamp,
};
use tokio::sync::watch;

use super::{
    guests::{StoredGuests, keeps_the_rules},
    ledger::{self, Ledger},
    ledger_warning::{ACCEPTED, FACTORY, RESTORED, ledger_warning},
    manifest::AcceptedManifest,
    refused::Refused,
};
use crate::{
    clock,
    init::boots::Level,
    record::{audit::Audit, condition::condition, event::NewEvent},
};

/// The kind of the event that the ledger has a manifest of which nobody knows who brought it.
const FOUND: &str = "ManifestFound";

/// A manifest that may be accepted.
pub(crate) struct Candidate {
    /// What it is.
    pub target: AcceptedManifest,
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
    /// What the ledger lost while nobody looked, as a condition of it, until somebody brings the newest manifest again.
    ledger_warning: Mutex<Option<Condition>>,
    /// That the newest entry of the ledger was written for a later version: an older one, or the factory's manifest, stands in.
    newer: Mutex<Option<Condition>>,
    /// That the factory's manifest is to stand in after too many unclean boots, until somebody says otherwise.
    stand_in: AtomicBool,
    /// Guests of the accepted manifest that are there and could not be read, with what was reported of each: they are read
    /// again.
    unread: Mutex<BTreeMap<Name, String>>,
    /// Why the ledger cannot be written again, when that was reported last.
    unwritable: Mutex<Option<String>>,
    generation: Generation,
    /// Held while a manifest is looked at and accepted, and while the pass removes blobs: what a manifest was found to
    /// need is not removed before it is accepted.
    gate: Arc<tokio::sync::Mutex<()>>,
    accepted: watch::Sender<Option<Arc<AcceptedManifest>>>,
    /// Passes that began. Counted and read under the lock of `accepted`.
    passes: AtomicU64,
    audit: Arc<Audit>,
}

/// A manifest that was taken.
pub(crate) struct Taken {
    /// What the device is to be.
    pub target: Arc<AcceptedManifest>,
    /// Whether that is new.
    pub outcome: Outcome,
    /// Passes that had begun by then: those after them go towards it.
    pub passes: u64,
}

impl Intake {
    /// Opens the gate and loads what the ledger holds: the newest entry whose signatures hold. One that lost a guest
    /// since is loaded all the same, for going back to an older one would be worse. `data` is the data partition, `copy`
    /// where the ledger has its copy; `generation` is the one of the store. At [`Level::Factory`] the factory's stands in for
    /// it.
    pub(crate) fn open(
        anchors: Anchors,
        serial: Serial,
        (data, copy): (&Path, &Path),
        audit: Arc<Audit>,
        generation: Generation,
        gate: Arc<tokio::sync::Mutex<()>>,
        level: Level,
    ) -> Self {
        let ledger = Ledger::new(&data.join("ledger"), copy);
        let held = ledger.read();
        let intake = Self {
            anchors,
            serial,
            blobs: data.join("blobs"),
            ledger: Mutex::new(ledger),
            ledger_warning: Mutex::new(ledger_warning(&held, &audit)),
            newer: Mutex::new(None),
            stand_in: AtomicBool::new(level == Level::Factory),
            unread: Mutex::default(),
            unwritable: Mutex::new(None),
            generation,
            gate,
            accepted: watch::Sender::new(None),
            passes: AtomicU64::new(0),
            audit,
        };
        intake.generation.begin(held.entries.first().map_or(0, |newest| newest.generation));
        if level != Level::Factory {
            intake.load_from_ledger(held);
        }
        intake
    }

    /// Loads what the ledger holds in place of the factory's manifest.
    pub(crate) fn go_on(&self) {
        let _gate = self.gate.blocking_lock();
        if self.stand_in.swap(false, Ordering::Relaxed) {
            let held = self.ledger().read();
            self.load_from_ledger(held);
        }
    }

    fn load_from_ledger(&self, held: ledger::LedgerContent) {
        let floor = held.floor();
        for entry in held.entries {
            // One that is older was superseded; below the security floor it must not run, whatever became of the newer.
            if entry.floor.epoch < floor.epoch {
                self.note(
                    "LedgerEntryRefused",
                    format!("generation {}: below epoch {}", entry.generation, floor.epoch),
                );
                continue;
            }
            match self.replay(&entry) {
                Ok(mut target) => {
                    if lock(&self.newer).is_some() {
                        target.wanted.keep_all_blobs(Digest::of(&entry.envelope));
                    }
                    let remembered = ledger::Entry { floor, ..entry };
                    if let Err(error) = self.ledger().remember(&remembered) {
                        tracing::warn!(error = chain(&error), "the ledger has no copy for now");
                    }
                    self.note_found(&target);
                    self.accepted.send_if_modified(|held| {
                        // Loaded again, it wakes nobody for what is known.
                        let known = |held: &Arc<AcceptedManifest>| {
                            held.digest == target.digest && held.guests.len() == target.guests.len()
                        };
                        let is_new = !held.as_ref().is_some_and(known);
                        if is_new {
                            *held = Some(target.into());
                        }
                        is_new
                    });
                    break;
                }
                Err(refused) => {
                    let message = format!("generation {}: {}", entry.generation, chain(&refused));
                    if refused.name() == NEWER_AGENT_NEEDED {
                        let stays = "it is kept for when the device's system is updated";
                        *lock(&self.newer) = Some(condition("NewerAgentNeeded", format!("{message}; {stays}")));
                    }
                    self.note("LedgerEntryRefused", message);
                }
            }
        }
    }

    /// The agent may have ended between the ledger and the log.
    fn note_found(&self, target: &AcceptedManifest) {
        let state = target.state();
        let digest = state.digest.to_string();
        let is_recorded =
            |event: &Event| [ACCEPTED, FOUND].contains(&event.kind.as_str()) && event.message.contains(&digest);
        if self.audit.find_last(is_recorded).is_none() {
            let found = "is in the ledger, and the last events do not say who brought it";
            self.note(FOUND, format!("`{}` sequence {} ({digest}) {found}", state.name, state.sequence));
        }
    }

    /// What the accepted manifest needs and the store has lost, as far as that is known.
    pub(crate) fn missing_blobs(&self) -> BTreeSet<Digest> {
        let Some(target) = self.accepted.borrow().clone() else { return BTreeSet::new() };
        let descriptors = target.manifest.guests.values().filter_map(|reference| reference.descriptor);
        let images = target.guests.values().map(|(_, guest)| guest.image.digest);
        let is_lost = |digest: &Digest| self.guests().held(*digest).is_ok_and(|held| held.is_none());
        descriptors.chain(images).filter(is_lost).collect()
    }

    /// Looks for the guests of the accepted manifest once more, after `count` blobs that were lost were found elsewhere.
    pub(crate) fn recover_blobs(&self, count: usize) {
        self.note("BlobsRestored", format!("{count} of the blobs that were lost are in the factory bundle"));
        // No other manifest is accepted between the look into the ledger and what comes of it.
        let _gate = self.gate.blocking_lock();
        // Descriptors that are known stay so, also where the disk has lost them.
        let knows_all = |target: &Arc<AcceptedManifest>| target.guests.len() == target.manifest.guests.len();
        if !self.accepted.borrow().as_ref().is_some_and(knows_all) {
            let held = self.ledger().read();
            self.load_from_ledger(held);
        }
    }

    /// Reads the guests once more that could not be read when the accepted manifest was loaded: the disk failed, and need not
    /// fail again.
    pub(crate) fn read_again(&self) {
        if !lock(&self.unread).is_empty() {
            let _gate = self.gate.blocking_lock();
            let held = self.ledger().read();
            self.load_from_ledger(held);
        }
    }

    /// What a pass that begins now goes towards.
    pub(crate) fn begin_pass(&self) -> Option<Arc<AcceptedManifest>> {
        let accepted = self.accepted.borrow();
        self.passes.fetch_add(u64::from(accepted.is_some()), Ordering::Relaxed);
        accepted.clone()
    }

    /// Passes that began.
    pub(crate) fn passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }

    /// The accepted manifest, and a call for whoever wants to know of the next.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<AcceptedManifest>>> {
        self.accepted.subscribe()
    }

    /// Verifies `envelope` as if it were to be accepted; changes nothing, but that a descriptor that was altered on the disk is
    /// taken away.
    ///
    /// # Errors
    /// The first reason against it; the caller audits it with [`Intake::refused`].
    pub(crate) fn consider(&self, envelope: &[u8]) -> Result<Candidate, Refused> {
        self.above(self.ledger().read().floor(), envelope)
    }

    /// The same with another floor.
    fn above(&self, floor: ledger::Floor, envelope: &[u8]) -> Result<Candidate, Refused> {
        let at = clock::now();
        let held = self.accepted.borrow().clone();
        // What is held is not asked again, also when somebody brings it again.
        let reading =
            if held.as_ref().is_some_and(|held| holds(envelope, held.digest)) { Reading::Again } else { Reading::New };
        let verified = self.believe(envelope, at, reading)?;
        let accepted = match &held {
            Some(target) => Some(catenoid_envelope::AcceptedFacts {
                sequence: floor.sequence.max(target.manifest.metadata.sequence),
                epoch: floor.epoch.max(target.manifest.metadata.epoch),
                digest: target.digest,
            }),
            // Nothing that is held is believed any more: the factory's sequence may do then, but no epoch below the floor.
            None => (floor.epoch > 0).then_some(catenoid_envelope::AcceptedFacts {
                sequence: 0,
                epoch: floor.epoch,
                digest: Digest::of(b""),
            }),
        };
        let facts = DeviceFacts { serial: self.serial.clone(), accepted };
        let (verified, outcome) = match admit(verified, &facts, at)? {
            Admitted::New(verified) => (verified, Outcome::Accepted),
            Admitted::Unchanged(verified) => (verified, Outcome::Unchanged),
        };
        let (accepted_at, generation) = match (outcome, held) {
            (Outcome::Unchanged, Some(held)) => (held.accepted_at, held.generation),
            _ => (at, 0),
        };
        let rules = if outcome == Outcome::Accepted { keeps_the_rules } else { |_: &Name, _: &Guest| Ok(()) };
        let target = self
            .guests()
            .complete(verified, accepted_at, generation, reading, rules, &mut |_, refused| Err(refused))?;
        target.guests.iter().try_for_each(|(name, (_, guest))| self.guests().image(name, guest))?;
        let guests = target.guests.iter().map(|(name, (_, guest))| (name, guest));
        let violations = check::permissions(&target.manifest, guests);
        if outcome == Outcome::Accepted && !violations.is_empty() {
            return Err(catenoid_envelope::Refusal::Violations { violations }.into());
        }
        Ok(Candidate { target, outcome, envelope: envelope.to_vec() })
    }

    /// Verifies `envelope`, writes it to the ledger and makes it the desired state. `actor` is who brought it. `forget_boots`
    /// is called right before it is written: whoever dies in between forgot too much, and never too little.
    ///
    /// # Errors
    /// As [`Intake::consider`]; or [`Refused::Ledger`]. In each case what was accepted before stays.
    pub(crate) fn accept(&self, envelope: &[u8], actor: &str, forget_boots: impl FnOnce()) -> Result<Taken, Refused> {
        let taken = self.take(envelope, actor, forget_boots)?;
        // Somebody knows which manifest is the newest.
        *lock(&self.ledger_warning) = None;
        self.restore();
        Ok(taken)
    }

    /// The same for what the device has from its factory, where nothing else that it holds is believed. It does not show which
    /// manifest was the newest, and below the floor it stands in as well: whoever wrote that floor, c0 is there to hear of it.
    ///
    /// # Errors
    /// As [`Intake::accept`].
    pub(crate) fn accept_factory(&self, envelope: &[u8]) -> Result<(), Refused> {
        self.take(envelope, FACTORY, || {}).map(drop)
    }

    fn take(&self, envelope: &[u8], actor: &str, forget_boots: impl FnOnce()) -> Result<Taken, Refused> {
        // Held to the end: two manifests at once are taken one after the other, each seeing the one before.
        let _gate = self.gate.blocking_lock();
        let least = self.ledger().read().floor();
        let counts = if actor == FACTORY { ledger::Floor::default() } else { least };
        let Candidate { mut target, outcome, envelope } = self.above(counts, envelope)?;
        if outcome == Outcome::Unchanged {
            let target = Arc::new(target);
            // A guest that was lost may have been pushed again.
            let found = |held: &Arc<AcceptedManifest>| held.guests.len() < target.guests.len();
            let mut passes = 0;
            self.accepted.send_if_modified(|held| {
                let more = held.as_ref().is_some_and(found);
                if more {
                    *held = Some(target.clone());
                    lock(&self.unread).clear();
                }
                passes = self.passes();
                more
            });
            return Ok(Taken { target, outcome, passes });
        }
        let metadata = &target.manifest.metadata;
        let floor = ledger::Floor { epoch: metadata.epoch, sequence: metadata.sequence };
        let is_below = floor.epoch < least.epoch;
        if actor == FACTORY && (is_below || lock(&self.newer).is_some() || self.stand_in.load(Ordering::Relaxed)) {
            // It stands in, and takes no slot from what a later version, or a later boot, will read.
            target.wanted.keep_all_blobs(Digest::of(&envelope));
        } else {
            forget_boots();
            target.generation = self.ledger().write(&envelope, target.accepted_at, floor)?.generation;
            self.generation.begin(target.generation);
            *lock(&self.newer) = None;
            self.stand_in.store(false, Ordering::Relaxed);
        }
        lock(&self.unread).clear();
        let target = Arc::new(target);
        let state = target.state();
        // Whoever is answered that it was taken finds it in the log too, whatever becomes of the device.
        self.audit.record(NewEvent {
            kind: ACCEPTED,
            subject: None,
            actor: actor.to_owned(),
            message: format!("`{}` sequence {} ({})", state.name, state.sequence, state.digest),
        });
        let mut passes = 0;
        self.accepted.send_modify(|held| {
            *held = Some(target.clone());
            passes = self.passes();
        });
        Ok(Taken { target, outcome, passes })
    }

    /// Audits a refusal. Waits for the disk.
    pub(crate) fn refused(&self, refused: &Refused, actor: &str) {
        let message = format!("{}: {}", refused.name(), chain(refused));
        self.audit.record(NewEvent { kind: "ManifestRefused", subject: None, actor: actor.to_owned(), message });
    }

    /// Looks whether the ledger still holds what is accepted, and writes what it lost; what is wrong with it.
    pub(crate) fn look_after(&self) -> Vec<Condition> {
        let unwritable = self.restore().map(|message| {
            let message = format!("{message}; what runs goes on, a restart of the device may go back");
            condition("LedgerUnwritable", message)
        });
        let newer = lock(&self.newer).clone();
        lock(&self.ledger_warning).clone().into_iter().chain(newer).chain(unwritable).collect()
    }

    /// Writes what the ledger lost again; why it cannot, if so.
    fn restore(&self) -> Option<String> {
        // The factory's manifest that only stands in is in no slot.
        let target = self.accepted.borrow().clone().filter(|target| target.generation > 0)?;
        let over_corrupt = lock(&self.ledger_warning).is_none();
        let restored = self.ledger().restore(target.generation, over_corrupt);
        let failed = restored.as_ref().err().map(|error| chain(error));
        let reported = std::mem::replace(&mut *lock(&self.unwritable), failed.clone());
        match (restored, &failed) {
            (Ok(Some(done)), _) => self.note(RESTORED, done),
            (_, Some(message)) if reported.is_none() => self.note("LedgerUnwritable", message.clone()),
            _ => {}
        }
        failed
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    fn guests(&self) -> StoredGuests<'_> {
        StoredGuests { anchors: &self.anchors, blobs: &self.blobs, audit: &self.audit }
    }

    fn note(&self, kind: &'static str, message: String) {
        self.audit.note(NewEvent::by_device(kind, None, message));
    }

    fn believe(&self, envelope: &[u8], at: Timestamp, reading: Reading) -> Result<Verified<Manifest>, Refused> {
        if envelope.len() as u64 > MANIFEST_LIMIT.bytes() {
            return Err(Refused::TooLarge { size: envelope.len() });
        }
        Ok(open_as(envelope, &self.anchors, at, reading)?)
    }

    /// Loads an entry of the ledger again, as of the moment when it was accepted: its signatures and its target count, and
    /// no rule. Those were asked then, and a later version may have tightened them. What no version ever accepted, and would
    /// harm the device, was put there by somebody else: [`check::bounds`] are never tightened.
    fn replay(&self, entry: &ledger::Entry) -> Result<AcceptedManifest, Refused> {
        let verified = self.believe(&entry.envelope, entry.accepted_at, Reading::Again)?;
        meant_for(verified.document(), &self.serial)?;
        let bounds = check::bounds(verified.document());
        if let Some(violation) = bounds {
            return Err(catenoid_envelope::Refusal::Violations { violations: vec![violation] }.into());
        }
        let reported = std::mem::take(&mut *lock(&self.unread));
        let again = Reading::Again;
        self.guests().complete(
            verified,
            entry.accepted_at,
            entry.generation,
            again,
            |_, _| Ok(()),
            &mut |name, refused| {
                let message = format!("`{name}`: {}", chain(&refused));
                if reported.get(name) != Some(&message) {
                    self.note("GuestBroken", message.clone());
                }
                if matches!(refused, Refused::Blob { .. }) {
                    lock(&self.unread).insert(name.clone(), message);
                }
                Ok(())
            },
        )
    }
}

/// Whether an envelope claims to hold the manifest of this digest.
fn holds(envelope: &[u8], manifest: Digest) -> bool {
    let read = Unverified::read(envelope, Manifest::LIMITS.bytes);
    read.is_ok_and(|envelope| Digest::of(envelope.payload()) == manifest)
}

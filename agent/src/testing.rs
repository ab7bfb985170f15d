//! Ways in for fuzz targets: the parts of the agent that take bytes from elsewhere, with a folder for a data partition.
#![expect(clippy::missing_errors_doc, reason = "whoever calls wants to see all of them alike")]

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io::Read,
    path::Path,
    sync::Arc,
};

use catenoid_containers::{Containers, Paths};
use catenoid_core::chain;
use catenoid_guests::Store;
use catenoid_kernel_base::wait::Notify;
use catenoid_schema::{
    anchors::Anchors,
    cbor,
    control::{Event, Outcome},
    digest::Digest,
    name::Serial,
    status::{self, Blame},
    units::Timestamp,
};
use tokio::{net::UnixStream, sync::watch};

use crate::{
    accept::{factory, intake::Intake, ledger},
    clock,
    control::{self, Peer},
    init::{boots::Level, partition},
    pass::hold::Holds,
    record::audit::Audit,
};

/// The core container, and the id that its root has out here.
const CORE: (&str, u32) = ("core0", 1 << 16);

/// An agent without a kernel: it takes what comes, and no pass runs.
pub struct Agent(pub(crate) Arc<control::Agent>);

/// Why a manifest is refused.
#[derive(Debug)]
pub struct Refusal {
    /// For programs.
    pub name: &'static str,
    /// Who must act.
    pub blame: Blame,
    /// What to do about it.
    pub hint: Option<&'static str>,
    /// All of it, for people.
    pub why: String,
}

/// What is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Of the manifest.
    pub sequence: u64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Its number in the ledger; 0 where it only stands in.
    pub generation: u64,
    /// Guests that are known.
    pub guests: usize,
}

impl Agent {
    /// Starts on what `data` holds.
    pub fn start(data: &Path, anchors: Anchors, serial: Serial) -> Result<Self, Box<dyn Error>> {
        let audit = Audit::open(&data.join("audit"), "boot", Notify::new()?)?;
        Self::with(audit, data, anchors, serial)
    }

    /// Starts after so many unclean boots that the factory's manifest is to stand in.
    pub fn start_with_factory(data: &Path, anchors: Anchors, serial: Serial) -> Result<Self, Box<dyn Error>> {
        let audit = Audit::open(&data.join("audit"), "boot", Notify::new()?)?;
        Self::at(Level::Factory, audit, data, anchors, serial)
    }

    /// With the log `audit`.
    pub(crate) fn with(audit: Audit, data: &Path, anchors: Anchors, serial: Serial) -> Result<Self, Box<dyn Error>> {
        Self::at(Level::Everything, audit, data, anchors, serial)
    }

    fn at(level: Level, audit: Audit, data: &Path, anchors: Anchors, serial: Serial) -> Result<Self, Box<dyn Error>> {
        let audit = Arc::new(audit);
        let store = Store::open(data);
        store.sift().into_iter().map(partition::unsettled).for_each(|event| audit.note(event));
        let (copy, generation) = (data.join("copy"), store.generation());
        let intake =
            Intake::open(anchors, serial.clone(), (data, &copy), audit.clone(), generation, Arc::default(), level);
        store.settle().into_iter().map(partition::unsettled).for_each(|event| audit.note(event));
        let paths = Paths { run: data.to_owned(), cgroup: data.to_owned() };
        let containers = Arc::new(Containers::open(paths, Path::new("/nowhere"), Notify::new()?)?);
        let (_, snapshot) = watch::channel(Arc::default());
        let text = || "fuzz".to_owned();
        let device = status::Device { serial, boot_id: text(), agent: text(), kernel: text() };
        let started = clock::now();
        let holds = Arc::new(Holds::open(data, &copy, Notify::new()?));
        let (intake, store) = (intake.into(), store.into());
        Ok(Self(Arc::new(control::Agent { intake, store, containers, holds, audit, snapshot, device, started })))
    }

    /// The digest of the manifest that was accepted last.
    #[must_use]
    pub fn accepted(&self) -> Option<Digest> {
        self.0.intake.watch().borrow().as_ref().map(|target| target.digest)
    }

    /// The same for what the device has from its factory.
    pub fn accept_factory(&self, envelope: &[u8]) -> Result<(), Box<dyn Error>> {
        Ok(self.0.intake.accept_factory(envelope)?)
    }

    /// Begins a pass, without one; what it goes towards.
    pub fn begin_pass(&self) -> Option<Digest> {
        self.0.intake.read_again();
        self.0.intake.begin_pass().map(|target| target.digest)
    }

    /// Accepts a manifest; whether it is new, and how many passes had begun by then.
    pub fn take(&self, envelope: &[u8]) -> Result<(Outcome, u64), Box<dyn Error>> {
        let taken = self.0.intake.accept(envelope, "test", || {})?;
        Ok((taken.outcome, taken.passes))
    }

    /// Whether whoever waits for another manifest is woken while `what` is done.
    pub fn wakes<T>(&self, what: impl FnOnce() -> T) -> bool {
        let watch = self.0.intake.watch();
        what();
        watch.has_changed().expect("the agent has the other end")
    }

    /// The manifest that was accepted last, with what is known of it.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        self.0.intake.watch().borrow().as_ref().map(|target| Held {
            sequence: target.state().sequence,
            accepted_at: target.accepted_at,
            generation: target.generation,
            guests: target.guests.len(),
        })
    }

    /// Somebody says that what the ledger holds is to be tried again.
    pub fn go_on(&self) {
        self.0.intake.go_on();
    }

    /// The blobs that the accepted manifest needs and the store has lost.
    #[must_use]
    pub fn missing_blobs(&self) -> BTreeSet<Digest> {
        self.0.intake.missing_blobs()
    }

    /// Says that `count` of them were found elsewhere.
    pub fn recover_blobs(&self, count: usize) {
        self.0.intake.recover_blobs(count);
    }

    /// Tries to accept a manifest, and audits the refusal.
    #[must_use]
    pub fn refusal(&self, envelope: &[u8]) -> Option<Refusal> {
        let refused = self.0.intake.accept(envelope, "test", || {}).err()?;
        self.0.intake.refused(&refused, "test");
        let (name, blame, hint) = (refused.name(), refused.blame(), refused.hint());
        Some(Refusal { name, blame, hint, why: chain(&refused) })
    }

    /// Guests of the accepted manifest that are known.
    #[must_use]
    pub fn known_guests(&self) -> usize {
        self.held().map_or(0, |held| held.guests)
    }

    /// The reasons of what is wrong with the ledger.
    #[must_use]
    pub fn conditions(&self) -> Vec<String> {
        self.0.intake.look_after().into_iter().map(|condition| condition.reason).collect()
    }

    /// Whether no blob is removed, whatever the accepted manifest needs.
    #[must_use]
    pub fn keeps_all_blobs(&self) -> bool {
        self.0.intake.watch().borrow().as_ref().is_some_and(|target| !target.wanted.guests.unread.is_empty())
    }

    /// Every event that is in memory, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.audit.watch(0).0.iter().map(|event| Event::clone(event)).collect()
    }

    /// Accepts a manifest, not inside of a runtime.
    pub fn accept(&self, envelope: &[u8]) -> Result<Digest, Box<dyn Error>> {
        Ok(self.0.intake.accept(envelope, "fuzz", || self.0.holds.forget_boots())?.target.digest)
    }

    /// Takes a blob.
    pub fn push(&self, bytes: &[u8]) -> Result<Digest, Box<dyn Error>> {
        let digest = Digest::of(bytes);
        self.0.store.append(digest, 0, bytes)?;
        Ok(self.0.store.finish(digest)?.digest)
    }

    /// Takes a factory bundle, not inside of a runtime.
    pub fn take_bundle(&self, tar: impl Read) -> Result<(), Box<dyn Error>> {
        Ok(factory::take_bundle(&self.0.intake, &self.0.store, tar)?)
    }

    /// Answers the core container's user `user` on `stream`, until one of the two ends the connection.
    pub async fn answer_calls(&self, user: u32, stream: UnixStream) {
        let (container, root) = CORE;
        control::answer_calls(self.0.clone(), Peer::new(container, root, root + user), stream).await;
    }
}

/// The body of a slot: an entry with this floor (epoch, sequence).
#[must_use]
pub fn ledger_entry(generation: u64, [epoch, sequence]: [u64; 2], accepted_at: Timestamp, envelope: &[u8]) -> Vec<u8> {
    let floor = ledger::Floor { epoch, sequence };
    let (envelope, later) = (envelope.to_vec(), BTreeMap::new());
    let entry = ledger::Entry { generation, floor, accepted_at, envelope, later };
    cbor::encode(&entry).expect("an entry is bytes and numbers")
}

/// A slot of the ledger that holds `body`, with the checksum it would have.
#[must_use]
pub fn ledger_slot(body: &[u8]) -> Vec<u8> {
    ledger::slot_of(body)
}

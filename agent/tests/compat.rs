//! Every file in `schema/compat` is read by this version, as by every later one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use catenoid_agent::testing::{Agent, ledger_entry, ledger_slot};
use catenoid_envelope::{Verified, open};
use catenoid_house::Observed;
use catenoid_schema::{
    anchors::Anchors,
    document::{self, Document},
    guest::Guest,
    manifest::Manifest,
    name::Serial,
    status::Status,
    units::Timestamp,
};

/// The files of a version. One that is missing, or that no test reads, is a mistake.
const FILES: [&str; 11] = [
    "anchors.cbor",
    "audit.jsonl",
    "bundle.tar",
    "core.guest.cose",
    "data.ext4.zst",
    "device.manifest.cose",
    "factory.manifest.cose",
    "ledger-a",
    "ledger-b",
    "status.json",
    "tiny.guest.cose",
];
/// Signed anchors, which no tool makes yet: of the first version, whose form they still have.
const BY_HAND: &str = "anchors.cose";
/// Events that report something that was lost or is not believed any more.
const LOSSES: [&str; 8] = [
    "AuditLogUnreadable",
    "FactoryBundleRefused",
    "GuestBroken",
    "LedgerEntryRefused",
    "LedgerLost",
    "LedgerSlotCorrupt",
    "LedgerUnwritable",
    "ManifestFound",
];

/// What one version left.
struct Stored {
    folder: PathBuf,
    anchors: Anchors,
    status: Status,
}

impl Stored {
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/compat");
        let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
        let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
        folders.sort();
        assert!(!folders.is_empty());
        folders.into_iter().map(Self::read).collect()
    }

    fn read(folder: PathBuf) -> Self {
        let mut files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        files.retain(|file| file != BY_HAND || !folder.ends_with("v1"));
        files.sort();
        assert_eq!(files, FILES, "{}", folder.display());
        let anchors = document::decode(&fs::read(folder.join("anchors.cbor")).unwrap()).unwrap();
        let status = serde_json::from_slice(&fs::read(folder.join("status.json")).unwrap()).unwrap();
        Self { folder, anchors, status }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap()
    }

    /// A document as it was believed when it was stored.
    fn open<T: Document>(&self, name: &str, at: Timestamp) -> Verified<T> {
        let opened = open(&self.bytes(name), &self.anchors, at);
        opened.unwrap_or_else(|e| panic!("{}: {e:?}", self.folder.join(name).display()))
    }

    fn serial(&self) -> Serial {
        self.status.device.serial.clone()
    }

    /// A data partition as the device left it.
    fn data(&self) -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        for folder in ["ledger", "audit", "blobs"] {
            fs::create_dir(data.path().join(folder)).unwrap();
        }
        for (from, to) in [("ledger-a", "ledger/a"), ("ledger-b", "ledger/b"), ("audit.jsonl", "audit/audit.jsonl")] {
            fs::write(data.path().join(to), self.bytes(from)).unwrap();
        }
        for (name, bytes) in self.bundle().into_iter().filter(|(name, _)| name.starts_with("blobs/")) {
            fs::write(data.path().join(name), bytes).unwrap();
        }
        data
    }

    fn bundle(&self) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(fs::File::open(self.folder.join("bundle.tar")).unwrap());
        let read = |entry: std::io::Result<tar::Entry<'_, fs::File>>| {
            let (mut entry, mut bytes) = (entry.unwrap(), Vec::new());
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }
}

/// No event of `agent` reports a loss.
fn assert_nothing_is_lost(agent: &Agent) {
    let events = agent.events();
    let lost: Vec<_> = events.iter().filter(|event| LOSSES.contains(&event.kind.as_str())).collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn every_stored_version_is_read() {
    for stored in Stored::all() {
        let (at, accepted) = (stored.status.heartbeat.at, stored.status.accepted.clone().unwrap());

        // Envelopes of every kind.
        if stored.folder.ends_with("v1") {
            assert_eq!(*stored.open::<Anchors>(BY_HAND, at).document(), stored.anchors);
        }
        let guest = stored.open::<Guest>("tiny.guest.cose", at);
        assert_eq!(guest.document().metadata.name.as_str(), "tiny");
        stored.open::<Guest>("core.guest.cose", at);
        stored.open::<Manifest>("factory.manifest.cose", at);
        let manifest = stored.open::<Manifest>("device.manifest.cose", at);
        assert_eq!(manifest.digest(), accepted.digest);

        // The ledger and the log: the agent goes on where the device stood, and misses nothing.
        let data = stored.data();
        let agent = Agent::start(data.path(), stored.anchors.clone(), stored.serial()).unwrap();
        assert_eq!(agent.accepted(), Some(accepted.digest));
        let numbers: Vec<_> = agent.events().iter().map(|event| event.number).collect();
        let recorded = stored.bytes("audit.jsonl").split_inclusive(|byte| *byte == b'\n').count() as u64;
        assert_eq!(numbers, (1..=recorded).collect::<Vec<_>>(), "all that was recorded is known, and nothing is new");
        assert!(recorded >= stored.status.last_event);
        assert_nothing_is_lost(&agent);
        drop(agent);

        // The bundle, on a device that is new.
        let empty = tempfile::tempdir().unwrap();
        let agent = Agent::start(empty.path(), stored.anchors.clone(), stored.serial()).unwrap();
        agent.take_bundle(stored.bytes("bundle.tar").as_slice()).unwrap();
        assert_eq!(agent.accepted(), Some(accepted.digest));
        assert_nothing_is_lost(&agent);

        // What each room observed.
        let observed = Observed::from_status(&stored.status.observed).unwrap();
        assert_eq!(observed.containers.containers.len(), manifest.document().containers.len());
    }
}

/// Whoever has the disk in hand writes any number into a slot.
#[test]
fn a_floor_that_nobody_signed_keeps_no_device_from_its_factory() {
    let stored = Stored::all().remove(0);
    let data = stored.data();
    let at = stored.status.heartbeat.at;
    let slot = ledger_slot(&ledger_entry(7, [u64::MAX, 0], at, b"signed by nobody"));
    fs::remove_file(data.path().join("ledger/b")).unwrap();
    fs::write(data.path().join("ledger/a"), &slot).unwrap();
    let agent = Agent::start(data.path(), stored.anchors.clone(), stored.serial()).unwrap();
    assert_eq!(agent.accepted(), None);
    agent.take_bundle(stored.bytes("bundle.tar").as_slice()).unwrap();
    assert!(agent.accepted().is_some(), "the factory's manifest stands in");
    assert_eq!(fs::read(data.path().join("ledger/a")).unwrap(), slot, "and takes no slot");
    let refused = agent.accept(&stored.bytes("device.manifest.cose")).map(drop);
    assert!(refused.is_err(), "below a floor, whoever wrote it, nothing else is taken");
}

/// A header of an archive can name any size.
#[test]
fn a_name_without_end_in_the_factory_bundle_is_not_read() {
    let stored = Stored::all().remove(0);
    let empty = tempfile::tempdir().unwrap();
    let agent = Agent::start(empty.path(), stored.anchors.clone(), stored.serial()).unwrap();
    for kind in [tar::EntryType::GNULongName, tar::EntryType::GNULongLink, tar::EntryType::XHeader] {
        let mut header = tar::Header::new_gnu();
        header.set_path("././@LongLink").unwrap();
        header.set_entry_type(kind);
        header.set_size(1 << 40);
        header.set_cksum();
        let refused = agent.take_bundle(header.as_bytes().chain(std::io::repeat(b'x')));
        assert!(refused.is_err());
    }
}

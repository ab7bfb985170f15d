//! Every way by which a manifest is refused or taken, and what the device then holds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accepted;
mod lost;
mod refused;

use std::path::PathBuf;

use catenoid_agent::testing::Agent;
use catenoid_fuzz::fixture::{FIXTURE, folder};
use catenoid_schema::{digest::Digest, guest::Guest, manifest::Manifest};

/// A device that nothing was brought to yet.
struct Device {
    data: tempfile::TempDir,
    agent: Agent,
}

impl Device {
    fn new() -> Self {
        let data = folder();
        Self { agent: FIXTURE.agent(data.path()), data }
    }

    /// One that has what `FIXTURE.manifests` need.
    fn stocked() -> Self {
        let device = Self::new();
        stock(&device.agent);
        device
    }

    /// One that accepted the first of them.
    fn settled() -> Self {
        let device = Self::stocked();
        device.agent.accept(&FIXTURE.manifests[0]).unwrap();
        device
    }

    fn restarted(self) -> Self {
        let Self { data, agent } = self;
        drop(agent);
        Self { agent: FIXTURE.agent(data.path()), data }
    }

    fn blob(&self, bytes: &[u8]) -> PathBuf {
        self.data.path().join("blobs").join(Digest::of(bytes).to_hex())
    }

    /// Pushes what `guest` is as a descriptor; the manifest with it.
    fn with(&self, guest: &Guest) -> Vec<u8> {
        self.naming(&FIXTURE.by_software(guest))
    }

    /// Pushes `descriptor`; the manifest with it.
    fn naming(&self, descriptor: &[u8]) -> Vec<u8> {
        self.agent.push(descriptor).unwrap();
        FIXTURE.by_operator(&naming(Digest::of(descriptor)))
    }

    /// The kinds of events that begin with one of `kinds`.
    fn event_kinds(&self, kinds: &[&str]) -> Vec<String> {
        let all = self.agent.events().into_iter().map(|event| event.kind);
        all.filter(|kind| kinds.iter().any(|wanted| kind.starts_with(wanted))).collect()
    }

    fn ledger(&self, slot: &str) -> PathBuf {
        self.data.path().join("ledger").join(slot)
    }
}

/// Pushes what `FIXTURE.manifests` need.
fn stock(agent: &Agent) {
    for blob in [&FIXTURE.descriptor, &FIXTURE.image] {
        agent.push(blob).unwrap();
    }
}

fn naming(descriptor: Digest) -> Manifest {
    let mut manifest = FIXTURE.manifest.clone();
    manifest.guests.values_mut().for_each(|guest| guest.descriptor = Some(descriptor));
    manifest
}

fn changed(change: impl FnOnce(&mut Guest)) -> Guest {
    let mut guest = FIXTURE.guest.clone();
    change(&mut guest);
    guest
}

//! `plan`: what a device would do with a manifest, by the planners that run on it.
//!
//! [req->TSF-UPDATE]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use catenoid_envelope::{AcceptedFacts, DeviceFacts, Refusal, Unverified, Verdict, judge};
use catenoid_house::{DesiredState, Observed, Paths, forecast};
use catenoid_schema::{
    anchors::Anchors,
    cbor,
    control::{Phase, PlannedStep},
    digest::Digest,
    document::{self, Document},
    manifest::Manifest,
    name::{Name, Serial},
    status::{Status, Subject},
    units::{ByteSize, Timestamp},
};
use serde::Serialize;

use crate::{failure::Failure, files, sign, table::columns};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The status cannot be read.
    #[error("`{}` holds no status of a device", path.display())]
    Status {
        /// The file.
        path: PathBuf,
        /// What the decoder says of the status.
        source: serde_json::Error,
    },
    /// What a room observed cannot be read.
    #[error("`{}` is of a device of another version: what its rooms observed cannot be read", path.display())]
    Observed {
        /// The file.
        path: PathBuf,
        /// What the decoder says of what was observed.
        source: serde_json::Error,
    },
    /// The signed manifest cannot be read.
    #[error("`{}` holds no signed manifest", path.display())]
    Envelope {
        /// The file.
        path: PathBuf,
        /// What is wrong with the envelope.
        source: Box<catenoid_envelope::Error>,
    },
    /// The manifest cannot be read or said.
    #[error("failed to read the content of `{}`", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What the decoder or the encoder says of the manifest.
        source: cbor::Error,
    },
    /// The device would not take it.
    #[error("the device `{serial}` would refuse `{}`", path.display())]
    Refused {
        /// The manifest.
        path: PathBuf,
        /// The device.
        serial: Serial,
        /// Why the device would refuse the manifest.
        source: Refusal,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::Status { .. } => Some("pass what `catenoid status -o json` prints"),
            Error::Observed { .. } => Some("use the `catenoid-sign` of the device's version"),
            Error::Refused { source, .. } => source.hint(),
            Error::Envelope { source, .. } => source.hint(),
            Error::Content { .. } => None,
        };
        Self::refused(error).hint(hint)
    }
}

/// What would happen.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Forecast {
    device: Serial,
    /// When the device was as the status says.
    as_of: Timestamp,
    manifest: Name,
    sequence: u64,
    digest: Digest,
    /// What must be pushed before the manifest is accepted.
    push: Vec<Push>,
    /// In the order of a pass.
    plan: Vec<PlannedStep>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Push {
    digest: Digest,
    size: ByteSize,
    what: String,
}

/// Where the input is.
pub(crate) struct Input<'a> {
    /// The manifest: YAML, or signed if it ends with `.cose`.
    pub(crate) manifest: &'a Path,
    /// The status, as the control interface answers it.
    pub(crate) status: &'a Path,
    /// The folder with the signed guests.
    pub(crate) guests: &'a Path,
}

/// Plans against the state that the status reports, as if everything needed had been pushed.
pub(crate) fn plan(input: &Input<'_>, anchors: Option<&Anchors>, now: Timestamp) -> Result<Forecast, Failure> {
    let path = input.manifest.to_owned();
    let status_path = || input.status.to_owned();
    let status: Status = serde_json::from_slice(&files::read(input.status)?)
        .map_err(|source| Error::Status { path: status_path(), source })?;
    let mut observed =
        Observed::from_status(&status.observed).map_err(|source| Error::Observed { path: status_path(), source })?;
    let manifest = manifest(input, anchors, now)?;
    let bytes = cbor::encode(&manifest).map_err(|source| Error::Content { path: path.clone(), source })?;
    let digest = Digest::of(&bytes);
    let serial = status.device.serial.clone();
    // A status does not report the epoch; the device itself has the last word on it.
    let held = |state: &catenoid_schema::status::ManifestState| AcceptedFacts {
        sequence: state.sequence,
        epoch: 0,
        digest: state.digest,
    };
    let facts = DeviceFacts { serial: serial.clone(), accepted: status.accepted.as_ref().map(held) };
    let verdict = judge(&manifest, digest, &facts, now).map_err(|source| Error::Refused {
        path,
        serial: serial.clone(),
        source,
    })?;
    let as_of = status.heartbeat.at;
    if verdict == Verdict::New {
        observed.guests.settle();
    }
    let mut guests = BTreeMap::new();
    let mut push = Vec::new();
    for (name, reference) in &manifest.guests {
        let (descriptor, guest) = sign::read_signed_guest(input.guests, &reference.reference, anchors, now)?;
        let needed =
            [(descriptor.digest, descriptor.size, "descriptor"), (guest.image.digest, guest.image.size, "image")];
        for (digest, size, what) in needed {
            observed.guests.blobs.entry(digest).or_insert_with(|| {
                push.push(Push { digest, size, what: format!("{what} of {}", reference.reference) });
                catenoid_guests::Blob { size: size.bytes(), fresh: true }
            });
        }
        guests.insert(name.clone(), (descriptor.digest, guest));
    }
    let wanted = DesiredState::new(&manifest, &guests, &Paths::default());
    let plan = forecast(&wanted, &observed);
    let (manifest, sequence) = (manifest.metadata.name.clone(), manifest.metadata.sequence);
    Ok(Forecast { device: serial, as_of, manifest, sequence, digest, push, plan })
}

fn manifest(input: &Input<'_>, anchors: Option<&Anchors>, now: Timestamp) -> Result<Manifest, Failure> {
    let path = input.manifest;
    if path.extension().is_none_or(|extension| extension != "cose") {
        return sign::resolve(path, input.guests, anchors, now);
    }
    let bytes = files::read(path)?;
    let form = |source| Error::Envelope { path: path.to_owned(), source: Box::new(source) };
    if let Some(anchors) = anchors {
        return Ok(catenoid_envelope::open::<Manifest>(&bytes, anchors, now).map_err(form)?.into_document());
    }
    let envelope = Unverified::read(&bytes, Manifest::LIMITS.bytes).map_err(form)?;
    Ok(document::decode(envelope.payload()).map_err(|source| Error::Content { path: path.to_owned(), source })?)
}

impl std::fmt::Display for Forecast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { device, as_of, manifest, sequence, push, plan, .. } = self;
        writeln!(f, "`{manifest}` sequence {sequence} on {device}, as it was at {as_of}")?;
        for Push { digest, size, what } in push {
            writeln!(f, "push first: {what} ({size}, {})", digest.short())?;
        }
        if plan.is_empty() {
            return writeln!(f, "nothing to do: the device holds what the manifest says");
        }
        let head = ["PHASE", "ROOM", "SUBJECT", "STEP"].map(str::to_owned);
        let rows = plan.iter().map(|step| {
            let PlannedStep { room, phase, subject, description } = step;
            [word(*phase).to_owned(), room.clone(), subject.to_string(), description.clone()]
        });
        writeln!(f, "{}", columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))?;
        let removed = removed(plan);
        if !removed.is_empty() {
            let names: Vec<_> = removed.iter().map(|subject| subject.as_str()).collect();
            writeln!(f, "REMOVED for good: {}", names.join(", "))?;
        }
        writeln!(f, "{} steps", plan.len())
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Retire => "retire",
        Phase::Establish => "establish",
    }
}

/// The subjects that are retired and not set up again.
fn removed(plan: &[PlannedStep]) -> BTreeSet<&Subject> {
    let in_phase = |retire: bool| plan.iter().filter(move |s| (s.phase == Phase::Retire) == retire).map(|s| &s.subject);
    let kept: BTreeSet<_> = in_phase(false).collect();
    in_phase(true).filter(|subject| !kept.contains(subject)).collect()
}

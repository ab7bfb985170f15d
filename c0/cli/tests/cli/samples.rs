//! What devices say in these tests, and signed documents to hand to them.

use catenoid_envelope::{Draft, limits::SIGNATURE_BYTES};
use catenoid_schema::{digest::Digest, document::Document, guest::Guest, manifest::Manifest};
use serde_json::{Value, json};

use crate::fake::{Answer, Fake};

/// The digest of the manifest of sequence `sequence`.
pub(crate) fn manifest_digest(sequence: u64) -> Digest {
    Digest::of(format!("manifest {sequence}").as_bytes())
}

pub(crate) fn state(sequence: u64) -> Value {
    json!({
        "name": "press-line-7", "sequence": sequence, "digest": manifest_digest(sequence),
        "since": "2027-01-01T11:58:00Z"
    })
}

pub(crate) fn subject(name: &str, sync: &str, health: &str, conditions: Value) -> Value {
    json!({ "subject": name, "sync": sync, "health": health, "conditions": conditions, "facts": { "pid": "412" } })
}

pub(crate) fn condition(reason: &str, message: &str, blame: Value, sequence: u64) -> Value {
    json!({
        "reason": reason, "message": message, "blame": blame, "since": "2027-01-01T11:57:00Z",
        "observedSequence": sequence
    })
}

pub(crate) fn running(name: &str) -> Value {
    subject(name, "Synced", "Healthy", json!([condition("Running", "", Value::Null, 12)]))
}

pub(crate) fn starting(name: &str) -> Value {
    let condition = condition("WaitingForGuest", "guest `debian-web@12.11.3` is not mounted yet", json!("nobody"), 12);
    subject(name, "OutOfSync", "Progressing", json!([condition]))
}

pub(crate) fn broken(name: &str) -> Value {
    let condition =
        condition("ImageCorrupt", "block 17 of the image is not what was signed", json!("administrator"), 12);
    subject(name, "Synced", "Degraded", json!([condition]))
}

fn heartbeat(passes: u64) -> Value {
    json!({ "at": "2027-01-01T11:59:57Z", "agentStarted": "2027-01-01T09:00:00Z", "passes": passes })
}

/// A status; `converged` is a sequence or null.
pub(crate) fn status(accepted: u64, converged: Option<u64>, subjects: &[Value]) -> Value {
    let reconciling = if converged == Some(accepted) { Value::Null } else { state(accepted) };
    json!({
        "device": { "serial": "QEMU-0001", "bootId": "3f6c1f0e", "agent": "0.1.0", "kernel": "6.1.0-44-amd64" },
        "accepted": state(accepted),
        "reconciling": reconciling,
        "converged": converged.map(state),
        "heartbeat": heartbeat(41),
        "lastEvent": 7,
        "subjects": subjects,
        "observed": { "limits": { "containers": {} } },
    })
}

pub(crate) fn converged() -> Value {
    status(12, Some(12), &[running("container/core0"), running("container/web"), running("guest/debian")])
}

pub(crate) fn step(room: &str, phase: &str, subject: &str, description: &str) -> Value {
    json!({ "room": room, "phase": phase, "subject": subject, "description": description })
}

/// A plan that removes, changes and adds.
pub(crate) fn steps() -> Value {
    json!([
        step("guests", "prepare", "guest/debian-12-12", "map and mount `debian-web@12.12.0`"),
        step("containers", "retire", "container/old", "stop container `old` (pid 388)"),
        step("limits", "retire", "limits/old", "remove the group of `old`"),
        step("containers", "retire", "container/web", "stop container `web` (pid 412)"),
        step("containers", "establish", "container/web", "start container `web` from `debian-web@12.12.0`"),
    ])
}

/// Taken while pass 42 is under way.
pub(crate) fn accepted(sequence: u64, outcome: &str, plan: Value) -> Value {
    json!({ "manifest": state(sequence), "outcome": outcome, "plan": plan, "heartbeat": heartbeat(42) })
}

pub(crate) fn event(number: u64, kind: &str, message: &str) -> String {
    let event = json!({
        "number": number, "at": "2027-01-01T11:59:00Z", "kind": kind, "subject": "container/web",
        "actor": "device", "message": message
    });
    format!("id: {number}\ndata: {event}\n\n")
}

pub(crate) fn refused() -> Value {
    json!({
        "type": "urn:catenoid:error:sequence-not-above", "title": "the manifest was refused", "status": 409,
        "detail": "sequence 11 is not above sequence 12, which this device accepted", "blame": "manifestAuthor",
        "hint": "sign it again under a sequence above 12"
    })
}

/// A device that converged, and answers to whatever asks about that.
pub(crate) fn device() -> Fake {
    Fake::start()
        .on("GET /v1/version", Answer::json(&json!({ "agent": "0.1.0", "api": "v1" })))
        .on("GET /v1/status", Answer::json(&converged()))
}

/// A guest: the image, and its signed descriptor. Signed by nobody: this program does not look.
pub(crate) fn guest(name: &str, image: &[u8]) -> (Vec<u8>, Digest) {
    let guest: Guest = serde_json::from_value(json!({
        "apiVersion": "catenoid.dev/v1", "kind": "Guest", "metadata": { "name": name, "version": "1.0" },
        "architecture": "x86_64",
        "image": {
            "digest": Digest::of(image), "size": format!("{}B", image.len()),
            "verity": { "rootHash": Digest::of(b"root"), "salt": Digest::of(b"salt"), "dataBlocks": 1 }
        },
        "defaults": { "command": ["/bin/true"] }, "root": "readOnly"
    }))
    .expect("the sample is a guest");
    let envelope = sealed(&guest);
    let digest = Digest::of(&envelope);
    (envelope, digest)
}

/// A manifest that names guests.
pub(crate) fn manifest(guests: &[(&str, Digest)]) -> Vec<u8> {
    let guests: serde_json::Map<String, Value> = guests
        .iter()
        .map(|(name, digest)| ((*name).to_owned(), json!({ "ref": format!("{name}@1.0"), "descriptor": digest })))
        .collect();
    let manifest: Manifest = serde_json::from_value(json!({
        "apiVersion": "catenoid.dev/v1", "kind": "Manifest",
        "metadata": { "name": "press-line-7", "sequence": 12, "notAfter": "2027-12-31T00:00:00Z" },
        "target": { "serials": ["QEMU-0001"] }, "guests": guests, "containers": {}
    }))
    .expect("the sample is a manifest");
    sealed(&manifest)
}

fn sealed<T: Document>(document: &T) -> Vec<u8> {
    let mut draft = Draft::new(document).expect("the sample can be written");
    draft.add(&[b"no certificate".to_vec()], [0; SIGNATURE_BYTES]);
    draft.finish().expect("the sample has the form of an envelope")
}

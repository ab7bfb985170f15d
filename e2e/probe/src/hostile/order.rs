//! Hostile orders: ends before beginnings, several at once, and what is broken off.

use std::io::Write as _;
use std::thread;

use sha2::{Digest as _, Sha256};

use super::floods::answers;
use super::{ask, connect, report};

/// A blob of several chunks of the agent's, and how many push it at once.
const BLOB: usize = 1 << 20;
const PUSHERS: usize = 8;
/// Pushes in progress that a device takes: `catenoid_guests::Quotas`.
const PARTIALS: usize = 32;
const BROKEN_OFF: usize = 50;

pub(super) fn run(socket: &str) -> bool {
    [
        an_end_before_a_beginning(socket),
        a_middle_before_a_beginning(socket),
        other_bytes(socket),
        pushes_at_once(socket),
        broken_off(socket),
        too_many_begun(socket),
        broken_off_manifests(socket),
    ]
    .into_iter()
    .all(|as_it_must| as_it_must)
}

fn blob(seed: u8) -> (Vec<u8>, String) {
    let bytes: Vec<u8> = (0..BLOB).map(|at| u8::try_from(at / 251 % 256).unwrap_or_default() ^ seed).collect();
    let path = path(&bytes);
    (bytes, path)
}

fn path(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    format!("/v1/blobs/sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn offset(at: usize) -> [(&'static str, String); 1] {
    [("upload-offset", at.to_string())]
}

/// What a call answered; 0 for none.
fn status(socket: &str, method: &str, path: &str, at: usize, body: &[u8]) -> u16 {
    ask(socket, method, path, &offset(at), body).map_or(0, |(status, _)| status)
}

fn an_end_before_a_beginning(socket: &str) -> bool {
    let (_, path) = blob(1);
    let got = status(socket, "PUT", &path, 0, b"");
    report("the end of a push that never began", got == 400, &got.to_string())
}

fn a_middle_before_a_beginning(socket: &str) -> bool {
    let (bytes, path) = blob(2);
    let got = [status(socket, "PUT", &path, 4096, &bytes[4096..]), status(socket, "GET", &path, 0, b"")];
    report("the middle of a push that never began", got == [409, 404], &format!("{got:?}"))
}

fn other_bytes(socket: &str) -> bool {
    let (mut bytes, path) = blob(3);
    bytes[BLOB / 2] ^= 1;
    let got = [status(socket, "PUT", &path, 0, &bytes), status(socket, "GET", &path, 0, b"")];
    report("other bytes than were named", got == [422, 404], &format!("{got:?}"))
}

/// All push the same blob from its beginning, at once; then one does it alone.
fn pushes_at_once(socket: &str) -> bool {
    let (bytes, path) = blob(4);
    let got: Vec<u16> = thread::scope(|scope| {
        let pushes: Vec<_> = (0..PUSHERS).map(|_| scope.spawn(|| status(socket, "PUT", &path, 0, &bytes))).collect();
        pushes.into_iter().map(|push| push.join().unwrap_or_default()).collect()
    });
    let fair = got.iter().all(|status| [201, 409, 422, 400].contains(status));
    let after = finish(socket, &path, &bytes);
    report("eight pushes of the same blob at once", fair && after == 201, &format!("{got:?}, then {after}"))
}

/// Goes on from where the device says that it is.
fn finish(socket: &str, path: &str, bytes: &[u8]) -> u16 {
    let held = ask(socket, "GET", path, &[], b"").ok().and_then(|(status, body)| {
        let state: serde_json::Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
        usize::try_from(state["held"].as_u64()?).ok()
    });
    let held = held.unwrap_or(0).min(bytes.len());
    status(socket, "PUT", path, held, &bytes[held..])
}

/// Each push is broken off after some more of it; the last one is whole.
fn broken_off(socket: &str) -> bool {
    let (bytes, path) = blob(5);
    for at in 0..BROKEN_OFF {
        let Ok(mut stream) = connect(socket) else { continue };
        let head = format!("PUT {path} HTTP/1.1\r\nhost: c\r\nupload-offset: 0\r\ncontent-length: {BLOB}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes[..at * BLOB / BROKEN_OFF]));
    }
    // The agent may still be taking the last one's bytes: then it is busy, or ahead of what it said.
    let after = (0..BROKEN_OFF).map(|_| finish(socket, &path, &bytes)).find(|status| *status != 409).unwrap_or(409);
    report("fifty pushes that were broken off, and one that was not", after == 201, &after.to_string())
}

/// More pushes begun than may be, of a byte each; those that came too late are refused.
fn too_many_begun(socket: &str) -> bool {
    let begin = |number: usize| {
        let path = path(&number.to_be_bytes());
        let Ok(mut stream) = connect(socket) else { return 0 };
        let head = format!("PUT {path} HTTP/1.1\r\nhost: c\r\ncontent-length: 2\r\n\r\na");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = std::io::Read::read_to_string(&mut stream, &mut answer);
        super::status_of(answer.as_bytes()).unwrap_or_default()
    };
    let got: Vec<u16> = (0..PARTIALS + 8).map(begin).collect();
    let refused = got.iter().filter(|status| **status == 429).count();
    report("more pushes than may be in progress", refused >= 8, &format!("{refused} refused: {got:?}"))
}

fn broken_off_manifests(socket: &str) -> bool {
    for at in 0..BROKEN_OFF {
        let Ok(mut stream) = connect(socket) else { continue };
        let head = b"PUT /v1/manifest HTTP/1.1\r\nhost: c\r\ncontent-length: 65536\r\n\r\n";
        let _ = stream.write_all(head).and_then(|()| stream.write_all(&vec![0xd8; at * 1024]));
    }
    report("fifty manifests that were broken off", answers(socket, "after what was broken off"), "")
}

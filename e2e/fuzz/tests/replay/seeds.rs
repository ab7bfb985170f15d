//! Where the corpora begin: good inputs of each kind, so that a fuzzer starts behind the checks that it cannot guess.

use std::{fs, path::Path};

use catenoid_agent::testing::{ledger_entry, ledger_slot};
use catenoid_envelope::Unverified;
use catenoid_fuzz::{control::NEXT, fixture::FIXTURE};
use catenoid_schema::{cbor, digest::Digest, document::Document as _, guest::Guest, units::Timestamp};

/// Target, name and bytes of each.
pub(crate) fn all() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes: &[u8]| seeds.push((target, name.to_owned(), bytes.to_vec()));
    for (name, bytes) in files("schema/envelope/tests/vectors", "cose") {
        add("envelope", &name, &bytes);
    }
    for (name, bytes) in files("schema/envelope/tests/vectors/refused", "cose") {
        add("envelope", &name, &bytes);
    }
    add("document", "anchors", &cbor::encode(&FIXTURE.anchors).unwrap());
    let guest = Unverified::read(&FIXTURE.descriptor, Guest::LIMITS.bytes).unwrap();
    add("document", "guest", guest.payload());
    for case in ["crowded", "every-field", "smallest", "web-behind-core"] {
        let [(_, hex)] = &files(&format!("manifests/golden/{case}"), "hex")[..] else { panic!("{case}") };
        let digits: Vec<u8> = hex.iter().copied().filter(u8::is_ascii_hexdigit).collect();
        add("document", case, &hex::decode(digits).unwrap());
        for (name, text) in files(&format!("manifests/golden/{case}"), "yaml") {
            add("yaml", &format!("{case}-{name}"), &text);
        }
    }
    for guest in ["manifests/guests/nginx", "manifests/guests/busybox", "c0/guest"] {
        for (_, text) in files(guest, "yaml") {
            add("yaml", &format!("recipe-{}", guest.rsplit('/').next().unwrap()), &text);
        }
    }
    for (name, manner, said) in conversations() {
        add("control", name, &[&[manner][..], &said].concat());
    }
    for (name, sealed, [a, b]) in [("as-written", 0, slots().map(|body| ledger_slot(&body))), ("sealed", 3, slots())] {
        let length = u16::try_from(a.len()).unwrap().to_be_bytes();
        add("ledger", name, &[&[sealed], &length[..], &a, &b].concat());
    }
    let at = Timestamp::from_seconds(1_780_272_000).unwrap();
    let last = ledger_entry(u64::MAX, [0, 0], at, &FIXTURE.manifests[0]);
    add("ledger", "last-generation", &[&[3], &u16::try_from(last.len()).unwrap().to_be_bytes()[..], &last].concat());
    add("disk", "bundle", &[&[0], &bundle()[..]].concat());
    add("disk", "log", &[&[1], &log([1, 2])[..]].concat());
    add("disk", "log-last-number", &[&[1], &log([1, u64::MAX])[..]].concat());
    add("disk", "partition", &[&[2], &[0; 1024][..], b"catenoid data 1 made\n", &[0; 491]].concat());
    seeds
}

/// The files in `place` with this ending, in the order of names.
fn files(place: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new("../..").join(place);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

const ROOT: u8 = 1;
const ENDS: u8 = 2;
const LINES: u8 = 4;

fn conversations() -> Vec<(&'static str, u8, Vec<u8>)> {
    let image = Digest::of(&FIXTURE.image);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: catenoid\r\n\r\n").into_bytes();
    let put = |path: &str, fields: &str, body: &[u8]| {
        let head = format!("PUT {path} HTTP/1.1\r\nhost: catenoid\r\n{fields}content-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let blob = b"a blob of a few bytes";
    let push = format!("/v1/blobs/{}", Digest::of(blob));
    let manifest = &FIXTURE.manifests[0];
    let half = manifest.len() / 2;
    let chunked = [
        b"PUT /v1/manifest HTTP/1.1\r\nhost: catenoid\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        format!("{:x}\r\n", manifest.len()).into_bytes(),
        manifest.clone(),
        b"\r\n0\r\n\r\n".to_vec(),
    ];
    let paths = ["/v1/status", "/v1/plan", "/v1/why/container/core0", "/v1/events?follow=false", "/v1/blobs"];
    vec![
        ("version", ROOT | ENDS, get("/v1/version")),
        ("everything", ENDS | LINES, paths.map(get).concat()),
        ("held-blob", ENDS, get(&format!("/v1/blobs/{image}"))),
        ("output", ROOT | ENDS, get("/v1/output/core0")),
        ("openapi", ENDS, get("/v1/openapi.json")),
        ("events", ROOT, get("/v1/events?since=1")),
        ("no-such-call", ENDS, get("/v2/%2e%2e/status?a=%00")),
        ("forbidden", ENDS, put("/v1/manifest", "", manifest)),
        ("dry-run", ROOT, put("/v1/manifest?dry-run=true", "", manifest)),
        ("manifest", ROOT, FIXTURE.manifests.iter().flat_map(|m| put("/v1/manifest", "", m)).collect()),
        ("chunked", ROOT, chunked.concat()),
        ("broken-off", ROOT | ENDS, put("/v1/manifest", "", manifest)[..half].to_vec()),
        ("push", ROOT, put(&push, "", blob)),
        (
            "push-in-two",
            ROOT | LINES,
            [
                put(&push, "", blob).strip_suffix(&blob[5..]).unwrap(),
                NEXT,
                &put(&push, "upload-offset: 5\r\n", &blob[5..]),
            ]
            .concat(),
        ),
        ("push-elsewhere", ROOT, put(&push, "upload-offset: 18446744073709551615\r\nexpect: 100-continue\r\n", blob)),
        ("silent", ROOT, b"PUT /v1/manifest HTTP/1.1\r\nhost: c\r\ncontent-length: 9\r\n\r\n".to_vec()),
    ]
}

fn slots() -> [Vec<u8>; 2] {
    let at = Timestamp::from_seconds(1_780_272_000).unwrap();
    let manifest = |index: usize| (index as u64 + 1, &FIXTURE.manifests[index]);
    [manifest(0), manifest(1)].map(|(generation, envelope)| ledger_entry(generation, [2, 4 + generation], at, envelope))
}

fn bundle() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let blobs =
        [&FIXTURE.descriptor, &FIXTURE.image].map(|blob| (format!("blobs/{}", Digest::of(blob).to_hex()), blob));
    for (path, bytes) in blobs.into_iter().chain([("manifest.cose".to_owned(), &FIXTURE.manifests[0])]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, path, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

fn log([first, second]: [u64; 2]) -> Vec<u8> {
    let record = |number: u64, previous: Digest| {
        let record = serde_json::json!({
            "number": number, "at": "2026-06-01T00:00:00Z", "kind": "Test", "subject": null, "actor": "device",
            "message": "", "bootId": "boot", "monotonicMs": 1, "previous": previous,
        });
        serde_json::to_vec(&record).unwrap()
    };
    let first = record(first, Digest::of(b""));
    let second = record(second, Digest::of(&first));
    [&first[..], b"\n", &second, b"\n", b"{\"torn"].concat()
}

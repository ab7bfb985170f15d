//! A factory bundle is taken whatever somebody with the disk in hand put in the place of its blobs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
};

use catenoid_agent::testing::Agent;
use catenoid_schema::{document, status::Status};

/// Bends what has the name of a blob, and of what is pushed of it.
type Bend = fn(blob: &Path, part: &Path);

const BENDS: &[(&str, Bend)] = &[
    ("a folder", |blob, part| [blob, part].iter().for_each(|path| fs::create_dir_all(path.join("x/y")).unwrap())),
    ("a folder for what is pushed", |_, part| fs::create_dir(part).unwrap()),
    ("a link", |blob, part| [blob, part].iter().for_each(|path| symlink("/etc/passwd", path).unwrap())),
    ("a second name", |blob, part| {
        fs::write(blob, "x").unwrap();
        fs::hard_link(blob, part).unwrap();
    }),
    ("a second name elsewhere", |blob, _| {
        fs::write(blob, "x").unwrap();
        fs::hard_link(blob, blob.with_extension("other")).unwrap();
    }),
    ("something else", |blob, _| fs::write(blob, "x").unwrap()),
    ("something else in part", |_, part| fs::write(part, "x").unwrap()),
    ("longer than a descriptor", |blob, _| File::create(blob).unwrap().set_len(4 << 20).unwrap()),
    ("longer than any blob", |blob, _| File::create(blob).unwrap().set_len(1 << 40).unwrap()),
];

fn stored(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/compat/v2").join(name)).unwrap()
}

fn start(data: &Path, status: &Status) -> Agent {
    Agent::start(data, document::decode(&stored("anchors.cbor")).unwrap(), status.device.serial.clone()).unwrap()
}

#[test]
fn what_could_not_be_read_once_is_read_again() {
    let status: Status = serde_json::from_slice(&stored("status.json")).unwrap();
    let data = tempfile::tempdir().unwrap();
    let (blobs, away) = (data.path().join("blobs"), data.path().join("away"));
    let agent = start(data.path(), &status);
    agent.take_bundle(stored("bundle.tar").as_slice()).unwrap();
    let (accepted, known) = (agent.accepted(), agent.known_guests());
    assert!(accepted.is_some() && known > 0);
    drop(agent);

    // Where there is no folder nothing can be opened.
    fs::rename(&blobs, &away).unwrap();
    fs::write(&blobs, "").unwrap();
    let agent = start(data.path(), &status);
    agent.begin_pass();
    assert_eq!((agent.accepted(), agent.known_guests()), (accepted, 0));
    let broken = agent.events().iter().filter(|event| event.kind == "GuestBroken").count();
    assert_eq!(broken, known, "each is reported once, however often it is tried: {:#?}", agent.events());

    fs::remove_file(&blobs).unwrap();
    fs::rename(&away, &blobs).unwrap();
    agent.begin_pass();
    assert_eq!((agent.accepted(), agent.known_guests()), (accepted, known));
}

#[test]
fn the_factory_bundle_is_taken_in_place_of_bent_blobs() {
    let status: Status = serde_json::from_slice(&stored("status.json")).unwrap();
    let bundle = stored("bundle.tar");
    let mut archive = tar::Archive::new(bundle.as_slice());
    let paths = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned());
    let blobs: Vec<String> = paths.filter_map(|path| Some(path.strip_prefix("blobs/")?.to_owned())).collect();
    assert!(blobs.len() >= 2, "a descriptor and an image: {blobs:?}");
    for (name, bend) in BENDS {
        let data = tempfile::tempdir().unwrap();
        let of = |folder: &str| data.path().join(folder);
        ["blobs", "incoming"].iter().for_each(|folder| fs::create_dir(of(folder)).unwrap());
        for blob in &blobs {
            bend(&of("blobs").join(blob), &of("incoming").join(format!("{blob}.part")));
        }
        let agent = start(data.path(), &status);
        // The device tries again and again while it has no manifest: each blob that is found to be altered costs a try.
        let taken = (0..=blobs.len()).any(|_| agent.take_bundle(bundle.as_slice()).is_ok());
        assert!(taken, "{name}: {:?}", agent.take_bundle(bundle.as_slice()));
        assert_eq!(agent.accepted(), status.accepted.as_ref().map(|state| state.digest), "{name}");
    }
}

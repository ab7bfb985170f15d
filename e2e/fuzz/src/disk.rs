//! Partitions: whatever the factory partition holds, nothing of it is in force but what was signed; whatever the audit
//! log holds, it goes on; whatever the data partition holds, only one that is empty or ours is ours.
//!
//! The first byte says which of the three the rest is.

use std::fs;

use catenoid_kernel_storage::block::{self, PartitionContent};
use catenoid_schema::digest::Digest;

use crate::fixture::{FIXTURE, folder};

pub(crate) fn read_any(bytes: &[u8]) {
    let Some((place, rest)) = bytes.split_first() else { return };
    match place % 3 {
        0 => take_bundle(rest),
        1 => go_on_with_log(rest),
        _ => read_content(rest),
    }
}

fn take_bundle(tar: &[u8]) {
    let data = folder();
    let agent = FIXTURE.agent(data.path());
    let taken = agent.take_bundle(tar);
    assert_eq!(agent.accepted().is_some(), taken.is_ok());
    for blob in fs::read_dir(data.path().join("blobs")).expect("the store made it") {
        let path = blob.expect("nobody else changes it").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are digests");
        let content = fs::read(&path).expect("it can be read");
        assert_eq!(Digest::of(&content).to_hex(), name, "a blob is what its name says");
    }
}

fn go_on_with_log(log: &[u8]) {
    let data = folder();
    for (name, bytes) in [("audit/audit.jsonl", log), ("ledger/a", b"nonsense, which is an event")] {
        let path = data.path().join(name);
        fs::create_dir(path.parent().expect("it is in a folder")).expect("the folder is new");
        fs::write(path, bytes).expect("the folder can be written to");
    }
    FIXTURE.agent(data.path());
    let written = fs::read(data.path().join("audit/audit.jsonl")).expect("it can be read");
    let last = written.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
    let last: serde_json::Value = serde_json::from_slice(last.unwrap_or_default()).expect("the last line is a record");
    assert!(last["kind"].is_string(), "the log goes on");
}

fn read_content(partition: &[u8]) {
    let folder = folder();
    let path = folder.path().join("partition");
    fs::write(&path, partition).expect("the folder can be written to");
    let content = block::content(&path).expect("it can be read");
    let zeros = partition.iter().all(|byte| *byte == 0);
    assert_eq!(content == PartitionContent::Empty, zeros, "only zeros are empty");
}

//! The hash tree against `veritysetup`, byte by byte.

use std::{
    fs,
    io::{Cursor, Write},
    path::Path,
    process::Command,
};

use catenoid_schema::{digest::Digest, guest::Verity};
use proptest::prelude::*;

use super::verity::{Error, append, total_size};

const BLOCK: usize = 4096;

/// Blocks that all differ, so that a hash in the wrong place shows.
fn data(blocks: u64, seed: u64) -> Vec<u8> {
    let mut data = Vec::with_capacity(usize::try_from(blocks).unwrap() * BLOCK);
    for block in 0..blocks {
        data.extend(Digest::of(&[seed.to_le_bytes(), block.to_le_bytes()].concat()).as_bytes().repeat(BLOCK / 32));
    }
    data
}

fn appended(data: &[u8], salt: Digest) -> (Vec<u8>, Verity) {
    let mut image = Cursor::new(data.to_vec());
    let mut read = 0;
    let verity = append(&mut image, (data.len() / BLOCK) as u64, salt, |bytes| read += bytes).unwrap();
    assert_eq!(read, data.len() as u64);
    (image.into_inner(), verity)
}

/// Runs `veritysetup`, which works on plain files here: no device is made.
fn veritysetup(arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new("veritysetup").args(arguments).output().expect("install `cryptsetup-bin` to run this test");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `veritysetup format` makes of the same data and salt, and the root hash it prints. Its random UUID is ours.
fn formatted(folder: &Path, data: &[u8], salt: Digest, uuid: &[u8]) -> (Vec<u8>, Digest) {
    let path = folder.join("reference");
    fs::File::create(&path).unwrap().write_all(data).unwrap();
    let path = path.to_str().unwrap();
    let (ok, output) = veritysetup(&[
        "format",
        path,
        path,
        &format!("--hash-offset={}", data.len()),
        &format!("--data-blocks={}", data.len() / BLOCK),
        &format!("--salt={}", salt.to_hex()),
    ]);
    assert!(ok, "{output}");
    let root = output.lines().find_map(|line| line.strip_prefix("Root hash:")).unwrap().trim();
    let mut image = fs::read(path).unwrap();
    image[data.len() + 16..data.len() + 32].copy_from_slice(uuid);
    (image, Digest::from_hex(root).unwrap())
}

fn assert_same_as_veritysetup(blocks: u64, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let data = data(blocks, seed);
    let salt = Digest::of(&seed.to_be_bytes());
    let (image, verity) = appended(&data, salt);
    let uuid = &image[data.len() + 16..data.len() + 32];
    let (expected, root) = formatted(folder.path(), &data, salt, uuid);
    assert_eq!(verity, Verity { root_hash: root, salt, data_blocks: blocks });
    assert_eq!(image.len() as u64, total_size(blocks), "{blocks} blocks");
    // Not `assert_eq`: nobody wants to read megabytes.
    assert!(image == expected, "{blocks} blocks: the image differs from that of `veritysetup`");

    let path = folder.path().join("ours");
    fs::write(&path, &image).unwrap();
    let path = path.to_str().unwrap();
    let offset = format!("--hash-offset={}", data.len());
    assert!(veritysetup(&["verify", path, path, &root.to_hex(), &offset]).0, "{blocks} blocks");
}

#[test]
fn tool_sizes_around_every_new_level_agree_with_veritysetup() {
    for blocks in [1, 2, 127, 128, 129, 256, 128 * 128 - 1, 128 * 128, 128 * 128 + 1] {
        assert_same_as_veritysetup(blocks, blocks);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn tool_any_size_agrees_with_veritysetup(blocks in 1_u64..2000, seed: u64) {
        assert_same_as_veritysetup(blocks, seed);
    }

    /// Every bit of the data is under the root hash.
    #[test]
    fn any_flipped_bit_changes_the_root(blocks in 1_u64..300, at: prop::sample::Index, bit in 0_u8..8) {
        let mut data = data(blocks, 0);
        let salt = Digest::of(b"salt");
        let (_, before) = appended(&data, salt);
        let at = at.index(data.len());
        data[at] ^= 1_u8 << bit;
        let (_, after) = appended(&data, salt);
        prop_assert_ne!(before.root_hash, after.root_hash);
    }
}

#[test]
fn an_empty_image_is_refused() {
    let refused = append(&mut Cursor::new(Vec::new()), 0, Digest::of(b""), |_| ());
    assert!(matches!(refused, Err(Error::Size { blocks: 0 })));
}

#[test]
fn a_short_image_is_refused_with_the_missing_block() {
    // The superblock goes behind the data that is claimed, so the image grows to it: the hole is data like any other.
    // Only an image that cannot be read at all is short.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    fs::write(&path, [0; BLOCK]).unwrap();
    let mut write_only = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let refused = append(&mut write_only, 1, Digest::of(b""), |_| ());
    assert!(matches!(refused, Err(Error::ReadData { block: 0, .. })), "{refused:?}");
}

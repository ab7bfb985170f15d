//! Builds guests: a recipe becomes an image and its unsigned descriptor.
//!
//! ```text
//! archive | folder | Debian packages   read into a `Tree`          archive.rs folder.rs debian.rs
//!   -> without leftovers, with what the recipe adds (pure)         tree.rs leftovers.rs recipe.rs
//!   -> written to a folder -> erofs                                stage.rs erofs.rs
//!   -> dm-verity superblock and tree appended                      verity.rs
//!   -> NAME-VERSION.image, NAME-VERSION.guest.cbor                 build.rs
//! ```
//! The same recipe and source give the same bytes with the same versions of mkfs.erofs and liblz4: times and ids are
//! fixed or derived, the salt is the digest of the data. Start reading at [`build::run`].

mod archive;
pub(crate) mod build;
#[cfg(test)]
mod build_tests;
mod debian;
mod erofs;
mod folder;
mod leftovers;
mod path;
mod progress;
pub(crate) mod recipe;
mod stage;
mod tool;
mod tree;
mod verity;
#[cfg(test)]
mod verity_tests;

use catenoid_schema::digest::Digest;

pub(crate) use build::{BuildArguments, run as build};

/// The time of every file, in seconds since 1970: none, so that no build differs by its day.
const TIMESTAMP: u64 = 0;

/// A custom UUID (RFC 9562 section 5.8, version 8) that says nothing but what it was derived from.
fn uuid(purpose: &[u8], from: &[u8]) -> [u8; 16] {
    let digest = Digest::of(&[purpose, b"\0", from].concat());
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest.as_bytes()[..16]);
    uuid[6] = 0x80 | (uuid[6] & 0x0f);
    uuid[8] = 0x80 | (uuid[8] & 0x3f);
    uuid
}

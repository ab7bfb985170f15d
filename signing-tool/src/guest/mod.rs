//! Builds guests: a recipe becomes an image and its unsigned descriptor.
//!
//! ```text
//! archive | folder | Debian packages   read into a `Tree`          archive/ folder.rs debian.rs
//!   -> without leftovers, with what the recipe adds (pure)         tree.rs leftovers.rs recipe/
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
mod fixed;
mod folder;
mod identity;
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

pub(crate) use build::{BuildArguments, run as build};

//! Room: the guests that containers are run from, each mounted read-only over dm-verity, and the blobs they are made of.
//!
//! Owns the folders `blobs` and `incoming` of the data partition, the verity devices and the mounts of guests. Needs
//! descriptors whose signatures were verified: the parameters of each device come from there, never from the image.
//! Gives every other room a folder whose content is what a software signer vouched for, and the agent a [`Store`] that
//! blobs are pushed to. Start reading at [`GuestsPlanner`].
//!
//! The pure half is always there; the half with effects needs the feature `kernel`.

#[cfg(feature = "kernel")]
mod apply;
mod desired;
#[cfg(feature = "kernel")]
mod error;
mod model;
#[cfg(feature = "kernel")]
mod observe;
mod plan;
#[cfg(feature = "kernel")]
mod reading;
mod status;
mod step;
#[cfg(feature = "kernel")]
mod store;

#[cfg(feature = "kernel")]
pub use apply::{GuestPaths, Guests};
pub use desired::{Desired, WantedGuest, desired};
#[cfg(feature = "kernel")]
pub use error::{Error, StoreError};
pub use model::{Blob, Observed, ObservedDevice, ObservedMount};
pub use plan::GuestsPlanner;
pub use step::Step;
#[cfg(feature = "kernel")]
pub use store::{FreeSpace, Generation, Quotas, Store};

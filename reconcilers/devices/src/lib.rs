//! Room: which devices each container has.
//!
//! Owns one file for each container in the folder `devices`, which names them. Needs no other room. Start reading at
//! [`Planning`].
//!
//! The pure half is always there; the half with effects needs the feature `kernel`.

#[cfg(feature = "kernel")]
mod apply;
mod desired;
#[cfg(feature = "kernel")]
mod observe;
mod plan;
mod status;

#[cfg(feature = "kernel")]
pub use apply::{Devices, Error};
pub use desired::{Desired, desired};
pub use plan::{Observed, Planning, Step};

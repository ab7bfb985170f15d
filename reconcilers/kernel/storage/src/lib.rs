//! The doors to storage: disks, and images as loop devices that are verified block by block and mounted.
//!
//! An image is attached ([`loop_device`]), verified ([`verity`]) and mounted ([`mount`]). Start reading there; [`block`] is for
//! the data partition, [`disk`] for the disk that it is on.

pub mod block;
pub mod disk;
pub mod loop_device;
pub mod mount;
pub mod uevent;
pub mod verity;

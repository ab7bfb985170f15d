//! Control groups, version 2 (`Documentation/admin-guide/cgroup-v2.rst`): one group for each container below
//! `catenoid/`, which carries its limits, and one leaf in it for each launch, in which its processes live.
//!
//! Every path is looked up below the file descriptor of the base folder, without following links. "Already so" is
//! success: making what is there, removing what is gone, killing what is empty. Start reading at [`Hierarchy`].
//!
//! What no group counts is in [`shortage`].

mod agent;
mod error;
mod groups;
mod hierarchy;
mod leaves;
mod mark;
mod read;
pub mod shortage;

pub use catenoid_names::{ControlFile, Disk};
pub use error::Error;
pub use hierarchy::Hierarchy;
pub use leaves::Leaf;
pub use mark::{MARK_BYTES, Mark};

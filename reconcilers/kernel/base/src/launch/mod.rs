//! The system calls of a container's launch: detached mounts, id-mapped mounts, `clone3` into a cgroup, `pivot_root`,
//! identity, capabilities, seccomp. Used by the launcher, a process with a single thread.
//!
//! A mount is first made detached ([`Tree`]), gets its attributes, and only then is attached at a [`MountTarget`] that was
//! opened below a root without following any link: no path of a guest is ever given to the kernel to interpret.

mod capabilities;
mod clone;
mod error;
mod inmate;
mod mounts;
mod namespaces;
mod process;

pub use capabilities::{CapabilityInheritance, bound_capabilities, keep_capabilities, set_capabilities};
pub use clone::{Side, clone_beside, clone_into, wait_for};
pub use error::Error;
pub use inmate::{Deed, Inmate, end_with_parent, hide, observe_child};
pub use mounts::{Forbid, MountTarget, Tree};
pub use namespaces::{Namespace, NamespaceKind, own_cgroup, own_mounts, own_time};
pub use process::{
    OomScore, execute, forget_parent, give, no_new_privileges, open_log, own_session, redirect, set_host_name, set_ids,
    set_working_directory,
};

use error::set;

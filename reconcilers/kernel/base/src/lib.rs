//! What every door stands on, and what the launcher needs: fault points, files, processes, waiting, the launch of a container.
//!
//! A door is a module with a few functions with the domain's verbs, which do one effect or read one piece of kernel state and
//! decide nothing. The doors are one crate a family: `cgroup`, `net`, `storage` and `boot` use this one and none of the others.
//! They know nothing of ours but names (`catenoid_names`) and limits, and have the only `unsafe` code of what runs on a device.
//! Start reading at [`fault`], which every call passes, and [`files`].

pub mod announcements;
pub mod changes;
pub mod fault;
pub mod files;
pub mod launch;
mod lock;
pub mod machine;
pub mod mounts;
pub mod process;
pub mod seccomp;
pub mod tcp;
pub mod wait;

pub use lock::lock;
/// The names of the kernel's error numbers. rustix has them, too, and panics on a number that is none.
pub use nix::errno::Errno;

//! Every system call, ioctl, netlink message and spawned tool; the only `unsafe` code of what runs on a device.
//!
//! Each module is a door: a few functions with the domain's verbs, which do one effect or read one piece of kernel state
//! and decide nothing. Knows nothing of ours but names ([`name`]) and limits. Start reading at [`name`]: what we own in
//! the kernel is told by how it is called.

pub mod block;
pub mod cgroup;
pub mod changes;
pub mod console;
pub mod fault;
pub mod files;
pub mod firewall;
pub mod init;
pub mod launch;
mod lock;
pub mod loop_device;
pub mod machine;
pub mod mount;
pub mod name;
pub mod namespace;
pub mod netlink;
pub mod process;
pub mod seccomp;
pub mod settings;
pub mod shortage;
pub mod tcp;
pub mod uevent;
pub mod verity;
pub mod wait;
pub mod watchdog;

pub use lock::lock;

//! Room: what runs.
//!
//! Owns the leaf control groups `catenoid/<container>/run.<launch>` and every process in them, and the launcher that
//! starts them. Needs the guest's image to be mounted (room of guests), the container's group (limits), and its pinned
//! namespaces (zones). Gives: each container of the manifest runs, from exactly the order that the manifest amounts to,
//! or rests as its restart policy says; and nothing else runs.
//!
//! A launch is named by the digest of its order ([`order::LaunchOrder`]), and its leaf bears the name: what runs is
//! compared with what is wanted by looking at the kernel alone, also after the agent was away. Start reading at
//! [`ContainersPlanner`].
//!
//! The pure half is always there; the half with effects needs the feature `kernel`.

#[cfg(feature = "kernel")]
mod apply;
#[cfg(feature = "kernel")]
mod check;
mod desired;
pub mod exit;
mod history;
#[cfg(feature = "kernel")]
mod log;
#[cfg(feature = "kernel")]
mod observe;
pub mod order;
mod plan;
mod status;

#[cfg(feature = "kernel")]
pub use apply::{Containers, Error};
pub use catenoid_core::Paths;
pub use desired::{Desired, Launch, WantedContainer, desired};
#[cfg(feature = "kernel")]
pub use log::Tail;
pub use plan::{Checked, Container, ContainersPlanner, Observed, Run, State, Step, Stopping};

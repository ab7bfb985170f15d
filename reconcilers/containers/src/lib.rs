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
#[cfg(feature = "kernel")]
mod error;
pub mod exit;
mod history;
mod judge;
#[cfg(feature = "kernel")]
mod log;
mod model;
#[cfg(feature = "kernel")]
mod observe;
pub mod order;
mod plan;
mod status;
mod step;
mod words;

#[cfg(feature = "kernel")]
pub use apply::Containers;
pub use catenoid_core::Paths;
pub use desired::{Desired, Launch, WantedContainer, desired};
#[cfg(feature = "kernel")]
pub use error::Error;
#[cfg(feature = "kernel")]
pub use log::Tail;
pub use model::{Checked, Observed, ObservedContainer, Run, RunState, Stopping};
pub use plan::ContainersPlanner;
pub use step::Step;

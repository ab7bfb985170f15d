//! How a boot begins and ends: PID 1, the data partition, and the count of boots that went wrong.
//!
//! PID 1 mounts, reaps, starts the agent and feeds the watchdogs. This folder returns events for the agent to note, and knows
//! nothing of manifests, passes or calls.

pub(crate) mod boots;
pub(crate) mod partition;
pub(crate) mod pid1;
pub(crate) mod records;

//! The pass: one run of all rooms towards the accepted manifest; its report and drift, what wakes it, what is held back, and
//! the guard.
//!
//! It reaches the kernel by the rooms' doors, by control groups, and by what the kernel reports of memory. It knows what is
//! accepted and recorded, and nothing of who calls.

pub(crate) mod executor;
pub(crate) mod guard;
pub(crate) mod hold;
mod report;
pub(crate) mod rooms;
pub(crate) mod state;
pub(crate) mod status;
mod steps;
pub(crate) mod thread;
pub(crate) mod upkeep;
pub(crate) mod wake;

#[cfg(test)]
mod tests;

//! The room on the real kernel, in a root network namespace that only the test has; what passes is shown by packets.
//!
//! ```text
//!   web, db ── plant ── core0 ── uplink ── world
//!        lab1 ── lab ─────┘
//! ```

#![cfg(feature = "kernel")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod device;
mod drift;
mod flows;
mod forged;
/// The same table as on the device.
#[path = "../../../../e2e/probe/src/frames.rs"]
mod frames;
mod generated;
mod namespaces;
mod outsiders;
mod passes;
mod uplink;

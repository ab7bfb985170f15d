//! The launcher and the room of containers on the real kernel.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod check;
mod device;
mod launch;
mod room;

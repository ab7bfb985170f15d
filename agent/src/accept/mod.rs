//! From bytes to an accepted manifest: signatures, guests, the security floor, the ledger, and what the factory left.
//!
//! It reads and writes the data partition: the ledger and the store of blobs. It knows what is recorded and how the device
//! booted, and nothing of passes or of who calls.

pub(crate) mod absence;
pub(crate) mod factory;
mod guests;
pub(crate) mod intake;
pub(crate) mod ledger;
mod ledger_warning;
pub(crate) mod manifest;
pub(crate) mod refused;

//! What can be said to a Catenoid device, and what it says back.
//!
//! Owns the documents (`manifest`, `guest`, `anchors`), the status and the control messages, the small types
//! they are made of, and the one byte form a signed document has (`cbor`). Needs nothing of ours and has no
//! effects: no file, no clock, no network. Start reading at [`manifest::Manifest`].

pub mod allocate;
pub mod anchors;
pub mod cbor;
pub mod control;
pub mod digest;
pub mod document;
pub mod feature;
pub mod foreign;
pub mod guest;
pub mod manifest;
pub mod name;
pub mod status;
pub mod units;

//! A Catenoid device, as whoever stands before it sees it: through the control socket of its agent.
//!
//! Owns the calls of the control interface ([`Client`]), and what is made of them: files that are pushed ([`push`],
//! [`delivery`]), a device that is followed ([`follow`]), and what its status amounts to ([`judge`]). Needs the types of
//! `catenoid-schema`, and of `catenoid-envelope` only the reading of an envelope that nobody verified yet. Prints nothing: who
//! calls shows what is reported. Start reading at [`Client`].

mod call;
mod client;
pub mod delivery;
mod error;
mod events;
pub mod follow;
pub mod judge;
pub mod push;
mod stream;
pub mod words;

pub use client::{BlobProgress, Client, Dated, Intent};
pub use error::{ClientError, Transport};
pub use events::{Events, Extent, Message};

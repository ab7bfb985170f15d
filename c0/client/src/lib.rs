//! A Catenoid device, as whoever stands before it sees it: through the control socket of its agent.
//!
//! Owns the calls of the control interface ([`Client`]), and what is made of them: files that are pushed ([`push`],
//! [`delivery`]), a device that is followed ([`follow`]), and what its status amounts to ([`judge`]). Needs the types of
//! `catenoid-schema`, and of `catenoid-envelope` only the reading of an envelope that nobody verified yet. Prints nothing: who
//! calls shows what is reported. Start reading at [`Client`].
//!
//! What the device amounts to, and what happened on it:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use catenoid_client::{Client, ClientError, Extent, Message, judge};
//!
//! # async fn show() -> Result<(), ClientError> {
//! let client = Client::new(Path::new("/run/catenoid/control.sock"))?;
//! let status = client.status().await?;
//! println!("{:?}", judge::verdict(&status.value, status.at));
//!
//! let mut events = client.events(0, Extent::Backlog).await?;
//! while let Some(message) = events.next().await? {
//!     if let Message::Event(event) = message {
//!         println!("{}: {}", event.number, event.message);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

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

//! What can be said to a Catenoid device, and what it says back.
//!
//! Owns the documents (`manifest`, `guest`, `anchors`), the status and the control messages, the small types
//! they are made of, and the one byte form a signed document has (`cbor`). Needs nothing of ours and has no
//! effects: no file, no clock, no network. Start reading at [`manifest::Manifest`].
//!
//! A document has one byte form, and reads back from it alone:
//!
//! ```
//! use catenoid_schema::{cbor, digest::Digest, document, manifest::{Manifest, check}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let written = r#"{
//!     "apiVersion": "catenoid.dev/v1", "kind": "Manifest",
//!     "metadata": {"name": "bench", "sequence": 1, "notAfter": "2049-01-01T00:00:00Z"},
//!     "target": {"serials": ["BENCH-1"]}, "containers": {}
//! }"#;
//! let manifest: Manifest = serde_json::from_str(written)?;
//! let bytes = cbor::encode(&manifest)?; // every default written out, keys in order: what is signed
//! assert_eq!(document::decode::<Manifest>(&bytes)?, manifest);
//! println!("{}", Digest::of(&bytes)); // what names it
//!
//! let broken = check::check(&manifest, check::Stage::Authored);
//! assert_eq!(broken[0].to_string(), "containers: none has the role `core`");
//! # Ok(())
//! # }
//! ```

pub mod allocate;
pub mod anchors;
pub mod byte_string;
pub mod cbor;
pub mod control;
pub mod digest;
pub mod document;
pub mod feature;
pub mod foreign;
pub mod guest;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod status;
pub mod units;
mod violation;

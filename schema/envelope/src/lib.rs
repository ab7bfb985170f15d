//! Signed bytes + anchors + time + ledger facts -> [`Verified`] documents. Pure: no file, no clock, no network.
//!
//! Owns the signed form of a document (a `COSE_Sign` of RFC 9052, narrowed to one way of writing it), the question of
//! who signed it ([`open()`]) and the question whether this device may take it ([`admit()`]). Needs `catenoid-schema` for
//! the documents, coset for the structure, rustls-webpki for certificate paths and aws-lc-rs for signatures. Gives
//! [`Verified`], which nothing but [`open()`] can make. [`Draft`] is the writing side; it holds no key. Start reading at
//! [`open()`].
//!
//! The form, in the order in which it is checked:
//! - tag 98, the whole in deterministic CBOR, at most the payload's limit and [`limits::OVERHEAD`] bytes, and so is each
//!   protected header by itself, before any decoder sees one;
//! - every unprotected header is empty; the body's protected header has the content type of the document and nothing
//!   else; each signature's has `alg` ES384 and `x5chain` and nothing else;
//! - 1 to [`limits::SIGNERS_LIMIT`] signatures, each with at most [`limits::CERTIFICATES_LIMIT`] certificates, leaf first,
//!   without the anchor;
//! - the content type is also the external data under each signature, so that one kind of document can never be taken
//!   for another;
//! - each leaf has a P-384 key, may sign (`digitalSignature`), is no authority, carries the extended key usage of the
//!   role, and leads to an anchor of that role by signatures of ECDSA P-384 with SHA-384 only, over all the certificates
//!   that came with it and in their order;
//! - every signature holds, and as many different keys as the role's threshold asks for have signed;
//! - only now is the payload decoded.
//!
//! ```
//! use catenoid_envelope::{Error, open};
//! use catenoid_schema::{anchors::Anchors, cbor, document::Document, guest::Guest, manifest::Manifest};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let anchors = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/anchors.cbor"));
//! # let envelope = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/manifest.cose"));
//! let anchors: Anchors = cbor::decode(anchors, Anchors::LIMITS)?;
//! let verified = open::<Manifest>(envelope, &anchors, "2026-06-01T00:00:00Z".parse()?)?;
//! println!("{}, signed by {}", verified.document().metadata.name, verified.signers()[0].subject);
//!
//! let refused = open::<Guest>(envelope, &anchors, "2026-06-01T00:00:00Z".parse()?);
//! assert!(matches!(refused, Err(Error::ContentType { .. })), "it is no guest");
//! # Ok(())
//! # }
//! ```
//!
//! [req->TSF-UPDATE] [req->COM-06]

mod admit;
mod chain;
mod error;
mod fault;
mod format;
mod frame;
mod items;
pub mod limits;
mod open;
mod seal;

pub use admit::{AcceptedFacts, Admitted, DeviceFacts, Refusal, Verdict, admit, judge, meant_for};
pub use chain::{Reading, VerifiedSigner, check_anchor};
pub use error::{EnvelopePart, Error, NEWER_AGENT_HINT, NEWER_AGENT_NEEDED};
pub use fault::{AnchorFault, SignerFault};
pub use format::Unverified;
pub use open::{Verified, open, open_as};
pub use seal::{Draft, SealError};

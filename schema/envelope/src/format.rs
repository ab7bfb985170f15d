//! The signed form: reading it without believing it.

use ciborium::value::Value;
use coset::{Algorithm, CoseSign, Header, Label, TaggedCborSerializable, iana};

use crate::{
    frame::{self, Frame},
    open::Error,
};

/// The most signatures: every person of a large team of signers, and each is one more to verify.
pub const SIGNERS_LIMIT: usize = 8;
/// The most certificates of one signer: a leaf and three authorities below the anchor.
pub const CERTIFICATES_LIMIT: usize = 4;
/// The most bytes of one certificate: a P-384 certificate takes about 700.
pub const CERTIFICATE_BYTES_LIMIT: usize = 4096;
/// The most bytes of an envelope beyond its payload: all signers with all their certificates and 256 bytes each for the
/// signature and the headers, and 256 for the envelope's own.
pub const OVERHEAD: usize = SIGNERS_LIMIT * (CERTIFICATES_LIMIT * CERTIFICATE_BYTES_LIMIT + 256) + 256;
/// The bytes of an ES384 signature (RFC 9053 section 2.1): two numbers of 48.
pub const SIGNATURE_BYTES: usize = 96;

/// The header label of a certificate chain (RFC 9360).
pub(crate) const X5CHAIN: i64 = 33;

/// An envelope of the right form, of which nothing was verified.
///
/// Serves to show what somebody claims (`inspect`), and to find what has to be pushed along with it. Whatever a device
/// acts on comes from [`crate::open`].
#[derive(Debug, Clone)]
pub struct Unverified {
    pub(crate) cose: CoseSign,
    content_type: String,
    chains: Vec<Vec<Vec<u8>>>,
}

impl Unverified {
    /// Takes an envelope apart whose payload has at most `payload_limit` bytes.
    ///
    /// # Errors
    /// The first rule of the form that is broken.
    pub fn read(bytes: &[u8], payload_limit: usize) -> Result<Self, Error> {
        let Frame { content_type, chains } = frame::walk(bytes, payload_limit)?;
        // Only now: coset knows headers that lead it to any depth. What it reads must be what was walked.
        let cose = CoseSign::from_tagged_slice(bytes).map_err(|e| Error::Structure { reason: e.to_string() })?;
        if cose.clone().to_tagged_vec().ok().as_deref() != Some(bytes) {
            return Err(Error::NotCanonical { place: EnvelopePart::Body });
        }
        let chains = chains.iter().map(|chain| chain.iter().map(|der| der.to_vec()).collect()).collect();
        Ok(Self { cose, content_type: content_type.to_owned(), chains })
    }

    /// What the envelope claims to hold.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The bytes that it claims were signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.cose.payload.as_deref().unwrap_or_default()
    }

    /// The certificates of each signature, leaf first, in DER.
    #[must_use]
    pub fn chains(&self) -> &[Vec<Vec<u8>>] {
        &self.chains
    }
}

/// Where in an envelope something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopePart {
    /// The part that all signatures cover.
    Body,
    /// The n-th signature, counted from 1.
    Signature(usize),
}

impl std::fmt::Display for EnvelopePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Body => f.write_str("the body"),
            Self::Signature(number) => write!(f, "signature {number}"),
        }
    }
}

/// The protected header of a signature with this chain.
pub(crate) fn signature_header(chain: &[Vec<u8>]) -> Header {
    let value = match chain {
        [leaf] => Value::Bytes(leaf.clone()),
        chain => Value::Array(chain.iter().cloned().map(Value::Bytes).collect()),
    };
    Header {
        alg: Some(Algorithm::Assigned(iana::Algorithm::ES384)),
        rest: vec![(Label::Int(X5CHAIN), value)],
        ..Header::default()
    }
}

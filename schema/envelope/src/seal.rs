//! Writing an envelope. Holds no key: it says what must be signed and takes the signature, so that a key can be in a
//! file, in a token or in another building.

use std::marker::PhantomData;

use catenoid_schema::{
    cbor,
    document::{self, Document},
};
use coset::{ContentType, CoseSign, CoseSignature, Header, ProtectedHeader, TaggedCborSerializable};

use crate::{
    error::Error,
    format::{self, Unverified},
    limits::SIGNATURE_BYTES,
};

/// An envelope of a `T` in the making.
#[derive(Debug, Clone)]
pub struct Draft<T> {
    cose: CoseSign,
    document: PhantomData<T>,
}

/// Why an envelope cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The document cannot be said, or is over its limits.
    #[error("failed to write the document as deterministic cbor")]
    Document {
        /// What the encoder or the reader says of the document.
        source: cbor::Error,
    },
    /// The envelope to go on from is not one.
    #[error("failed to go on from an envelope")]
    Envelope {
        /// What is wrong with the envelope.
        source: Error,
    },
    /// What was written would not be read: too many signatures, too large certificates.
    #[error("the envelope would be refused by its form")]
    Written {
        /// What a reader would say.
        source: Error,
    },
    /// The structure cannot be written (our fault).
    #[error("failed to write the envelope: {reason}")]
    Write {
        /// What the encoder says.
        reason: String,
    },
}

impl<T: Document> Draft<T> {
    /// An envelope of `document` without signatures.
    ///
    /// # Errors
    /// [`SealError::Document`] if a device could not read it.
    pub fn new(document: &T) -> Result<Self, SealError> {
        let payload = cbor::encode(document).map_err(|source| SealError::Document { source })?;
        document::decode::<T>(&payload).map_err(|source| SealError::Document { source })?;
        let header = Header { content_type: Some(ContentType::Text(T::CONTENT_TYPE.to_owned())), ..Header::default() };
        let protected = ProtectedHeader { original_data: None, header };
        Ok(Self { cose: CoseSign { protected, payload: Some(payload), ..CoseSign::default() }, document: PhantomData })
    }

    /// Goes on from a signed envelope, to which a signature is to be added. Verifies none of those it has.
    ///
    /// # Errors
    /// [`SealError::Envelope`] if it is not an envelope of a `T`.
    pub fn resume(envelope: &[u8]) -> Result<Self, SealError> {
        let read = || {
            let envelope = Unverified::read(envelope, T::LIMITS.bytes)?;
            if envelope.content_type() != T::CONTENT_TYPE {
                let found = envelope.content_type().to_owned();
                return Err(Error::ContentType { found, expected: T::CONTENT_TYPE });
            }
            Ok(envelope.cose)
        };
        read().map(|cose| Self { cose, document: PhantomData }).map_err(|source| SealError::Envelope { source })
    }

    /// The bytes that the leaf of `chain` must sign (RFC 9052 section 4.4).
    #[must_use]
    pub fn message(&self, chain: &[Vec<u8>]) -> Vec<u8> {
        self.cose.tbs_data(T::CONTENT_TYPE.as_bytes(), &signature(chain, Vec::new()))
    }

    /// Adds what the leaf of `chain` signed: an ES384 signature of [`Self::message`].
    pub fn add(&mut self, chain: &[Vec<u8>], bytes: [u8; SIGNATURE_BYTES]) {
        self.cose.signatures.push(signature(chain, bytes.to_vec()));
    }

    /// The envelope.
    ///
    /// # Errors
    /// [`SealError::Written`] if it would not be read: no signature, too many, too large certificates.
    pub fn finish(self) -> Result<Vec<u8>, SealError> {
        let bytes = self.cose.to_tagged_vec().map_err(|e| SealError::Write { reason: e.to_string() })?;
        Unverified::read(&bytes, T::LIMITS.bytes).map_err(|source| SealError::Written { source })?;
        Ok(bytes)
    }
}

fn signature(chain: &[Vec<u8>], signature: Vec<u8>) -> CoseSignature {
    let protected = ProtectedHeader { original_data: None, header: format::signature_header(chain) };
    CoseSignature { protected, signature, ..CoseSignature::default() }
}

//! The signed form: reading it without believing it.

use ciborium::value::Value;
use coset::{Algorithm, CoseSign, Header, Label, TaggedCborSerializable, iana};

use crate::{
    error::{EnvelopePart, Error},
    frame::{self, Frame, X5CHAIN},
};

/// An envelope of the right form, of which nothing was verified.
///
/// Serves to show what somebody claims (`inspect`), and to find what has to be pushed along with it. Whatever a device
/// acts on comes from [`crate::open()`].
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

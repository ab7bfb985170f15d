//! Who signed an envelope, and what it says.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use catenoid_schema::{
    anchors::Anchors,
    digest::Digest,
    document::{self, Document},
    units::Timestamp,
};

use crate::{
    chain::{self, Reading, VerifiedSigner},
    error::{EnvelopePart, Error},
    format::Unverified,
    limits::SIGNERS_LIMIT,
};

/// A document whose signatures hold. Only [`open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    document: T,
    digest: Digest,
    signers: Vec<VerifiedSigner>,
}

impl<T> Verified<T> {
    /// What was signed.
    #[must_use]
    pub fn document(&self) -> &T {
        &self.document
    }

    /// The digest of the signed bytes: what names this document.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Everybody who signed, in the order of the envelope.
    #[must_use]
    pub fn signers(&self) -> &[VerifiedSigner] {
        &self.signers
    }

    /// The document alone, for whom the proof has served.
    #[must_use]
    pub fn into_document(self) -> T {
        self.document
    }
}

/// Verifies `bytes` as a `T` that enough of `anchors` vouched for at `at`.
///
/// One signature that does not hold refuses the whole, however many others do. Nothing of the payload is decoded before
/// all of them hold.
///
/// [req->SF-4] [req->OS-03] [req->TSF-UPDATE]
///
/// # Errors
/// The first rule that is broken; each has a [`Error::name`] for programs.
pub fn open<T: Document>(bytes: &[u8], anchors: &Anchors, at: Timestamp) -> Result<Verified<T>, Error> {
    open_as(bytes, anchors, at, Reading::New)
}

/// What [`open`] does, for a document that is new or is read again.
///
/// # Errors
/// The first rule that is broken.
pub fn open_as<T: Document>(
    bytes: &[u8],
    anchors: &Anchors,
    at: Timestamp,
    reading: Reading,
) -> Result<Verified<T>, Error> {
    let envelope = Unverified::read(bytes, T::LIMITS.bytes)?;
    if envelope.content_type() != T::CONTENT_TYPE {
        let found = envelope.content_type().chars().filter(|c| !c.is_control()).take(80).collect();
        return Err(Error::ContentType { found, expected: T::CONTENT_TYPE });
    }
    let mut signers = Vec::new();
    for (index, (signature, chain)) in envelope.cose.signatures.iter().zip(envelope.chains()).enumerate() {
        let place = EnvelopePart::Signature(index + 1);
        let leaf = chain::verify(chain, anchors, T::ROLE, at, reading, place)?;
        let message = envelope.cose.tbs_data(T::CONTENT_TYPE.as_bytes(), signature);
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &leaf.public_key)
            .verify(&message, &signature.signature)
            .map_err(|_| Error::Signature { place, signer: leaf.signer.subject.clone() })?;
        signers.push(leaf.signer);
    }
    let needed = anchors.roles.get(&T::ROLE).map_or(u8::MAX, |role| role.threshold);
    let found = signers.iter().map(|signer| signer.key).collect::<BTreeSet<_>>().len();
    if usize::from(needed) > SIGNERS_LIMIT {
        return Err(Error::ThresholdTooHigh { role: T::ROLE, needed });
    }
    if found < usize::from(needed) {
        return Err(Error::Threshold { role: T::ROLE, found, needed });
    }
    let document = document::decode(envelope.payload()).map_err(|source| Error::Payload { source })?;
    Ok(Verified { document, digest: Digest::of(envelope.payload()), signers })
}

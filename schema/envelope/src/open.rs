//! Who signed an envelope, and what it says.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use catenoid_schema::{
    anchors::Anchors,
    cbor,
    digest::Digest,
    document::{self, Document, Role},
    status::Blame,
    units::Timestamp,
};

use crate::{
    chain::{self, Signer},
    fault::Fault,
    format::{self, EnvelopePart, Unverified},
};

/// A document whose signatures hold. Only [`open`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    document: T,
    digest: Digest,
    signers: Vec<Signer>,
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
    pub fn signers(&self) -> &[Signer] {
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

/// Whether a document is read for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It is to be taken: every rule holds.
    New,
    /// It was taken before, perhaps by an earlier version: what later ones ask of the order of certificates and of an anchor's
    /// extensions must not take it from a device. All else holds for it, too.
    Again,
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
    if usize::from(needed) > format::SIGNERS_LIMIT {
        return Err(Error::ThresholdTooHigh { role: T::ROLE, needed });
    }
    if found < usize::from(needed) {
        return Err(Error::Threshold { role: T::ROLE, found, needed });
    }
    let document = document::decode(envelope.payload()).map_err(|source| Error::Payload { source })?;
    Ok(Verified { document, digest: Digest::of(envelope.payload()), signers })
}

/// The name of the error that says that a document was written for a later version.
pub const NEWER_AGENT_NEEDED: &str = "newer-agent-needed";
/// What to do about it.
pub const NEWER_AGENT_HINT: &str =
    "update the device's system image, or do without the feature: `catenoid version` lists what the agent can do";

/// Why an envelope is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The whole is over its limits or not deterministic.
    #[error("failed to read the envelope")]
    Encoding {
        /// The rule.
        source: cbor::Error,
    },
    /// CBOR, but no `COSE_Sign`.
    #[error("the bytes are not a tagged COSE_Sign: {reason}")]
    Structure {
        /// What is in the place of what.
        reason: String,
    },
    /// A protected header is over its limits or not deterministic.
    #[error("failed to read the protected header of {place}")]
    HeaderEncoding {
        /// Whose.
        place: EnvelopePart,
        /// The rule.
        source: cbor::Error,
    },
    /// What was decoded is written otherwise.
    #[error("{place} encodes to other bytes than the ones given")]
    NotCanonical {
        /// Which part.
        place: EnvelopePart,
    },
    /// Something that no signature covers.
    #[error("{place} has an unprotected header, which no signature covers")]
    UnprotectedHeader {
        /// Whose.
        place: EnvelopePart,
    },
    /// A header parameter beyond the ones of the form.
    #[error("the protected header of {place} has a parameter that is not allowed")]
    HeaderNotAllowed {
        /// Whose.
        place: EnvelopePart,
    },
    /// No content type.
    #[error("the envelope does not say what it holds")]
    ContentTypeMissing,
    /// The content type of another document.
    #[error("the envelope holds `{found}`, not `{expected}`")]
    ContentType {
        /// What it says.
        found: String,
        /// What was wanted.
        expected: &'static str,
    },
    /// No payload.
    #[error("the payload is not in the envelope")]
    PayloadMissing,
    /// The payload is over its limit.
    #[error("the payload has {bytes} bytes, more than the limit of {limit}")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// No signature, or too many.
    #[error("{count} signatures; 1 to {} are allowed", format::SIGNERS_LIMIT)]
    SignatureCount {
        /// How many.
        count: usize,
    },
    /// Another algorithm than ES384, or none.
    #[error("the algorithm of {place} is not ES384")]
    Algorithm {
        /// Whose.
        place: EnvelopePart,
    },
    /// No certificates, or not in the form of RFC 9360.
    #[error("{place} has no certificate chain in the form of RFC 9360")]
    ChainForm {
        /// Whose.
        place: EnvelopePart,
    },
    /// Too many or too large certificates.
    #[error(
        "the certificates of {place} are more than {} or larger than {} bytes",
        format::CERTIFICATES_LIMIT,
        format::CERTIFICATE_BYTES_LIMIT
    )]
    ChainTooLarge {
        /// Whose.
        place: EnvelopePart,
    },
    /// A signature that no ES384 key makes.
    #[error("{place} has {bytes} bytes; ES384 makes {}", format::SIGNATURE_BYTES)]
    SignatureSize {
        /// Whose.
        place: EnvelopePart,
        /// Its size.
        bytes: usize,
    },
    /// Nobody is believed for this role.
    #[error("the anchors name no authority for the role `{role}`")]
    NoAnchors {
        /// The role.
        role: Role,
    },
    /// The certificates of a signer are not believed.
    #[error("the certificate `{signer}` of {place} {fault}")]
    Certificate {
        /// Whose.
        place: EnvelopePart,
        /// The subject of its leaf.
        signer: String,
        /// Why.
        fault: Fault,
    },
    /// A good signer, for another kind of document.
    #[error("`{signer}` of {place} signs for the role `{found}`, not `{needed}`")]
    WrongRole {
        /// Whose.
        place: EnvelopePart,
        /// Its subject.
        signer: String,
        /// The role that it has.
        found: Role,
        /// The role that counts.
        needed: Role,
    },
    /// The signature does not hold.
    #[error("{place} by `{signer}` does not match the content")]
    Signature {
        /// Whose.
        place: EnvelopePart,
        /// Its subject.
        signer: String,
    },
    /// Too few signed.
    #[error("{found} different keys of the role `{role}` signed; {needed} must")]
    Threshold {
        /// The role.
        role: Role,
        /// How many did.
        found: usize,
        /// How many must.
        needed: u8,
    },
    /// More must sign than can.
    #[error(
        "the anchors want {needed} keys of the role `{role}`, and a document has {} signatures at most",
        format::SIGNERS_LIMIT
    )]
    ThresholdTooHigh {
        /// The role.
        role: Role,
        /// How many must.
        needed: u8,
    },
    /// Signed, but no document that this version can read.
    #[error("failed to read the signed content")]
    Payload {
        /// The rule.
        source: cbor::Error,
    },
}

impl Error {
    /// A stable name for programs: the last part of `urn:catenoid:error:<name>`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Encoding { source } | Self::HeaderEncoding { source, .. } => match source {
                cbor::Error::TooLarge { .. } => "envelope-too-large",
                cbor::Error::TooDeep { .. } => "envelope-too-deep",
                cbor::Error::TooMany { .. } => "envelope-too-many-items",
                cbor::Error::NotDeterministic { .. } => "envelope-not-deterministic",
                _ => "envelope-malformed",
            },
            Self::Structure { .. } => "envelope-malformed",
            Self::NotCanonical { .. } => "envelope-not-deterministic",
            Self::UnprotectedHeader { .. } => "unprotected-header",
            Self::HeaderNotAllowed { .. } => "header-not-allowed",
            Self::ContentTypeMissing => "content-type-missing",
            Self::ContentType { .. } => "content-type-wrong",
            Self::PayloadMissing => "payload-missing",
            Self::PayloadTooLarge { .. } => "payload-too-large",
            Self::SignatureCount { .. } => "signature-count",
            Self::Algorithm { .. } => "algorithm-not-allowed",
            Self::ChainForm { .. } => "certificate-chain-missing",
            Self::ChainTooLarge { .. } => "certificate-chain-too-large",
            Self::NoAnchors { .. } => "anchors-missing",
            Self::Certificate { fault, .. } => fault.name(),
            Self::WrongRole { .. } => "signer-role-wrong",
            Self::SignatureSize { .. } | Self::Signature { .. } => "signature-wrong",
            Self::Threshold { .. } => "signers-too-few",
            Self::ThresholdTooHigh { .. } => "threshold-too-high",
            Self::Payload { source } => match source {
                cbor::Error::TooLarge { .. } => "payload-too-large",
                cbor::Error::TooDeep { .. } => "payload-too-deep",
                cbor::Error::TooMany { .. } => "payload-too-many-items",
                cbor::Error::NotDeterministic { .. } | cbor::Error::NotCanonical { .. } => "payload-not-deterministic",
                cbor::Error::NewerNeeded { .. } => NEWER_AGENT_NEEDED,
                _ => "payload-malformed",
            },
        }
    }

    /// Who must act: whoever runs the device where its anchors, clock or version are in question, else whoever signed.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Certificate { fault, .. } => fault.blame(),
            Self::NoAnchors { .. } | Self::ThresholdTooHigh { .. } => Blame::Administrator,
            Self::Payload { source: cbor::Error::NewerNeeded { .. } } => Blame::Administrator,
            _ => Blame::ManifestAuthor,
        }
    }

    /// What to do about it, where there is one thing.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Encoding { .. } | Self::Structure { .. } => {
                Some("pass the file that `catenoid-sign` wrote, whole and unaltered")
            }
            Self::ContentType { .. } => Some("this is another kind of document; a manifest ends with `.manifest.cose`"),
            Self::Certificate { fault, .. } => Some(fault.hint()),
            Self::NoAnchors { .. } => Some("ship a boot image whose anchors name an authority of that role"),
            Self::WrongRole { .. } => Some("manifests are signed by the role `operator`, guests by `software`"),
            Self::Signature { .. } => Some("the content was altered after it was signed; fetch or sign it again"),
            Self::ThresholdTooHigh { .. } => {
                Some("ship a boot image whose anchors have a threshold that can be reached")
            }
            Self::Threshold { .. } => Some("add a signature with `catenoid-sign sign --add-signature`"),
            Self::Payload { source: cbor::Error::NewerNeeded { .. } } => Some(NEWER_AGENT_HINT),
            _ => None,
        }
    }
}

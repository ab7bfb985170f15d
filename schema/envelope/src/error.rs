//! Why an envelope is not believed.

use catenoid_schema::{cbor, document::Role, status::Blame};

use crate::{
    fault::SignerFault,
    limits::{CERTIFICATE_BYTES_LIMIT, CERTIFICATES_LIMIT, SIGNATURE_BYTES, SIGNERS_LIMIT},
};

/// The name of the error that says that a document was written for a later version.
pub const NEWER_AGENT_NEEDED: &str = "newer-agent-needed";
/// What to do about it.
pub const NEWER_AGENT_HINT: &str =
    "update the device's system image, or do without the feature: `catenoid version` lists what the agent can do";

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
        /// The part whose header it is.
        place: EnvelopePart,
        /// The rule.
        source: cbor::Error,
    },
    /// What was decoded is written otherwise.
    #[error("{place} encodes to other bytes than the ones given")]
    NotCanonical {
        /// The part that was decoded.
        place: EnvelopePart,
    },
    /// Something that no signature covers.
    #[error("{place} has an unprotected header, which no signature covers")]
    UnprotectedHeader {
        /// The part whose header it is.
        place: EnvelopePart,
    },
    /// A header parameter beyond the ones of the form.
    #[error("the protected header of {place} has a parameter that is not allowed")]
    HeaderNotAllowed {
        /// The part whose header it is.
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
    #[error("{count} signatures; 1 to {} are allowed", SIGNERS_LIMIT)]
    SignatureCount {
        /// How many signatures there are.
        count: usize,
    },
    /// Another algorithm than ES384, or none.
    #[error("the algorithm of {place} is not ES384")]
    Algorithm {
        /// The signature whose header names the algorithm.
        place: EnvelopePart,
    },
    /// No certificates, or not in the form of RFC 9360.
    #[error("{place} has no certificate chain in the form of RFC 9360")]
    ChainForm {
        /// The signature whose certificates they should be.
        place: EnvelopePart,
    },
    /// Too many or too large certificates.
    #[error(
        "the certificates of {place} are more than {} or larger than {} bytes",
        CERTIFICATES_LIMIT,
        CERTIFICATE_BYTES_LIMIT
    )]
    ChainTooLarge {
        /// The signature whose certificates they are.
        place: EnvelopePart,
    },
    /// A signature that no ES384 key makes.
    #[error("{place} has {bytes} bytes; ES384 makes {}", SIGNATURE_BYTES)]
    SignatureSize {
        /// The signature.
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
        /// The signature whose certificate it is.
        place: EnvelopePart,
        /// The subject of its leaf.
        signer: String,
        /// What is wrong with it or with those above it.
        fault: SignerFault,
    },
    /// A good signer, for another kind of document.
    #[error("`{signer}` of {place} signs for the role `{found}`, not `{needed}`")]
    WrongRole {
        /// The signature.
        place: EnvelopePart,
        /// The subject of its signer.
        signer: String,
        /// The role that it has.
        found: Role,
        /// The role that counts.
        needed: Role,
    },
    /// The signature does not hold.
    #[error("{place} by `{signer}` does not match the content")]
    Signature {
        /// The signature.
        place: EnvelopePart,
        /// The subject of its signer.
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
        SIGNERS_LIMIT
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
            Self::Encoding { .. }
            | Self::Structure { .. }
            | Self::HeaderEncoding { .. }
            | Self::NotCanonical { .. }
            | Self::UnprotectedHeader { .. }
            | Self::HeaderNotAllowed { .. }
            | Self::ContentTypeMissing
            | Self::ContentType { .. }
            | Self::PayloadMissing
            | Self::PayloadTooLarge { .. }
            | Self::SignatureCount { .. }
            | Self::Algorithm { .. }
            | Self::ChainForm { .. }
            | Self::ChainTooLarge { .. }
            | Self::SignatureSize { .. }
            | Self::WrongRole { .. }
            | Self::Signature { .. }
            | Self::Threshold { .. }
            | Self::Payload { .. } => Blame::ManifestAuthor,
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

//! What can be wrong with certificates, each by its own name.

use catenoid_schema::{document::Role, status::Blame, units::Timestamp};

/// Why a signer's certificates are not believed.
///
/// The order says how far they lead, from nowhere on: of several anchors, what is said is about the one to which they lead
/// furthest, wherever it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum SignerFault {
    /// No anchor has the name that the last of them names.
    #[error("leads to no authority of the role `{role}`")]
    Untrusted {
        /// The role.
        role: Role,
    },
    /// They lead to no anchor that can be read, and one cannot.
    #[error("leads to no authority of the role `{role}` that can be read, and one cannot: {reason}")]
    AnchorUnreadable {
        /// The role.
        role: Role,
        /// What the decoder says.
        reason: String,
    },
    /// A certificate that no decoder of ours takes.
    #[error("or one above it cannot be read: {reason}")]
    Unreadable {
        /// What the decoder says.
        reason: String,
    },
    /// A certificate of version 1 or 2, which has no extensions.
    #[error("or one above it is not of version 3")]
    Version,
    /// A critical extension that we do not know (RFC 5280 section 4.2).
    #[error("or one above it has a critical extension that this version does not know")]
    CriticalExtension,
    /// A certificate was signed with another algorithm than ours.
    #[error("or one above it was not made with ECDSA and SHA-384")]
    SignatureAlgorithm,
    /// An authority between signer and anchor has another key.
    #[error("or one above it was issued by a key that is not on P-384")]
    IssuerKeyKind,
    /// Its dates contradict each other.
    #[error("or one above it ends before it begins")]
    EndsBeforeItBegins,
    /// The leaf is an authority.
    #[error("is an authority, which signs certificates only")]
    Authority,
    /// What issued a certificate is no authority.
    #[error("or one above it was issued by a certificate that is no authority (`CA:TRUE`)")]
    IssuerNoAuthority,
    /// There are more authorities than one of them permits.
    #[error("has more authorities above it than one of them permits (`pathlen`)")]
    PathLength,
    /// The name constraints of an authority are broken, or such that we refuse all.
    #[error("or one above it is outside the name constraints of an authority")]
    NameConstraints,
    /// The extended key usage of the role is missing.
    #[error("or one above it was not issued for the role `{role}`")]
    Purpose {
        /// The role.
        role: Role,
    },
    /// The name of the issuer is known, and its key is another.
    #[error("or one above it was not signed by the authority that it names")]
    SignatureWrong,
    /// A certificate has ended.
    #[error("or one above it was valid until {not_after}, and it is {at}")]
    Expired {
        /// When it ended.
        not_after: Timestamp,
        /// The time of the verification.
        at: Timestamp,
    },
    /// A certificate has not begun.
    #[error("or one above it is not valid before {not_before}, and it is {at}")]
    NotYetValid {
        /// When it begins.
        not_before: Timestamp,
        /// The time of the verification.
        at: Timestamp,
    },
    /// They lead to an anchor, but not in the order in which they stand.
    #[error("leads to an anchor, but the certificates behind it are not in order")]
    Order,
    /// They lead to an anchor without all of them, or hold the anchor itself.
    #[error("leads to an anchor, but others were sent along that are not on the way")]
    Surplus,
    /// An authority between signer and anchor may not issue certificates.
    #[error("or one above it was issued by an authority that may not (`keyCertSign`)")]
    IssuerKeyUsage,
    /// They lead to an anchor that is not believed itself.
    #[error("leads to the anchor `{anchor}`, which {fault}")]
    Anchor {
        /// The subject of the anchor.
        anchor: String,
        /// What is wrong with the anchor.
        fault: AnchorFault,
    },
    /// The leaf's key is not on P-384, or written in another form than ours.
    #[error("is not of an ECDSA key on P-384")]
    KeyKind,
    /// The leaf's key usage is missing or another.
    #[error("has another key usage than `digitalSignature`")]
    KeyUsage,
}

/// Why a certificate among the anchors is not believed. Whoever made the anchors mends it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum AnchorFault {
    /// It is no certificate.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// What the decoder says.
        reason: String,
    },
    /// It is no authority.
    #[error("is not an authority (`CA:TRUE`)")]
    NoAuthority,
    /// It may not issue certificates.
    #[error("may not issue certificates (`keyCertSign`)")]
    KeyUsage,
    /// Its key is another.
    #[error("has no ECDSA key on P-384")]
    KeyKind,
    /// It has a critical extension that we do not know.
    #[error("has the critical extension {id}, which this version does not know")]
    CriticalExtension {
        /// The number of the extension, dotted.
        id: String,
    },
    /// It has not begun.
    #[error("is not valid before {not_before}, and it is {at}")]
    NotYetValid {
        /// When it begins.
        not_before: Timestamp,
        /// The time of the verification.
        at: Timestamp,
    },
    /// It has ended.
    #[error("was valid until {not_after}, and it is {at}")]
    Expired {
        /// When it ended.
        not_after: Timestamp,
        /// The time of the verification.
        at: Timestamp,
    },
}

impl SignerFault {
    /// A stable name for programs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Untrusted { .. } => "certificate-untrusted",
            Self::AnchorUnreadable { .. } => "anchor-unreadable",
            Self::Unreadable { .. } => "certificate-unreadable",
            Self::Version => "certificate-version",
            Self::CriticalExtension => "certificate-critical-extension",
            Self::SignatureAlgorithm => "certificate-signature-algorithm",
            Self::IssuerKeyKind => "issuer-key-kind",
            Self::EndsBeforeItBegins => "certificate-dates-wrong",
            Self::Authority => "certificate-is-authority",
            Self::IssuerNoAuthority => "issuer-no-authority",
            Self::PathLength => "certificate-path-too-long",
            Self::NameConstraints => "certificate-name-constraints",
            Self::Purpose { .. } => "certificate-purpose-wrong",
            Self::SignatureWrong => "certificate-signature-wrong",
            Self::Expired { .. } => "certificate-expired",
            Self::NotYetValid { .. } => "certificate-not-yet-valid",
            Self::Order => "certificate-chain-order",
            Self::Surplus => "certificate-chain-surplus",
            Self::IssuerKeyUsage => "issuer-key-usage",
            Self::Anchor { fault, .. } => fault.name(),
            Self::KeyKind => "certificate-key-kind",
            Self::KeyUsage => "certificate-key-usage",
        }
    }

    /// Who must act: whoever runs the device where its anchors or its clock are in question, else whoever signed.
    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::AnchorUnreadable { .. } | Self::Anchor { .. } | Self::NotYetValid { .. } => Blame::Administrator,
            Self::Untrusted { .. }
            | Self::Unreadable { .. }
            | Self::Version
            | Self::CriticalExtension
            | Self::SignatureAlgorithm
            | Self::IssuerKeyKind
            | Self::EndsBeforeItBegins
            | Self::Authority
            | Self::IssuerNoAuthority
            | Self::PathLength
            | Self::NameConstraints
            | Self::Purpose { .. }
            | Self::SignatureWrong
            | Self::Expired { .. }
            | Self::Order
            | Self::Surplus
            | Self::IssuerKeyUsage
            | Self::KeyKind
            | Self::KeyUsage => Blame::ManifestAuthor,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Untrusted { .. } => {
                "the device believes the anchors of its boot image only; compare the two PKIs, and pass every authority \
                 between signer and anchor in `--chain`"
            }
            Self::AnchorUnreadable { .. } => AnchorFault::UNFIT,
            Self::Unreadable { .. } => "pass the certificate as the authority issued it, unaltered and in DER",
            Self::Version => "issue it again with the extensions that `docs/provision.md` shows",
            Self::CriticalExtension => {
                "issue it again without that extension; `docs/provision.md` says which are known"
            }
            Self::SignatureAlgorithm => "issue it again with `-sha384`, by an authority whose key is on P-384",
            Self::IssuerKeyKind => "make a new authority with a key on P-384, and issue again",
            Self::EndsBeforeItBegins => "issue it again with an end that lies behind its beginning",
            Self::Authority => "sign with the key of a signer, not with that of its authority",
            Self::IssuerNoAuthority => "sign with a certificate that an authority issued; a signer issues none",
            Self::PathLength => {
                "issue the signer's certificate by a higher authority, or the authority's with a larger `pathlen`"
            }
            Self::NameConstraints => {
                "issue the authority's certificate without `nameConstraints`; those over subjects refuse everybody"
            }
            Self::Purpose { .. } => {
                "manifests are signed by the role `operator`, guests by `software`; each certificate below the anchor has \
                 its role's extended key usage"
            }
            Self::SignatureWrong => {
                "it was altered, or comes from another PKI of the same name: compare it with what the authority issued"
            }
            Self::Expired { .. } => "sign again with a valid certificate",
            Self::NotYetValid { .. } => "check the clock of the device",
            Self::Order | Self::Surplus => {
                "sign again with a `--chain` that begins with the signer, goes on with who issued each, and ends before \
                 the anchor"
            }
            Self::IssuerKeyUsage => "issue the authority's certificate again with `keyUsage = critical, keyCertSign`",
            Self::Anchor { fault, .. } => fault.hint(),
            Self::KeyKind => "make the signer's key with `ec_paramgen_curve:P-384`, its point uncompressed",
            Self::KeyUsage => "issue it again with `keyUsage = critical, digitalSignature` and nothing else there",
        }
    }
}

impl AnchorFault {
    const UNFIT: &'static str = "replace it by a certificate that `catenoid-sign pki anchors` takes, and ship a boot image with the new anchors";

    fn name(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "anchor-unreadable",
            Self::NoAuthority => "anchor-no-authority",
            Self::KeyUsage => "anchor-key-usage",
            Self::KeyKind => "anchor-key-kind",
            Self::CriticalExtension { .. } => "anchor-critical-extension",
            Self::NotYetValid { .. } => "anchor-not-yet-valid",
            Self::Expired { .. } => "anchor-expired",
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::NotYetValid { .. } => "check the clock of the device",
            Self::Expired { .. } => {
                "check the clock of the device; if it is right, ship a boot image whose anchors hold the renewed certificate"
            }
            _ => Self::UNFIT,
        }
    }
}

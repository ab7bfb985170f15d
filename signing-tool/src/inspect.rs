//! `inspect`: what is in a signed or unsigned document, and whether it would be believed.

use std::path::{Path, PathBuf};

use catenoid_envelope::{Unverified, open};
use catenoid_schema::{
    anchors::Anchors,
    cbor,
    digest::Digest,
    document::{self, Document, Role},
    foreign::clean,
    guest::{self, Guest},
    manifest::{
        self, Manifest,
        check::{Stage, Violation},
    },
    units::Timestamp,
};
use serde::Serialize;
use x509_cert::{Certificate, der::Decode};

use crate::{check, failure::Failure};

/// The most bytes of a payload of any kind.
const PAYLOAD_LIMIT: usize = Manifest::LIMITS.bytes;

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Neither an envelope nor a document.
    #[error("`{}` is neither a signed document nor one in cbor", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Why it is not an envelope.
        source: Box<catenoid_envelope::Error>,
    },
    /// An envelope of something that we do not know.
    #[error("`{}` holds `{content_type}`, which this version does not know", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it says.
        content_type: String,
    },
    /// The payload is not of its kind.
    #[error("failed to read the content of `{}`", path.display())]
    Payload {
        /// The file.
        path: PathBuf,
        /// What the decoder says of the payload.
        source: cbor::Error,
    },
    /// A device would refuse it.
    #[error("a device with these anchors refuses `{}`: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why the device refuses it.
        reason: String,
        /// What to do about it.
        hint: Option<&'static str>,
    },
    /// A device would refuse what was signed, whoever signed it.
    #[error("a device refuses `{}`: it breaks {count} {}", path.display(), if *count == 1 { "rule" } else { "rules" })]
    BreaksRules {
        /// The file.
        path: PathBuf,
        /// How many rules it breaks.
        count: usize,
    },
    /// It cannot be written for people (our fault).
    #[error("failed to write the content for people: {reason}")]
    Show {
        /// What the encoder says.
        reason: String,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Show { .. } => Self::system(error),
            Error::Refused { hint, .. } => Self::refused(error).hint(hint),
            _ => Self::refused(error),
        }
    }
}

/// Everything that can be said of a document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Inspection {
    kind: &'static str,
    /// The role whose signatures count.
    role: Role,
    /// What names the document: the digest of its bytes.
    digest: Digest,
    /// The digest of the whole file, by which a guest's descriptor is named and pushed.
    file_digest: Digest,
    file_bytes: usize,
    signers: Vec<Signer>,
    verification: Verification,
    /// Of anchors: the certificates in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorities: Vec<Authority>,
    /// Of a manifest that no device accepts any more: since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<String>,
    document: serde_json::Value,
    #[serde(skip)]
    yaml: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Authority {
    role: Role,
    threshold: u8,
    subject: String,
    not_after: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Signer {
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
    /// Certificates that were sent along, the signer's own included.
    certificates: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
enum Verification {
    /// There is no signature.
    Unsigned,
    /// Nobody said whom to believe.
    NotAsked,
    /// A device with these anchors believes it.
    Believed { at: Timestamp },
    /// It does not.
    Refused { at: Timestamp, error: &'static str, reason: String, hint: Option<&'static str> },
    /// It believes who signed it, and refuses what was signed.
    BreaksRules { at: Timestamp, violations: Vec<Broken> },
}

/// A rule that is broken, and where.
#[derive(Debug, Serialize)]
struct Broken {
    path: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl From<Violation> for Broken {
    fn from(Violation { path, message, hint }: Violation) -> Self {
        Self { path, message, hint }
    }
}

/// Takes `bytes` apart; verifies them where there are `anchors`.
pub(crate) fn inspect(
    path: &Path,
    bytes: &[u8],
    anchors: Option<&Anchors>,
    at: Timestamp,
) -> Result<Inspection, Error> {
    take_apart(path, bytes, anchors, at).map(with_authorities).map(|inspection| with_expiry(inspection, at))
}

/// Says of a manifest that it has expired, whether or not somebody asked to verify it.
fn with_expiry(mut inspection: Inspection, at: Timestamp) -> Inspection {
    if let Ok(manifest) = serde_json::from_value::<Manifest>(inspection.document.clone()) {
        inspection.expired = check::expired(&manifest, at);
    }
    inspection
}

fn take_apart(path: &Path, bytes: &[u8], anchors: Option<&Anchors>, at: Timestamp) -> Result<Inspection, Error> {
    let envelope = match Unverified::read(bytes, PAYLOAD_LIMIT) {
        Ok(envelope) => envelope,
        Err(source) => {
            return unsigned(bytes)
                .unwrap_or_else(|| Err(Error::Form { path: path.to_owned(), source: Box::new(source) }));
        }
    };
    match envelope.content_type() {
        Manifest::CONTENT_TYPE => {
            let rules = |manifest: &Manifest| manifest::check::check(manifest, Stage::Signed);
            signed("Manifest", path, bytes, &envelope, anchors, at, rules)
        }
        Guest::CONTENT_TYPE => signed("Guest", path, bytes, &envelope, anchors, at, guest::check),
        Anchors::CONTENT_TYPE => signed("Anchors", path, bytes, &envelope, anchors, at, |_: &Anchors| Vec::new()),
        other => Err(Error::Kind { path: path.to_owned(), content_type: clean(other) }),
    }
}

/// Adds the certificates of anchors in words, which nobody can read in hex.
fn with_authorities(mut inspection: Inspection) -> Inspection {
    if let Ok(anchors) = serde_json::from_value::<Anchors>(inspection.document.clone()) {
        for (role, believed) in &anchors.roles {
            inspection.authorities.extend(believed.certificates.iter().map(|certificate| {
                let Signer { subject, not_after, .. } = signer(&[certificate.as_bytes().to_vec()]);
                Authority { role: *role, threshold: believed.threshold, subject, not_after }
            }));
        }
    }
    inspection
}

fn unsigned(bytes: &[u8]) -> Option<Result<Inspection, Error>> {
    fn of<T: Document>(kind: &'static str, bytes: &[u8]) -> Option<Result<Inspection, Error>> {
        let document: T = document::decode(bytes).ok()?;
        Some(inspection(kind, &document, bytes, bytes, Vec::new(), Verification::Unsigned))
    }
    of::<Manifest>("Manifest", bytes)
        .or_else(|| of::<Guest>("Guest", bytes))
        .or_else(|| of::<Anchors>("Anchors", bytes))
}

fn signed<T: Document>(
    kind: &'static str,
    path: &Path,
    bytes: &[u8],
    envelope: &Unverified,
    anchors: Option<&Anchors>,
    at: Timestamp,
    rules: impl FnOnce(&T) -> Vec<Violation>,
) -> Result<Inspection, Error> {
    let document: T =
        document::decode(envelope.payload()).map_err(|source| Error::Payload { path: path.to_owned(), source })?;
    let verification = match anchors.map(|anchors| open::<T>(bytes, anchors, at)) {
        None => Verification::NotAsked,
        Some(Ok(_)) => match rules(&document) {
            violations if violations.is_empty() => Verification::Believed { at },
            violations => {
                Verification::BreaksRules { at, violations: violations.into_iter().map(Into::into).collect() }
            }
        },
        Some(Err(error)) => {
            Verification::Refused { at, error: error.name(), reason: error.to_string(), hint: error.hint() }
        }
    };
    let signers = envelope.chains().iter().map(|chain| signer(chain)).collect();
    inspection(kind, &document, envelope.payload(), bytes, signers, verification)
}

fn inspection<T: Document>(
    kind: &'static str,
    document: &T,
    payload: &[u8],
    bytes: &[u8],
    signers: Vec<Signer>,
    verification: Verification,
) -> Result<Inspection, Error> {
    Ok(Inspection {
        kind,
        role: T::ROLE,
        digest: Digest::of(payload),
        file_digest: Digest::of(bytes),
        file_bytes: bytes.len(),
        signers,
        verification,
        authorities: Vec::new(),
        expired: None,
        document: serde_json::to_value(document).map_err(|e| Error::Show { reason: e.to_string() })?,
        yaml: yaml(document)?,
    })
}

/// A document as its author could write it, with every default.
pub(crate) fn yaml<T: Serialize>(document: &T) -> Result<String, Error> {
    serde_saphyr::to_string(document).map_err(|e| Error::Show { reason: e.to_string() })
}

fn signer(chain: &[Vec<u8>]) -> Signer {
    let unreadable = || "unreadable".to_owned();
    let leaf = chain.first().and_then(|leaf| Certificate::from_der(leaf).ok());
    let of = |read: fn(&Certificate) -> String| leaf.as_ref().map_or_else(unreadable, |leaf| clean(&read(leaf)));
    Signer {
        subject: of(|leaf| leaf.tbs_certificate().subject().to_string()),
        issuer: of(|leaf| leaf.tbs_certificate().issuer().to_string()),
        not_before: of(|leaf| leaf.tbs_certificate().validity().not_before.to_string()),
        not_after: of(|leaf| leaf.tbs_certificate().validity().not_after.to_string()),
        certificates: chain.len(),
    }
}

impl std::fmt::Display for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "kind      {} (signed by the role `{}`)", self.kind, self.role)?;
        writeln!(f, "digest    {}", self.digest)?;
        writeln!(f, "file      {} ({} bytes)", self.file_digest, self.file_bytes)?;
        for (index, signer) in self.signers.iter().enumerate() {
            writeln!(f, "signer {}  {}", index + 1, signer.subject)?;
            writeln!(f, "          issued by {}", signer.issuer)?;
            writeln!(f, "          valid {} to {}", signer.not_before, signer.not_after)?;
        }
        match &self.verification {
            Verification::Unsigned => writeln!(f, "verified  no: there is no signature")?,
            Verification::NotAsked => writeln!(f, "verified  no: pass --anchors to verify")?,
            Verification::Believed { at } => writeln!(f, "verified  yes, at {at}")?,
            Verification::BreaksRules { at, violations } => {
                writeln!(f, "verified  REFUSED at {at}: it is believed, but breaks rules")?;
                for Broken { path, message, hint } in violations {
                    writeln!(f, "breaks    {}: {}", clean(path), clean(message))?;
                    if let Some(hint) = hint {
                        writeln!(f, "          hint: {}", clean(hint))?;
                    }
                }
            }
            Verification::Refused { at, reason, .. } => writeln!(f, "verified  REFUSED at {at}: {reason}")?,
        }
        if let Some(expired) = &self.expired {
            writeln!(f, "EXPIRED   {expired}")?;
        }
        for Authority { role, threshold, subject, not_after } in &self.authorities {
            writeln!(f, "believes  {subject} for the role `{role}` ({threshold} must sign), until {not_after}")?;
        }
        if self.authorities.is_empty() { write!(f, "---\n{}", self.yaml) } else { Ok(()) }
    }
}

impl Inspection {
    /// An error if anchors were given that refuse it.
    pub(crate) fn verdict(&self, path: &Path) -> Result<(), Error> {
        match &self.verification {
            Verification::Refused { reason, hint, .. } => {
                Err(Error::Refused { path: path.to_owned(), reason: reason.clone(), hint: *hint })
            }
            Verification::BreaksRules { violations, .. } => {
                Err(Error::BreaksRules { path: path.to_owned(), count: violations.len() })
            }
            Verification::Unsigned | Verification::NotAsked | Verification::Believed { .. } => Ok(()),
        }
    }
}

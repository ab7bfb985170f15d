//! `pki init`: the keys and certificates of a development fleet, in one folder. `pki anchors`: the anchors of any fleet,
//! from the certificates of its authorities.
//!
//! Everything that signs documents is ECDSA on P-384. The three platform keys are RSA-2048, because that is what UEFI
//! firmware verifies Secure Boot signatures with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use catenoid_envelope::{AnchorFault, check_anchor, limits::SIGNERS_LIMIT};
use catenoid_schema::{
    anchors::{Anchors, AnchorsKind, AnchorsMetadata, CertificateDer, RoleAnchors},
    cbor,
    digest::Digest,
    document::{ApiVersion, Role},
    name::Name,
    units::Timestamp,
};
use p384::ecdsa::{DerSignature, SigningKey};
use p384::elliptic_curve::Generate;
use p384::pkcs8::{DecodePublicKey, EncodePrivateKey, LineEnding};
use x509_cert::{
    Certificate,
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    certificate::TbsCertificate,
    der::{Decode, Encode, EncodePem, asn1::ObjectIdentifier, flagset::FlagSet},
    ext::{
        Extension, ToExtension,
        pkix::{AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier},
    },
    name::Name as Subject,
    serial_number::SerialNumber,
    spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef},
    time::{Time, Validity},
};

use crate::{
    failure::Failure,
    files::{self, Access},
    key,
};

/// How long authorities are valid: a development fleet's whole life.
const AUTHORITY_YEARS: u32 = 20;
/// How long signers are valid.
const SIGNER_YEARS: u32 = 3;
/// How far before now a certificate begins, so that a device whose clock lags takes it.
const CLOCK_LAG: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// The keys of UEFI Secure Boot: platform key, key exchange key, signature database.
const PLATFORM: [&str; 3] = ["PK", "KEK", "db"];

/// Why there is no PKI.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file.
    #[error(transparent)]
    File(#[from] files::Error),
    /// There is one already.
    #[error("`{}` is there already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A subject cannot be written.
    #[error("`{name}` cannot be part of a certificate's subject")]
    Subject {
        /// The name of the PKI.
        name: String,
        /// What the encoder says.
        source: x509_cert::der::Error,
    },
    /// A certificate cannot be made (our fault).
    #[error("failed to make the certificate of `{subject}`")]
    Certificate {
        /// The subject of the certificate.
        subject: String,
        /// What the encoder says.
        source: builder::Error,
    },
    /// A key or certificate cannot be written as text (our fault).
    #[error("failed to encode a key or certificate: {reason}")]
    Encode {
        /// What the encoder says.
        reason: String,
    },
    /// A file of certificates.
    #[error(transparent)]
    Chain(#[from] key::Error),
    /// An anchor is one certificate.
    #[error("`{}` holds {count} certificates; an anchor is one", path.display())]
    Several {
        /// The file.
        path: PathBuf,
        /// How many certificates it holds.
        count: usize,
    },
    /// A certificate that no device would ever believe as an anchor.
    #[error("`{}` cannot be an anchor: it {fault}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with the certificate.
        fault: AnchorFault,
    },
    /// Nobody's signature would count.
    #[error("nobody could sign for the role `{role}`: all its anchors have expired")]
    Expired {
        /// The role.
        role: Role,
    },
    /// A threshold of nobody.
    #[error("the threshold of the role `{role}` must be at least 1, and the role must have an anchor")]
    Threshold {
        /// The role.
        role: Role,
    },
    /// A threshold that no envelope reaches.
    #[error(
        "nobody could reach the threshold {threshold} of the role `{role}`: a document has {SIGNERS_LIMIT} signatures at most"
    )]
    ThresholdTooHigh {
        /// The role.
        role: Role,
        /// The threshold.
        threshold: u8,
    },
    /// `openssl` is not there.
    #[error("failed to run `openssl`")]
    RunOpenssl {
        /// What the system says.
        source: std::io::Error,
    },
    /// `openssl` failed.
    #[error("`openssl` failed to make the platform key `{name}`: {message}")]
    Openssl {
        /// The name of the platform key.
        name: &'static str,
        /// Its last line.
        message: String,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::File(error) => error.into(),
            Error::Exists { .. } => {
                Self::refused(error).hint(Some("nothing is ever overwritten here; choose another `--dir`"))
            }
            Error::RunOpenssl { .. } => Self::system(error).hint(Some("install the package `openssl`")),
            Error::Chain(error) => error.into(),
            Error::Several { .. } => {
                Self::refused(error).hint(Some("give each authority a file and an `--anchor` of its own"))
            }
            Error::Unfit { .. } => Self::refused(error).hint(Some("make the authority as `docs/provision.md` shows")),
            Error::Expired { .. } => Self::refused(error).hint(Some("give the renewed certificate of the authority")),
            Error::Subject { .. } | Error::Threshold { .. } | Error::ThresholdTooHigh { .. } => Self::usage(error),
            Error::Certificate { .. } | Error::Encode { .. } | Error::Openssl { .. } => Self::system(error),
        }
    }
}

/// Makes the PKI `name` in `folder`, which must not be there or be empty.
///
/// [req->SF-16]
pub(crate) fn init(folder: &Path, name: &Name, now: SystemTime) -> Result<(), Error> {
    if folder.exists() && !files::is_empty_folder(folder)? {
        return Err(Error::Exists { path: folder.to_owned() });
    }
    let root = Authority::root(name, now)?;
    let mut roles = BTreeMap::new();
    for role in Role::ALL {
        let path = folder.join(role.as_str());
        files::make_private_folder(&path)?;
        let below = Authority::of_role(&root, name, role, now)?;
        let authority = if role == Role::Root { &root } else { &below };
        authority.write(&path)?;
        if role != Role::Device {
            write_signer(authority, name, role, now, &path)?;
        }
        let certificates = vec![CertificateDer::new(der(&authority.certificate)?)];
        roles.insert(role, RoleAnchors { threshold: 1, certificates });
    }
    let anchors = Anchors {
        api_version: ApiVersion::V1,
        kind: AnchorsKind::Anchors,
        metadata: AnchorsMetadata { name: name.clone(), version: 1 },
        roles,
    };
    files::create(&folder.join("anchors.cbor"), &encode(&anchors)?, Access::Public)?;
    platform(&folder.join("platform"), name)
}

/// Anchors, and what the administrator should know of them.
pub(crate) struct Made {
    pub(crate) anchors: Vec<u8>,
    /// Of each certificate that is not believed today, why.
    pub(crate) warnings: Vec<String>,
}

// [req->NDR-3.13]
/// The anchors with the authority of each file for its role, and how many must sign for each role (1 if not said).
pub(crate) fn anchors(
    name: &Name,
    version: u64,
    authorities: &[(Role, PathBuf)],
    thresholds: &[(Role, u8)],
    at: Timestamp,
) -> Result<Made, Error> {
    let mut roles: BTreeMap<Role, RoleAnchors> = BTreeMap::new();
    let mut warnings = Vec::new();
    let mut reachable = BTreeSet::new();
    for (role, path) in authorities {
        let certificate = read_anchor(path)?;
        match check_anchor(&certificate, at) {
            Ok(()) => drop(reachable.insert(*role)),
            // Time decides over these, and it may be meant.
            Err(fault @ AnchorFault::NotYetValid { .. }) => {
                reachable.insert(*role);
                warnings.push(warning(*role, path, &fault, "until then only others of its role are believed"));
            }
            Err(fault @ AnchorFault::Expired { .. }) => {
                warnings.push(warning(*role, path, &fault, "only others of its role are believed"));
            }
            Err(fault) => return Err(Error::Unfit { path: path.clone(), fault }),
        }
        let believed = roles.entry(*role).or_insert(RoleAnchors { threshold: 1, certificates: Vec::new() });
        believed.certificates.push(CertificateDer::new(certificate));
    }
    if let Some(role) = roles.keys().find(|role| !reachable.contains(role)) {
        return Err(Error::Expired { role: *role });
    }
    for (role, threshold) in thresholds {
        if usize::from(*threshold) > SIGNERS_LIMIT {
            return Err(Error::ThresholdTooHigh { role: *role, threshold: *threshold });
        }
        let believed = roles.get_mut(role).filter(|_| *threshold > 0).ok_or(Error::Threshold { role: *role })?;
        believed.threshold = *threshold;
    }
    let metadata = AnchorsMetadata { name: name.clone(), version };
    let anchors = encode(&Anchors { api_version: ApiVersion::V1, kind: AnchorsKind::Anchors, metadata, roles })?;
    Ok(Made { anchors, warnings })
}

fn warning(role: Role, path: &Path, fault: &AnchorFault, so: &str) -> String {
    format!("the anchor `{}` of the role `{role}` {fault}; {so}", path.display())
}

/// The one certificate of a file. Its key is a point on the curve, which a device finds out with the first signature only.
fn read_anchor(path: &Path) -> Result<Vec<u8>, Error> {
    let certificates = key::read_chain(path)?;
    let [certificate] = certificates.as_slice() else {
        return Err(Error::Several { path: path.to_owned(), count: certificates.len() });
    };
    let info = Certificate::from_der(certificate).and_then(|c| c.tbs_certificate().subject_public_key_info().to_der());
    if p384::PublicKey::from_public_key_der(&info.unwrap_or_default()).is_err() {
        return Err(Error::Unfit { path: path.to_owned(), fault: AnchorFault::KeyKind });
    }
    Ok(certificate.clone())
}

fn encode(anchors: &Anchors) -> Result<Vec<u8>, Error> {
    cbor::encode(anchors).map_err(|e| Error::Encode { reason: e.to_string() })
}

struct Authority {
    key: SigningKey,
    certificate: Certificate,
}

impl Authority {
    fn root(name: &Name, now: SystemTime) -> Result<Self, Error> {
        let key = SigningKey::generate();
        let subject = subject(name, "root authority")?;
        let profile = Profile { issuer: subject.clone(), subject, kind: Kind::Root };
        let certificate = certify(profile, &key, &key, validity(now, AUTHORITY_YEARS)?)?;
        Ok(Self { key, certificate })
    }

    fn of_role(root: &Self, name: &Name, role: Role, now: SystemTime) -> Result<Self, Error> {
        let key = SigningKey::generate();
        let profile = Profile {
            issuer: root.certificate.tbs_certificate().subject().clone(),
            subject: subject(name, &format!("{role} authority"))?,
            kind: Kind::Authority(role),
        };
        let certificate = certify(profile, &key, &root.key, validity(now, AUTHORITY_YEARS)?)?;
        Ok(Self { key, certificate })
    }

    fn write(&self, folder: &Path) -> Result<(), Error> {
        files::create(&folder.join("ca.key.pem"), key_pem(&self.key)?.as_bytes(), Access::Private)?;
        files::create(&folder.join("ca.crt.pem"), pem(&self.certificate)?.as_bytes(), Access::Public)?;
        Ok(())
    }
}

fn write_signer(authority: &Authority, name: &Name, role: Role, now: SystemTime, folder: &Path) -> Result<(), Error> {
    let key = SigningKey::generate();
    let profile = Profile {
        issuer: authority.certificate.tbs_certificate().subject().clone(),
        subject: subject(name, &format!("{role} signer"))?,
        kind: Kind::Signer(role),
    };
    let certificate = certify(profile, &key, &authority.key, validity(now, SIGNER_YEARS)?)?;
    files::create(&folder.join("signer.key.pem"), key_pem(&key)?.as_bytes(), Access::Private)?;
    files::create(&folder.join("signer.chain.pem"), pem(&certificate)?.as_bytes(), Access::Public)?;
    Ok(())
}

fn certify(profile: Profile, key: &SigningKey, issuer: &SigningKey, validity: Validity) -> Result<Certificate, Error> {
    let named = profile.subject.to_string();
    let make = || {
        let info = SubjectPublicKeyInfo::from_key(key.verifying_key())?;
        // From the key, so that no two certificates of an issuer share one; 16 bytes, the first bit of each clear, as
        // RFC 5280 section 4.1.2.2 wants a positive number of at most 20 bytes.
        let mut serial = Digest::of(&info.to_der()?).as_bytes()[..16].to_vec();
        serial[0] = serial[0] & 0x7f | 0x40;
        CertificateBuilder::new(profile, SerialNumber::new(&serial)?, validity, info)?.build::<_, DerSignature>(issuer)
    };
    make().map_err(|source| Error::Certificate { subject: named, source })
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Root,
    Authority(Role),
    Signer(Role),
}

struct Profile {
    issuer: Subject,
    subject: Subject,
    kind: Kind,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _: &Subject) -> Subject {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Subject {
        self.subject.clone()
    }

    /// RFC 5280 section 4.2.1. The role's extended key usage stands in the authority, too: all that it certifies is
    /// held to it.
    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let (basic, usage, role) = match self.kind {
            Kind::Root => (BasicConstraints { ca: true, path_len_constraint: None }, authority_usage(), None),
            Kind::Authority(role) => {
                (BasicConstraints { ca: true, path_len_constraint: Some(2) }, authority_usage(), Some(role))
            }
            Kind::Signer(role) => (
                BasicConstraints { ca: false, path_len_constraint: None },
                KeyUsages::DigitalSignature.into(),
                Some(role),
            ),
        };
        let subject = tbs.subject();
        let mut extensions = vec![
            (&basic).to_extension(subject, &[])?,
            (&KeyUsage(usage)).to_extension(subject, &[])?,
            (&SubjectKeyIdentifier::try_from(key)?).to_extension(subject, &[])?,
            (&AuthorityKeyIdentifier::try_from(issuer_key)?).to_extension(subject, &[])?,
        ];
        if let Some(role) = role {
            let purpose = ExtendedKeyUsage(vec![
                ObjectIdentifier::new(role.extended_key_usage()).map_err(x509_cert::der::Error::from)?,
            ]);
            extensions.push((&purpose).to_extension(subject, &[])?);
        }
        Ok(extensions)
    }
}

fn authority_usage() -> FlagSet<KeyUsages> {
    KeyUsages::KeyCertSign | KeyUsages::CRLSign
}

fn subject(name: &Name, what: &str) -> Result<Subject, Error> {
    format!("CN={name} {what},O={name}").parse().map_err(|source| Error::Subject { name: name.to_string(), source })
}

fn validity(now: SystemTime, years: u32) -> Result<Validity, Error> {
    let time = |time: SystemTime| {
        Time::try_from(time).map_err(|e: x509_cert::der::Error| Error::Encode { reason: e.to_string() })
    };
    let (start, end) = (now - CLOCK_LAG, now + YEAR * years);
    Ok(Validity::new(time(start)?, time(end)?))
}

fn key_pem(key: &SigningKey) -> Result<String, Error> {
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| Error::Encode { reason: e.to_string() })?;
    Ok(pem.to_string())
}

fn pem(certificate: &Certificate) -> Result<String, Error> {
    certificate.to_pem(x509_cert::der::pem::LineEnding::LF).map_err(|e| Error::Encode { reason: e.to_string() })
}

fn der(certificate: &Certificate) -> Result<Vec<u8>, Error> {
    certificate.to_der().map_err(|e| Error::Encode { reason: e.to_string() })
}

/// Self-signed RSA-2048 certificates, which is all that firmware asks of its key databases.
fn platform(folder: &Path, name: &Name) -> Result<(), Error> {
    files::make_private_folder(folder)?;
    for key in PLATFORM {
        let private = folder.join(format!("{key}.key.pem"));
        files::create(&private, b"", Access::Private)?;
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-batch"])
            .args(["-days", &(AUTHORITY_YEARS * 365).to_string(), "-subj", &format!("/O={name}/CN={name} {key}")])
            .arg("-keyout")
            .arg(&private)
            .arg("-out")
            .arg(folder.join(format!("{key}.crt.pem")))
            .output()
            .map_err(|source| Error::RunOpenssl { source })?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let message = text.lines().last().unwrap_or("no message").to_owned();
            return Err(Error::Openssl { name: key, message });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_anchors_out_of_their_time_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let at = |years: u32| Timestamp::from_seconds(i64::from(years) * 365 * 24 * 3600).unwrap();
        let made_at = |years: u32| std::time::UNIX_EPOCH + YEAR * years;
        let name: Name = "fleet".parse().unwrap();
        let authority = |name: &str| folder.path().join(name).join("operator/ca.crt.pem");
        for (folder_name, years) in [("old", 10), ("new", 35)] {
            init(&folder.path().join(folder_name), &name, made_at(years)).unwrap();
        }
        let judge = |years: u32, authorities: &[&str]| {
            let given: Vec<_> = authorities.iter().map(|name| (Role::Operator, authority(name))).collect();
            let shown = |text: String| text.replace(&format!("{}/", folder.path().display()), "");
            match anchors(&name, 1, &given, &[], at(years)) {
                Ok(made) => made.warnings.into_iter().map(shown).collect::<Vec<_>>().join("; "),
                Err(error) => format!("refused: {error}"),
            }
        };
        let old = "the anchor `old/operator/ca.crt.pem` of the role `operator`";
        let new = "the anchor `new/operator/ca.crt.pem` of the role `operator`";
        assert_eq!(judge(20, &["old"]), "");
        assert_eq!(
            judge(20, &["old", "new"]),
            format!(
                "{new} is not valid before 2004-12-22T00:00:00Z, and it is 1989-12-27T00:00:00Z; until then only others of its role are believed"
            )
        );
        assert_eq!(
            judge(20, &["new"]),
            format!(
                "{new} is not valid before 2004-12-22T00:00:00Z, and it is 1989-12-27T00:00:00Z; until then only others of its role are believed"
            )
        );
        assert_eq!(
            judge(40, &["old", "new"]),
            format!(
                "{old} was valid until 1999-12-25T00:00:00Z, and it is 2009-12-22T00:00:00Z; only others of its role are believed"
            )
        );
        assert_eq!(
            judge(40, &["old"]),
            "refused: nobody could sign for the role `operator`: all its anchors have expired"
        );
    }
}

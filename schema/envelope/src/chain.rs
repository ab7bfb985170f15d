//! From a signer's certificates to an anchor of a role.

use std::cell::RefCell;
use std::time::Duration;

use catenoid_schema::{
    anchors::{Anchors, CertificateDer as AnchorDer},
    digest::Digest,
    document::Role,
    units::Timestamp,
};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{Cert, EndEntityCert, VerifiedPath};
use x509_cert::{
    Certificate,
    der::{Decode, Encode, asn1::ObjectIdentifier},
    ext::pkix::{BasicConstraints, KeyUsage},
    spki::SubjectPublicKeyInfoOwned,
    time::Time,
};

use crate::{
    error::{EnvelopePart, Error},
    fault::{AnchorFault, SignerFault},
};

/// id-ecPublicKey (RFC 5480 section 2.1.1).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp384r1 (RFC 5480 section 2.1.1.1).
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// The extensions that an anchor may have as critical ones: those that webpki knows in the certificates below it. Key usage,
/// alternative names, basic constraints, name constraints, distribution points, extended key usage (RFC 5280 section 4.2.1).
const KNOWN_EXTENSIONS: [ObjectIdentifier; 6] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.30"),
    ObjectIdentifier::new_unwrap("2.5.29.31"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];
/// The most characters of a subject in a message.
const SUBJECT_LIMIT: usize = 120;

/// Whether a document is read for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It is to be taken: every rule holds.
    New,
    /// It was taken before, perhaps by an earlier version: what later ones ask of the order of certificates and of an anchor's
    /// extensions must not take it from a device. All else holds for it, too.
    Again,
}

/// Whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSigner {
    /// The subject of the leaf certificate (RFC 4514).
    pub subject: String,
    /// The digest of its public key (the whole SubjectPublicKeyInfo): two certificates of one key are one signer.
    pub key: Digest,
    /// When its certificate ends.
    pub not_after: Timestamp,
}

/// A leaf certificate that leads to an anchor.
pub(crate) struct Leaf {
    pub(crate) signer: VerifiedSigner,
    /// The point, as SEC 1 writes it.
    pub(crate) public_key: Vec<u8>,
}

/// The subject of a certificate as a person can read it; nothing that a terminal would obey.
fn subject(certificate: &[u8]) -> String {
    Certificate::from_der(certificate).map_or_else(|_| "unreadable".to_owned(), |c| readable(&c))
}

fn readable(certificate: &Certificate) -> String {
    let text = certificate.tbs_certificate().subject().to_string();
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(SUBJECT_LIMIT).collect()
}

/// Verifies `chain` (leaf first) for `role` at `at`.
pub(crate) fn verify(
    chain: &[Vec<u8>],
    anchors: &Anchors,
    role: Role,
    at: Timestamp,
    reading: Reading,
    place: EnvelopePart,
) -> Result<Leaf, Error> {
    let first = chain.first().map_or(&[][..], Vec::as_slice);
    let refused = |fault| Error::Certificate { place, signer: subject(first), fault };
    let authorities = believed(anchors, role).ok_or(Error::NoAnchors { role })?;
    if let Err(fault) = leads(chain, authorities, role, at, reading) {
        let leads_for = |role: Role| {
            believed(anchors, role).is_some_and(|authorities| leads(chain, authorities, role, at, reading).is_ok())
        };
        return Err(match Role::ALL.into_iter().find(|other| *other != role && leads_for(*other)) {
            Some(found) => Error::WrongRole { place, signer: subject(first), found, needed: role },
            None => refused(fault),
        });
    }
    leaf(first).map_err(refused)
}

/// The authorities of a role, if there are any and somebody must sign.
fn believed(anchors: &Anchors, role: Role) -> Option<&[AnchorDer]> {
    let believed = anchors.roles.get(&role).filter(|believed| believed.threshold > 0)?;
    Some(believed.certificates.as_slice()).filter(|certificates| !certificates.is_empty())
}

/// Whether `chain` leads to one of `authorities`. Each is tried, so their order decides nothing.
fn leads(
    chain: &[Vec<u8>],
    authorities: &[AnchorDer],
    role: Role,
    at: Timestamp,
    reading: Reading,
) -> Result<(), SignerFault> {
    let mut furthest = SignerFault::Untrusted { role };
    for authority in authorities {
        match leads_to(chain, authority.as_bytes(), role, at, reading) {
            Ok(()) => return Ok(()),
            Err(fault) => furthest = furthest.max(fault),
        }
    }
    Err(furthest)
}

fn leads_to(
    chain: &[Vec<u8>],
    authority: &[u8],
    role: Role,
    at: Timestamp,
    reading: Reading,
) -> Result<(), SignerFault> {
    let der = CertificateDer::from(authority);
    let (trusted, anchor) = read_anchor(&der).map_err(|reason| SignerFault::AnchorUnreadable { role, reason })?;
    let unfit = |fault| SignerFault::Anchor { anchor: readable(&anchor), fault };
    let fit = fit(&anchor, at, reading);
    let certificates: Vec<_> = chain.iter().map(|c| CertificateDer::from(c.as_slice())).collect();
    let Some((leaf, above)) = certificates.split_first() else {
        return Err(SignerFault::Untrusted { role });
    };
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| fault(&error, role, at))?;
    // What is wrong with a path that leads to the anchor: webpki knows no words for it, and goes on to the next one.
    let wrong = RefCell::new(None);
    let judge = |path: &VerifiedPath<'_>| {
        let way: Vec<_> = path.intermediate_certificates().map(Cert::der).collect();
        let judged = judge_way(&way, above, &anchor, reading).and_then(|()| fit.clone().map_err(unfit));
        judged.map_err(|fault| {
            let mut wrong = wrong.borrow_mut();
            *wrong = wrong.take().max(Some(fault));
            webpki::Error::UnknownIssuer
        })
    };
    // A Timestamp is never before 1970.
    let time = UnixTime::since_unix_epoch(Duration::from_secs(at.seconds().unsigned_abs()));
    let usage = webpki::KeyUsage::required(extended_key_usage(role));
    let algorithms = &[webpki::aws_lc_rs::ECDSA_P384_SHA384];
    let verified = leaf.verify_for_usage(algorithms, &[trusted], above, time, usage, None, Some(&judge)).map(|_| ());
    let Err(error) = verified else { return Ok(()) };
    if let Some(fault) = wrong.into_inner() {
        return Err(fault);
    }
    // A key of another kind makes no signature of ours: what is wrong is the anchor, if it is the one that is named.
    if matches!(fit, Err(AnchorFault::KeyKind)) && is_other_algorithm(&error) && is_named(&anchor, chain) {
        return Err(unfit(AnchorFault::KeyKind));
    }
    Err(fault(&error, role, at))
}

fn is_other_algorithm(error: &webpki::Error) -> bool {
    use webpki::Error::{UnsupportedSignatureAlgorithmContext, UnsupportedSignatureAlgorithmForPublicKeyContext};
    matches!(error, UnsupportedSignatureAlgorithmContext(_) | UnsupportedSignatureAlgorithmForPublicKeyContext(_))
}

/// Whether the last of `chain` names `anchor` as its issuer.
fn is_named(anchor: &Certificate, chain: &[Vec<u8>]) -> bool {
    let last = chain.last().and_then(|last| Certificate::from_der(last).ok());
    last.is_some_and(|last| last.tbs_certificate().issuer() == anchor.tbs_certificate().subject())
}

/// What webpki does not look at, of the authorities on the `way` from a leaf to `anchor`. That they are `sent` in order and
/// nothing with them (RFC 9360 section 2): one chain has one form. That each is for certificates (RFC 5280 section 6.1.4,
/// step n). That the anchor permits so many below it.
fn judge_way(
    way: &[CertificateDer<'_>],
    sent: &[CertificateDer<'_>],
    anchor: &Certificate,
    reading: Reading,
) -> Result<(), SignerFault> {
    let read = |der: &CertificateDer<'_>| Certificate::from_der(der).map_err(|e| unreadable(&e));
    let way_read = way.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if reading == Reading::New {
        let is_anchor = |certificate: &Certificate| {
            let (this, anchor) = (certificate.tbs_certificate(), anchor.tbs_certificate());
            this.subject() == anchor.subject() && this.subject_public_key_info() == anchor.subject_public_key_info()
        };
        if way.len() < sent.len() || way_read.iter().any(is_anchor) {
            return Err(SignerFault::Surplus);
        }
        if way != sent {
            return Err(SignerFault::Order);
        }
    }
    for authority in &way_read {
        let usage = authority.tbs_certificate().get_extension::<KeyUsage>().map_err(|e| unreadable(&e))?;
        if !usage.is_some_and(|(_, usage)| usage.key_cert_sign()) {
            return Err(SignerFault::IssuerKeyUsage);
        }
    }
    let constraints = anchor.tbs_certificate().get_extension::<BasicConstraints>().ok().flatten();
    let most = constraints.and_then(|(_, constraints)| constraints.path_len_constraint);
    if most.is_some_and(|most| way.len() > usize::from(most)) {
        return Err(SignerFault::PathLength);
    }
    Ok(())
}

fn unreadable(error: &dyn std::fmt::Display) -> SignerFault {
    SignerFault::Unreadable { reason: error.to_string() }
}

/// A date of a certificate, in seconds since 1970.
fn moment(seconds: u64) -> Result<Timestamp, String> {
    let moment = i64::try_from(seconds).ok().and_then(Timestamp::from_seconds);
    moment.ok_or_else(|| "one of its dates is out of range".to_owned())
}

/// What webpki says, in our words.
fn fault(error: &webpki::Error, role: Role, at: Timestamp) -> SignerFault {
    use webpki::Error as Webpki;
    match error {
        Webpki::UnknownIssuer => SignerFault::Untrusted { role },
        Webpki::CertExpired { not_after, .. } => match moment(not_after.as_secs()) {
            Ok(not_after) => SignerFault::Expired { not_after, at },
            Err(reason) => SignerFault::Unreadable { reason },
        },
        Webpki::CertNotValidYet { not_before, .. } => match moment(not_before.as_secs()) {
            Ok(not_before) => SignerFault::NotYetValid { not_before, at },
            Err(reason) => SignerFault::Unreadable { reason },
        },
        Webpki::InvalidCertValidity => SignerFault::EndsBeforeItBegins,
        Webpki::CaUsedAsEndEntity => SignerFault::Authority,
        Webpki::EndEntityUsedAsCa => SignerFault::IssuerNoAuthority,
        Webpki::PathLenConstraintViolated => SignerFault::PathLength,
        Webpki::EmptyEkuExtension | Webpki::RequiredEkuNotFoundContext(_) => SignerFault::Purpose { role },
        Webpki::NameConstraintViolation
        | Webpki::MalformedNameConstraint
        | Webpki::InvalidNetworkMaskConstraint
        | Webpki::MaximumNameConstraintComparisonsExceeded => SignerFault::NameConstraints,
        Webpki::UnsupportedCriticalExtension => SignerFault::CriticalExtension,
        Webpki::UnsupportedSignatureAlgorithmContext(_) => SignerFault::SignatureAlgorithm,
        Webpki::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => SignerFault::IssuerKeyKind,
        Webpki::InvalidSignatureForPublicKey => SignerFault::SignatureWrong,
        Webpki::UnsupportedCertVersion => SignerFault::Version,
        // What is left are the ways in which bytes are no certificate.
        other => unreadable(other),
    }
}

/// An anchor as webpki takes it, a name and a key, and as its certificate says it.
fn read_anchor<'a>(der: &'a CertificateDer<'a>) -> Result<(TrustAnchor<'a>, Certificate), String> {
    let trusted = webpki::anchor_from_trusted_cert(der).map_err(|e| e.to_string())?;
    let certificate = Certificate::from_der(der).map_err(|e| e.to_string())?;
    let tbs = certificate.tbs_certificate();
    tbs.get_extension::<BasicConstraints>().map_err(|e| e.to_string())?;
    tbs.get_extension::<KeyUsage>().map_err(|e| e.to_string())?;
    Ok((trusted, certificate))
}

/// Whether a device believes the certificate `der` as an anchor at `at`, and if not, why.
///
/// # Errors
/// What is wrong with it.
pub fn check_anchor(der: &[u8], at: Timestamp) -> Result<(), AnchorFault> {
    let der = CertificateDer::from(der);
    let (_, certificate) = read_anchor(&der).map_err(|reason| AnchorFault::Unreadable { reason })?;
    fit(&certificate, at, Reading::New)
}

/// What an anchor's own certificate says, which to RFC 5280 (section 6.1.1, input d) is only a name and a key: that it is an
/// authority with a key of ours, at that time, and nothing critical that we cannot follow.
fn fit(anchor: &Certificate, at: Timestamp, reading: Reading) -> Result<(), AnchorFault> {
    let tbs = anchor.tbs_certificate();
    if !is_of_p384(tbs.subject_public_key_info()) {
        return Err(AnchorFault::KeyKind);
    }
    let constraints = tbs.get_extension::<BasicConstraints>().ok().flatten();
    if !constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Err(AnchorFault::NoAuthority);
    }
    let usage = tbs.get_extension::<KeyUsage>().ok().flatten();
    if !usage.is_some_and(|(_, usage)| usage.key_cert_sign()) {
        return Err(AnchorFault::KeyUsage);
    }
    let unknown = tbs.extensions().into_iter().flatten().find(|e| e.critical && !KNOWN_EXTENSIONS.contains(&e.extn_id));
    if let Some(unknown) = unknown.filter(|_| reading == Reading::New) {
        return Err(AnchorFault::CriticalExtension { id: unknown.extn_id.to_string() });
    }
    let moment =
        |time: Time| moment(time.to_unix_duration().as_secs()).map_err(|reason| AnchorFault::Unreadable { reason });
    let (not_before, not_after) = (moment(tbs.validity().not_before)?, moment(tbs.validity().not_after)?);
    if at < not_before {
        return Err(AnchorFault::NotYetValid { not_before, at });
    }
    if at > not_after {
        return Err(AnchorFault::Expired { not_after, at });
    }
    Ok(())
}

fn is_of_p384(info: &SubjectPublicKeyInfoOwned) -> bool {
    let curve = info.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
    info.algorithm.oid == EC_PUBLIC_KEY && curve == Some(P384)
}

/// What the path building does not look at: the leaf's own key and what it is for (RFC 5280 section 4.2.1.3).
fn leaf(der: &[u8]) -> Result<Leaf, SignerFault> {
    let certificate = Certificate::from_der(der).map_err(|e| unreadable(&e))?;
    let tbs = certificate.tbs_certificate();
    let info = tbs.subject_public_key_info();
    let public_key = info.subject_public_key.as_bytes().filter(|point| is_of_p384(info) && is_uncompressed(point));
    let public_key = public_key.ok_or(SignerFault::KeyKind)?;
    let usage = tbs.get_extension::<KeyUsage>().ok().flatten();
    let signs_documents_only =
        usage.is_some_and(|(_, usage)| usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
    if !signs_documents_only {
        return Err(SignerFault::KeyUsage);
    }
    let info = info.to_der().map_err(|e| unreadable(&e))?;
    let not_after = moment(tbs.validity().not_after.to_unix_duration().as_secs());
    let not_after = not_after.map_err(|reason| SignerFault::Unreadable { reason })?;
    let signer = VerifiedSigner { subject: readable(&certificate), key: Digest::of(&info), not_after };
    Ok(Leaf { signer, public_key: public_key.to_vec() })
}

/// The value bytes of [`Role::extended_key_usage`] (X.690 section 8.19): 1.3.6.1.4.1.32473.7.n.
const fn extended_key_usage(role: Role) -> &'static [u8] {
    match role {
        Role::Root => &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xfd, 0x59, 0x07, 0x01],
        Role::Operator => &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xfd, 0x59, 0x07, 0x02],
        Role::Software => &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xfd, 0x59, 0x07, 0x03],
        Role::Device => &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xfd, 0x59, 0x07, 0x04],
    }
}

/// A point has other forms (SEC 1, 2.3.3: compressed, and hybrid, which aws-lc takes as well); by those one key would be
/// several signers.
fn is_uncompressed(point: &[u8]) -> bool {
    point.len() == 97 && point[0] == 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_form() {
        let point = |first: u8, length: usize| [vec![first], vec![7; length]].concat();
        assert!(is_uncompressed(&point(4, 96)));
        for (first, length) in [(2, 48), (3, 48), (6, 96), (7, 96), (4, 95), (4, 97), (0, 0)] {
            assert!(!is_uncompressed(&point(first, length)), "{first} {length}");
        }
        assert!(!is_uncompressed(&[]));
    }

    #[test]
    fn key_usage_bytes_are_those_of_the_schema() {
        for role in Role::ALL {
            let oid = ObjectIdentifier::new(role.extended_key_usage()).unwrap();
            assert_eq!(extended_key_usage(role), oid.as_bytes(), "{role}");
        }
    }
}

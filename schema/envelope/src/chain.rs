//! From a signer's certificates to an anchor of a role.

use std::time::Duration;

use catenoid_schema::{anchors::Anchors, digest::Digest, document::Role, units::Timestamp};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{Cert, EndEntityCert, KeyUsage, VerifiedPath};
use x509_cert::{
    Certificate,
    der::{Decode, Encode, asn1::ObjectIdentifier},
    ext::pkix::{BasicConstraints, KeyUsage as KeyUsageExtension},
};

use crate::{format::Place, open::Error};

/// id-ecPublicKey (RFC 5480 section 2.1.1).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp384r1 (RFC 5480 section 2.1.1.1).
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// The most characters of a subject in a message.
const SUBJECT_LIMIT: usize = 120;

/// Whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The subject of the leaf certificate (RFC 4514).
    pub subject: String,
    /// The digest of its public key (the whole SubjectPublicKeyInfo): two certificates of one key are one signer.
    pub key: Digest,
    /// When its certificate ends.
    pub not_after: Timestamp,
}

/// A leaf certificate that leads to an anchor.
pub(crate) struct Leaf {
    pub(crate) signer: Signer,
    /// The point, as SEC 1 writes it.
    pub(crate) public_key: Vec<u8>,
}

/// The subject of a certificate as a person can read it; nothing that a terminal would obey.
pub(crate) fn subject(certificate: &[u8]) -> String {
    Certificate::from_der(certificate).map_or_else(|_| "an unreadable certificate".to_owned(), |c| readable(&c))
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
    place: Place,
) -> Result<Leaf, Error> {
    if let Err(source) = path(chain, anchors, role, at)? {
        let signer = subject(chain.first().map_or(&[], Vec::as_slice));
        let other = Role::ALL
            .into_iter()
            .find(|other| *other != role && matches!(path(chain, anchors, *other, at), Ok(Ok(()))));
        return Err(match (other, source) {
            (Some(found), _) => Error::WrongRole { place, signer, found, needed: role },
            (None, webpki::Error::CertExpired { .. }) => Error::CertificateExpired { place, signer, at },
            (None, webpki::Error::CertNotValidYet { .. }) => Error::CertificateNotYetValid { place, signer, at },
            (None, webpki::Error::CaUsedAsEndEntity) => Error::AuthorityAsSigner { place, signer },
            (None, webpki::Error::RequiredEkuNotFoundContext(_)) => Error::KeyPurpose { place, signer, role },
            (None, source) => Error::Untrusted { place, signer, role, source },
        });
    }
    leaf(chain.first().map_or(&[], Vec::as_slice), place)
}

/// The outer error is about the anchors, the inner one about the chain.
fn path(chain: &[Vec<u8>], anchors: &Anchors, role: Role, at: Timestamp) -> Result<Result<(), webpki::Error>, Error> {
    let certificates: Vec<_> = chain.iter().map(|c| CertificateDer::from(c.as_slice())).collect();
    let believed: Vec<_> = anchors
        .roles
        .get(&role)
        .filter(|believed| believed.threshold > 0 && !believed.certificates.is_empty())
        .ok_or(Error::NoAnchors { role })?
        .certificates
        .iter()
        .map(|c| CertificateDer::from(c.as_bytes()))
        .collect();
    let authorities = believed
        .iter()
        .map(|c| webpki::anchor_from_trusted_cert(c).map_err(|source| Error::Anchor { role, source }))
        .collect::<Result<Vec<_>, _>>()?;
    let Some((leaf, intermediates)) = certificates.split_first() else {
        return Ok(Err(webpki::Error::UnknownIssuer));
    };
    let leaf = match EndEntityCert::try_from(leaf) {
        Ok(leaf) => leaf,
        Err(source) => return Ok(Err(source)),
    };
    // A Timestamp is never before 1970.
    let time = UnixTime::since_unix_epoch(Duration::from_secs(at.seconds().unsigned_abs()));
    let usage = KeyUsage::required(extended_key_usage(role));
    let algorithms = &[webpki::aws_lc_rs::ECDSA_P384_SHA384];
    let issuers = |path: &VerifiedPath<'_>| {
        let anchor = authorities.iter().position(|anchor| anchor == path.anchor()).and_then(|at| believed.get(at));
        let above = path.intermediate_certificates().map(Cert::der).chain(anchor.cloned());
        above.enumerate().try_for_each(|(below, certificate)| issuer(&certificate, below, at))
    };
    Ok(leaf.verify_for_usage(algorithms, &authorities, intermediates, time, usage, None, Some(&issuers)).map(|_| ()))
}

/// What the path building does not look at: that an issuer's key is for certificates (RFC 5280 section 6.1.4, step n),
/// and what an anchor's own certificate says, which to RFC 5280 is only a name and a key: that it is an authority, for so
/// many others `below` it, at that time.
fn issuer(der: &[u8], below: usize, at: Timestamp) -> Result<(), webpki::Error> {
    let certificate = Certificate::from_der(der).map_err(|_| webpki::Error::BadDer)?;
    let tbs = certificate.tbs_certificate();
    let usage = tbs.get_extension::<KeyUsageExtension>().map_err(|_| webpki::Error::BadDer)?;
    let constraints = tbs.get_extension::<BasicConstraints>().map_err(|_| webpki::Error::BadDer)?;
    let Some((_, BasicConstraints { ca: true, path_len_constraint })) = constraints else {
        return Err(webpki::Error::EndEntityUsedAsCa);
    };
    if !usage.is_some_and(|(_, usage)| usage.key_cert_sign()) {
        return Err(webpki::Error::EndEntityUsedAsCa);
    }
    if path_len_constraint.is_some_and(|most| below > usize::from(most)) {
        return Err(webpki::Error::PathLenConstraintViolated);
    }
    let [time, not_before, not_after] = [
        Duration::from_secs(at.seconds().unsigned_abs()),
        tbs.validity().not_before.to_unix_duration(),
        tbs.validity().not_after.to_unix_duration(),
    ];
    let unix = UnixTime::since_unix_epoch;
    if time < not_before {
        return Err(webpki::Error::CertNotValidYet { time: unix(time), not_before: unix(not_before) });
    }
    if time > not_after {
        return Err(webpki::Error::CertExpired { time: unix(time), not_after: unix(not_after) });
    }
    Ok(())
}

/// What the path building does not look at: the leaf's own key and what it is for (RFC 5280 section 4.2.1.3).
fn leaf(der: &[u8], place: Place) -> Result<Leaf, Error> {
    let certificate = Certificate::from_der(der).map_err(|e| Error::Certificate { place, reason: e.to_string() })?;
    let signer = readable(&certificate);
    let tbs = certificate.tbs_certificate();
    let info = tbs.subject_public_key_info();
    let curve = info.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
    let of_curve = info.algorithm.oid == EC_PUBLIC_KEY && curve == Some(P384);
    let public_key = info.subject_public_key.as_bytes().filter(|point| of_curve && is_uncompressed(point));
    let Some(public_key) = public_key else {
        return Err(Error::KeyKind { place, signer });
    };
    let usage = tbs.get_extension::<KeyUsageExtension>();
    let signs_documents_only = usage
        .ok()
        .flatten()
        .is_some_and(|(_, usage)| usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
    if !signs_documents_only {
        return Err(Error::KeyUsage { place, signer });
    }
    let unreadable = |reason: String| Error::Certificate { place, reason };
    let info = info.to_der().map_err(|e| unreadable(e.to_string()))?;
    let end =
        i64::try_from(tbs.validity().not_after.to_unix_duration().as_secs()).ok().and_then(Timestamp::from_seconds);
    let not_after = end.ok_or_else(|| unreadable("its end is out of range".to_owned()))?;
    Ok(Leaf { signer: Signer { subject: signer, key: Digest::of(&info), not_after }, public_key: public_key.to_vec() })
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

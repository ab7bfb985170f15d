//! A PKI, documents and envelopes made from fixed seeds: the same bytes in every run.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use catenoid_envelope::Draft;
use catenoid_schema::{
    anchors::{Anchors, AnchorsKind, AnchorsMetadata, CertificateDer, RoleAnchors},
    cbor,
    document::{ApiVersion, Document, Role},
    guest::Guest,
    manifest::Manifest,
    units::Timestamp,
};
use p384::ecdsa::{DerSignature, Signature, SigningKey, signature::Signer as _};
use x509_cert::{
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    certificate::{Certificate, TbsCertificate},
    der::{
        Decode, Encode,
        asn1::{BitString, ObjectIdentifier},
        flagset::FlagSet,
    },
    ext::{
        Extension, ToExtension,
        pkix::{AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier},
    },
    name::Name,
    serial_number::SerialNumber,
    spki::{SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef},
    time::{Time, Validity},
};

/// 2026-06-01, when everything below is verified.
pub const NOW: i64 = 1_780_272_000;
pub const DAY: i64 = 86_400;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

pub fn now() -> Timestamp {
    at(NOW)
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 48]).unwrap()
}

/// What a certificate says; made by [`authority`] and [`leaf`] and bent by tests.
#[derive(Clone)]
pub struct Spec {
    pub name: String,
    pub key: SigningKey,
    pub info: SubjectPublicKeyInfoOwned,
    pub ca: bool,
    /// How many authorities may follow below it.
    pub path_length: Option<u8>,
    pub usage: Option<FlagSet<KeyUsages>>,
    pub purposes: Vec<&'static str>,
    /// Extensions beside those of every certificate.
    pub more: Vec<Extension>,
    pub start: i64,
    pub end: i64,
}

/// An issued certificate and its key.
#[derive(Debug, Clone)]
pub struct Issued {
    pub key: SigningKey,
    pub certificate: Certificate,
    /// Its certificates in DER, itself first, without the anchor.
    pub chain: Vec<Vec<u8>>,
}

pub fn authority(name: &str, seed: u8, role: Option<Role>) -> Spec {
    let key = key(seed);
    Spec {
        name: name.to_owned(),
        info: SubjectPublicKeyInfoOwned::from_key(key.verifying_key()).unwrap(),
        key,
        ca: true,
        path_length: None,
        usage: Some(KeyUsages::KeyCertSign | KeyUsages::CRLSign),
        purposes: role.map(Role::extended_key_usage).into_iter().collect(),
        more: Vec::new(),
        start: NOW - 100 * DAY,
        end: NOW + 1000 * DAY,
    }
}

pub fn leaf(name: &str, seed: u8, role: Role) -> Spec {
    Spec {
        ca: false,
        usage: Some(KeyUsages::DigitalSignature.into()),
        start: NOW - 10 * DAY,
        end: NOW + 100 * DAY,
        ..authority(name, seed, Some(role))
    }
}

impl Spec {
    pub fn self_signed(&self) -> Issued {
        let certificate = build(self, &subject(&self.name), &self.key);
        Issued { key: self.key.clone(), chain: vec![certificate.to_der().unwrap()], certificate }
    }

    /// Issued by an anchor.
    pub fn by(&self, issuer: &Issued) -> Issued {
        let certificate = build(self, issuer.certificate.tbs_certificate().subject(), &issuer.key);
        Issued { key: self.key.clone(), chain: vec![certificate.to_der().unwrap()], certificate }
    }

    /// Issued by something below an anchor.
    pub fn by_intermediate(&self, issuer: &Issued) -> Issued {
        let mut issued = self.by(issuer);
        issued.chain.extend(issuer.chain.clone());
        issued
    }
}

/// The generator of P-256 (SP 800-186 section 3.2.1.3) as a public key.
pub fn p256() -> SubjectPublicKeyInfoOwned {
    let point = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    info("301306072a8648ce3d020106082a8648ce3d030107", &hex::decode(point).unwrap())
}

/// An RSA public key of 2048 bits: nobody signs with it.
pub fn rsa() -> SubjectPublicKeyInfoOwned {
    let modulus = format!("30820109028201 0100{}0203010001", "c5".repeat(256)).replace(' ', "");
    let modulus = modulus.replacen("308201090282010100", "3082010a0282010100", 1);
    info("300d06092a864886f70d0101010500", &hex::decode(modulus).unwrap())
}

/// The public key of `seed` on P-384, in another form than that of the signer: one key must not be two signers.
pub fn other_form(seed: u8, form: Form) -> SubjectPublicKeyInfoOwned {
    let point = |compress| key(seed).verifying_key().to_sec1_point(compress).as_bytes().to_vec();
    let bytes = match form {
        Form::Compressed => point(true),
        // Which of the two roots it is, and the root as well.
        Form::Hybrid => [&[4 + point(true)[0]], &point(false)[1..]].concat(),
        // An OCTET STRING of 97 bytes, which begins with 4 too.
        Form::Nested => [&[0x04, 97], &*point(false)].concat(),
    };
    info("301006072a8648ce3d020106052b81040022", &bytes)
}

/// Forms of a point that are not the uncompressed one (SEC 1, 2.3.3).
#[derive(Debug, Clone, Copy)]
pub enum Form {
    Compressed,
    Hybrid,
    Nested,
}

fn info(algorithm: &str, key: &[u8]) -> SubjectPublicKeyInfoOwned {
    let algorithm = hex::decode(algorithm).unwrap();
    SubjectPublicKeyInfoOwned {
        algorithm: Decode::from_der(&algorithm).unwrap(),
        subject_public_key: BitString::from_bytes(key).unwrap(),
    }
}

pub fn subject(name: &str) -> Name {
    format!("CN={name}").parse().unwrap()
}

struct Profile<'a> {
    spec: &'a Spec,
    issuer: Name,
}

impl BuilderProfile for Profile<'_> {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        subject(&self.spec.name)
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let named = tbs.subject();
        let basic = BasicConstraints { ca: self.spec.ca, path_len_constraint: self.spec.path_length };
        let mut extensions = vec![
            (&basic).to_extension(named, &[])?,
            (&SubjectKeyIdentifier::try_from(key)?).to_extension(named, &[])?,
            (&AuthorityKeyIdentifier::try_from(issuer_key)?).to_extension(named, &[])?,
        ];
        if let Some(usage) = self.spec.usage {
            extensions.push((&KeyUsage(usage)).to_extension(named, &[])?);
        }
        if !self.spec.purposes.is_empty() {
            let purposes = self.spec.purposes.iter().map(|purpose| ObjectIdentifier::new_unwrap(purpose)).collect();
            extensions.push((&ExtendedKeyUsage(purposes)).to_extension(named, &[])?);
        }
        extensions.extend(self.spec.more.iter().cloned());
        Ok(extensions)
    }
}

fn build(spec: &Spec, issuer: &Name, issuer_key: &SigningKey) -> Certificate {
    let time =
        |seconds: i64| Time::try_from(std::time::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())).unwrap();
    let validity = Validity::new(time(spec.start), time(spec.end));
    let profile = Profile { spec, issuer: issuer.clone() };
    let serial = SerialNumber::new(&[1]).unwrap();
    let builder = CertificateBuilder::new(profile, serial, validity, spec.info.clone()).unwrap();
    builder.build::<_, DerSignature>(issuer_key).unwrap()
}

/// The fleet that the tests are about.
pub struct Fleet {
    pub operator_authority: Issued,
    pub software_authority: Issued,
    pub operator: Issued,
    pub second_operator: Issued,
    pub software: Issued,
    pub anchors: Anchors,
}

pub fn fleet() -> &'static Fleet {
    static FLEET: LazyLock<Fleet> = LazyLock::new(make_fleet);
    &FLEET
}

fn make_fleet() -> Fleet {
    let operator_authority = authority("operator authority", 1, Some(Role::Operator)).self_signed();
    let software_authority = authority("software authority", 2, Some(Role::Software)).self_signed();
    Fleet {
        operator: leaf("operator", 3, Role::Operator).by(&operator_authority),
        second_operator: leaf("second operator", 4, Role::Operator).by(&operator_authority),
        software: leaf("software", 5, Role::Software).by(&software_authority),
        anchors: anchors(&[(Role::Operator, 1, &operator_authority), (Role::Software, 1, &software_authority)]),
        operator_authority,
        software_authority,
    }
}

pub fn anchors(roles: &[(Role, u8, &Issued)]) -> Anchors {
    let der = |issued: &Issued| CertificateDer::new(issued.certificate.to_der().unwrap());
    Anchors {
        api_version: ApiVersion::V1,
        kind: AnchorsKind::Anchors,
        metadata: AnchorsMetadata { name: "test".parse().unwrap(), version: 1 },
        roles: roles
            .iter()
            .map(|(role, threshold, issued)| {
                (*role, RoleAnchors { threshold: *threshold, certificates: vec![der(issued)] })
            })
            .collect::<BTreeMap<_, _>>(),
    }
}

pub fn sign(key: &SigningKey, message: &[u8]) -> [u8; 96] {
    let signature: Signature = key.sign(message);
    signature.to_bytes().into()
}

pub fn seal<T: Document>(document: &T, signers: &[&Issued]) -> Vec<u8> {
    let mut draft = Draft::new(document).unwrap();
    for signer in signers {
        let signature = sign(&signer.key, &draft.message(&signer.chain));
        draft.add(&signer.chain, signature);
    }
    draft.finish().unwrap()
}

/// A small manifest: one core container and nothing else.
pub fn manifest() -> Manifest {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "catenoid.dev/v1",
        "kind": "Manifest",
        "metadata": {"name": "small", "sequence": 5, "epoch": 2, "notAfter": "2027-01-01T00:00:00Z"},
        "target": {"serials": ["QEMU-0001"]},
        "guests": {"core": {
            "ref": "core@1",
            "descriptor": "sha256:1111111111111111111111111111111111111111111111111111111111111111",
        }},
        "containers": {"core0": {"guest": "core", "role": "core"}},
    }))
    .unwrap()
}

pub fn guest() -> Guest {
    let digest = "sha256:2222222222222222222222222222222222222222222222222222222222222222";
    serde_json::from_value(serde_json::json!({
        "apiVersion": "catenoid.dev/v1",
        "kind": "Guest",
        "metadata": {"name": "core", "version": "1"},
        "architecture": "x86_64",
        "image": {
            "digest": digest, "size": "12KiB",
            "verity": {"rootHash": digest, "salt": digest, "dataBlocks": 1},
        },
        "defaults": {"command": ["/sbin/init"]},
        "root": "readOnly",
    }))
    .unwrap()
}

/// A protected header whose one parameter is a counter signature (label 7) with a protected header whose one parameter
/// is ...: to a check of the outermost layer, one byte string.
pub fn nested_in_bytes(levels: usize) -> Vec<u8> {
    // From the inside out, so that it takes no stack and no square time: each level is a prefix and a suffix.
    let (mut prefixes, mut length) = (Vec::new(), 1);
    for _ in 0..levels {
        let prefix = [&[0xa1, 0x07, 0x83][..], &head(2, length)].concat();
        length += prefix.len() + 2;
        prefixes.push(prefix);
    }
    let mut nested: Vec<u8> = prefixes.into_iter().rev().flatten().collect();
    nested.push(0xa0);
    nested.extend([0xa0, 0x40].repeat(levels));
    nested
}

/// The same by the unprotected header of each counter signature: nested for everybody to see.
pub fn nested_in_maps(levels: usize) -> Vec<u8> {
    [[0xa1, 0x07, 0x83, 0x40].repeat(levels), vec![0xa0], [0x40].repeat(levels)].concat()
}

/// A content type of so many small numbers: each takes a byte here, and 32 when it is decoded. None is text, which a
/// decoder would find out behind the last of them.
pub fn wide_header(numbers: usize) -> Vec<u8> {
    [&[0xa1, 0x03][..], &head(4, numbers), &vec![0; numbers]].concat()
}

/// A manifest's envelope of these headers, each as it stands: the body's two and the two of its one signature. The
/// protected ones are put into byte strings. Nobody signed it.
pub fn frame([protected, unprotected, signer_protected, signer_unprotected]: [&[u8]; 4]) -> Vec<u8> {
    let bytes = |content: &[u8]| [&head(2, content.len()), content].concat();
    [
        &[0xd8, 0x62, 0x84][..],
        &bytes(protected),
        unprotected,
        &bytes(&cbor::encode(&manifest()).unwrap()),
        &[0x81, 0x83],
        &bytes(signer_protected),
        signer_unprotected,
        &bytes(&[0; 96]),
    ]
    .concat()
}

/// The protected headers of a good envelope: the body's and the signature's.
pub fn good_headers(signer: &Issued) -> [Vec<u8>; 2] {
    let text = Manifest::CONTENT_TYPE.as_bytes();
    let body = [&[0xa1, 0x03, 0x78, u8::try_from(text.len()).unwrap()][..], text].concat();
    let leaf = &signer.chain[0];
    [body, [&[0xa2, 0x01, 0x38, 0x22, 0x18, 0x21][..], &head(2, leaf.len()), leaf].concat()]
}

/// The head of a byte string (major type 2) or an array (4) in its shortest form.
fn head(major: u8, length: usize) -> Vec<u8> {
    let (major, [.., a, b, c, d]) = (major << 5, length.to_be_bytes());
    match length {
        0..24 => vec![major | d],
        24..0x100 => vec![major | 24, d],
        0x100..0x1_0000 => vec![major | 25, c, d],
        _ => vec![major | 26, a, b, c, d],
    }
}

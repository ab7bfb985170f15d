//! A fleet whose documents are good in any year: keys from fixed seeds, so that each run makes the same bytes.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use catenoid_agent::testing::Agent;
use catenoid_envelope::Draft;
use catenoid_schema::{
    anchors::{Anchors, AnchorsKind, AnchorsMetadata, CertificateDer, RoleAnchors},
    cbor,
    digest::Digest,
    document::{ApiVersion, Document, Role},
    guest::Guest,
    manifest::Manifest,
    units::Span,
};
use ciborium::Value;
use coset::{
    Algorithm, ContentType, CoseSign, CoseSignature, Header, Label, ProtectedHeader, TaggedCborSerializable as _, iana,
};
use p384::ecdsa::{DerSignature, Signature, SigningKey, signature::Signer as _};
use x509_cert::{
    builder::{self, Builder as _, CertificateBuilder, profile::BuilderProfile},
    certificate::TbsCertificate,
    der::{Encode as _, asn1::ObjectIdentifier},
    ext::{
        Extension, ToExtension as _,
        pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages},
    },
    name::Name,
    serial_number::SerialNumber,
    spki::{SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef},
    time::{Time, Validity},
};

/// Which device the manifest is for.
pub const SERIAL: &str = "FUZZ-0001";
/// From 2020 to 2050, the last year of a certificate's short form of time.
const VALID: [u64; 2] = [1_577_836_800, 2_493_072_000];

/// Whom the device believes, and what it believes of them.
pub struct Fixture {
    /// One authority for manifests, one for guests.
    pub anchors: Anchors,
    /// An image: nothing looks into it before dm-verity does.
    pub image: Vec<u8>,
    /// The envelope of its descriptor.
    pub descriptor: Vec<u8>,
    /// The envelopes of a manifest with a container of that guest, and of the one after it.
    pub manifests: [Vec<u8>; 2],
    /// The envelopes of two manifests that break rules: one gives a container too long a time to end, which a version might have
    /// taken; the other has no core container, which none ever took.
    pub lawless: [Vec<u8>; 2],
    /// The envelopes of a descriptor and of a manifest with a container of that guest, as a version might have taken them: each
    /// has its anchor among its certificates.
    pub with_anchors: [Vec<u8>; 2],
    /// The envelope of a manifest that only a later version can read.
    pub newer: Vec<u8>,
    /// What `descriptor` and the first of `manifests` hold.
    pub guest: Guest,
    /// See `guest`.
    pub manifest: Manifest,
    operator: Signer,
    software: Signer,
}

/// The only one.
pub static FIXTURE: LazyLock<Fixture> = LazyLock::new(make);

fn make() -> Fixture {
    let [operator, software] = [Role::Operator, Role::Software].map(Signer::new);
    let roles = [&operator, &software].map(|signer| {
        let certificates = vec![CertificateDer::new(signer.authority.clone())];
        (signer.role, RoleAnchors { threshold: 1, certificates })
    });
    let anchors = Anchors {
        api_version: ApiVersion::V1,
        kind: AnchorsKind::Anchors,
        metadata: AnchorsMetadata { name: "fuzz".parse().expect("a name"), version: 1 },
        roles: roles.into_iter().collect(),
    };
    let image = vec![0; 3 * 4096];
    let digest = Digest::of(&image);
    let guest: Guest = from_json(serde_json::json!({
        "apiVersion": "catenoid.dev/v1",
        "kind": "Guest",
        "metadata": {"name": "core", "version": "1"},
        "architecture": if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" },
        "image": {
            "digest": digest, "size": "12KiB", "verity": {"rootHash": digest, "salt": digest, "dataBlocks": 1},
        },
        "defaults": {"command": ["/sbin/init"]},
        "root": "readOnly",
    }));
    let descriptor = software.seal(&guest);
    let long = serde_json::json!({"A": "a".repeat(3000), "B": "b".repeat(3000)});
    let naming = |descriptor: &[u8], sequence: u64| -> Manifest {
        from_json(serde_json::json!({
            "apiVersion": "catenoid.dev/v1",
            "kind": "Manifest",
            "metadata": {"name": "small", "sequence": sequence, "epoch": 2, "notAfter": "2049-01-01T00:00:00Z"},
            "target": {"serials": [SERIAL]},
            "guests": {"core": {"ref": "core@1", "descriptor": Digest::of(descriptor)}},
            "containers": {"core0": {
                "guest": "core",
                "role": "core",
                // The later one is longer than what decoders take at a time (4 KiB).
                "environment": if sequence == 5 { serde_json::json!({}) } else { long.clone() },
            }},
        }))
    };
    let manifest = |sequence| naming(&descriptor, sequence);
    let manifests = [5, 6].map(|sequence| operator.seal(&manifest(sequence)));
    let mut slow = manifest(5);
    slow.containers.values_mut().for_each(|container| container.stop.grace = Span::from_milliseconds(3_600_000));
    let lawless =
        [slow, Manifest { containers: BTreeMap::new(), ..manifest(5) }].map(|manifest| operator.seal(&manifest));
    let loose = software.seal_under(&guest, &[software.certificate.clone(), software.authority.clone()]);
    let under = [operator.certificate.clone(), operator.authority.clone()];
    let with_anchors = [loose.clone(), operator.seal_under(&naming(&loose, 5), &under)];
    let newer = operator.seal_newer(&manifest(7));
    let manifest = manifest(5);
    Fixture { anchors, image, descriptor, manifests, lawless, with_anchors, newer, guest, manifest, operator, software }
}

impl Fixture {
    /// The envelope of a manifest, and of what passes for one: the operator signs everything.
    pub fn by_operator<T: Document>(&self, document: &T) -> Vec<u8> {
        self.operator.seal(document)
    }

    /// The envelope of a descriptor.
    pub fn by_software<T: Document>(&self, document: &T) -> Vec<u8> {
        self.software.seal(document)
    }

    /// An agent on what `data` holds.
    pub fn agent(&self, data: &Path) -> Agent {
        let serial = SERIAL.parse().expect("a serial");
        Agent::start(data, self.anchors.clone(), serial).expect("a folder can be read and written")
    }
}

/// A folder in memory where there is one: what is synced here need not survive anything.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder can be made")
}

fn from_json<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("it is of this form")
}

/// A key with its certificate, and the authority over it.
struct Signer {
    role: Role,
    key: SigningKey,
    certificate: Vec<u8>,
    authority: Vec<u8>,
}

impl Signer {
    fn new(role: Role) -> Self {
        let seed = role as u8 * 2 + 1;
        let [above, key] = [seed, seed + 1].map(|seed| SigningKey::from_slice(&[seed; 48]).expect("a small number"));
        let [authority, certificate] = [Profile { role, ca: true }, Profile { role, ca: false }]
            .map(|profile| certify(profile, if profile.ca { &above } else { &key }, &above));
        Self { role, key, certificate, authority }
    }

    fn seal<T: Document>(&self, document: &T) -> Vec<u8> {
        self.seal_under(document, std::slice::from_ref(&self.certificate))
    }

    fn seal_under<T: Document>(&self, document: &T, chain: &[Vec<u8>]) -> Vec<u8> {
        let mut draft = Draft::new(document).expect("it can be written");
        let signature: Signature = self.key.sign(&draft.message(chain));
        draft.add(chain, signature.to_bytes().into());
        draft.finish().expect("it is below the limits")
    }
}

impl Signer {
    /// As a later signing tool does it: with a field that this version does not know, and the feature that it is of.
    fn seal_newer(&self, manifest: &Manifest) -> Vec<u8> {
        let payload = cbor::encode(manifest).expect("it can be written");
        let mut value: Value = ciborium::from_reader(payload.as_slice()).expect("it was just written");
        let fields = value.as_map_mut().expect("a manifest is a map");
        fields.push(("requires".into(), Value::Array(vec!["volumes".into()])));
        fields.push(("volumes".into(), Value::Map(Vec::new())));
        let protected = |header| ProtectedHeader { original_data: None, header };
        let of = Manifest::CONTENT_TYPE;
        let body = Header { content_type: Some(ContentType::Text(of.to_owned())), ..Header::default() };
        let header = Header {
            alg: Some(Algorithm::Assigned(iana::Algorithm::ES384)),
            rest: vec![(Label::Int(X5CHAIN), Value::Bytes(self.certificate.clone()))],
            ..Header::default()
        };
        let payload = Some(cbor::encode(&value).expect("it can be written"));
        let mut cose = CoseSign { protected: protected(body), payload, ..CoseSign::default() };
        let unsigned = CoseSignature { protected: protected(header), ..CoseSignature::default() };
        let signature: Signature = self.key.sign(&cose.tbs_data(of.as_bytes(), &unsigned));
        cose.signatures.push(CoseSignature { signature: signature.to_bytes().to_vec(), ..unsigned });
        cose.to_tagged_vec().expect("it can be written")
    }
}

/// The header parameter of a certificate chain (RFC 9360).
const X5CHAIN: i64 = 33;

#[derive(Clone, Copy)]
struct Profile {
    role: Role,
    ca: bool,
}

impl Profile {
    fn name(self, ca: bool) -> Name {
        let kind = if ca { "authority" } else { "signer" };
        format!("CN={} {kind}", self.role).parse().expect("a name")
    }
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _: &Name) -> Name {
        self.name(true)
    }

    fn get_subject(&self) -> Name {
        self.name(self.ca)
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        certificate: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let subject = certificate.subject();
        let usage = if self.ca { KeyUsages::KeyCertSign } else { KeyUsages::DigitalSignature };
        let purpose = ObjectIdentifier::new_unwrap(self.role.extended_key_usage());
        Ok(vec![
            (&BasicConstraints { ca: self.ca, path_len_constraint: None }).to_extension(subject, &[])?,
            (&KeyUsage(usage.into())).to_extension(subject, &[])?,
            (&ExtendedKeyUsage(vec![purpose])).to_extension(subject, &[])?,
        ])
    }
}

fn certify(profile: Profile, key: &SigningKey, issuer: &SigningKey) -> Vec<u8> {
    let [start, end] = VALID.map(|second| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        Time::try_from(time).expect("a certificate can say it")
    });
    let serial = SerialNumber::new(&[1]).expect("a short number");
    let key = SubjectPublicKeyInfoOwned::from_key(key.verifying_key()).expect("a key can be written");
    let builder = CertificateBuilder::new(profile, serial, Validity::new(start, end), key);
    let built = builder.and_then(|builder| builder.build::<_, DerSignature>(issuer));
    built.and_then(|certificate| Ok(certificate.to_der()?)).expect("the certificate is of our own making")
}

//! Second implementations: cose-rust (OpenSSL) for the structure, p384 for signatures, `openssl verify` for chains.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
        UnparsedPublicKey,
    },
};
use catenoid_envelope::{Draft, open};
use catenoid_schema::{
    anchors::CertificateDer,
    cbor,
    document::{Document, Role},
    guest::Guest,
    manifest::Manifest,
};
use common::{DAY, Issued, NOW, anchors, authority, fleet, guest, key, leaf, manifest, now, seal, sign};
use cose::{agent::CoseAgent, algs, headers::ContentTypeTypes, keys, message::CoseMessage};
use p384::ecdsa::{Signature, SigningKey, VerifyingKey, signature::Verifier};
use p384::pkcs8::EncodePrivateKey;
use proptest::prelude::*;
use x509_cert::{
    Certificate,
    der::{Decode, EncodePem, pem::LineEnding},
    ext::pkix::KeyUsages,
};

fn cose_key(signer: &Issued) -> keys::CoseKey {
    let point = signer.key.verifying_key().to_sec1_point(false);
    let mut key = keys::CoseKey::new();
    key.kty(keys::EC2);
    key.alg(algs::ES384);
    key.crv(keys::P_384);
    key.x(point.x().unwrap().to_vec());
    key.y(point.y().unwrap().to_vec());
    key.d(signer.key.to_bytes().to_vec());
    key
}

/// Whether cose-rust takes each signature of `envelope` for its signer.
fn cose_rust_verifies<T: Document>(envelope: &[u8], signers: &[&Issued]) -> bool {
    let mut message = CoseMessage::new_sign();
    message.bytes = envelope.to_vec();
    if message.init_decoder(None).is_err() || message.agents.len() != signers.len() {
        return false;
    }
    signers.iter().enumerate().all(|(index, signer)| {
        message.agents[index].key(&cose_key(signer)).is_ok()
            && message.decode(Some(T::CONTENT_TYPE.as_bytes().to_vec()), Some(index)).is_ok()
    })
}

#[test]
fn cose_rust_verifies_what_we_seal() {
    let fleet = fleet();
    let one = seal(&guest(), &[&fleet.software]);
    assert!(cose_rust_verifies::<Guest>(&one, &[&fleet.software]));
    let two = seal(&manifest(), &[&fleet.operator, &fleet.second_operator]);
    assert!(cose_rust_verifies::<Manifest>(&two, &[&fleet.operator, &fleet.second_operator]));
    // It can fail: swapped signers, other external data.
    assert!(!cose_rust_verifies::<Manifest>(&two, &[&fleet.second_operator, &fleet.operator]));
    assert!(!cose_rust_verifies::<Guest>(&two, &[&fleet.operator, &fleet.second_operator]));
}

/// Manifests that differ in what an envelope is about: sizes, numbers, names.
fn any_manifest() -> impl Strategy<Value = Manifest> {
    let names = prop::collection::btree_set("[a-z]{1,12}", 0..20);
    (1u64.., any::<u64>(), names).prop_map(|(sequence, epoch, names)| {
        let mut document = manifest();
        document.metadata.sequence = sequence;
        document.metadata.epoch = epoch;
        let container = document.containers.values().next().unwrap().clone();
        document.containers.extend(names.into_iter().map(|name| (name.parse().unwrap(), container.clone())));
        document
    })
}

fn signers() -> impl Strategy<Value = Vec<&'static Issued>> {
    let fleet = fleet();
    prop::sample::subsequence(vec![&fleet.operator, &fleet.second_operator], 1..=2).prop_shuffle()
}

/// An envelope as cose-rust writes it.
fn cose_rust_seals(payload: Vec<u8>, content_type: &str, signers: &[&Issued]) -> Vec<u8> {
    let mut message = CoseMessage::new_sign();
    message.header.content_type(ContentTypeTypes::Tstr(content_type.to_owned()), true, false);
    message.payload(payload);
    for signer in signers {
        let mut agent = CoseAgent::new();
        agent.header.alg(algs::ES384, true, false);
        // It writes no longer chains than of one certificate, unless they end with a self-signed one.
        agent.header.x5chain(signer.chain.clone(), true, false);
        agent.key(&cose_key(signer)).unwrap();
        message.add_agent(&mut agent).unwrap();
    }
    message.secure_content(Some(content_type.as_bytes().to_vec())).unwrap();
    message.encode(true).unwrap();
    message.bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn coset_and_cose_rust_open_what_the_other_seals(document in any_manifest(), signers in signers()) {
        let ours = seal(&document, &signers);
        prop_assert!(cose_rust_verifies::<Manifest>(&ours, &signers));
        prop_assert!(!cose_rust_verifies::<Guest>(&ours, &signers));
        let theirs = cose_rust_seals(cbor::encode(&document).unwrap(), Manifest::CONTENT_TYPE, &signers);
        let opened = open::<Manifest>(&theirs, &fleet().anchors, now()).unwrap();
        prop_assert_eq!((opened.signers().len(), opened.into_document()), (signers.len(), document));
        // Both write the one form there is: only the signatures differ, which cose-rust makes at random.
        prop_assert_eq!(ours.len(), theirs.len());
    }

    /// Nothing that cose-rust refuses opens. It takes more than we do: unsigned headers, other forms of the same content.
    #[test]
    fn what_coset_opens_cose_rust_verifies(
        document in any_manifest(),
        signers in signers(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u8>()), 0..3),
    ) {
        let mut bytes = seal(&document, &signers);
        for (index, kind, byte) in edits {
            let index = index.index(bytes.len());
            match kind {
                0 => bytes[index] = byte,
                1 => drop(bytes.remove(index)),
                2 => bytes.insert(index, byte),
                _ => bytes.truncate(index + 1),
            }
        }
        let opens = open::<Manifest>(&bytes, &fleet().anchors, now()).is_ok();
        prop_assert!(!opens || cose_rust_verifies::<Manifest>(&bytes, &signers));
    }
}

#[test]
fn signing_is_deterministic() {
    let fleet = fleet();
    assert_eq!(seal(&manifest(), &[&fleet.operator]), seal(&manifest(), &[&fleet.operator]));
}

/// RFC 6979 appendix A.2.6: the P-384 key and its SHA-384 signature of "sample".
#[test]
fn p384_signs_as_rfc_6979_does() {
    let secret = "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5";
    let expected = "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46\
                    99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8";
    let key = p384::ecdsa::SigningKey::from_slice(&hex::decode(secret).unwrap()).unwrap();
    assert_eq!(hex::encode(sign(&key, b"sample")), expected);
}

/// The order of the group (FIPS 186-5, appendix G.1.4; SP 800-186 section 3.2.1.4).
const ORDER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";

fn secret() -> impl Strategy<Value = SigningKey> {
    prop::collection::vec(any::<u8>(), 48).prop_filter_map("no key", |bytes| SigningKey::from_slice(&bytes).ok())
}

/// What may stand where a signature should: a good one, bent, or numbers at the edges of what is one.
fn bent(good: [u8; 96], kind: u8, at: usize, random: &[u8]) -> Vec<u8> {
    let order = hex::decode(ORDER).unwrap();
    let (r, s) = good.split_at(48);
    let edge = |number: &[u8]| if at < 48 { [number, s].concat() } else { [r, number].concat() };
    match kind {
        0 => good.to_vec(),
        1 => good.iter().enumerate().map(|(i, byte)| byte ^ u8::from(i == at)).collect(),
        2 => [s, r].concat(),
        3 => edge(&[0; 48]),
        4 => edge(&order),
        5 => edge(&[0xff; 48]),
        6 => edge(&difference(&order, if at < 48 { r } else { s })),
        7 => good[..at].to_vec(),
        8 => [&good[..], &random[..1]].concat(),
        _ => random.to_vec(),
    }
}

/// `a - b` of two numbers of as many bytes, highest first.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut bytes: Vec<u8> = (a.iter().rev().zip(b.iter().rev()))
        .map(|(a, b)| {
            let digit = i16::from(*a) - i16::from(*b) - borrow;
            borrow = i16::from(digit < 0);
            digit.rem_euclid(256).to_le_bytes()[0]
        })
        .collect();
    bytes.reverse();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn p384_and_aws_lc_verify_each_other(
        ours in secret(),
        message in prop::collection::vec(any::<u8>(), 0..300),
        other in prop::collection::vec(any::<u8>(), 0..300),
        kind in 0u8..10,
        at in 0usize..96,
        random in prop::collection::vec(any::<u8>(), 96),
    ) {
        let public = ours.verifying_key().to_sec1_point(false);
        let verify = |message: &[u8], signature: &[u8]| {
            let lc = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public.as_bytes()).verify(message, signature);
            let rust = Signature::from_slice(signature).map(|s| VerifyingKey::from(&ours).verify(message, &s));
            assert_eq!(lc.is_ok(), matches!(rust, Ok(Ok(()))));
            lc.is_ok()
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, ours.to_pkcs8_der().unwrap().as_bytes()).unwrap();
        prop_assert_eq!(pair.public_key().as_ref(), public.as_bytes());
        let by_lc = pair.sign(&SystemRandom::new(), &message).unwrap();
        for good in [sign(&ours, &message), by_lc.as_ref().try_into().unwrap()] {
            prop_assert!(verify(&message, &good));
            prop_assert_eq!(verify(&other, &good), message == other);
            // `r, n - s` is a signature as well, to both: what makes an envelope one is its whole content.
            prop_assert_eq!(verify(&message, &bent(good, kind, at, &random)), kind == 0 || (kind == 6 && at >= 48));
        }
    }

    /// Points that are on the curve and such that are not are keys to both or to none. The hybrid form only aws-lc takes; a
    /// leaf with such a key is refused before it (`chain.rs`).
    #[test]
    fn p384_and_aws_lc_take_the_same_keys(ours in secret(), short: bool, at in 0usize..97, bit in 0u8..8, cut in 0usize..97) {
        let mut point = ours.verifying_key().to_sec1_point(short).as_bytes().to_vec();
        let signature = sign(&ours, b"message");
        let verify = |point: &[u8]| {
            let lc = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).map(|key| key.verify_sig(b"message", &signature));
            let rust = VerifyingKey::from_sec1_bytes(point)
                .map(|key| key.verify(b"message", &Signature::from_slice(&signature).unwrap()));
            // None: no key.
            if matches!(point, [6 | 7, ..]) {
                assert!(rust.is_err(), "{}", hex::encode(point));
                return None;
            }
            let (lc, rust) = (lc.ok().map(|good| good.is_ok()), rust.ok().map(|good| good.is_ok()));
            assert_eq!(lc, rust, "{}", hex::encode(point));
            lc
        };
        prop_assert_eq!(verify(&point), Some(true));
        prop_assert_eq!(verify(&point[..cut.min(point.len() - 1)]), None);
        let at = at % point.len();
        point[at] ^= 1 << bit;
        prop_assert_ne!(verify(&point), Some(true));
    }
}

/// What `openssl verify` says of a chain, with the extended key usage of the role asked for by hand: it knows private
/// usages in no other way.
fn openssl_verifies(folder: &Path, signer: &Issued, anchor: &[u8], role: Role) -> bool {
    let pem = |der: &[u8]| Certificate::from_der(der).map(|c| c.to_pem(LineEnding::LF).unwrap());
    let (Some((first, above)), Ok(anchor)) = (signer.chain.split_first(), pem(anchor)) else { return false };
    let (leaf, untrusted, trusted) = (folder.join("leaf"), folder.join("untrusted"), folder.join("anchor"));
    std::fs::write(&leaf, pem(first).unwrap()).unwrap();
    std::fs::write(&untrusted, above.iter().map(|der| pem(der).unwrap()).collect::<String>()).unwrap();
    std::fs::write(&trusted, anchor).unwrap();
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-partial_chain", "-attime", &NOW.to_string(), "-CAfile"]).arg(&trusted);
    if !above.is_empty() {
        command.arg("-untrusted").arg(&untrusted);
    }
    let verified = command.arg(&leaf).output().expect("openssl is installed");
    let text = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&leaf).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    verified.status.success()
        && text.contains(role.extended_key_usage())
        && text.contains("Digital Signature")
        && text.contains("CA:FALSE")
        && text.contains("secp384r1")
}

#[test]
fn tool_openssl_agrees_on_chains() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet();
    let root = &fleet.operator_authority;
    let foreign = authority("operator authority", 30, Some(Role::Operator)).self_signed();
    let middle = authority("middle", 31, Some(Role::Operator)).by(root);
    let expired = common::Spec { end: NOW - DAY, ..authority("middle", 31, Some(Role::Operator)) }.by(root);
    let spec = leaf("operator", 3, Role::Operator);
    let rows = [
        (true, spec.by(root)),
        (true, spec.by_intermediate(&middle)),
        (false, spec.by(&foreign)),
        (false, spec.by_intermediate(&expired)),
        (false, spec.by(&middle)), // without the intermediate
        (false, common::Spec { end: NOW - DAY, ..spec.clone() }.by(root)),
        (false, common::Spec { start: NOW + DAY, ..spec.clone() }.by(root)),
        (false, common::Spec { purposes: Vec::new(), ..spec.clone() }.by(root)),
        (false, common::Spec { ca: true, ..spec.clone() }.by(root)),
        (false, spec.by_intermediate(&fleet.second_operator)),
    ];
    for (index, (good, signer)) in rows.into_iter().enumerate() {
        let opened = open::<Manifest>(&seal(&manifest(), &[&signer]), &fleet.anchors, now());
        assert_eq!(opened.is_ok(), good, "row {index}: {opened:?}");
        assert_eq!(
            openssl_verifies(folder.path(), &signer, &root.chain[0], Role::Operator),
            good,
            "row {index} by openssl"
        );
    }
}

/// How a certificate of a generated chain is not as it should be; most are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bend {
    Nothing,
    Ended,
    NotBegun,
    NoAuthority,
    Authority,
    NoUsage,
    UsageOfALeaf,
    UsageOfAnAuthority,
    NoPurpose,
    OtherPurpose,
    BothPurposes,
    PathLength(u8),
    ForeignIssuer,
    OtherName,
}

fn bend() -> impl Strategy<Value = Bend> {
    let bends = [
        Bend::Ended,
        Bend::NotBegun,
        Bend::NoAuthority,
        Bend::Authority,
        Bend::NoUsage,
        Bend::UsageOfALeaf,
        Bend::UsageOfAnAuthority,
        Bend::NoPurpose,
        Bend::OtherPurpose,
        Bend::BothPurposes,
        Bend::PathLength(0),
        Bend::PathLength(1),
        Bend::ForeignIssuer,
        Bend::OtherName,
    ];
    prop_oneof![4 => Just(Bend::Nothing), 1 => prop::sample::select(bends.to_vec())]
}

impl Bend {
    fn apply(self, spec: &mut common::Spec) {
        match self {
            Self::Nothing | Self::ForeignIssuer | Self::OtherName => {}
            Self::Ended => spec.end = NOW - DAY,
            Self::NotBegun => spec.start = NOW + DAY,
            Self::NoAuthority => spec.ca = false,
            Self::Authority => spec.ca = true,
            Self::NoUsage => spec.usage = None,
            Self::UsageOfALeaf => spec.usage = Some(KeyUsages::DigitalSignature.into()),
            Self::UsageOfAnAuthority => spec.usage = Some(KeyUsages::KeyCertSign.into()),
            Self::NoPurpose => spec.purposes.clear(),
            Self::OtherPurpose => spec.purposes = vec![Role::Software.extended_key_usage()],
            Self::BothPurposes => spec.purposes.push(Role::Software.extended_key_usage()),
            Self::PathLength(length) => spec.path_length = spec.ca.then_some(length),
        }
    }
}

/// What is done to the certificates of a chain before they are shown.
#[derive(Debug, Clone, Copy)]
enum Shown {
    AsTheyAre,
    WithoutOne(usize),
    Swapped,
    OneTwice,
    WithAStranger,
}

/// An anchor, and a signer below it by as many authorities as there are bends but two.
fn chain(bends: &[Bend], shown: Shown) -> (Issued, Issued) {
    let mut spec = authority("anchor", 40, Some(Role::Operator));
    bends[0].apply(&mut spec);
    let anchor = spec.self_signed();
    let mut above = anchor.clone();
    above.chain.clear();
    for (seed, bend) in (41..).zip(&bends[1..]) {
        let is_leaf = usize::from(seed) == 39 + bends.len();
        let name = format!("certificate {seed}");
        let mut spec =
            if is_leaf { leaf(&name, seed, Role::Operator) } else { authority(&name, seed, Some(Role::Operator)) };
        bend.apply(&mut spec);
        let mut issuer = above.clone();
        match bend {
            Bend::ForeignIssuer => issuer.key = key(90),
            Bend::OtherName => issuer.certificate = authority("another", 91, None).self_signed().certificate,
            _ => {}
        }
        above = spec.by_intermediate(&Issued { chain: above.chain.clone(), ..issuer });
    }
    let stranger = authority("stranger", 92, None).self_signed();
    let length = above.chain.len();
    match shown {
        Shown::WithoutOne(at) if length > 1 => drop(above.chain.remove(1 + at % (length - 1))),
        Shown::Swapped => above.chain.swap(length.saturating_sub(2).max(1).min(length - 1), length - 1),
        Shown::OneTwice => above.chain.push(above.chain[length - 1].clone()),
        Shown::WithAStranger => above.chain.push(stranger.chain[0].clone()),
        Shown::AsTheyAre | Shown::WithoutOne(_) => {}
    }
    (anchor, above)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tool_openssl_agrees_on_generated_chains(
        bends in prop::collection::vec(bend(), 2..5),
        shown in prop_oneof![
            6 => Just(Shown::AsTheyAre),
            1 => (0usize..4).prop_map(Shown::WithoutOne),
            1 => Just(Shown::Swapped),
            1 => Just(Shown::OneTwice),
            1 => Just(Shown::WithAStranger),
        ],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (anchor, signer) = chain(&bends, shown);
        let (_, in_order) = chain(&bends, Shown::AsTheyAre);
        let opened = open::<Manifest>(&seal(&manifest(), &[&signer]), &anchors(&[(Role::Operator, 1, &anchor)]), now());
        let openssl = openssl_verifies(folder.path(), &signer, &anchor.chain[0], Role::Operator);
        // Asked for a private purpose, it looks at the signer alone; to us, the authorities between are bound by theirs.
        let bound = bends[1..bends.len() - 1].iter().any(|bend| matches!(bend, Bend::NoPurpose | Bend::OtherPurpose));
        // It looks for a path among certificates; to us, they are the path.
        let is_path = signer.chain == in_order.chain;
        prop_assert_eq!(opened.is_ok(), openssl && !bound && is_path, "{:?}", opened);
    }
}

/// What generated chains found: openssl refused them, and we did not.
#[test]
fn tool_issuers_are_what_their_certificates_say() {
    use Bend::{Ended, NoAuthority, NoUsage, NotBegun, Nothing, PathLength, UsageOfALeaf};
    let folder = tempfile::tempdir().unwrap();
    for (bends, name) in [
        (&[Nothing, UsageOfALeaf, Nothing][..], "issuer-key-usage"),
        (&[Nothing, NoUsage, Nothing], "issuer-key-usage"),
        (&[UsageOfALeaf, Nothing], "anchor-key-usage"),
        (&[NoAuthority, Nothing], "anchor-no-authority"),
        (&[PathLength(0), Nothing, Nothing], "certificate-path-too-long"),
        (&[Ended, Nothing], "anchor-expired"),
        (&[NotBegun, Nothing], "anchor-not-yet-valid"),
    ] {
        let (anchor, signer) = chain(bends, Shown::AsTheyAre);
        let opened = open::<Manifest>(&seal(&manifest(), &[&signer]), &anchors(&[(Role::Operator, 1, &anchor)]), now());
        assert_eq!(opened.unwrap_err().name(), name, "{bends:?}");
        assert!(!openssl_verifies(folder.path(), &signer, &anchor.chain[0], Role::Operator), "{bends:?}");
    }
}

/// Authorities with other keys than P-384 do not count, although `openssl verify` would take them: made with openssl,
/// as our own tools cannot.
#[test]
fn tool_authorities_with_other_keys_are_not_believed() {
    for (kind, options) in [
        ("rsa", ["-newkey", "rsa:2048", "-sha384"].as_slice()),
        ("p-256", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha256"].as_slice()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let request = [
            &["req", "-x509", "-nodes", "-batch", "-subj", "/CN=other", "-days", "20000"],
            options,
            &["-keyout", "ca.key", "-out", "ca.crt"],
        ]
        .concat();
        openssl(&request);
        openssl(&[
            "req",
            "-new",
            "-nodes",
            "-batch",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-384",
            "-subj",
            "/CN=leaf",
            "-keyout",
            "leaf.key",
            "-out",
            "leaf.csr",
        ]);
        let extensions = format!(
            "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={}\n",
            Role::Operator.extended_key_usage()
        );
        std::fs::write(path("extensions"), extensions).unwrap();
        openssl(&[
            "x509",
            "-req",
            "-in",
            "leaf.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "20000",
            "-extfile",
            "extensions",
            "-out",
            "leaf.crt",
        ]);
        openssl(&["verify", "-CAfile", "ca.crt", "leaf.crt"]);
        let der = |file: &str| openssl(&["x509", "-in", file, "-outform", "DER"]);
        let (leaf, authority) = (der("leaf.crt"), der("ca.crt"));
        let secret = openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", "leaf.key"]);
        let secret = <p384::ecdsa::SigningKey as p384::pkcs8::DecodePrivateKey>::from_pkcs8_pem(
            std::str::from_utf8(&secret).unwrap(),
        )
        .unwrap();
        let mut believed = anchors(&[(Role::Operator, 1, &fleet().operator_authority)]);
        believed.roles.get_mut(&Role::Operator).unwrap().certificates = vec![CertificateDer::new(authority)];
        let chain = vec![leaf];
        let mut draft = Draft::new(&manifest()).unwrap();
        let signature = sign(&secret, &draft.message(&chain));
        draft.add(&chain, signature);
        // The certificates that openssl makes begin today.
        let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let today = common::at(i64::try_from(today).unwrap() + 60);
        let error = open::<Manifest>(&draft.finish().unwrap(), &believed, today).unwrap_err();
        assert_eq!(error.name(), "anchor-key-kind", "{kind}: {error:?}");
    }
}

//! Chains of certificates, by `openssl verify`.

use std::path::Path;
use std::process::Command;

use catenoid_envelope::{Draft, open};
use catenoid_schema::{anchors::CertificateDer, document::Role, manifest::Manifest};
use proptest::prelude::*;
use x509_cert::{
    Certificate,
    der::{Decode, EncodePem, pem::LineEnding},
    ext::pkix::KeyUsages,
};

use crate::common::{self, DAY, Issued, NOW, anchors, authority, fleet, key, leaf, manifest, now, seal, sign};

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

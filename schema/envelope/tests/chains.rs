//! Every way in which certificates are not believed, in one table: each has a name, a text and a hint of its own.
//! [req->TSF-UPDATE] [req->NDR-3.13]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aws_lc_rs::digest;
use catenoid_envelope::{Error, Reading, check_anchor, open_as};
use catenoid_schema::{
    anchors::{Anchors, CertificateDer},
    document::Role,
    manifest::Manifest,
    status::Blame,
};
use common::{
    DAY, Form, Issued, NOW, Spec, anchors, at, authority, fleet, leaf, manifest, now, other_form, p256, rsa, seal,
};
use p384::ecdsa::{Signature, signature::hazmat::PrehashSigner};
use x509_cert::{
    der::{
        Encode,
        asn1::{ObjectIdentifier, OctetString},
    },
    ext::{Extension, pkix::KeyUsages},
};

/// Certificates and what a device makes of them.
struct Row {
    /// What is peculiar.
    what: &'static str,
    /// The certificates that it believes for the role `operator`, in DER.
    anchors: Vec<Vec<u8>>,
    signer: Issued,
    /// The name of the error, or `opens`.
    says: &'static str,
}

fn row(what: &'static str, anchors: &[&Issued], signer: Issued, says: &'static str) -> Row {
    Row { what, anchors: anchors.iter().map(|anchor| anchor.chain[0].clone()).collect(), signer, says }
}

/// A chain that comes to mind joins here, in one line.
#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let role = Some(Role::Operator);
    let root = &authority("root", 1, role).self_signed();
    let foreign = &authority("root", 2, role).self_signed();
    let other = &authority("other", 3, role).self_signed();
    let first = &authority("first", 4, role).by(root);
    let second = &authority("second", 5, role).by_intermediate(first);
    let third = &authority("third", 6, role).by_intermediate(second);
    let spec = leaf("signer", 9, Role::Operator);
    let with = |change: &dyn Fn(&mut Spec)| bent(&spec, change);
    let anchor = |change: &dyn Fn(&mut Spec)| bent(&authority("root", 1, role), change).self_signed();
    let middle = |change: &dyn Fn(&mut Spec)| bent(&authority("first", 4, role), change).by(root);
    let by_root = |change: &dyn Fn(&mut Spec)| with(change).by(root);
    let by_middle = |change: &dyn Fn(&mut Spec)| spec.by_intermediate(&middle(change));
    let good = || spec.by(root);
    let deep = || spec.by_intermediate(third);
    let shown = |change: &dyn Fn(&mut Vec<Vec<u8>>)| shown(deep(), change);
    // Other certificates of one name and key.
    let ended = &anchor(&|spec| spec.end = NOW - DAY);
    let begins = &anchor(&|spec| spec.start = NOW + DAY);
    let alone = &anchor(&|spec| spec.path_length = Some(0));
    let critical = &anchor(&|spec| spec.more = vec![extension(UNKNOWN, true, &[5, 0])]);
    let no_anchor = &Issued { chain: vec![vec![0; 700]], ..root.clone() };
    let rollover = &authority("root", 7, role).by(root);
    vec![
        row("a signer below an anchor", &[root], good(), "opens"),
        row("three authorities between, in order", &[root], deep(), "opens"),
        row("an anchor that ended, before its renewal", &[ended, root], good(), "opens"),
        row("an anchor that ended, behind its renewal", &[root, ended], good(), "opens"),
        row("an anchor that begins later, before the one of today", &[begins, root], good(), "opens"),
        row("an anchor that permits none below, before one that does", &[alone, root], deep(), "opens"),
        row("an anchor with a critical extension, before one without", &[critical, root], good(), "opens"),
        row("an anchor of this name and another key, before it", &[foreign, root], good(), "opens"),
        row("something that is no certificate, before the anchor", &[no_anchor, root], good(), "opens"),
        row("the anchor fifty times, once for each renewal", &[root; 50], deep(), "opens"),
        row("an anchor's new key, certified by its old one", &[root], spec.by_intermediate(rollover), "opens"),
        row("one of the authorities is an anchor as well", &[first, root], deep(), "opens"),
        row("a purpose more", &[root], by_root(&|spec| spec.purposes.push(Role::Root.extended_key_usage())), "opens"),
        row("an unknown extension that is not critical", &[root], by_root(&|s| s.more = vec![unknown(false)]), "opens"),
        row("an anchor with an unknown extension that is not critical", &[&anchor(&|s| s.more = vec![unknown(false)])], good(), "opens"),
        row("alternative names inside of constraints", &[root], constrained(root, DNS_A, SAN_A), "opens"),
        // No way to an anchor.
        row("of another fleet", &[root], spec.by(other), "certificate-untrusted"),
        row("signed by itself", &[root], spec.self_signed(), "certificate-untrusted"),
        row("issued by another signer, whose certificate is not sent", &[root], spec.by(&good()), "certificate-untrusted"),
        row("the authority between is missing", &[root], shown(&|chain| drop(chain.remove(2))), "certificate-untrusted"),
        row("all authorities are missing", &[root], shown(&|chain| chain.truncate(1)), "certificate-untrusted"),
        row("issued under an anchor's name by another key", &[root], spec.by(foreign), "certificate-signature-wrong"),
        row("a bit of the serial number flipped", &[root], flipped(&good()), "certificate-signature-wrong"),
        row("that of an authority between", &[root], flipped_above(first, &spec), "certificate-signature-wrong"),
        row("of the role that signs guests", &[root], fleet().software.clone(), "signer-role-wrong"),
        // The way in another form than ours.
        row("two authorities swapped", &[root], shown(&|chain| chain.swap(1, 2)), "certificate-chain-order"),
        row("the authorities from above", &[root], shown(&|chain| chain[1..].reverse()), "certificate-chain-order"),
        row("the authorities before the signer", &[root], shown(&|chain| chain.reverse()), "certificate-is-authority"),
        row("the anchor sent along", &[root], shown_with(good(), root), "certificate-chain-surplus"),
        row("the anchor behind an authority", &[root], shown_with(spec.by_intermediate(first), root), "certificate-chain-surplus"),
        row("the anchor's certificate from before its renewal", &[root], shown_with(good(), ended), "certificate-chain-surplus"),
        row("an anchor between, which ends the way", &[first], spec.by_intermediate(first), "certificate-chain-surplus"),
        row("an authority twice", &[root], shown_with(spec.by_intermediate(first), first), "certificate-chain-surplus"),
        row("the signer twice", &[root], shown_with(good(), &good()), "certificate-chain-surplus"),
        row("a stranger", &[root], shown_with(good(), other), "certificate-chain-surplus"),
        row("bytes that are no certificate", &[root], shown_with(good(), no_anchor), "certificate-chain-surplus"),
        // What cannot be read.
        row("zeros", &[root], no_anchor.clone(), "certificate-unreadable"),
        row("a byte too few", &[root], edited(&good(), &|der| der.truncate(der.len() - 1)), "certificate-unreadable"),
        row("a byte too many", &[root], edited(&good(), &|der| der.push(0)), "certificate-unreadable"),
        row("an authority of zeros", &[root], shown_with(spec.by(first), no_anchor), "certificate-unreadable"),
        row("key usage twice", &[root], by_root(&|s| s.more = vec![extension("2.5.29.15", true, &[3, 2, 7, 128])]), "certificate-unreadable"),
        row("two algorithms that differ", &[root], edited(&good(), &|der| outer_algorithm(der)), "certificate-unreadable"),
        row("version 2", &[root], resigned(&good(), root, ES384, &|tbs| version(tbs, 1)), "certificate-version"),
        row("version 4", &[root], resigned(&good(), root, ES384, &|tbs| version(tbs, 3)), "certificate-version"),
        // What RFC 5280 lets us refuse.
        row("an unknown critical extension", &[root], by_root(&|s| s.more = vec![unknown(true)]), "certificate-critical-extension"),
        row("an authority with one", &[root], by_middle(&|s| s.more = vec![unknown(true)]), "certificate-critical-extension"),
        row("critical policies", &[root], by_root(&|s| s.more = vec![extension("2.5.29.32", true, &[0x30, 6, 0x30, 4, 6, 2, 42, 3])]), "certificate-critical-extension"),
        row("constraints of policies", &[root], by_middle(&|s| s.more = vec![extension("2.5.29.36", true, &[0x30, 3, 0x80, 1, 0])]), "certificate-critical-extension"),
        row("made with SHA-256", &[root], resigned(&good(), root, ES256, &|tbs| sha256(tbs)), "certificate-signature-algorithm"),
        row("an authority made with SHA-256", &[root], spec.by_intermediate(&resigned(first, root, ES256, &|tbs| sha256(tbs))), "certificate-signature-algorithm"),
        row("an authority with a key on P-256", &[root], by_middle(&|s| s.info = p256()), "issuer-key-kind"),
        row("an authority with an RSA key", &[root], by_middle(&|s| s.info = rsa()), "issuer-key-kind"),
        row("a key on P-256", &[root], by_root(&|s| s.info = p256()), "certificate-key-kind"),
        row("an RSA key", &[root], by_root(&|s| s.info = rsa()), "certificate-key-kind"),
        row("a compressed point", &[root], by_root(&|s| s.info = other_form(9, Form::Compressed)), "certificate-key-kind"),
        row("a hybrid point", &[root], by_root(&|s| s.info = other_form(9, Form::Hybrid)), "certificate-key-kind"),
        row("a nested point", &[root], by_root(&|s| s.info = other_form(9, Form::Nested)), "certificate-key-kind"),
        row("no key usage", &[root], by_root(&|s| s.usage = None), "certificate-key-usage"),
        row("key agreement", &[root], by_root(&|s| s.usage = Some(KeyUsages::KeyAgreement.into())), "certificate-key-usage"),
        row("certificates as well", &[root], by_root(&|s| s.usage = Some(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign)), "certificate-key-usage"),
        row("an authority", &[root], by_root(&|s| s.ca = true), "certificate-is-authority"),
        row("the anchor itself", &[root], root.clone(), "certificate-is-authority"),
        row("issued by a signer", &[root], bent(&spec, &|s| s.name = "below".to_owned()).by_intermediate(&leaf("above", 8, Role::Operator).by(root)), "issuer-no-authority"),
        row("issued by an authority of signatures only", &[root], by_middle(&|s| s.usage = Some(KeyUsages::DigitalSignature.into())), "issuer-key-usage"),
        row("issued by an authority without key usage", &[root], by_middle(&|s| s.usage = None), "issuer-key-usage"),
        row("more authorities than the anchor permits", &[alone], deep(), "certificate-path-too-long"),
        row("more than an authority permits", &[root], spec.by_intermediate(&authority("second", 5, role).by_intermediate(&middle(&|s| s.path_length = Some(0)))), "certificate-path-too-long"),
        row("alternative names outside of constraints", &[root], constrained(root, DNS_A, SAN_B), "certificate-name-constraints"),
        row("any constraint over subjects", &[root], constrained(root, DIRECTORY, SAN_A), "certificate-name-constraints"),
        row("an anchor with a constraint over subjects", &[&anchor(&|s| s.more = vec![extension(NAME_CONSTRAINTS, true, DIRECTORY)])], good(), "certificate-name-constraints"),
        row("no purpose", &[root], by_root(&|s| s.purposes.clear()), "certificate-purpose-wrong"),
        row("another purpose", &[root], by_root(&|s| s.purposes = vec![Role::Software.extended_key_usage()]), "certificate-purpose-wrong"),
        row("any purpose", &[root], by_root(&|s| s.purposes = vec!["2.5.29.37.0"]), "certificate-purpose-wrong"),
        row("an empty list of purposes", &[root], by_root(&|s| { s.purposes.clear(); s.more = vec![extension("2.5.29.37", false, &[0x30, 0])]; }), "certificate-purpose-wrong"),
        row("an authority without purpose", &[root], by_middle(&|s| s.purposes.clear()), "certificate-purpose-wrong"),
        row("ended yesterday", &[root], by_root(&|s| s.end = NOW - DAY), "certificate-expired"),
        row("an authority ended yesterday", &[root], by_middle(&|s| s.end = NOW - DAY), "certificate-expired"),
        row("begins tomorrow", &[root], by_root(&|s| s.start = NOW + DAY), "certificate-not-yet-valid"),
        row("an authority begins tomorrow", &[root], by_middle(&|s| s.start = NOW + DAY), "certificate-not-yet-valid"),
        row("ends before it begins", &[root], by_root(&|s| (s.start, s.end) = (NOW + DAY, NOW - DAY)), "certificate-dates-wrong"),
        // Anchors that are not believed themselves.
        row("the anchor ended yesterday", &[ended], good(), "anchor-expired"),
        row("it did, and one of its name has another key", &[ended, foreign], good(), "anchor-expired"),
        row("it did, and the renewal begins tomorrow", &[ended, begins], good(), "anchor-expired"),
        row("it did, and so did the signer", &[ended], by_root(&|s| s.end = NOW - DAY), "certificate-expired"),
        row("the anchor begins tomorrow", &[begins], good(), "anchor-not-yet-valid"),
        row("the anchor is no authority", &[&anchor(&|s| s.ca = false)], good(), "anchor-no-authority"),
        row("the anchor has no key usage", &[&anchor(&|s| s.usage = None)], good(), "anchor-key-usage"),
        row("the anchor signs documents", &[&anchor(&|s| s.usage = Some(KeyUsages::DigitalSignature.into()))], good(), "anchor-key-usage"),
        row("the anchor's key is on P-256", &[&anchor(&|s| s.info = p256())], good(), "anchor-key-kind"),
        row("the anchor's key is an RSA key", &[&anchor(&|s| s.info = rsa())], good(), "anchor-key-kind"),
        row("the anchor has an unknown critical extension", &[critical], good(), "anchor-critical-extension"),
        row("the anchor inhibits any policy", &[&anchor(&|s| s.more = vec![extension("2.5.29.54", true, &[2, 1, 0])])], good(), "anchor-critical-extension"),
        row("the anchor is no certificate", &[no_anchor], good(), "anchor-unreadable"),
        row("it is none, and the signer has expired", &[no_anchor, root], by_root(&|s| s.end = NOW - DAY), "certificate-expired"),
    ]
}

const UNKNOWN: &str = "1.3.6.1.4.1.32473.99";
const NAME_CONSTRAINTS: &str = "2.5.29.30";
/// Permitted: names below `a`; every subject below an empty one.
const DNS_A: &[u8] = &[0x30, 7, 0xa0, 5, 0x30, 3, 0x82, 1, b'a'];
const DIRECTORY: &[u8] = &[0x30, 8, 0xa0, 6, 0x30, 4, 0xa4, 2, 0x30, 0];
const SAN_A: &[u8] = &[0x30, 3, 0x82, 1, b'a'];
const SAN_B: &[u8] = &[0x30, 3, 0x82, 1, b'b'];

fn extension(id: &str, critical: bool, value: &[u8]) -> Extension {
    Extension {
        extn_id: ObjectIdentifier::new_unwrap(id),
        critical,
        extn_value: OctetString::new(value.to_vec()).unwrap(),
    }
}

fn unknown(critical: bool) -> Extension {
    extension(UNKNOWN, critical, &[5, 0])
}

fn bent(spec: &Spec, change: &dyn Fn(&mut Spec)) -> Spec {
    let mut spec = spec.clone();
    change(&mut spec);
    spec
}

/// A signer with these alternative names below an authority with those constraints.
fn constrained(root: &Issued, constraints: &[u8], names: &[u8]) -> Issued {
    let first = bent(&authority("first", 4, Some(Role::Operator)), &|spec| {
        spec.more = vec![extension(NAME_CONSTRAINTS, true, constraints)];
    });
    let spec = leaf("signer", 9, Role::Operator);
    bent(&spec, &|spec| spec.more = vec![extension("2.5.29.17", false, names)]).by_intermediate(&first.by(root))
}

fn shown(mut signer: Issued, change: &dyn Fn(&mut Vec<Vec<u8>>)) -> Issued {
    change(&mut signer.chain);
    signer
}

fn shown_with(signer: Issued, more: &Issued) -> Issued {
    shown(signer, &|chain| chain.push(more.chain[0].clone()))
}

/// Its certificate with other bytes.
fn edited(signer: &Issued, change: &dyn Fn(&mut Vec<u8>)) -> Issued {
    shown(signer.clone(), &|chain| change(&mut chain[0]))
}

/// ecdsa-with-SHA384 and ecdsa-with-SHA256 (RFC 5758 section 3.2), as they stand in a certificate.
const ES384: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
const ES256: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

fn place(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

fn sha256(tbs: &mut [u8]) {
    let at = place(tbs, &ES384);
    tbs[at..at + 12].copy_from_slice(&ES256);
}

/// Changes the algorithm outside of what is signed.
fn outer_algorithm(der: &mut [u8]) {
    let at = der.len() - der.windows(12).rev().position(|window| window == ES384).unwrap() - 12;
    der[at..at + 12].copy_from_slice(&ES256);
}

/// The version is the first thing, `[0] { INTEGER 2 }`.
fn version(tbs: &mut [u8], version: u8) {
    let at = place(tbs, &[0xa0, 3, 2, 1, 2]);
    tbs[at + 4] = version;
}

/// The serial number, `INTEGER 1`, comes behind it.
fn flipped(signer: &Issued) -> Issued {
    edited(signer, &|der| {
        let at = place(der, &[0xa0, 3, 2, 1, 2, 2, 1, 1]);
        der[at + 7] ^= 2;
    })
}

fn flipped_above(authority: &Issued, spec: &Spec) -> Issued {
    spec.by_intermediate(&flipped(authority))
}

/// The certificate with another content, signed by `issuer` with `algorithm`.
fn resigned(certificate: &Issued, issuer: &Issued, algorithm: [u8; 12], change: &dyn Fn(&mut Vec<u8>)) -> Issued {
    let mut tbs = certificate.certificate.tbs_certificate().to_der().unwrap();
    change(&mut tbs);
    let hash = if algorithm == ES256 { &digest::SHA256 } else { &digest::SHA384 };
    let signature: Signature = issuer.key.sign_prehash(digest::digest(hash, &tbs).as_ref()).unwrap();
    let signature = [&[0][..], signature.to_der().as_bytes()].concat();
    let content = [tbs, algorithm.to_vec(), tlv(3, &signature)].concat();
    edited(certificate, &|der| *der = tlv(0x30, &content))
}

/// DER of a tag, a length below 65536 and the content.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let head = match content.len() {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head, content.to_vec()].concat()
}

fn believing<'a>(certificates: impl IntoIterator<Item = &'a Vec<u8>>) -> Anchors {
    let fleet = fleet();
    let mut anchors =
        anchors(&[(Role::Operator, 1, &fleet.operator_authority), (Role::Software, 1, &fleet.software_authority)]);
    let certificates = certificates.into_iter().map(|der| CertificateDer::new(der.clone())).collect();
    anchors.roles.get_mut(&Role::Operator).unwrap().certificates = certificates;
    anchors
}

fn says(result: &Result<(), Error>) -> &'static str {
    result.as_ref().map_or_else(Error::name, |()| "opens")
}

fn opened(row: &Row, anchors: &Anchors, reading: Reading) -> Result<(), Error> {
    let envelope = seal(&manifest(), &[&row.signer]);
    open_as::<Manifest>(&envelope, anchors, now(), reading).map(|_| ())
}

/// What each row says is in `chains.txt`: name, who must act, text, hint. `CATENOID_BLESS=1` writes it anew.
#[test]
fn chains_are_named_one_by_one() {
    let mut text = String::new();
    let mut wrong = Vec::new();
    for row in rows() {
        let result = opened(&row, &believing(&row.anchors), Reading::New);
        writeln!(text, "{}: {}", row.what, says(&result)).unwrap();
        if let Err(error) = &result {
            writeln!(text, "  {:?}: {error}\n  hint: {}", error.blame(), error.hint().unwrap()).unwrap();
        }
        if says(&result) != row.says {
            wrong.push(format!("{}: {result:?} is not `{}`", row.what, row.says));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let golden = std::path::Path::new("tests/chains.txt");
    if std::env::var_os("CATENOID_BLESS").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(
        text,
        std::fs::read_to_string(golden).unwrap(),
        "run it with CATENOID_BLESS=1 and look at the difference"
    );
}

#[test]
fn the_order_of_anchors_decides_nothing() {
    for row in rows() {
        let before = opened(&row, &believing(&row.anchors), Reading::New);
        let behind = opened(&row, &believing(row.anchors.iter().rev()), Reading::New);
        assert_eq!(before, behind, "{}", row.what);
    }
}

/// What an earlier version accepted stays: the rules that came later are not asked of it, and all others are.
#[test]
fn what_was_taken_before_stays() {
    for row in rows() {
        let later = ["certificate-chain-order", "certificate-chain-surplus", "anchor-critical-extension"];
        let expected = if later.contains(&row.says) { "opens" } else { row.says };
        assert_eq!(says(&opened(&row, &believing(&row.anchors), Reading::Again)), expected, "{}", row.what);
    }
}

/// Anchors are the administrator's, and so is the clock.
#[test]
fn anchors_are_the_administrators_to_mend() {
    for row in rows() {
        if let Err(error) = opened(&row, &believing(&row.anchors), Reading::New) {
            let administrators = row.says.starts_with("anchor") || row.says == "certificate-not-yet-valid";
            assert_eq!(error.blame() == Blame::Administrator, administrators, "{}", row.what);
        }
    }
}

/// The tool that makes anchors says the same of one as a device, before it is shipped.
#[test]
fn anchors_are_judged_alike_by_the_tool() {
    for row in rows() {
        let [anchor] = row.anchors.as_slice() else { continue };
        if row.says == "opens" || row.says.starts_with("anchor") {
            assert_eq!(check_anchor(anchor, now()).is_ok(), row.says == "opens", "{}", row.what);
        }
    }
    let root = &fleet().operator_authority.chain[0];
    assert!(check_anchor(root, at(NOW + 1000 * DAY)).is_ok());
    assert!(check_anchor(root, at(NOW + 1000 * DAY + 1)).is_err());
}

/// The names that a person finds in `docs/operate.md` are those that exist.
#[test]
fn every_name_is_documented_and_has_a_row() {
    let text = std::fs::read_to_string("../../docs/operate.md").unwrap();
    let line = text.lines().find(|line| line.starts_with("| its certificates |")).unwrap();
    let documented: BTreeSet<_> = line.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let rows: BTreeSet<_> = rows().into_iter().map(|row| row.says.to_owned()).filter(|says| says != "opens").collect();
    assert_eq!(rows, documented);
}

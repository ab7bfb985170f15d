//! The structure, by cose-rust.

use catenoid_envelope::open;
use catenoid_schema::{cbor, document::Document, guest::Guest, manifest::Manifest};
use cose::{agent::CoseAgent, algs, headers::ContentTypeTypes, keys, message::CoseMessage};
use proptest::prelude::*;

use crate::common::{Issued, fleet, guest, manifest, now, seal};

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

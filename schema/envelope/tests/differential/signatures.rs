//! Signatures, by p384 and aws-lc.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
        UnparsedPublicKey,
    },
};
use p384::ecdsa::{Signature, SigningKey, VerifyingKey, signature::Verifier};
use p384::pkcs8::EncodePrivateKey;
use proptest::prelude::*;

use crate::common::sign;

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

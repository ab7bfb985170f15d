//! What would cost a reader its time, its memory or its stack.

use std::time::{Duration, Instant};

use catenoid_envelope::{EnvelopePart, Error, Unverified, open};
use catenoid_schema::{cbor, document::Document, manifest::Manifest};

use crate::{
    common::{self, fleet, frame, nested_in_bytes, nested_in_maps, now},
    refused,
};

#[test]
fn floods_are_refused_before_they_cost() {
    let fleet = fleet();
    let begin = Instant::now();
    assert_eq!(refused::<Manifest>(&vec![0; 64 << 20], &fleet.anchors), "envelope-too-large");
    assert_eq!(refused::<Manifest>(&vec![0; 1 << 20], &fleet.anchors), "envelope-malformed");
    assert_eq!(refused::<Manifest>(&vec![0x81; 1 << 20], &fleet.anchors), "envelope-too-deep");
    let wide = [&[0xd8, 0x62, 0x9a, 0, 0x0f, 0, 0][..], &vec![0; 0x000f_0000]].concat();
    assert_eq!(refused::<Manifest>(&wide, &fleet.anchors), "envelope-too-many-items");
    assert!(begin.elapsed() < Duration::from_secs(1), "took {:?}", begin.elapsed());
}

/// Runs `test` on as little stack as no thread of ours has: what recurses along its input ends the process.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 << 10).spawn(test).unwrap().join().unwrap();
}

#[test]
fn no_depth_of_headers_costs_stack() {
    let fleet = fleet();
    on_a_small_stack(|| {
        let [body, signer] = common::good_headers(&fleet.operator);
        let good: [&[u8]; 4] = [&body, &[0xa0], &signer, &[0xa0]];
        assert!(
            Unverified::read(&frame(good), Manifest::LIMITS.bytes).is_ok(),
            "the frame is good but for its headers"
        );
        let refused_with = |index: usize, header: &[u8]| {
            let mut headers = good;
            headers[index] = header;
            refused::<Manifest>(&frame(headers), &fleet.anchors)
        };
        for levels in [2, 1_000, 100_000] {
            let (in_bytes, in_maps) = (nested_in_bytes(levels), nested_in_maps(levels));
            // A protected header is read alone: below the limit of its bytes it is the label that is refused.
            let large = levels == 100_000;
            for index in [0, 2] {
                let expected = if large { "envelope-too-large" } else { "header-not-allowed" };
                assert_eq!(refused_with(index, &in_bytes), expected, "{levels} levels of bytes in header {index}");
                let expected = if large { "envelope-too-large" } else { "envelope-too-deep" };
                assert_eq!(refused_with(index, &in_maps), expected, "{levels} levels of maps in header {index}");
            }
            // An unprotected one is part of the whole, in which a signature's lies two levels below the body's.
            assert_eq!(refused_with(1, &in_bytes), "unprotected-header", "{levels} levels of bytes");
            assert_eq!(refused_with(3, &in_bytes), "envelope-too-deep", "{levels} levels of bytes in a signature");
            for index in [1, 3] {
                assert_eq!(refused_with(index, &in_maps), "envelope-too-deep", "{levels} levels of maps in {index}");
            }
        }
    });
}

/// The error is that of the limit: the rules for what is in a header come behind it, and any decoder behind those.
#[test]
fn wide_headers_are_refused_by_their_size_alone() {
    let fleet = fleet();
    let [body, signer] = common::good_headers(&fleet.operator);
    let wide = common::wide_header(1_100_000);
    for (place, headers) in [
        (EnvelopePart::Body, [wide.as_slice(), &[0xa0], &signer, &[0xa0]]),
        (EnvelopePart::Signature(1), [&body, &[0xa0], wide.as_slice(), &[0xa0]]),
    ] {
        let source = cbor::Error::TooLarge { bytes: wide.len(), limit: 16_640 };
        let error = open::<Manifest>(&frame(headers), &fleet.anchors, now()).unwrap_err();
        assert_eq!(error, Error::HeaderEncoding { place, source });
        // One that is small enough has too many items: the map, the key, the array and 29 numbers are 32.
        let small = common::wide_header(1_000);
        let headers = headers.map(|header| if header.len() > 1_000_000 { &small } else { header });
        let error = open::<Manifest>(&frame(headers), &fleet.anchors, now()).unwrap_err();
        assert_eq!(error, Error::HeaderEncoding { place, source: cbor::Error::TooMany { limit: 32, at: 34 } });
    }
}

//! No input makes `open` panic, and nothing that was not signed opens.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use catenoid_envelope::{Unverified, open};
use catenoid_schema::{anchors::Anchors, guest::Guest, manifest::Manifest};
use common::{fleet, manifest, now, seal};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_never_open(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let anchors = &fleet().anchors;
        prop_assert!(open::<Manifest>(&bytes, anchors, now()).is_err());
        prop_assert!(open::<Guest>(&bytes, anchors, now()).is_err());
        prop_assert!(open::<Anchors>(&bytes, anchors, now()).is_err());
    }

    /// Bytes replaced, removed and put in, at several places at once.
    #[test]
    fn altered_envelopes_never_open(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3, any::<u8>()), 1..6),
    ) {
        let fleet = fleet();
        let good = seal(&manifest(), &[&fleet.operator]);
        let mut bytes = good.clone();
        for (index, kind, byte) in edits {
            let index = index.index(bytes.len());
            match kind {
                0 => bytes[index] = byte,
                1 => drop(bytes.remove(index)),
                _ => bytes.insert(index, byte),
            }
        }
        prop_assume!(bytes != good);
        prop_assert!(open::<Manifest>(&bytes, &fleet.anchors, now()).is_err());
    }

    /// Pieces of two envelopes put together at any places.
    #[test]
    fn spliced_envelopes_never_open(head in any::<prop::sample::Index>(), tail in any::<prop::sample::Index>()) {
        let fleet = fleet();
        let first = seal(&manifest(), &[&fleet.operator]);
        let second = seal(&manifest(), &[&fleet.second_operator]);
        let bytes = [&first[..head.index(first.len())], &second[tail.index(second.len())..]].concat();
        prop_assume!(bytes != first && bytes != second);
        prop_assert!(open::<Manifest>(&bytes, &fleet.anchors, now()).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// What has our form is read and written back to the same bytes, signed by whomever.
    #[test]
    fn every_manifest_that_is_sealed_opens(sequence in 1u64.., epoch: u64, names in prop::collection::btree_set("[a-z]{1,12}", 1..20)) {
        let fleet = fleet();
        let mut document = manifest();
        document.metadata.sequence = sequence;
        document.metadata.epoch = epoch;
        let container = document.containers.values().next().unwrap().clone();
        document.containers.extend(names.into_iter().map(|name| (name.parse().unwrap(), container.clone())));
        let bytes = seal(&document, &[&fleet.operator, &fleet.second_operator]);
        prop_assert_eq!(open::<Manifest>(&bytes, &fleet.anchors, now()).unwrap().into_document(), document);
        prop_assert_eq!(Unverified::read(&bytes, 1 << 20).unwrap().chains().len(), 2);
    }
}

//! The rules of the top, of `metadata` and of `target`.

use super::found::Found;
use crate::{
    limits::{COUNT_MOST, REQUIRES_LIMIT},
    manifest::Manifest,
};

pub(super) fn metadata(manifest: &Manifest, found: &mut Found) {
    let metadata = &manifest.metadata;
    if manifest.requires.len() > REQUIRES_LIMIT {
        found.add("requires", format!("more than {REQUIRES_LIMIT} features"));
    }
    if metadata.sequence == 0 {
        found.add("metadata.sequence", "sequences begin at 1");
    }
    for (name, count) in [("sequence", metadata.sequence), ("epoch", metadata.epoch)] {
        if count > COUNT_MOST {
            found.hint(
                format!("metadata.{name}"),
                format!("`{count}` is more than {COUNT_MOST} (2^53)"),
                "a device that took it would take no later manifest; count up by one",
            );
        }
    }
    if metadata.not_before.is_some_and(|start| start >= metadata.not_after) {
        found.add("metadata.notAfter", "is not after `notBefore`");
    }
    if manifest.target.serials.is_empty() {
        found.hint("target.serials", "names no device", "a manifest for no device can be applied nowhere");
    }
}

//! The blobs that a device holds.

use catenoid_schema::control::Blobs;

use super::{GOOD, PENDING, PLAIN, line, size, table::table};

/// A table of blobs, and how much they take.
pub(crate) fn blobs(blobs: &Blobs) -> String {
    let mut out = String::new();
    if blobs.blobs.is_empty() {
        line(&mut out, "the device holds no blob");
        return out;
    }
    let rows: Vec<_> = blobs
        .blobs
        .iter()
        .map(|blob| {
            let state = if blob.complete { (GOOD, "complete") } else { (PENDING, "partial: push it again to go on") };
            [(PLAIN, blob.digest.to_string()), (PLAIN, size(blob.held)), (state.0, state.1.to_owned())]
        })
        .collect();
    table(&mut out, ["DIGEST", "HELD", "STATE"], &rows);
    let total = blobs.blobs.iter().fold(0u64, |sum, blob| sum.saturating_add(blob.held));
    line(&mut out, format!("{} blobs, {}", blobs.blobs.len(), size(total)));
    out
}

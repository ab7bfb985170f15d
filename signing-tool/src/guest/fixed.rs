//! What every build of the same content has in common: its time, and ids that are derived.

use catenoid_schema::digest::Digest;

/// The time of every file, in seconds since 1970: none, so that no build differs by its day.
pub(super) const TIMESTAMP: u64 = 0;

/// A custom UUID (RFC 9562 section 5.8, version 8) that says nothing but what it was derived from.
pub(super) fn uuid(purpose: &[u8], from: &[u8]) -> [u8; 16] {
    let digest = Digest::of(&[purpose, b"\0", from].concat());
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest.as_bytes()[..16]);
    uuid[6] = 0x80 | (uuid[6] & 0x0f);
    uuid[8] = 0x80 | (uuid[8] & 0x3f);
    uuid
}

//! A size in bytes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    quantity::{self, UnitError, quantity, unit_error},
    read::text_or_number,
};

/// A size in bytes. Written with a binary unit: `512KiB`, `192MiB`, `2GiB`, or `4096B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// `bytes` bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `mebibytes` MiB.
    #[must_use]
    pub const fn from_mebibytes(mebibytes: u32) -> Self {
        Self(mebibytes as u64 * 1024 * 1024)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

const BYTE_UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl std::str::FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || unit_error(text, "a size such as `192MiB` (units B, KiB, MiB, GiB, TiB)");
        quantity::read(text, &BYTE_UNITS).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quantity::write(f, self.0, &BYTE_UNITS)
    }
}

quantity!(
    ByteSize,
    u64,
    "string",
    // As many digits as never pass 64 bits: the most that a rule takes is far below.
    "^(0|[1-9][0-9]{0,6})TiB$|^(0|[1-9][0-9]{0,9})GiB$|^(0|[1-9][0-9]{0,12})MiB$|^(0|[1-9][0-9]{0,15})KiB$|^(0|[1-9][0-9]{0,18})B$",
    "A size with its unit, without leading zeros.",
    "192MiB"
);

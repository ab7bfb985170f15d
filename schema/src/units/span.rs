//! A span of time.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    quantity::{self, UnitError, quantity, unit_error},
    read::text_or_number,
};

/// A span of time in milliseconds. Written `500ms`, `10s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Span {
    /// `milliseconds` ms.
    #[must_use]
    pub const fn from_milliseconds(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// The number of milliseconds.
    #[must_use]
    pub const fn milliseconds(self) -> u64 {
        self.0
    }

    /// The same as the standard library says it.
    #[must_use]
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

const SPAN_UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

impl std::str::FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || unit_error(text, "a time such as `10s` (units ms, s, m, h)");
        quantity::read(text, &SPAN_UNITS).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quantity::write(f, self.0, &SPAN_UNITS)
    }
}

quantity!(
    Span,
    u64,
    "string",
    "^(0|[1-9][0-9]{0,11})(ms|s|m|h)$", // 12 digits of hours are within 64 bits of milliseconds
    "A span of time with its unit, without leading zeros.",
    "10s"
);

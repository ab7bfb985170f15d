//! Quantities with their units: written `192MiB`, `0.5`, `10s`, `2027-12-31T00:00:00Z`; signed as whole numbers.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Reads a CBOR byte string (and only that).
pub(crate) fn bytes_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a byte string")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }
    // Not `deserialize_bytes`: ciborium refuses by that what is longer than its own buffer of 4 KiB.
    deserializer.deserialize_byte_buf(Visitor)
}

/// Why a text is not the quantity it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct UnitError {
    /// What was given, cut to a readable length.
    pub text: String,
    /// What was expected, with an example.
    pub expected: &'static str,
}

fn unit_error(text: &str, expected: &'static str) -> UnitError {
    UnitError { text: text.chars().take(40).collect(), expected }
}

/// Implements serde and JSON Schema for a quantity: text for people, a whole number in signed bytes.
macro_rules! quantity {
    ($type:ident, $raw:ty, $deserialize_text:ident, $json_type:tt, $pattern:literal, $description:literal, $example:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = $deserialize_text(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    <$raw>::deserialize(deserializer).map(Self)
                }
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": $json_type, "pattern": $pattern, "description": $description, "examples": [$example]
                })
            }
        }
    };
}

fn text_only<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer)
}

/// Takes `0.5` and `2` as YAML writes them without quotes; a float never gets further than its own text.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number or a text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Visitor)
}

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
        let (digits, factor) = BYTE_UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)))
            .ok_or_else(error)?;
        whole(digits).and_then(|n| n.checked_mul(factor)).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = BYTE_UNITS
            .into_iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

quantity!(ByteSize, u64, text_only, "string", "^[0-9]+(B|KiB|MiB|GiB|TiB)$", "A size with its unit.", "192MiB");

/// Digits only: no sign, no space, no leading zero but `0` itself.
fn whole(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    (plain && (digits == "0" || !digits.starts_with('0'))).then(|| digits.parse().ok()).flatten()
}

/// A share of processors in thousandths. Written as processors: `0.5`, `2`; three decimals at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(u32);

impl Cpu {
    /// `thousandths` of one processor.
    #[must_use]
    pub const fn from_thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// Thousandths of one processor.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

impl std::str::FromStr for Cpu {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || unit_error(text, "a number of processors such as `0.5` (three decimals at most)");
        let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let short = (1..=3).contains(&decimals.len()) && decimals.bytes().all(|b| b.is_ascii_digit());
        let units = whole(units).filter(|_| short).ok_or_else(error)?;
        let thousandths: u64 = format!("{decimals:0<3}").parse().map_err(|_| error())?;
        let total = units.checked_mul(1000).and_then(|t| t.checked_add(thousandths)).ok_or_else(error)?;
        u32::try_from(total).map(Self).map_err(|_| error())
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:03}", self.0 % 1000);
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{}", self.0 / 1000),
            decimals => write!(f, "{}.{decimals}", self.0 / 1000),
        }
    }
}

quantity!(
    Cpu,
    u32,
    text_or_number,
    ["string", "number"],
    "^[0-9]+(\\.[0-9]{1,3})?$",
    "Processors this may use at once.",
    "0.5"
);

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
        let (digits, factor) = SPAN_UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)))
            .ok_or_else(error)?;
        whole(digits).and_then(|n| n.checked_mul(factor)).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = [("h", 3_600_000), ("m", 60_000), ("s", 1000)]
            .into_iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(("ms", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

quantity!(Span, u64, text_only, "string", "^[0-9]+(ms|s|m|h)$", "A span of time with its unit.", "10s");

/// A moment in UTC, in whole seconds since 1970. Written as RFC 3339 with `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// `seconds` after 1970-01-01T00:00:00Z; `None` outside of the years RFC 3339 can write.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        let writable = jiff::Timestamp::from_second(seconds).is_ok() && (0..253_402_300_800).contains(&seconds);
        writable.then_some(Self(seconds))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0
    }
}

impl std::str::FromStr for Timestamp {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || unit_error(text, "a time in UTC such as `2027-12-31T00:00:00Z`");
        let time: jiff::Timestamp = text.parse().map_err(|_| error())?;
        let value = Self::from_seconds(time.as_second()).ok_or_else(error)?;
        (time.subsec_nanosecond() == 0 && text.ends_with('Z')).then_some(value).ok_or_else(error)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            let seconds = i64::deserialize(deserializer)?;
            Self::from_seconds(seconds).ok_or_else(|| de::Error::custom("time out of range"))
        }
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "format": "date-time", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$",
            "description": "A moment in UTC, whole seconds.", "examples": ["2027-12-31T00:00:00Z"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in ["0B", "1KiB", "192MiB", "3GiB", "1023B", "16TiB"] {
            assert_eq!(text.parse::<ByteSize>().map(|v| v.to_string()).as_deref(), Ok(text));
        }
        for (text, shown, raw) in [("0.5", "0.5", 500), ("1.0", "1", 1000), ("2", "2", 2000), ("0.125", "0.125", 125)] {
            let cpu: Cpu = text.parse().unwrap();
            assert_eq!((cpu.to_string().as_str(), cpu.thousandths()), (shown, raw));
        }
        for text in ["500ms", "10s", "5m", "36h"] {
            assert_eq!(text.parse::<Span>().map(|v| v.to_string()).as_deref(), Ok(text));
        }
        let time = "2027-12-31T00:00:00Z";
        assert_eq!(time.parse::<Timestamp>().map(|v| v.to_string()).as_deref(), Ok(time));
    }

    #[test]
    fn quantities_without_unit_or_out_of_range_are_refused() {
        for text in ["", "12", "MiB", "-1MiB", "1.5MiB", "1 MiB", "01B", "99999999999999TiB", "1MB"] {
            assert!(text.parse::<ByteSize>().is_err(), "`{text}` was taken");
        }
        for text in ["", ".", "0.", ".5", "-1", "0.1234", "1e3", "NaN", "inf", "99999999999"] {
            assert!(text.parse::<Cpu>().is_err(), "`{text}` was taken");
        }
        for text in ["", "10", "s", "-1s", "1d", "1.5s"] {
            assert!(text.parse::<Span>().is_err(), "`{text}` was taken");
        }
        for text in ["", "2027-12-31", "2027-12-31T00:00:00", "2027-12-31T00:00:00+02:00", "2027-12-31T00:00:00.5Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "`{text}` was taken");
        }
    }

    proptest! {
        #[test]
        fn every_quantity_reads_back(bytes: u64, thousandths: u32, ms: u64, seconds in 0i64..253_402_300_800) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
            prop_assert_eq!(Cpu(thousandths).to_string().parse(), Ok(Cpu(thousandths)));
            prop_assert_eq!(Span(ms).to_string().parse(), Ok(Span(ms)));
            prop_assert_eq!(Timestamp(seconds).to_string().parse(), Ok(Timestamp(seconds)));
        }
    }
}

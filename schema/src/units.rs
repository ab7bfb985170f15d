//! Quantities with their units: written `192MiB`, `0.5`, `10s`, `2027-12-31T00:00:00Z`; signed as whole numbers.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use jiff::{SignedDuration, civil::DateTime};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IntoDeserializer},
};

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
    ($type:ident, $raw:ty, $json_type:tt, $pattern:literal, $description:literal, $example:literal $(, $key:literal: $value:literal)*) => {
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
                    text_or_number(deserializer)?.parse().map_err(de::Error::custom)
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
                    $(, $key: $value)*
                })
            }
        }
    };
}

/// A text, or a number as YAML writes it without quotes. A float never gets further than its own text; a quantity that needs
/// a unit refuses both with its own words.
pub(crate) fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
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

/// A whole number of a document.
pub trait Whole: for<'de> Deserialize<'de> {
    /// What it is, for whoever wrote something else.
    const EXPECTED: &'static str;

    /// `number`, if it is in range.
    fn from_u64(number: u64) -> Option<Self>;
}

macro_rules! whole {
    ($($type:ty: $expected:literal),*) => {
        $(impl Whole for $type {
            const EXPECTED: &'static str = $expected;

            fn from_u64(number: u64) -> Option<Self> {
                number.try_into().ok()
            }
        })*
    };
}

whole!(
    u16: "a whole number from 0 to 65535",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number from 0 to 9007199254740992"
);

/// Reads a number. Where a person wrote it, it is one: a text of digits is a number to some readers only.
///
/// # Errors
/// If it is something else, or out of range.
pub fn number<'de, D: Deserializer<'de>, T: Whole>(deserializer: D) -> Result<T, D::Error> {
    struct Visitor<T>(PhantomData<T>);
    impl<T: Whole> Visitor<T> {
        fn refused<E: de::Error>(text: &str) -> E {
            E::custom(unit_error(text, T::EXPECTED))
        }
    }
    impl<T: Whole> de::Visitor<'_> for Visitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTED)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
            T::from_u64(number).ok_or_else(|| Self::refused(&number.to_string()))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            u64::try_from(number).ok().and_then(T::from_u64).ok_or_else(|| Self::refused(&number.to_string()))
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
            Err(Self::refused(&format!("{number:?}")))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            Err(match whole(text) {
                Some(_) => E::custom(unit_error(&format!("{text:?}"), "a number: it stands between quotes")),
                None => Self::refused(text),
            })
        }
    }
    if deserializer.is_human_readable() {
        deserializer.deserialize_any(Visitor(PhantomData))
    } else {
        T::deserialize(deserializer)
    }
}

/// Reads a set. What stands in it twice is refused: a reader that sees a list would count it twice.
///
/// # Errors
/// If an entry is not one, or stands there twice.
pub fn set<'de, D: Deserializer<'de>, T: Deserialize<'de> + Ord>(deserializer: D) -> Result<BTreeSet<T>, D::Error> {
    struct Visitor<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de> + Ord> de::Visitor<'de> for Visitor<T> {
        type Value = BTreeSet<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<BTreeSet<T>, A::Error> {
            let mut found = BTreeSet::new();
            while let Some(entry) = list.next_element()? {
                if !found.insert(entry) {
                    return Err(de::Error::custom(format!(
                        "entry {} of this list stands in it already",
                        found.len() + 1
                    )));
                }
            }
            Ok(found)
        }
    }
    deserializer.deserialize_seq(Visitor(PhantomData))
}

/// Reads a word of a choice. Where a person wrote it, it is one: a map with the word as its key is the same to serde only.
///
/// # Errors
/// If it is something else.
pub fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    if deserializer.is_human_readable() {
        T::deserialize(String::deserialize(deserializer)?.into_deserializer())
    } else {
        T::deserialize(deserializer)
    }
}

/// Reads a set of words: each as [`word`], all as [`set`].
///
/// # Errors
/// As those.
pub fn words<'de, D: Deserializer<'de>, T: Deserialize<'de> + Ord>(deserializer: D) -> Result<BTreeSet<T>, D::Error> {
    #[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    #[serde(transparent, bound = "T: Deserialize<'de>")]
    struct Word<T>(#[serde(deserialize_with = "word")] T);
    let words: BTreeSet<Word<T>> = set(deserializer)?;
    Ok(words.into_iter().map(|Word(word)| word).collect())
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

quantity!(
    ByteSize,
    u64,
    "string",
    // As many digits as never pass 64 bits: the most that a rule takes is far below.
    "^(0|[1-9][0-9]{0,6})TiB$|^(0|[1-9][0-9]{0,9})GiB$|^(0|[1-9][0-9]{0,12})MiB$|^(0|[1-9][0-9]{0,15})KiB$|^(0|[1-9][0-9]{0,18})B$",
    "A size with its unit, without leading zeros.",
    "192MiB"
);

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
    ["string", "number"],
    "^(0|[1-9][0-9]{0,4})(\\.[0-9]{1,3})?$",
    "Processors this may use at once, with three decimals at most.",
    "0.5",
    "minimum": 0.01,
    "maximum": 99999.999
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

quantity!(
    Span,
    u64,
    "string",
    "^(0|[1-9][0-9]{0,11})(ms|s|m|h)$", // 12 digits of hours are within 64 bits of milliseconds
    "A span of time with its unit, without leading zeros.",
    "10s"
);

/// 9999-12-31T23:59:59Z, the last moment that RFC 3339 can write. `jiff::Timestamp` ends 26 hours before it, to leave room for
/// zones; its calendar does not.
const LAST_SECOND: i64 = 253_402_300_799;
/// 1970-01-01T00:00:00Z.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A moment in UTC, in whole seconds since 1970. Written as RFC 3339 with `Z`, and in no other of its spellings: readers differ
/// about small letters, spaces, fractions and leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// `seconds` after 1970-01-01T00:00:00Z; `None` outside of the years RFC 3339 can write.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        (0..=LAST_SECOND).contains(&seconds).then_some(Self(seconds))
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
        let fields = text.as_bytes();
        let form = fields.len() == FORM.len()
            && fields.iter().zip(FORM).all(|(b, form)| if *form == b'0' { b.is_ascii_digit() } else { b == form });
        let field =
            |range: std::ops::Range<usize>| fields[range].iter().fold(0, |n: i16, b| n * 10 + i16::from(b - b'0'));
        let short = |at: usize| i8::try_from(field(at..at + 2)).map_err(|_| error());
        if !form {
            return Err(error());
        }
        let time = DateTime::new(field(0..4), short(5)?, short(8)?, short(11)?, short(14)?, short(17)?, 0);
        let time = time.map_err(|_| error())?;
        Self::from_seconds(time.duration_since(EPOCH).as_secs()).ok_or_else(error)
    }
}

/// The one form of a time; `0` is any digit.
const FORM: &[u8; 20] = b"0000-00-00T00:00:00Z";

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match EPOCH.checked_add(SignedDuration::from_secs(self.0)) {
            Ok(time) => write!(f, "{time}Z"),
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
            text_or_number(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            let seconds = i64::deserialize(deserializer)?;
            Self::from_seconds(seconds).ok_or_else(|| de::Error::custom("time out of range"))
        }
    }
}

/// Every day from 1970 to 9999 that there is: those of each year, and the 29th of February of those that have it.
const TIME_PATTERN: &str = "^((19[7-9][0-9]|[2-9][0-9]{3})-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])\
    |(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))\
    |(19(7[26]|8[048]|9[26])|[2-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[3579][26])00)-02-29)\
    T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$";

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "format": "date-time", "pattern": TIME_PATTERN,
            "description": "A moment in UTC from 1970 on, whole seconds.", "examples": ["2027-12-31T00:00:00Z"]
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

    /// One row for each spelling of a time that some reader takes and another does not.
    #[test]
    fn a_time_has_one_spelling() {
        for text in [
            "2027-12-31t00:00:00Z",
            "2027-12-31T00:00:00z",
            "2027-12-31 00:00:00Z",
            "2027-12-31T00:00:00.000Z",
            "2027-12-31T00:00:00,0Z",
            "2027-12-31T00:00Z",
            "2027-12-31T00Z",
            "20271231T000000Z",
            "2027-12-31T000000Z",
            "+002027-12-31T00:00:00Z",
            "2027-12-31T00:00:00Z[UTC]",
            "2027-12-31T23:59:60Z",
            "2027-12-31T24:00:00Z",
            "2027-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2027-12-31T00:00:00\u{660}",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "`{text}` was taken");
        }
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("9999-12-30T22:00:01Z", 253_402_207_201),
            ("9999-12-31T23:59:59Z", LAST_SECOND),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!((time.seconds(), time.to_string().as_str()), (seconds, text));
            assert_eq!(Timestamp::from_seconds(seconds), Some(time));
        }
        assert_eq!(Timestamp::from_seconds(LAST_SECOND + 1), None);
        assert_eq!(Timestamp::from_seconds(-1), None);
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

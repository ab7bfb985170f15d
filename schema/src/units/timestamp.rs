//! A moment in UTC.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, civil::DateTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    quantity::{UnitError, unit_error},
    read::text_or_number,
};

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

/// What a clock shows. A clock outside of the years RFC 3339 can write reads as 1970: no certificate is valid then, so such a
/// clock lets nothing in.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).ok().and_then(Self::from_seconds).unwrap_or(Self(0))
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
    use std::time::Duration;

    use super::*;

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

    #[test]
    fn clock_that_no_text_can_show_reads_as_1970() {
        let clock = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let last = LAST_SECOND.unsigned_abs();
        for (clock, seconds) in [
            (UNIX_EPOCH - Duration::from_secs(1), 0),
            (UNIX_EPOCH, 0),
            (clock(1) + Duration::from_millis(999), 1),
            (clock(last), LAST_SECOND),
            (clock(last + 1), 0),
        ] {
            assert_eq!(Timestamp::from(clock).seconds(), seconds, "{clock:?}");
        }
    }
}

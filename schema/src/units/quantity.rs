//! What all quantities have in common: the error, and how they are written.

use std::fmt;

/// Names of units, each with how many of the smallest one it is. A name that ends with another one stands before that.
pub(super) type Units = [(&'static str, u64)];

/// Why a text is not the quantity it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct UnitError {
    /// What was given, cut to a readable length.
    pub text: String,
    /// What was expected, with an example.
    pub expected: &'static str,
}

pub(super) fn unit_error(text: &str, expected: &'static str) -> UnitError {
    UnitError { text: text.chars().take(40).collect(), expected }
}

/// Digits only: no sign, no space, no leading zero but `0` itself.
pub(super) fn whole(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    (plain && (digits == "0" || !digits.starts_with('0'))).then(|| digits.parse().ok()).flatten()
}

/// A whole number of one of `units`, in the smallest one.
pub(super) fn read(text: &str, units: &Units) -> Option<u64> {
    let (digits, factor) =
        units.iter().find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, factor)))?;
    whole(digits)?.checked_mul(*factor)
}

/// Writes `number` in the largest of `units` that it is a multiple of, and nothing at all in the smallest one.
pub(super) fn write(f: &mut fmt::Formatter<'_>, number: u64, units: &Units) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| *factor == 1 || number != 0 && number.is_multiple_of(*factor);
    let (unit, factor) = units.iter().filter(fits).max_by_key(|(_, factor)| *factor).expect("the smallest one fits");
    write!(f, "{}{unit}", number / factor)
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

pub(super) use quantity;

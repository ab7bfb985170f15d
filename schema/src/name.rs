//! Names that authors give to things, and the serial of a device.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest [`Name`]: 24 bytes, so that `catenoid`'s prefixes still fit kernel names that derive from it.
const NAME_LIMIT: usize = 24;
/// The longest [`Serial`]: what SMBIOS vendors use in practice, with room.
const SERIAL_LIMIT: usize = 64;

/// Why a text is not a [`Name`] or [`Serial`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has no character.
    #[error("a name must not be empty")]
    Empty,
    /// The text is over the limit.
    #[error("`{text}` is longer than {limit} characters")]
    TooLong {
        /// What was given.
        text: String,
        /// The limit that it passes.
        limit: usize,
    },
    /// A character outside of the alphabet.
    #[error("`{text}` may only have {alphabet}")]
    Alphabet {
        /// What was given.
        text: String,
        /// The alphabet in words.
        alphabet: &'static str,
    },
}

macro_rules! text_type {
    ($type:ident) => {
        impl $type {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }
    };
}

/// A name of a guest, zone, container: 1 to 24 of `a-z 0-9 -`, beginning with a letter, not ending with `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

text_type!(Name);

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_LIMIT {
            return Err(NameError::TooLong { text: text.chars().take(NAME_LIMIT).collect(), limit: NAME_LIMIT });
        }
        let fits = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits || !text.starts_with(|c: char| c.is_ascii_lowercase()) || text.ends_with('-') {
            return Err(NameError::Alphabet {
                text: text.to_owned(),
                alphabet: "`a-z`, `0-9` and `-`, begin with a letter and not end with `-`",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

/// The serial by which a manifest names a device: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

text_type!(Serial);

impl std::str::FromStr for Serial {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > SERIAL_LIMIT {
            return Err(NameError::TooLong { text: text.chars().take(SERIAL_LIMIT).collect(), limit: SERIAL_LIMIT });
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Err(NameError::Alphabet { text: text.to_owned(), alphabet: "letters, digits, `.`, `_` and `-`" });
        }
        Ok(Self(text.to_owned()))
    }
}

macro_rules! text_schema {
    ($type:ident, $pattern:literal, $max:expr, $text:literal) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "pattern": $pattern, "maxLength": $max, "description": $text})
            }
        }
    };
}

text_schema!(
    Name,
    "^[a-z]([a-z0-9-]{0,22}[a-z0-9])?$", // also the pattern of keys, where `maxLength` does not reach
    NAME_LIMIT,
    "Lower-case letters, digits and `-`; begins with a letter."
);
text_schema!(Serial, "^[A-Za-z0-9._-]+$", SERIAL_LIMIT, "A device's serial as its firmware (SMBIOS) states it.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_alphabet_is_enforced() {
        for good in ["a", "web", "press-line-7", "a234567890123456789012345"[..24].trim()] {
            assert_eq!(good.parse::<Name>().map(String::from).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "a-", "A", "1a", "a_b", "a/b", "a..b", "ä", &"a".repeat(25)] {
            assert!(bad.parse::<Name>().is_err(), "`{bad}` was taken");
        }
    }

    #[test]
    fn serial_alphabet_is_enforced() {
        assert!("QEMU-0001".parse::<Serial>().is_ok());
        for bad in ["", "a b", "a/b", &"9".repeat(65)] {
            assert!(bad.parse::<Serial>().is_err(), "`{bad}` was taken");
        }
    }
}

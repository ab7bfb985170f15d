//! The one byte form a document has: deterministic CBOR (RFC 8949 section 4.2.1), without floats and tags.
//!
//! [`decode`] first walks the bytes with a small checker that allocates nothing: size, depth and count stay below the
//! limits, every length is definite and shortest, map keys are text and rise bytewise, nothing follows the end. Only
//! then is a type decoded, encoded again and compared: bytes that decode but are not what we would write are refused.
//!
//! So that bytes stay valid for ever, a field that is added to a type later is not written where it is not used
//! (`skip_serializing_if`): bytes of before it decode without it and are encoded without it. CONTRIBUTING.md has the rule.

use ciborium::value::Value;
use serde::{Serialize, de::DeserializeOwned};

/// What an input may be at most; checked before anything is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputLimits {
    /// Bytes in all.
    pub bytes: usize,
    /// Nesting of arrays, maps and tags.
    pub depth: usize,
    /// Data items in all (each key, value, array, map and tag is one).
    pub items: usize,
}

/// Why bytes are not a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Over [`InputLimits::bytes`].
    #[error("{bytes} bytes are more than the limit of {limit}")]
    TooLarge {
        /// What was given.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Over [`InputLimits::depth`].
    #[error("nested deeper than {limit} levels at byte {at}")]
    TooDeep {
        /// The limit.
        limit: usize,
        /// Offset of the item.
        at: usize,
    },
    /// Over [`InputLimits::items`].
    #[error("more than {limit} items at byte {at}")]
    TooMany {
        /// The limit.
        limit: usize,
        /// Offset of the item.
        at: usize,
    },
    /// The bytes end inside of an item.
    #[error("the input ends inside of the item at byte {at}")]
    Truncated {
        /// Offset of the item.
        at: usize,
    },
    /// Bytes follow the document.
    #[error("the document ends at byte {at}, but bytes follow")]
    Trailing {
        /// Offset of the first byte too many.
        at: usize,
    },
    /// Well-formed, but not the deterministic encoding.
    #[error("not the deterministic encoding at byte {at}: {rule}")]
    NotDeterministic {
        /// Offset of the item.
        at: usize,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// Something that no document has: a float, a tag, an undefined value.
    #[error("{what} at byte {at} is not allowed")]
    NotAllowed {
        /// What was found.
        what: &'static str,
        /// Offset of the item.
        at: usize,
    },
    /// A text is not UTF-8.
    #[error("the text at byte {at} is not utf-8")]
    NotText {
        /// Offset of the item.
        at: usize,
    },
    /// The bytes are CBOR, but not of the type.
    #[error("not a {type_name}: {reason}")]
    Type {
        /// The type that was wanted.
        type_name: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// Good, but of a later version: it names features that this one lacks.
    #[error("this {type_name} requires {lacking}, which this version does not know")]
    NewerNeeded {
        /// The type that was wanted.
        type_name: &'static str,
        /// The features, for people.
        lacking: String,
    },
    /// The type encodes to other bytes than these.
    #[error(
        "a {type_name} that encodes to other bytes than the ones given: a field is written otherwise than we write it"
    )]
    NotCanonical {
        /// The type that was decoded.
        type_name: &'static str,
    },
    /// A value cannot be written (our fault).
    #[error("a {type_name} cannot be encoded: {reason}")]
    Encode {
        /// The type that was given.
        type_name: &'static str,
        /// What the encoder says.
        reason: String,
    },
}

/// What a checker lets pass beyond the plain items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Documents: text keys, no tag.
    Document,
    /// COSE structures: text and whole-number keys, tags.
    Cose,
}

/// The deterministic bytes of `value`.
///
/// # Errors
/// [`Error::Encode`] if the type cannot be said in CBOR, or holds a float.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let type_name = short_name::<T>();
    let error = |reason: String| Error::Encode { type_name, reason };
    let value = Value::serialized(value).map_err(|e| error(e.to_string()))?;
    encode_value(&value).map_err(error)
}

/// Reads a `T` from its deterministic bytes.
///
/// # Errors
/// As [`check`]; [`Error::Type`] for a wrong, unknown or missing field; [`Error::NotCanonical`] if `T` would be written
/// otherwise.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], limits: InputLimits) -> Result<T, Error> {
    check(bytes, limits, Profile::Document)?;
    let type_name = short_name::<T>();
    let value: T = ciborium::de::from_reader_with_recursion_limit(bytes, limits.depth + 2)
        .map_err(|e| Error::Type { type_name, reason: reason(&e) })?;
    if encode(&value)? == bytes { Ok(value) } else { Err(Error::NotCanonical { type_name }) }
}

/// Walks `bytes` without decoding them: exactly one item, deterministic, within `limits`.
///
/// # Errors
/// The first rule that is broken, with its offset.
pub fn check(bytes: &[u8], limits: InputLimits, profile: Profile) -> Result<(), Error> {
    if bytes.len() > limits.bytes {
        return Err(Error::TooLarge { bytes: bytes.len(), limit: limits.bytes });
    }
    let mut walker = Walker { bytes, at: 0, items: 0, limits, profile };
    walker.item(0)?;
    if walker.at == bytes.len() { Ok(()) } else { Err(Error::Trailing { at: walker.at }) }
}

pub(crate) fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

pub(crate) fn reason<E: std::fmt::Debug>(error: &ciborium::de::Error<E>) -> String {
    match error {
        ciborium::de::Error::Semantic(_, text) => text.clone(),
        ciborium::de::Error::RecursionLimitExceeded => "nested too deep".to_owned(),
        ciborium::de::Error::Io(_) | ciborium::de::Error::Syntax(_) => "malformed".to_owned(),
    }
}

fn encode_value(value: &Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    match value {
        Value::Map(pairs) => {
            let mut encoded = pairs
                .iter()
                .map(|(k, v)| Ok((encode_value(k)?, encode_value(v)?)))
                .collect::<Result<Vec<_>, String>>()?;
            encoded.sort();
            if encoded.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err("a map with the same key twice".to_owned());
            }
            head(&mut out, 5, encoded.len() as u64);
            for (key, value) in encoded {
                out.extend(key);
                out.extend(value);
            }
        }
        Value::Array(items) => {
            head(&mut out, 4, items.len() as u64);
            for item in items {
                out.extend(encode_value(item)?);
            }
        }
        Value::Float(_) => return Err("a float".to_owned()),
        Value::Tag(..) => return Err("a tag".to_owned()),
        Value::Integer(_) | Value::Bytes(_) | Value::Text(_) | Value::Bool(_) | Value::Null => {
            ciborium::ser::into_writer(value, &mut out).map_err(|e| e.to_string())?;
        }
        _ => return Err("an item of an unknown kind".to_owned()),
    }
    Ok(out)
}

/// The initial byte and argument of an item (RFC 8949 section 3), in the shortest form.
fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    let bytes = argument.to_be_bytes();
    match argument {
        0..24 => out.push(major | bytes[7]),
        24..0x100 => out.extend([major | 24, bytes[7]]),
        0x100..0x1_0000 => out.extend([&[major | 25], &bytes[6..]].concat()),
        0x1_0000..0x1_0000_0000 => out.extend([&[major | 26], &bytes[4..]].concat()),
        _ => out.extend([&[major | 27], &bytes[..]].concat()),
    }
}

struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    items: usize,
    limits: InputLimits,
    profile: Profile,
}

impl<'a> Walker<'a> {
    fn take(&mut self, count: u64, start: usize) -> Result<&'a [u8], Error> {
        let count = usize::try_from(count).map_err(|_| Error::Truncated { at: start })?;
        let end = self.at.checked_add(count).ok_or(Error::Truncated { at: start })?;
        let taken = self.bytes.get(self.at..end).ok_or(Error::Truncated { at: start })?;
        self.at = end;
        Ok(taken)
    }

    /// Reads one head: major type and argument, which must be in its shortest form.
    fn head(&mut self) -> Result<(u8, u64), Error> {
        let start = self.at;
        let first = self.take(1, start)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let (argument, least) = match info {
            0..24 => return Ok((major, u64::from(info))),
            24 => (u64::from(self.take(1, start)?[0]), 24),
            25 => (number(self.take(2, start)?), 0x100),
            26 => (number(self.take(4, start)?), 0x1_0000),
            27 => (number(self.take(8, start)?), 0x1_0000_0000),
            31 => return Err(Error::NotDeterministic { at: start, rule: "an indefinite length" }),
            _ => return Err(Error::NotAllowed { what: "a reserved head", at: start }),
        };
        match major {
            7 if info > 24 => Err(Error::NotAllowed { what: "a float", at: start }),
            7 => Err(Error::NotAllowed { what: "a simple value", at: start }),
            _ if argument < least => {
                Err(Error::NotDeterministic { at: start, rule: "a length or number not in its shortest form" })
            }
            _ => Ok((major, argument)),
        }
    }

    fn item(&mut self, depth: usize) -> Result<(), Error> {
        let start = self.at;
        self.items += 1;
        if self.items > self.limits.items {
            return Err(Error::TooMany { limit: self.limits.items, at: start });
        }
        let (major, argument) = self.head()?;
        if (4..=6).contains(&major) && depth >= self.limits.depth {
            return Err(Error::TooDeep { limit: self.limits.depth, at: start });
        }
        match major {
            0 | 1 => Ok(()),
            2 => self.take(argument, start).map(|_| ()),
            3 => {
                let text = self.take(argument, start)?;
                std::str::from_utf8(text).map(|_| ()).map_err(|_| Error::NotText { at: start })
            }
            4 => (0..argument).try_for_each(|_| self.item(depth + 1)),
            5 => self.map(argument, depth),
            6 if self.profile == Profile::Cose => self.item(depth + 1),
            6 => Err(Error::NotAllowed { what: "a tag", at: start }),
            _ => match argument {
                20..=22 => Ok(()),
                _ => Err(Error::NotAllowed { what: "a simple value", at: start }),
            },
        }
    }

    fn map(&mut self, pairs: u64, depth: usize) -> Result<(), Error> {
        let mut last: Option<&[u8]> = None;
        for _ in 0..pairs {
            let start = self.at;
            let major = self.bytes.get(start).ok_or(Error::Truncated { at: start })? >> 5;
            let allowed = major == 3 || (self.profile == Profile::Cose && major < 2);
            if !allowed {
                return Err(Error::NotAllowed { what: "a key of this kind", at: start });
            }
            self.item(depth + 1)?;
            let key = &self.bytes[start..self.at];
            match last.map(|last| last.cmp(key)) {
                Some(std::cmp::Ordering::Equal) => {
                    return Err(Error::NotDeterministic { at: start, rule: "the same key twice" });
                }
                Some(std::cmp::Ordering::Greater) => {
                    return Err(Error::NotDeterministic { at: start, rule: "keys not in bytewise order" });
                }
                _ => last = Some(key),
            }
            self.item(depth + 1)?;
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const LIMITS: InputLimits = InputLimits { bytes: 1000, depth: 4, items: 50 };

    fn checked(text: &str) -> Result<(), Error> {
        check(&hex::decode(text).unwrap(), LIMITS, Profile::Document)
    }

    /// Vectors of RFC 8949 appendix A and of each rule broken once.
    #[test]
    fn each_rule_has_its_error() {
        for good in [
            "00",
            "17",
            "1818",
            "1903e8",
            "20",
            "3863",
            "f4",
            "f6",
            "40",
            "4401020304",
            "6449455446",
            "80",
            "83010203",
            "a0",
            "a26161016162820203",
        ] {
            assert_eq!(checked(good), Ok(()), "{good}");
        }
        let rule = |at, rule| Err(Error::NotDeterministic { at, rule });
        let shortest = "a length or number not in its shortest form";
        assert_eq!(checked("1817"), rule(0, shortest)); // 23 in two bytes
        assert_eq!(checked("1900ff"), rule(0, shortest));
        assert_eq!(checked("1a0000ffff"), rule(0, shortest));
        assert_eq!(checked("1b00000000ffffffff"), rule(0, shortest));
        assert_eq!(checked("5801ff"), rule(0, shortest)); // byte string of 1 with a long length
        assert_eq!(checked("9f01ff"), rule(0, "an indefinite length"));
        assert_eq!(checked("bf616101ff"), rule(0, "an indefinite length"));
        assert_eq!(checked("a2616201616102"), rule(4, "keys not in bytewise order"));
        assert_eq!(checked("a2616101616102"), rule(4, "the same key twice"));
        assert_eq!(checked("a10102"), Err(Error::NotAllowed { what: "a key of this kind", at: 1 }));
        assert_eq!(checked("f93c00"), Err(Error::NotAllowed { what: "a float", at: 0 }));
        assert_eq!(checked("fb3ff199999999999a"), Err(Error::NotAllowed { what: "a float", at: 0 }));
        assert_eq!(checked("f7"), Err(Error::NotAllowed { what: "a simple value", at: 0 }));
        assert_eq!(checked("c000"), Err(Error::NotAllowed { what: "a tag", at: 0 }));
        assert_eq!(checked("61ff"), Err(Error::NotText { at: 0 }));
        assert_eq!(checked("0000"), Err(Error::Trailing { at: 1 }));
        assert_eq!(checked("8301"), Err(Error::Truncated { at: 2 }));
        assert_eq!(checked("5bffffffffffffffff"), Err(Error::Truncated { at: 0 }));
        assert_eq!(checked("9bffffffffffffffff"), Err(Error::Truncated { at: 9 }));
        assert_eq!(checked("8181818180"), Err(Error::TooDeep { limit: 4, at: 4 }));
        assert_eq!(checked(&format!("9833{}", "00".repeat(51))), Err(Error::TooMany { limit: 50, at: 51 }));
        assert_eq!(checked(&"00".repeat(1001)), Err(Error::TooLarge { bytes: 1001, limit: 1000 }));
    }

    #[test]
    fn map_order_is_by_encoded_key_not_by_text() {
        let map = BTreeMap::from([("aa".to_owned(), 1u8), ("b".to_owned(), 2)]);
        assert_eq!(hex::encode(encode(&map).unwrap()), "a261620262616101");
    }

    proptest! {
        #[test]
        fn what_we_write_passes_our_check_and_reads_back(map in prop::collection::btree_map(".{0,9}", any::<(u64, Vec<u8>, Option<bool>)>(), 0..9)) {
            let limits = InputLimits { bytes: 1 << 20, depth: 9, items: 9999 };
            let bytes = encode(&map).unwrap();
            prop_assert_eq!(check(&bytes, limits, Profile::Document), Ok(()));
            prop_assert_eq!(decode::<BTreeMap<String, (u64, Vec<u8>, Option<bool>)>>(&bytes, limits).unwrap(), map);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<BTreeMap<String, Vec<u64>>>(&bytes, LIMITS);
            let _ = check(&bytes, LIMITS, Profile::Cose);
        }
    }
}

//! Readers of fields, for serde: where a person wrote them, each takes one spelling only.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer},
};

use super::quantity::{unit_error, whole};

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

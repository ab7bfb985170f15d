//! The items of bytes that were checked, one after the other.

use catenoid_schema::cbor::{self, InputLimits, Profile};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Number(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    Array(u64),
    Map(u64),
    Tag(u64),
    Null,
    /// What is in no envelope: a truth value, a number beyond 64 bits with its sign.
    Other,
}

/// The items of checked bytes in the order of the bytes: what is in an array or a map comes behind it.
pub(crate) struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// The items of `bytes`, which are within `limits` and deterministic.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(crate) fn checked(bytes: &'a [u8], limits: InputLimits) -> Result<Self, cbor::Error> {
        cbor::check(bytes, limits, Profile::Cose)?;
        Ok(Self(bytes))
    }

    /// No item.
    pub(crate) const fn none() -> Self {
        Self(&[])
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let (first, rest) = self.0.split_first()?;
        let (major, info) = (first >> 5, first & 0x1f);
        let (argument, rest) = match info {
            0..24 => (u64::from(info), rest),
            24..28 => {
                let (bytes, rest) = rest.split_at_checked(1 << (info - 24))?;
                (bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)), rest)
            }
            _ => return None,
        };
        let content = if matches!(major, 2 | 3) { usize::try_from(argument).ok()? } else { 0 };
        let (content, rest) = rest.split_at_checked(content)?;
        self.0 = rest;
        let number = i64::try_from(argument);
        Some(match major {
            0 => number.map_or(Item::Other, Item::Number),
            1 => number.map_or(Item::Other, |number| Item::Number(-1 - number)),
            2 => Item::Bytes(content),
            3 => Item::Text(std::str::from_utf8(content).ok()?),
            4 => Item::Array(argument),
            5 => Item::Map(argument),
            6 => Item::Tag(argument),
            _ if argument == 22 => Item::Null,
            _ => Item::Other,
        })
    }
}

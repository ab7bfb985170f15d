//! A CBOR byte string, and only that: for `#[serde(with = "catenoid_schema::byte_string")]` and readers of digests and
//! certificates.
//!
//! `serde_bytes` reads a sequence of numbers as well: one value would have two byte forms.

use std::fmt;

use serde::{Deserializer, Serializer, de};

/// Writes `bytes` as one.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Reads one.
///
/// # Errors
/// That it is something else, or the deserializer's.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
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

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Bytes(#[serde(with = "super")] Vec<u8>);

    fn read(bytes: &[u8]) -> Result<Bytes, String> {
        ciborium::from_reader(bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn a_byte_string_of_any_length_is_read_and_nothing_else() {
        for length in [0, 1, 23, 24, 4096, 4097, 70_000] {
            let value = Bytes(vec![7; length]);
            let mut written = Vec::new();
            ciborium::into_writer(&value, &mut written).unwrap();
            assert_eq!(read(&written), Ok(value), "{length} bytes");
        }
        for (other, what) in [
            (&[0x82, 1, 2][..], "sequence, expected a byte string"),
            (&[0x62, 0x61, 0x62], "string, expected byte buffer"),
            (&[1], "integer `1`, expected byte buffer"),
            (&[0xf6], "null, expected byte buffer"),
        ] {
            let error = read(other).unwrap_err();
            assert_eq!(error, format!("Semantic(None, \"invalid type: {what}\")"));
        }
    }
}

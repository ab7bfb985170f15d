//! The frame of an envelope, walked before anything decodes it.
//!
//! A protected header is bytes inside of bytes, into which a check of the whole does not look, and a general COSE
//! decoder follows wherever it leads: a counter signature (label 7) has headers of its own, to any depth. So every
//! header is checked here by itself and compared with the few parameters of our form. What is returned borrows from the
//! input; nothing is taken from the heap but one list for the signatures and one for each chain, all of limited length.

use catenoid_schema::cbor::InputLimits;

use crate::{
    error::{EnvelopePart, Error},
    items::{Item, Items},
    limits::{CERTIFICATE_BYTES_LIMIT, CERTIFICATES_LIMIT, OVERHEAD, SIGNATURE_BYTES, SIGNERS_LIMIT},
};

/// The tag of a `COSE_Sign` (RFC 9052 section 2).
const COSE_SIGN: u64 = 98;
/// The header label of the algorithm (RFC 9052 section 3.1).
const ALGORITHM: i64 = 1;
/// The header label of the content type (RFC 9052 section 3.1).
const CONTENT_TYPE: i64 = 3;
/// The header label of a certificate chain (RFC 9360).
pub(crate) const X5CHAIN: i64 = 33;
/// ECDSA with SHA-384 (RFC 9053 section 2.1).
const ES384: i64 = -35;
/// The structure around headers and payload is five levels deep; one more, to name what somebody put there.
const DEPTH: usize = 6;
/// Four items for each signature, six around them; the rest is room to name what somebody put there.
const ITEMS: usize = 128;
/// A protected header is a map with one array of certificates at most.
const HEADER: InputLimits =
    InputLimits { bytes: CERTIFICATES_LIMIT * CERTIFICATE_BYTES_LIMIT + 256, depth: 3, items: 32 };

/// What the headers of an envelope of our form say.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) content_type: &'a str,
    /// The certificates of each signature.
    pub(crate) chains: Vec<Vec<&'a [u8]>>,
}

/// Walks the whole of `bytes`, every header included: afterwards it is a `COSE_Sign` of our form in deterministic CBOR,
/// with a payload of at most `payload_limit` bytes.
///
/// # Errors
/// The first rule that is broken, in the order of the bytes.
pub(crate) fn walk(bytes: &[u8], payload_limit: usize) -> Result<Frame<'_>, Error> {
    let limits = InputLimits { bytes: payload_limit + OVERHEAD, depth: DEPTH, items: ITEMS };
    let mut items = Items::checked(bytes, limits).map_err(|source| Error::Encoding { source })?;
    if items.next() != Some(Item::Tag(COSE_SIGN)) {
        return Err(structure("it does not begin with the tag 98".to_owned()));
    }
    if items.next() != Some(Item::Array(4)) {
        return Err(structure("it is no array of four".to_owned()));
    }
    let content_type = content_type(&mut items)?;
    match items.next() {
        Some(Item::Bytes(payload)) if payload.len() > payload_limit => {
            return Err(Error::PayloadTooLarge { bytes: payload.len(), limit: payload_limit });
        }
        Some(Item::Bytes(_)) => {}
        Some(Item::Null) => return Err(Error::PayloadMissing),
        _ => return Err(structure("the payload is no byte string".to_owned())),
    }
    let Some(Item::Array(count)) = items.next() else {
        return Err(structure("the signatures are no array".to_owned()));
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if !(1..=SIGNERS_LIMIT).contains(&count) {
        return Err(Error::SignatureCount { count });
    }
    let chains =
        (1..=count).map(|number| signature(&mut items, EnvelopePart::Signature(number))).collect::<Result<_, _>>()?;
    Ok(Frame { content_type, chains })
}

/// The headers of the body: a content type, which is text, and nothing else.
fn content_type<'a>(items: &mut Items<'a>) -> Result<&'a str, Error> {
    let place = EnvelopePart::Body;
    let (count, mut header) = headers(items, place)?;
    let mut content_type = None;
    for _ in 0..count {
        match (header.next(), header.next()) {
            (Some(Item::Number(CONTENT_TYPE)), Some(Item::Text(text))) => content_type = Some(text),
            (Some(Item::Number(CONTENT_TYPE)), _) => return Err(Error::ContentTypeMissing),
            _ => return Err(Error::HeaderNotAllowed { place }),
        }
    }
    content_type.ok_or(Error::ContentTypeMissing)
}

/// A signature: its headers have the algorithm, which is ES384, a chain of certificates, and nothing else.
fn signature<'a>(items: &mut Items<'a>, place: EnvelopePart) -> Result<Vec<&'a [u8]>, Error> {
    if items.next() != Some(Item::Array(3)) {
        return Err(structure(format!("{place} is no array of three")));
    }
    let (count, mut header) = headers(items, place)?;
    let (mut es384, mut certificates) = (false, None);
    for _ in 0..count {
        match (header.next(), header.next()) {
            (Some(Item::Number(ALGORITHM)), Some(Item::Number(ES384))) => es384 = true,
            (Some(Item::Number(ALGORITHM)), _) => return Err(Error::Algorithm { place }),
            (Some(Item::Number(X5CHAIN)), value) => certificates = Some(chain(value, &mut header, place)?),
            _ => return Err(Error::HeaderNotAllowed { place }),
        }
    }
    if !es384 {
        return Err(Error::Algorithm { place });
    }
    let certificates = certificates.ok_or(Error::ChainForm { place })?;
    match items.next() {
        Some(Item::Bytes(signature)) if signature.len() == SIGNATURE_BYTES => Ok(certificates),
        Some(Item::Bytes(signature)) => Err(Error::SignatureSize { place, bytes: signature.len() }),
        _ => Err(structure(format!("{place} has no byte string"))),
    }
}

/// The certificates of an `x5chain` that begins with `first`.
fn chain<'a>(first: Option<Item<'a>>, rest: &mut Items<'a>, place: EnvelopePart) -> Result<Vec<&'a [u8]>, Error> {
    let chain = match first {
        Some(Item::Bytes(leaf)) => vec![leaf],
        // RFC 9360 writes a single certificate as a byte string, so an array begins at two.
        Some(Item::Array(0 | 1)) => return Err(Error::ChainForm { place }),
        Some(Item::Array(count)) if count > CERTIFICATES_LIMIT as u64 => return Err(Error::ChainTooLarge { place }),
        Some(Item::Array(count)) => (0..count)
            .map(|_| match rest.next() {
                Some(Item::Bytes(certificate)) => Ok(certificate),
                _ => Err(Error::ChainForm { place }),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(Error::ChainForm { place }),
    };
    if chain.iter().any(|certificate| certificate.len() > CERTIFICATE_BYTES_LIMIT) {
        return Err(Error::ChainTooLarge { place });
    }
    Ok(chain)
}

/// The two headers at `place`: how many parameters the protected one has, and those; the other must be empty.
fn headers<'a>(items: &mut Items<'a>, place: EnvelopePart) -> Result<(u64, Items<'a>), Error> {
    let Some(Item::Bytes(protected)) = items.next() else {
        return Err(structure(format!("the protected header of {place} is no byte string")));
    };
    match items.next() {
        Some(Item::Map(0)) => {}
        Some(Item::Map(_)) => return Err(Error::UnprotectedHeader { place }),
        _ => return Err(structure(format!("the unprotected header of {place} is no map"))),
    }
    if protected.is_empty() {
        return Ok((0, Items::none())); // how RFC 9052 section 3 writes one without parameters
    }
    let mut header = Items::checked(protected, HEADER).map_err(|source| Error::HeaderEncoding { place, source })?;
    match header.next() {
        Some(Item::Map(count)) => Ok((count, header)),
        _ => Err(structure(format!("the protected header of {place} is no map"))),
    }
}

fn structure(reason: String) -> Error {
    Error::Structure { reason }
}

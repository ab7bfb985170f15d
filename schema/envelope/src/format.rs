//! The signed form: reading it without believing it.

use catenoid_schema::cbor::{self, Limits, Profile};
use ciborium::value::Value;
use coset::{
    Algorithm, CborSerializable, ContentType, CoseSign, CoseSignature, Header, Label, ProtectedHeader,
    TaggedCborSerializable, iana,
};

use crate::open::Error;

/// The most signatures: every person of a large team of signers, and each is one more to verify.
pub const SIGNERS_LIMIT: usize = 8;
/// The most certificates of one signer: a leaf and three authorities below the anchor.
pub const CERTIFICATES_LIMIT: usize = 4;
/// The most bytes of one certificate: a P-384 certificate takes about 700.
pub const CERTIFICATE_BYTES_LIMIT: usize = 4096;
/// The most bytes of an envelope beyond its payload: all signers with all their certificates and 256 bytes each for the
/// signature and the headers, and 256 for the envelope's own.
pub const OVERHEAD: usize = SIGNERS_LIMIT * (CERTIFICATES_LIMIT * CERTIFICATE_BYTES_LIMIT + 256) + 256;
/// The bytes of an ES384 signature (RFC 9053 section 2.1): two numbers of 48.
pub const SIGNATURE_BYTES: usize = 96;

/// The header label of a certificate chain (RFC 9360).
pub(crate) const X5CHAIN: i64 = 33;
/// The structure around headers and payload is five levels deep; one more, to name what somebody put there.
const DEPTH: usize = 6;
/// Four items for each signature, six around them; the rest is room to name what somebody put there.
const ITEMS: usize = 128;
/// A protected header is a map with one array of certificates at most.
const HEADER: Limits = Limits { bytes: CERTIFICATES_LIMIT * CERTIFICATE_BYTES_LIMIT + 256, depth: 3, items: 32 };

/// An envelope of the right form, of which nothing was verified.
///
/// Serves to show what somebody claims (`inspect`), and to find what has to be pushed along with it. Whatever a device
/// acts on comes from [`crate::open`].
#[derive(Debug, Clone)]
pub struct Unverified {
    pub(crate) cose: CoseSign,
    content_type: String,
    chains: Vec<Vec<Vec<u8>>>,
}

impl Unverified {
    /// Takes an envelope apart whose payload has at most `payload_limit` bytes.
    ///
    /// # Errors
    /// The first rule of the form that is broken.
    pub fn read(bytes: &[u8], payload_limit: usize) -> Result<Self, Error> {
        let limits = Limits { bytes: payload_limit + OVERHEAD, depth: DEPTH, items: ITEMS };
        cbor::check(bytes, limits, Profile::Cose).map_err(|source| Error::Encoding { source })?;
        let cose = CoseSign::from_tagged_slice(bytes).map_err(|e| Error::Structure { reason: e.to_string() })?;
        empty(&cose.unprotected, Place::Body)?;
        for (index, signature) in cose.signatures.iter().enumerate() {
            empty(&signature.unprotected, Place::Signature(index + 1))?;
        }
        if cose.clone().to_tagged_vec().ok().as_deref() != Some(bytes) {
            return Err(Error::NotCanonical { place: Place::Body });
        }
        let content_type = content_type(&cose)?;
        match cose.payload.as_ref().map(Vec::len) {
            None => return Err(Error::PayloadMissing),
            Some(bytes) if bytes > payload_limit => return Err(Error::PayloadTooLarge { bytes, limit: payload_limit }),
            Some(_) => {}
        }
        if !(1..=SIGNERS_LIMIT).contains(&cose.signatures.len()) {
            return Err(Error::SignatureCount { count: cose.signatures.len() });
        }
        let chains = cose
            .signatures
            .iter()
            .enumerate()
            .map(|(index, s)| signature_chain(s, index + 1))
            .collect::<Result<_, _>>()?;
        Ok(Self { cose, content_type, chains })
    }

    /// What the envelope claims to hold.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The bytes that it claims were signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.cose.payload.as_deref().unwrap_or_default()
    }

    /// The certificates of each signature, leaf first, in DER.
    #[must_use]
    pub fn chains(&self) -> &[Vec<Vec<u8>>] {
        &self.chains
    }
}

/// Where in an envelope something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The part that all signatures cover.
    Body,
    /// The n-th signature, counted from 1.
    Signature(usize),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Body => f.write_str("the body"),
            Self::Signature(number) => write!(f, "signature {number}"),
        }
    }
}

fn empty(unprotected: &Header, place: Place) -> Result<(), Error> {
    if unprotected.is_empty() { Ok(()) } else { Err(Error::UnprotectedHeader { place }) }
}

fn content_type(cose: &CoseSign) -> Result<String, Error> {
    let header = protected(&cose.protected, Place::Body)?;
    let Some(ContentType::Text(content_type)) = &header.content_type else {
        return Err(Error::ContentTypeMissing);
    };
    let expected = Header { content_type: header.content_type.clone(), ..Header::default() };
    if *header == expected { Ok(content_type.clone()) } else { Err(Error::HeaderNotAllowed { place: Place::Body }) }
}

fn signature_chain(signature: &CoseSignature, number: usize) -> Result<Vec<Vec<u8>>, Error> {
    let place = Place::Signature(number);
    let header = protected(&signature.protected, place)?;
    if header.alg != Some(Algorithm::Assigned(iana::Algorithm::ES384)) {
        return Err(Error::Algorithm { place });
    }
    let (certificates, others): (Vec<_>, Vec<_>) =
        header.rest.iter().partition(|(label, _)| *label == Label::Int(X5CHAIN));
    let plain = Header { alg: header.alg.clone(), rest: header.rest.clone(), ..Header::default() };
    if !others.is_empty() || *header != plain {
        return Err(Error::HeaderNotAllowed { place });
    }
    let chain = match certificates.as_slice() {
        [(_, Value::Bytes(leaf))] => vec![leaf.clone()],
        // RFC 9360 writes a single certificate as a byte string, so an array begins at two.
        [(_, Value::Array(certificates))] if certificates.len() > 1 => certificates
            .iter()
            .map(|value| value.as_bytes().cloned().ok_or(Error::ChainForm { place }))
            .collect::<Result<Vec<_>, _>>()?,
        _ => return Err(Error::ChainForm { place }),
    };
    let long = chain.iter().any(|certificate| certificate.len() > CERTIFICATE_BYTES_LIMIT);
    if long || chain.len() > CERTIFICATES_LIMIT {
        return Err(Error::ChainTooLarge { place });
    }
    Ok(chain)
}

/// A protected header is bytes inside of bytes, which the check of the whole did not look into.
fn protected(header: &ProtectedHeader, place: Place) -> Result<&Header, Error> {
    let bytes = header.original_data.as_deref().unwrap_or_default();
    if bytes.is_empty() {
        return Ok(&header.header); // how RFC 9052 section 3 writes one without parameters
    }
    cbor::check(bytes, HEADER, Profile::Cose).map_err(|source| Error::HeaderEncoding { place, source })?;
    if header.header.clone().to_vec().ok().as_deref() == Some(bytes) {
        Ok(&header.header)
    } else {
        Err(Error::NotCanonical { place })
    }
}

/// The protected header of a signature with this chain.
pub(crate) fn signature_header(chain: &[Vec<u8>]) -> Header {
    let value = match chain {
        [leaf] => Value::Bytes(leaf.clone()),
        chain => Value::Array(chain.iter().cloned().map(Value::Bytes).collect()),
    };
    Header {
        alg: Some(Algorithm::Assigned(iana::Algorithm::ES384)),
        rest: vec![(Label::Int(X5CHAIN), value)],
        ..Header::default()
    }
}

//! What an envelope may have at most, each with its reason.

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

//! A signer's private key and the certificates that speak for it.

use std::path::{Path, PathBuf};

use p384::ecdsa::{
    DerSignature, Signature, SigningKey, VerifyingKey, signature::Signer as _, signature::Verifier as _,
};
use p384::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
};

use crate::{failure::Failure, files};

/// Why a signer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file.
    #[error(transparent)]
    File(#[from] files::Error),
    /// No P-384 key.
    #[error("`{}` holds no unencrypted P-384 private key in PKCS #8 PEM", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// No certificates.
    #[error("`{}` holds no chain of PEM certificates", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
    },
    /// The certificates are not in order.
    #[error("certificate {number} of `{}` is not the one that issued the certificate before it", path.display())]
    Order {
        /// The file.
        path: PathBuf,
        /// Which, counted from 1.
        number: usize,
    },
    /// The anchor is among them.
    #[error("certificate {number} of `{}` issued itself, as an anchor does", path.display())]
    Anchor {
        /// The file.
        path: PathBuf,
        /// Which, counted from 1.
        number: usize,
    },
    /// The two are of different signers.
    #[error("the first certificate of `{}` is not of the key `{}`", chain.display(), key.display())]
    Mismatch {
        /// The certificates.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::File(error) => error.into(),
            Error::Mismatch { .. } => {
                Self::refused(error).hint(Some("pass `--key` and `--chain` of the same signer, leaf certificate first"))
            }
            Error::Key { .. } => Self::refused(error)
                .hint(Some("convert it with `openssl pkcs8 -topk8 -nocrypt`, if it is of that curve")),
            Error::Order { .. } | Error::Anchor { .. } => Self::refused(error).hint(Some(
                "the signer's certificate comes first, then the authority that issued it, and so on, without the anchor",
            )),
            Error::Chain { .. } => Self::refused(error),
        }
    }
}

/// Somebody who can sign.
pub(crate) struct Signer {
    key: SigningKey,
    chain: Vec<Vec<u8>>,
}

impl Signer {
    /// Reads a PKCS #8 key and a PEM chain, and checks that they belong together and that the chain is in order.
    pub(crate) fn read(key_path: &Path, chain_path: &Path) -> Result<Self, Error> {
        let pem = files::read_text(key_path)?;
        let key = SigningKey::from_pkcs8_pem(&pem).map_err(|_| Error::Key { path: key_path.to_owned() })?;
        let chain = read_chain(chain_path)?;
        in_order(&chain, chain_path)?;
        let public = VerifyingKey::from(&key).to_public_key_der();
        let certified = chain
            .first()
            .and_then(|leaf| Certificate::from_der(leaf).ok())
            .and_then(|leaf| leaf.tbs_certificate().subject_public_key_info().to_der().ok());
        if public.ok().map(|der| der.into_vec()) == certified && certified.is_some() {
            Ok(Self { key, chain })
        } else {
            Err(Error::Mismatch { chain: chain_path.to_owned(), key: key_path.to_owned() })
        }
    }

    /// Its certificates in DER, leaf first.
    pub(crate) fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Signs with ECDSA P-384 and SHA-384, with the nonce of RFC 6979: the same message gives the same bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 96] {
        let signature: Signature = self.key.sign(message);
        signature.to_bytes().into()
    }
}

/// Whether each certificate is that of who issued the one before it, and none is an anchor: a device takes no other form.
fn in_order(chain: &[Vec<u8>], path: &Path) -> Result<(), Error> {
    let read = |der: &Vec<u8>| Certificate::from_der(der).map_err(|_| Error::Chain { path: path.to_owned() });
    let certificates = chain.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    for (index, pair) in certificates.windows(2).enumerate() {
        let [below, above] = [pair[0].tbs_certificate(), pair[1].tbs_certificate()];
        let (path, number) = (path.to_owned(), index + 2);
        if below.issuer() != above.subject() {
            return Err(Error::Order { path, number });
        }
        if above.issuer() == above.subject() && issued_itself(&pair[1]) {
            return Err(Error::Anchor { path, number });
        }
    }
    Ok(())
}

/// An authority's new key that its old one certified has the name of its issuer, too: only the signature shows which it is.
fn issued_itself(certificate: &Certificate) -> bool {
    let tbs = certificate.tbs_certificate();
    let verify = || {
        let info = tbs.subject_public_key_info().to_der().ok()?;
        let key = VerifyingKey::from_public_key_der(&info).ok()?;
        let signature = DerSignature::from_bytes(certificate.signature().as_bytes()?).ok()?;
        key.verify(&tbs.to_der().ok()?, &signature).ok()
    };
    verify().is_some()
}

/// The certificates of a PEM file in DER.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let error = || Error::Chain { path: path.to_owned() };
    let certificates = Certificate::load_pem_chain(&files::read(path)?).map_err(|_| error())?;
    if certificates.is_empty() {
        return Err(error());
    }
    certificates.iter().map(|certificate| certificate.to_der().map_err(|_| error())).collect()
}

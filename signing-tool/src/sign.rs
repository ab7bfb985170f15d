//! `sign` and `guest sign`: from a document to its envelope.

use std::path::{Path, PathBuf};

use catenoid_envelope::{Draft, SealError, Unverified};
use catenoid_schema::{
    anchors::Anchors,
    cbor,
    digest::Digest,
    document::{self, Document},
    feature,
    guest::{self, Guest},
    manifest::{
        self, GuestVersion, Manifest,
        check::{Stage, Violation},
    },
    name::Name,
    units::{ByteSize, Timestamp},
};

use crate::{
    check,
    failure::Failure,
    files,
    key::{self, Signer},
    yaml::{Finding, Source},
};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A guest was never built, or elsewhere.
    #[error("there is no signed descriptor of `{reference}` at `{}`", path.display())]
    GuestMissing {
        /// The guest.
        reference: GuestVersion,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A guest's envelope is not believed.
    #[error("`{}` is not a guest that the anchors vouch for", path.display())]
    GuestRefused {
        /// The envelope.
        path: PathBuf,
        /// Why the envelope is not believed.
        source: catenoid_envelope::Error,
    },
    /// A guest's envelope holds no descriptor.
    #[error("`{}` holds no guest descriptor", path.display())]
    GuestUnreadable {
        /// The envelope.
        path: PathBuf,
        /// What the decoder says of the descriptor.
        source: cbor::Error,
    },
    /// A guest's envelope holds another guest.
    #[error("`{}` holds `{found}`, not `{reference}`", path.display())]
    GuestOther {
        /// The envelope.
        path: PathBuf,
        /// What it says.
        found: GuestVersion,
        /// What its name says.
        reference: GuestVersion,
    },
    /// The author wrote a digest, and it is another.
    #[error("`guests.{name}.descriptor` is `{written}`, but `{}` is `{found}`", path.display())]
    GuestDigest {
        /// The guest's name in the manifest.
        name: String,
        /// What the manifest says.
        written: Digest,
        /// The envelope.
        path: PathBuf,
        /// Its digest.
        found: Digest,
    },
    /// Anchors that cannot be read.
    #[error("`{}` holds no anchors", path.display())]
    Anchors {
        /// The file.
        path: PathBuf,
        /// What the decoder says of the anchors.
        source: cbor::Error,
    },
    /// A descriptor in bytes that cannot be read.
    #[error("`{}` holds no guest descriptor", path.display())]
    Descriptor {
        /// The file.
        path: PathBuf,
        /// What the decoder says of the descriptor.
        source: cbor::Error,
    },
    /// A descriptor that breaks a rule.
    #[error("`{}` describes no guest that can be run: {reason}", path.display())]
    Guest {
        /// The file.
        path: PathBuf,
        /// The first rule.
        reason: String,
    },
    /// What others signed is not what it claims to be.
    #[error("failed to read the content of `{}`", path.display())]
    Content {
        /// The envelope.
        path: PathBuf,
        /// What the decoder says of the content.
        source: cbor::Error,
    },
    /// The envelope cannot be written.
    #[error("failed to sign `{}`", path.display())]
    Seal {
        /// The document.
        path: PathBuf,
        /// Why the envelope cannot be written.
        source: SealError,
    },
    /// It was signed, and the anchors do not believe it.
    #[error("the signature on `{}` would be refused by a device with these anchors", path.display())]
    Disbelieved {
        /// The document.
        path: PathBuf,
        /// Why a device would not believe it.
        source: catenoid_envelope::Error,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::GuestMissing { .. } => {
                Some("build and sign it: `catenoid-sign guest build`, `catenoid-sign guest sign`".to_owned())
            }
            Error::GuestRefused { source, .. } | Error::Disbelieved { source, .. } => source.hint().map(str::to_owned),
            Error::Seal { source: SealError::Envelope { .. }, .. } => {
                Some("--add-signature takes what `sign` or `guest sign` wrote".to_owned())
            }
            Error::GuestDigest { .. } => {
                Some("leave `descriptor` out of what you write; for what is signed, find its guests".to_owned())
            }
            _ => None,
        };
        Self::refused(error).hint(hint)
    }
}

/// The anchors of a file, as `pki init` writes it.
pub(crate) fn read_anchors(path: &Path) -> Result<Anchors, Failure> {
    let bytes = files::read(path)?;
    Ok(document::decode(&bytes).map_err(|source| Error::Anchors { path: path.to_owned(), source })?)
}

/// The manifest of a YAML file with every guest's digest written in, checked as a device will check it.
///
/// Guests are looked for at `<guests>/<name>-<version>.guest.cose`, and verified where there are `anchors`.
pub(crate) fn resolve(
    path: &Path,
    guests: &Path,
    anchors: Option<&Anchors>,
    at: Timestamp,
) -> Result<Manifest, Failure> {
    let source = Source::read(path)?;
    let mut manifest = check::read(&source, Stage::Authored)?;
    let named = named_guests(&manifest, guests, anchors, at)?;
    for (guest, Named { digest, .. }) in manifest.guests.values_mut().zip(&named) {
        guest.descriptor = Some(*digest);
    }
    feature::complete_manifest(&mut manifest);
    let mut violations = manifest::check::check(&manifest, Stage::Signed);
    violations.extend(permissions(&manifest, &named));
    if violations.is_empty() { Ok(manifest) } else { Err(check::refuse(&source, &violations)) }
}

/// A guest that a manifest names.
struct Named {
    name: Name,
    digest: Digest,
    guest: Guest,
}

/// The guests that `manifest` names, in its order, from the folder `guests`.
fn named_guests(
    manifest: &Manifest,
    guests: &Path,
    anchors: Option<&Anchors>,
    at: Timestamp,
) -> Result<Vec<Named>, Failure> {
    let mut named = Vec::new();
    for (name, entry) in &manifest.guests {
        let (Descriptor { digest, .. }, guest) = read_signed_guest(guests, &entry.reference, anchors, at)?;
        if let Some(written) = entry.descriptor.filter(|written| *written != digest) {
            let path = guest_path(guests, &entry.reference);
            return Err(Error::GuestDigest { name: name.to_string(), written, path, found: digest }.into());
        }
        named.push(Named { name: name.clone(), digest, guest });
    }
    Ok(named)
}

/// What the guests of `manifest` need and their containers do not permit.
fn permissions(manifest: &Manifest, named: &[Named]) -> Vec<Violation> {
    manifest::check::permissions(manifest, named.iter().map(|Named { name, guest, .. }| (name, guest)))
}

/// Where the signed descriptor of a guest is.
pub(crate) fn guest_path(folder: &Path, reference: &GuestVersion) -> PathBuf {
    folder.join(format!("{}-{}.guest.cose", reference.name, reference.version))
}

/// What names a signed descriptor on the device.
pub(crate) struct Descriptor {
    pub(crate) digest: Digest,
    pub(crate) size: ByteSize,
}

/// The signed descriptor of `reference` in `folder`, verified where there are `anchors`.
pub(crate) fn read_signed_guest(
    folder: &Path,
    reference: &GuestVersion,
    anchors: Option<&Anchors>,
    at: Timestamp,
) -> Result<(Descriptor, Guest), Failure> {
    let path = guest_path(folder, reference);
    if !path.exists() {
        return Err(Error::GuestMissing { reference: reference.clone(), path }.into());
    }
    let bytes = files::read_found(&path)?;
    let refused = |source| Error::GuestRefused { path: path.clone(), source };
    let guest: Guest = match anchors {
        Some(anchors) => catenoid_envelope::open::<Guest>(&bytes, anchors, at).map_err(refused)?.into_document(),
        None => {
            let envelope = Unverified::read(&bytes, Guest::LIMITS.bytes).map_err(refused)?;
            document::decode(envelope.payload())
                .map_err(|source| Error::GuestUnreadable { path: path.clone(), source })?
        }
    };
    let found = GuestVersion { name: guest.metadata.name.clone(), version: guest.metadata.version.clone() };
    if found != *reference {
        return Err(Error::GuestOther { path, found, reference: reference.clone() }.into());
    }
    Ok((Descriptor { digest: Digest::of(&bytes), size: ByteSize::from_bytes(bytes.len() as u64) }, guest))
}

/// The descriptor in a file, checked as a device will check it: YAML, or its CBOR bytes (`.cbor`).
pub(crate) fn read_guest(path: &Path) -> Result<Guest, Failure> {
    if path.extension().is_some_and(|extension| extension == "cbor") {
        let bytes = files::read(path)?;
        let mut guest: Guest =
            document::decode(&bytes).map_err(|source| Error::Descriptor { path: path.to_owned(), source })?;
        feature::complete_guest(&mut guest);
        return match guest::check(&guest).first() {
            None => Ok(guest),
            Some(violation) => Err(Error::Guest { path: path.to_owned(), reason: violation.to_string() }.into()),
        };
    }
    let source = Source::read(path)?;
    parse_guest(&source).map_err(|findings| source.refuse(&findings))
}

/// The descriptor in `source`, or everything that is wrong with it.
pub(crate) fn parse_guest(source: &Source) -> Result<Guest, Vec<Finding>> {
    let mut guest: Guest = source.parse().map_err(|finding| vec![finding])?;
    feature::complete_guest(&mut guest);
    let violations = guest::check(&guest);
    if violations.is_empty() { Ok(guest) } else { Err(check::findings(source, &violations)) }
}

/// What to sign of `document`, which has no signature yet.
pub(crate) fn draft<T: Document>(path: &Path, document: &T) -> Result<Draft<T>, Error> {
    Draft::new(document).map_err(|source| Error::Seal { path: path.to_owned(), source })
}

/// What to sign of the signed manifest at `path`. The next signer vouches for it as the first one did, and has it checked in
/// the same way: see [`resolve`].
pub(crate) fn resume_manifest(
    path: &Path,
    guests: &Path,
    anchors: Option<&Anchors>,
    at: Timestamp,
) -> Result<Draft<Manifest>, Failure> {
    resume(path, |manifest| {
        let violations = manifest::check::check(manifest, Stage::Signed);
        if !violations.is_empty() {
            return Ok(violations);
        }
        Ok(permissions(manifest, &named_guests(manifest, guests, anchors, at)?))
    })
}

/// What to sign of the signed descriptor at `path`, checked as [`read_guest`] does it.
pub(crate) fn resume_guest(path: &Path) -> Result<Draft<Guest>, Failure> {
    resume(path, |guest| Ok(guest::check(guest)))
}

/// What to sign of the envelope at `path`, unless its document breaks rules. Verifies no signature.
fn resume<T: Document>(
    path: &Path,
    broken: impl FnOnce(&T) -> Result<Vec<Violation>, Failure>,
) -> Result<Draft<T>, Failure> {
    let envelope = files::read(path)?;
    let unfit = |source| Error::Seal { path: path.to_owned(), source };
    let draft = Draft::resume(&envelope).map_err(unfit)?;
    let read = Unverified::read(&envelope, T::LIMITS.bytes).map_err(|source| unfit(SealError::Envelope { source }))?;
    let document: T =
        document::decode(read.payload()).map_err(|source| Error::Content { path: path.to_owned(), source })?;
    let violations = broken(&document)?;
    if violations.is_empty() { Ok(draft) } else { Err(check::refuse_signed(path, &violations)) }
}

/// The envelope of `draft` with one signature by `signer`, proven against `anchors` where there are some.
pub(crate) fn seal<T: Document>(
    path: &Path,
    mut draft: Draft<T>,
    signer: &Signer,
    anchors: Option<(&Anchors, Timestamp)>,
) -> Result<Vec<u8>, Failure> {
    let signature = signer.sign(&draft.message(signer.chain()));
    draft.add(signer.chain(), signature);
    let bytes = draft.finish().map_err(|source| Error::Seal { path: path.to_owned(), source })?;
    if let Some((anchors, at)) = anchors {
        match catenoid_envelope::open::<T>(&bytes, anchors, at) {
            // One of several: the others are still to come.
            Ok(_) | Err(catenoid_envelope::Error::Threshold { .. }) => {}
            Err(source) => return Err(Error::Disbelieved { path: path.to_owned(), source }.into()),
        }
    }
    Ok(bytes)
}

/// What to say of the manifest in `envelope` if it has expired.
pub(crate) fn expired(envelope: &[u8], at: Timestamp) -> Option<String> {
    let read = Unverified::read(envelope, Manifest::LIMITS.bytes).ok()?;
    check::expired(&document::decode(read.payload()).ok()?, at)
}

/// Reads key and chain as the command line names them.
pub(crate) fn signer(key: &Path, chain: &Path) -> Result<Signer, key::Error> {
    Signer::read(key, chain)
}

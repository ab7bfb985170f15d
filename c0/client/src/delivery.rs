//! What has to be pushed for a manifest: the guests that it names and the device lacks, found in a folder.
//!
//! Nothing is verified here. The device verifies; a wrong file would only be pushed in vain.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use catenoid_envelope::Unverified;
use catenoid_schema::{
    cbor,
    digest::Digest,
    document::{self, Document},
    guest::Guest,
    manifest::{GuestVersion, Manifest},
    units::ByteSize,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    client::{BlobProgress, Client},
    error::ClientError,
    push::{Moved, Parcel, PushError},
};

/// The most entries of a folder of guests; a fleet's archive has hundreds.
const ENTRIES_LIMIT: usize = 10_000;
/// The end of a descriptor's file name.
const DESCRIPTOR_SUFFIX: &str = ".guest.cose";
/// The end of an image's file name.
const IMAGE_SUFFIX: &str = ".image";

/// Why a signed document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It has not the form of an envelope.
    #[error("failed to read the envelope")]
    Envelope {
        /// What is wrong with it.
        source: catenoid_envelope::Error,
    },
    /// It holds another kind of document.
    #[error("it holds `{found}`, not `{expected}`")]
    Type {
        /// The content type that it names.
        found: String,
        /// The content type that was wanted.
        expected: &'static str,
    },
    /// What is asked of the document is not there in its form.
    #[error("failed to read the document in it")]
    Document {
        /// What the decoder says.
        source: cbor::Error,
    },
}

/// Why it cannot be said what has to be pushed.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The folder cannot be listed.
    #[error("failed to read the folder `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The folder is none of guests.
    #[error("the folder `{}` has more than {ENTRIES_LIMIT} entries", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// A file in it cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A descriptor does not say which image it is of.
    #[error("failed to take the descriptor `{}` apart", path.display())]
    Descriptor {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ContentError>,
    },
    /// Nobody has the descriptor of a guest.
    #[error("guest `{reference}` is neither on the device nor in `{}`", path.display())]
    GuestMissing {
        /// Name and version of the guest.
        reference: String,
        /// The folder.
        path: PathBuf,
    },
    /// Nobody has the image of a guest.
    #[error("the image of guest `{reference}` is neither on the device nor in `{}`", path.display())]
    ImageMissing {
        /// Name and version of the guest.
        reference: String,
        /// The folder.
        path: PathBuf,
    },
    /// The device does not say what it holds.
    #[error("failed to ask the device which guests it holds")]
    Ask {
        /// Why the call failed.
        source: ClientError,
    },
    /// A file that may be the image cannot be read.
    #[error("failed to find the image of guest `{reference}`")]
    Hash {
        /// Name and version of the guest.
        reference: String,
        /// What is wrong with the file.
        source: PushError,
    },
}

/// What a manifest says of its guests.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    guests: BTreeMap<String, NamedGuest>,
}

#[derive(Deserialize)]
struct NamedGuest {
    #[serde(rename = "ref")]
    reference: GuestVersion,
    #[serde(default)]
    descriptor: Option<Digest>,
}

/// What a descriptor says of its image.
#[derive(Deserialize)]
struct Described {
    image: Image,
}

#[derive(Deserialize)]
struct Image {
    digest: Digest,
    size: ByteSize,
}

/// A part of the document in an envelope, as it claims to be. The rest is the device's to read: its agent may be newer than
/// this program.
fn part_of<T: Document, P: DeserializeOwned>(envelope: &[u8]) -> Result<P, ContentError> {
    let envelope = Unverified::read(envelope, T::LIMITS.bytes).map_err(|source| ContentError::Envelope { source })?;
    if envelope.content_type() != T::CONTENT_TYPE {
        return Err(ContentError::Type { found: envelope.content_type().to_owned(), expected: T::CONTENT_TYPE });
    }
    document::part_of::<T, P>(envelope.payload()).map_err(|source| ContentError::Document { source })
}

/// The descriptors that a signed manifest names: digest, and name and version for people.
///
/// # Errors
/// [`ContentError`] if it is no manifest in an envelope.
pub fn named(manifest: &[u8]) -> Result<BTreeMap<Digest, String>, ContentError> {
    let manifest = part_of::<Manifest, Named>(manifest)?;
    let named = manifest.guests.values().filter_map(|guest| Some((guest.descriptor?, guest.reference.to_string())));
    Ok(named.collect())
}

/// The files of a folder, by what they are by their names.
struct Folder {
    path: PathBuf,
    descriptors: BTreeMap<Digest, (PathBuf, Vec<u8>)>,
    images: Vec<(PathBuf, u64)>,
}

impl Folder {
    fn read(path: &Path) -> Result<Self, DeliveryError> {
        let error = |source| DeliveryError::Folder { path: path.to_owned(), source };
        let mut folder = Self { path: path.to_owned(), descriptors: BTreeMap::new(), images: Vec::new() };
        for (count, entry) in std::fs::read_dir(path).map_err(error)?.enumerate() {
            if count == ENTRIES_LIMIT {
                return Err(DeliveryError::TooMany { path: path.to_owned() });
            }
            let entry = entry.map_err(error)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let metadata =
                std::fs::metadata(entry.path()).map_err(|source| DeliveryError::Read { path: entry.path(), source })?;
            let descriptor_limit = (Guest::LIMITS.bytes + catenoid_envelope::limits::OVERHEAD) as u64;
            if !metadata.is_file() {
                continue;
            } else if name.ends_with(IMAGE_SUFFIX) {
                folder.images.push((entry.path(), metadata.len()));
            } else if name.ends_with(DESCRIPTOR_SUFFIX) && metadata.len() <= descriptor_limit {
                let bytes =
                    std::fs::read(entry.path()).map_err(|source| DeliveryError::Read { path: entry.path(), source })?;
                folder.descriptors.insert(Digest::of(&bytes), (entry.path(), bytes));
            }
        }
        folder.images.sort();
        Ok(folder)
    }

    /// The file with this image. Only files of the right size are hashed.
    async fn image(
        &self,
        reference: &str,
        image: &Image,
        report: &mut impl FnMut(Moved<'_>),
    ) -> Result<Parcel, DeliveryError> {
        for (path, _) in self.images.iter().filter(|(_, bytes)| *bytes == image.size.bytes()) {
            let parcel = Parcel::read(path, report).await;
            let parcel = parcel.map_err(|source| DeliveryError::Hash { reference: reference.to_owned(), source })?;
            if parcel.digest == image.digest {
                return Ok(parcel);
            }
        }
        Err(DeliveryError::ImageMissing { reference: reference.to_owned(), path: self.path.clone() })
    }
}

/// What has to be pushed so that the device has every guest of `named`: images before the descriptors that need them.
///
/// A guest whose descriptor is on the device and not in the folder is left to the device, which knows its image. Files that
/// are read on the way are reported.
///
/// # Errors
/// [`DeliveryError`] if a guest is missing, or it cannot be known whether one is.
pub async fn missing(
    client: &Client,
    named: &BTreeMap<Digest, String>,
    directory: &Path,
    report: &mut impl FnMut(Moved<'_>),
) -> Result<Vec<Parcel>, DeliveryError> {
    let folder = Folder::read(directory)?;
    let mut parcels = Vec::new();
    let mut seen = BTreeSet::new();
    for (digest, reference) in named {
        let is_held = is_held(client, digest).await?;
        let Some((path, bytes)) = folder.descriptors.get(digest) else {
            if is_held {
                continue;
            }
            return Err(DeliveryError::GuestMissing { reference: reference.clone(), path: directory.to_owned() });
        };
        let guest: Described = part_of::<Guest, _>(bytes)
            .map_err(|source| DeliveryError::Descriptor { path: path.clone(), source: source.into() })?;
        // Two versions of a guest may share an image.
        if seen.insert(guest.image.digest) && !self::is_held(client, &guest.image.digest).await? {
            parcels.push(folder.image(reference, &guest.image, report).await?);
        }
        if !is_held {
            parcels.push(Parcel { path: path.clone(), digest: *digest, bytes: bytes.len() as u64 });
        }
    }
    Ok(parcels)
}

async fn is_held(client: &Client, digest: &Digest) -> Result<bool, DeliveryError> {
    let held = client.held(digest).await.map_err(|source| DeliveryError::Ask { source })?;
    Ok(held == BlobProgress::All)
}

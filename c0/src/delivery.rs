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
    client::{BlobProgress, Client, ClientError},
    push::{Parcel, PushError},
};

/// The most entries of a folder of guests; a fleet's archive has hundreds.
const ENTRIES_LIMIT: usize = 10_000;
/// The end of a descriptor's file name.
const DESCRIPTOR_SUFFIX: &str = ".guest.cose";
/// The end of an image's file name.
const IMAGE_SUFFIX: &str = ".image";

/// Why a signed document cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentError {
    #[error("failed to read the envelope")]
    Envelope { source: catenoid_envelope::Error },
    #[error("it holds `{found}`, not `{expected}`")]
    Type { found: String, expected: &'static str },
    #[error("failed to read the document in it")]
    Document { source: cbor::Error },
}

/// Why it cannot be said what has to be pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error("failed to read the folder `{}`", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the folder `{}` has more than {ENTRIES_LIMIT} entries", path.display())]
    TooMany { path: PathBuf },
    #[error("failed to read `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to take the descriptor `{}` apart", path.display())]
    Descriptor { path: PathBuf, source: Box<ContentError> },
    #[error("guest `{reference}` is neither on the device nor in `{}`", path.display())]
    GuestMissing { reference: String, path: PathBuf },
    #[error("the image of guest `{reference}` is neither on the device nor in `{}`", path.display())]
    ImageMissing { reference: String, path: PathBuf },
    #[error("failed to ask the device which guests it holds")]
    Ask { source: ClientError },
    #[error("failed to find the image of guest `{reference}`")]
    Hash { reference: String, source: PushError },
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
pub(crate) fn named(manifest: &[u8]) -> Result<BTreeMap<Digest, String>, ContentError> {
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
            let descriptor_limit = (Guest::LIMITS.bytes + catenoid_envelope::format::OVERHEAD) as u64;
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
    async fn image(&self, reference: &str, image: &Image) -> Result<Parcel, DeliveryError> {
        for (path, _) in self.images.iter().filter(|(_, bytes)| *bytes == image.size.bytes()) {
            let parcel = Parcel::read(path).await;
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
/// A guest whose descriptor is on the device and not in the folder is left to the device, which knows its image.
pub(crate) async fn missing(
    client: &Client,
    named: &BTreeMap<Digest, String>,
    directory: &Path,
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
            parcels.push(folder.image(reference, &guest.image).await?);
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

//! `bundle`: a signed manifest and all that it needs, in one tar that is written to a factory partition or a USB stick.
//!
//! What its reader must be able to do comes first (`requires`, a JSON array of features; no entry where that is nothing),
//! then the manifest, so that a reader can refuse before it has read the images; then every blob once, in the order of
//! digests. Owners, modes and times are fixed: the same input gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use catenoid_envelope::Unverified;
use catenoid_schema::{
    cbor,
    digest::Digest,
    document::{self, Document},
    guest::{Guest, Image},
    manifest::Manifest,
    name::Name,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{failure::Failure, files, sign};

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The manifest's envelope is not one.
    #[error("`{}` is no signed manifest", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with the envelope.
        source: catenoid_envelope::Error,
    },
    /// An envelope's payload cannot be read.
    #[error("failed to read the content of `{}`", path.display())]
    Payload {
        /// The file.
        path: PathBuf,
        /// What the decoder says of the payload.
        source: cbor::Error,
    },
    /// The folder has another descriptor than the one that was signed.
    #[error("`{}` is not the descriptor that the manifest names for `{guest}` ({wanted})", path.display())]
    OtherDescriptor {
        /// The file.
        path: PathBuf,
        /// The guest.
        guest: String,
        /// What the manifest says.
        wanted: Digest,
    },
    /// The image is not in the folder.
    #[error("no file in `{}` is the image of `{guest}` ({digest}, {size})", folder.display(), digest = image.digest, size = image.size)]
    ImageMissing {
        /// The folder.
        folder: PathBuf,
        /// The guest.
        guest: String,
        /// What its descriptor says.
        image: Box<Image>,
    },
    /// An image cannot be read.
    #[error("failed to read `{}`", path.display())]
    ReadImage {
        /// The image.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::OtherDescriptor { .. } => Some("sign the manifest again, or find the guests it was signed with"),
            Error::ImageMissing { .. } => Some("build the guest again: the same input gives the same image"),
            _ => None,
        };
        match error {
            Error::ReadImage { .. } => Self::system(error),
            _ => Self::refused(error).hint(hint),
        }
    }
}

/// Writes the bundle of the signed manifest at `manifest_path` with the guests in `folder` to `output`.
pub(crate) fn write(manifest_path: &Path, folder: &Path, output: &Path) -> Result<Vec<Digest>, Failure> {
    let envelope = files::read(manifest_path)?;
    let Contents { requires, blobs } = contents(manifest_path, &envelope, folder)?;
    let total =
        envelope.len() as u64 + blobs.values().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum::<u64>();
    // Drawn on a terminal only.
    let progress = ProgressBar::new(total).with_style(
        ProgressStyle::with_template("bundling {wide_bar} {bytes}/{total_bytes} {eta}").expect("the template is good"),
    );
    files::replace_with(output, |file| {
        let mut tar = tar::Builder::new(progress.wrap_write(io::BufWriter::new(file)));
        if !requires.is_empty() {
            let names = serde_json::to_vec(&requires)?;
            append(&mut tar, "requires", names.len() as u64, names.as_slice())?;
        }
        append(&mut tar, "manifest.cose", envelope.len() as u64, envelope.as_slice())?;
        for (digest, path) in &blobs {
            let blob = File::open(path)?;
            append(&mut tar, &format!("blobs/{}", digest.to_hex()), blob.metadata()?.len(), blob)?;
        }
        tar.into_inner()?.flush()
    })?;
    progress.finish_and_clear();
    Ok(blobs.into_keys().collect())
}

struct Contents {
    /// What the manifest and its guests require.
    requires: BTreeSet<Name>,
    /// Every blob that the manifest needs, and the file that it is.
    blobs: BTreeMap<Digest, PathBuf>,
}

fn contents(path: &Path, envelope: &[u8], folder: &Path) -> Result<Contents, Failure> {
    let envelope = Unverified::read(envelope, Manifest::LIMITS.bytes)
        .map_err(|source| Error::Manifest { path: path.to_owned(), source })?;
    let manifest: Manifest =
        document::decode(envelope.payload()).map_err(|source| Error::Payload { path: path.to_owned(), source })?;
    let mut contents = Contents { requires: manifest.requires, blobs: BTreeMap::new() };
    for guest in manifest.guests.values() {
        let descriptor_path = sign::guest_path(folder, &guest.reference);
        let bytes = files::read_found(&descriptor_path)?;
        let digest = Digest::of(&bytes);
        if let Some(wanted) = guest.descriptor.filter(|wanted| *wanted != digest) {
            let guest = guest.reference.to_string();
            return Err(Error::OtherDescriptor { path: descriptor_path, guest, wanted }.into());
        }
        let descriptor = Unverified::read(&bytes, Guest::LIMITS.bytes)
            .map_err(|source| Error::Manifest { path: descriptor_path.clone(), source })?;
        let descriptor: Guest = document::decode(descriptor.payload())
            .map_err(|source| Error::Payload { path: descriptor_path.clone(), source })?;
        let image = find_image(folder, &guest.reference.to_string(), &descriptor.image)?;
        contents.requires.extend(descriptor.requires);
        contents.blobs.insert(digest, descriptor_path);
        contents.blobs.insert(descriptor.image.digest, image);
    }
    Ok(contents)
}

/// The file with this content, whatever its name.
fn find_image(folder: &Path, guest: &str, image: &Image) -> Result<PathBuf, Failure> {
    for path in files::list(folder)? {
        let read = || -> io::Result<bool> {
            let file = File::open(&path)?;
            Ok(file.metadata()?.len() == image.size.bytes() && files::digest(file)? == image.digest)
        };
        if read().map_err(|source| Error::ReadImage { path: path.clone(), source })? {
            return Ok(path);
        }
    }
    Err(Error::ImageMissing { folder: folder.to_owned(), guest: guest.to_owned(), image: Box::new(image.clone()) }
        .into())
}

fn append<W: io::Write>(tar: &mut tar::Builder<W>, name: &str, size: u64, data: impl io::Read) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    tar.append(&header, data)
}

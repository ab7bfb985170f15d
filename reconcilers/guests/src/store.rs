//! The store that blobs are pushed to: in pieces, from where the last push broke off, and named by what is in them.
//!
//! A push in progress is `incoming/<64 hex>.part`; it survives a crash, and its digest is computed over all of it when it
//! is finished, so nothing is believed that was not read back. What is in `blobs/` had the right digest once; what
//! became of it since is for dm-verity and for who opens a descriptor to find out.
//!
//! The time of a file's last change is no time here: it is the [`Generation`] in which it was pushed, in seconds since
//! 1970. It lies with the file, outlives crashes, and no clock that is set moves it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use catenoid_kernel_base::files::{self, Entry, Folder, Writing};
use catenoid_schema::{
    control::{BLOB_LIMIT, BlobState},
    digest::Digest,
    units::ByteSize,
};

use crate::StoreError;

const BLOBS: &str = "blobs";
const INCOMING: &str = "incoming";
const PARTIAL: &str = ".part";
const ALTERED: &str = ".altered";

/// How much the store takes.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    /// The most bytes of one blob.
    pub blob: ByteSize,
    /// What is left free on the data partition for everything else: the ledger and the audit log.
    pub reserve: ByteSize,
    /// The most pushes in progress: some for each of a handful of clients.
    pub partials: usize,
    /// The most blobs, pushes in progress among them: descriptor and image of 64 guests and of as many that follow them.
    /// However small they are, each costs a file and its part of every pass.
    pub blobs: usize,
    /// How many files are left free on the data partition for everything else.
    pub files: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { blob: BLOB_LIMIT, reserve: ByteSize::from_mebibytes(32), partials: 32, blobs: 256, files: 256 }
    }
}

/// The number of the accepted manifest, which rises with each; 0 before the first. What was pushed in an earlier
/// generation and is not needed is garbage; what was pushed in this one may be for the next manifest. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct Generation(Arc<AtomicU64>);

impl Generation {
    /// Another manifest was accepted, with this number.
    pub fn begin(&self, number: u64) {
        self.0.store(number, Ordering::Release);
    }

    /// The number of the accepted manifest.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Whether a file was pushed in this generation. A time that is none of ours counts as this generation: better some
    /// garbage than a push that is lost.
    pub(crate) fn is_of(&self, file: &Entry) -> bool {
        u64::try_from(file.modified).is_ok_and(|generation| generation >= self.number())
    }
}

/// The store. Calls may come from several threads at once. Its folders are looked up in each: one that was removed is made
/// again.
#[derive(Debug)]
pub struct Store {
    data: PathBuf,
    quotas: Quotas,
    generation: Generation,
}

/// What is left of the data partition, for status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes that can still be written.
    pub bytes: ByteSize,
    /// Files that can still be made.
    pub files: u64,
    /// Whether a push would be refused for want of either.
    pub is_full: bool,
}

impl Store {
    /// The store on the data partition `data`. Its folders are made when they are needed and not there.
    #[must_use]
    pub fn open(data: &Path) -> Self {
        Self::with_quotas(data, Quotas::default())
    }

    /// The store, to take no more than `quotas`.
    #[must_use]
    pub fn with_quotas(data: &Path, quotas: Quotas) -> Self {
        Self { data: data.to_owned(), quotas, generation: Generation::default() }
    }

    /// The generation that pushes belong to; whoever accepts manifests begins the next.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation.clone()
    }

    /// Leaves in the folders of the store only what may be its own, whatever somebody with the disk in hand put there. To be
    /// called before anything is read. What could not be done holds nobody up: it is reported.
    #[must_use]
    pub fn sift(&self) -> Vec<StoreError> {
        let sifted = [
            files::sift(&self.data.join(BLOBS), |name| is_blob(name) || altered_digest(name).is_some()),
            files::sift(&self.data.join(INCOMING), is_partial),
        ];
        sifted.into_iter().filter_map(Result::err).map(StoreError::from).collect()
    }

    /// Why some of what is held may not be seen, if so.
    ///
    /// # Errors
    /// [`StoreError::Files`]: none of it is.
    pub fn missed(&self) -> Result<Option<StoreError>, StoreError> {
        let (blobs, incoming) = folders(&self.data)?;
        let (blobs, incoming) = (blobs.list(is_blob)?, incoming.list(is_partial)?);
        Ok(blobs.missed.or(incoming.missed).map(StoreError::from))
    }

    /// Puts into the present generation what bears a later one: a power cut came between the bytes and their generation,
    /// and the file has the time of the wall clock. To be called once the generation is known, before anything is pushed.
    /// What could not be done holds nobody up: it is reported.
    #[must_use]
    pub fn settle(&self) -> Vec<StoreError> {
        let (blobs, incoming) = match folders(&self.data) {
            Ok(folders) => folders,
            Err(error) => return vec![error.into()],
        };
        let number = self.generation.number();
        let is_later = |file: &Entry| u64::try_from(file.modified).is_ok_and(|generation| generation > number);
        let mut undone = Vec::new();
        for (folder, ours) in [(&blobs, is_blob as fn(&str) -> bool), (&incoming, is_partial)] {
            match folder.list(ours) {
                Ok(held) => {
                    let marked = held.files.iter().filter(|file| is_later(file)).map(|file| {
                        let file = folder.write(&file.name)?;
                        file.mark(number)
                    });
                    undone.extend(marked.filter_map(Result::err).map(StoreError::from));
                }
                Err(error) => undone.push(error.into()),
            }
        }
        undone
    }

    /// What is left of the data partition.
    ///
    /// # Errors
    /// [`StoreError::Files`].
    pub fn free_space(&self) -> Result<FreeSpace, StoreError> {
        let (_, incoming) = folders(&self.data)?;
        let (bytes, files) = (ByteSize::from_bytes(incoming.free()?), incoming.free_files()?);
        Ok(FreeSpace { bytes, files, is_full: bytes <= self.quotas.reserve || files <= self.quotas.files })
    }

    /// How much of a blob is held; `None` if nothing is.
    ///
    /// # Errors
    /// [`StoreError::Files`].
    pub fn state(&self, digest: Digest) -> Result<Option<BlobState>, StoreError> {
        let (blobs, incoming) = folders(&self.data)?;
        if let Some(blob) = blobs.entry(&digest.to_hex())? {
            return Ok(Some(BlobState { digest, held: blob.size, complete: true }));
        }
        let partial = incoming.entry(&partial_name(&digest))?;
        Ok(partial.map(|partial| BlobState { digest, held: partial.size, complete: false }))
    }

    /// Every blob that is held in full or in part, in the order of digests.
    ///
    /// # Errors
    /// [`StoreError::Files`].
    pub fn list(&self) -> Result<Vec<BlobState>, StoreError> {
        let (blobs, incoming) = folders(&self.data)?;
        let mut states = std::collections::BTreeMap::new();
        for entry in incoming.list(is_partial)?.files {
            if let Some(digest) = partial_digest(&entry.name) {
                states.insert(digest, BlobState { digest, held: entry.size, complete: false });
            }
        }
        for entry in blobs.list(is_blob)?.files {
            if let Ok(digest) = Digest::from_hex(&entry.name) {
                states.insert(digest, BlobState { digest, held: entry.size, complete: true });
            }
        }
        Ok(states.into_values().collect())
    }

    /// Adds `bytes` to a blob. `offset` is where they belong: the number of bytes held, which [`Store::state`] reports.
    /// Nothing happens to a blob that is held in full. Blocks the calling thread.
    ///
    /// # Errors
    /// Nothing of `bytes` is held after [`StoreError::Offset`], [`StoreError::Busy`], [`StoreError::TooLarge`],
    /// [`StoreError::TooMany`], [`StoreError::Crowded`], [`StoreError::NoFiles`] and [`StoreError::Full`]; some may be
    /// after [`StoreError::Files`].
    pub fn append(&self, digest: Digest, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let (blobs, incoming) = folders(&self.data)?;
        if blobs.entry(&digest.to_hex())?.is_some() {
            return Ok(());
        }
        self.fits(&incoming, digest, offset, bytes.len() as u64)?;
        self.admit(&blobs, &incoming, digest, offset)?;
        self.add(&incoming, digest, offset, bytes)
    }

    /// As [`Store::append`], for what the device has itself: no number of blobs and pushes keeps it out.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn restore(&self, digest: Digest, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let (blobs, incoming) = folders(&self.data)?;
        if blobs.entry(&digest.to_hex())?.is_some() {
            return Ok(());
        }
        self.fits(&incoming, digest, offset, bytes.len() as u64)?;
        self.add(&incoming, digest, offset, bytes)
    }

    /// Forgets what was pushed of a blob, unless somebody is pushing it at this moment.
    ///
    /// # Errors
    /// [`StoreError::Files`].
    pub fn begin_anew(&self, digest: Digest) -> Result<(), StoreError> {
        let (_, incoming) = folders(&self.data)?;
        Ok(remove_partial(&incoming, &digest)?)
    }

    fn add(&self, incoming: &Folder, digest: Digest, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let partial = write(incoming, digest)?;
        let held = partial.size()?;
        if held != offset {
            return Err(StoreError::Offset { digest, held, offset });
        }
        partial.write_at(bytes, offset)?;
        Ok(partial.mark(self.generation.number())?)
    }

    /// Verifies the digest of all that was pushed of a blob and makes it a blob of the store, on the disk when this
    /// returns. A blob that is held in full is success. Blocks the calling thread for as long as it takes to read it.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`]: the push must begin anew; [`StoreError::Nothing`], [`StoreError::Busy`],
    /// [`StoreError::Files`].
    // [req->APS-02] [req->COM-06]
    pub fn finish(&self, digest: Digest) -> Result<BlobState, StoreError> {
        match self.state(digest)? {
            None => return Err(StoreError::Nothing { digest }),
            Some(state) if state.complete => return Ok(state),
            Some(_) => {}
        }
        let (blobs, incoming) = folders(&self.data)?;
        let (name, partial) = (partial_name(&digest), write(&incoming, digest)?);
        // What cannot be read is put aside, and the push begins anew.
        let actual = Digest::from_bytes(incoming.insist(&name, || partial.hash())?);
        if actual != digest {
            incoming.remove(&name)?;
            return Err(StoreError::Mismatch { digest, actual });
        }
        partial.mark(self.generation.number())?;
        partial.sync()?;
        let held = partial.size()?;
        incoming.rename(&name, &blobs, &digest.to_hex())?;
        Ok(BlobState { digest, held, complete: true })
    }

    /// Whether there is room for `length` more bytes of a blob.
    fn fits(&self, incoming: &Folder, digest: Digest, offset: u64, length: u64) -> Result<(), StoreError> {
        let Quotas { blob: limit, reserve, .. } = self.quotas;
        if offset.checked_add(length).is_none_or(|size| size > limit.bytes()) {
            return Err(StoreError::TooLarge { digest, limit });
        }
        let free = incoming.free()?;
        if free < length.saturating_add(reserve.bytes()) {
            return Err(StoreError::Full { digest, free: ByteSize::from_bytes(free), reserve });
        }
        Ok(())
    }

    /// Whether another push can begin, if it is one.
    fn admit(&self, blobs: &Folder, incoming: &Folder, digest: Digest, offset: u64) -> Result<(), StoreError> {
        let Quotas { partials, blobs: most, files, .. } = self.quotas;
        if incoming.entry(&partial_name(&digest))?.is_some() {
            return Ok(());
        }
        if offset > 0 {
            return Err(StoreError::Offset { digest, held: 0, offset });
        }
        let begun = incoming.list(is_partial)?.files.len();
        if begun >= partials {
            return Err(StoreError::TooMany { limit: partials });
        }
        // What has begun is counted with what is finished, so that none is refused when it is to be finished.
        if begun + blobs.list(is_blob)?.files.len() >= most {
            return Err(StoreError::Crowded { limit: most });
        }
        let free = incoming.free_files()?;
        if free <= files {
            return Err(StoreError::NoFiles { digest, free, reserve: files });
        }
        Ok(())
    }
}

fn write(incoming: &Folder, digest: Digest) -> Result<Writing, StoreError> {
    incoming.write(&partial_name(&digest)).map_err(|error| match error {
        files::Error::Open { source, .. } if source.kind() == io::ErrorKind::WouldBlock => StoreError::Busy { digest },
        error => error.into(),
    })
}

/// The folders of finished blobs and of pushes in progress.
pub(crate) fn folders(data: &Path) -> Result<(Folder, Folder), files::Error> {
    Ok((Folder::open(&data.join(BLOBS))?, Folder::open(&data.join(INCOMING))?))
}

/// Removes what was pushed of a blob, unless somebody is pushing it, or has it verified, at this moment.
pub(crate) fn remove_partial(incoming: &Folder, digest: &Digest) -> Result<(), files::Error> {
    let name = partial_name(digest);
    match incoming.write(&name) {
        Err(files::Error::Open { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(()),
        held => held.and_then(|_held| incoming.remove(&name)),
    }
}

/// Removes an image, and leaves an empty file that says so. Whoever has the image open goes on reading it.
pub(crate) fn discard_altered(blobs: &Folder, image: &Digest) -> Result<(), files::Error> {
    let marked = blobs.write(&altered_name(image)).and_then(|mark| mark.sync());
    // Also without the mark: as long as the image is there, nobody can push it again.
    blobs.remove(&image.to_hex())?;
    marked
}

pub(crate) fn is_blob(name: &str) -> bool {
    Digest::from_hex(name).is_ok()
}

pub(crate) fn is_partial(name: &str) -> bool {
    partial_digest(name).is_some()
}

pub(crate) fn partial_name(digest: &Digest) -> String {
    format!("{}{PARTIAL}", digest.to_hex())
}

pub(crate) fn partial_digest(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_suffix(PARTIAL)?).ok()
}

pub(crate) fn altered_name(digest: &Digest) -> String {
    format!("{}{ALTERED}", digest.to_hex())
}

pub(crate) fn altered_digest(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_suffix(ALTERED)?).ok()
}

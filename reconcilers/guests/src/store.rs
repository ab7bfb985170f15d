//! The store that blobs are pushed to: in pieces, from where the last push broke off, and named by what is in them.
//!
//! A push in progress is `incoming/<64 hex>.part`; it survives a crash, and its digest is computed over all of it when it
//! is finished, so nothing is believed that was not read back. What is in `blobs/` had the right digest once; what
//! became of it since is for dm-verity and for who opens a descriptor to find out.

use std::{io, path::Path};

use catenoid_kernel::blobs::{self, Folder, Writing};
use catenoid_schema::{
    control::{BLOB_LIMIT, BlobState},
    digest::Digest,
    units::ByteSize,
};

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

/// Why the store did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The push does not go on where the last one ended.
    #[error("`{digest}` is held up to byte {held}; the push goes on from there, not from {offset}")]
    Offset {
        /// Which blob.
        digest: Digest,
        /// Bytes held.
        held: u64,
        /// Where the push would have gone on.
        offset: u64,
    },
    /// Somebody else is pushing the same blob at this moment.
    #[error("`{digest}` is being pushed by somebody else")]
    Busy {
        /// Which blob.
        digest: Digest,
    },
    /// The blob is larger than blobs may be.
    #[error("`{digest}` is over the limit of {limit}")]
    TooLarge {
        /// Which blob.
        digest: Digest,
        /// The limit.
        limit: ByteSize,
    },
    /// Too many pushes are in progress.
    #[error("{limit} pushes are in progress; no other can begin")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// As many blobs are held as may be.
    #[error("{limit} blobs are held; no other can begin until a new manifest lets go of what it does not need")]
    Crowded {
        /// The limit.
        limit: usize,
    },
    /// The data partition has no files left but for what is kept free.
    #[error("no file for `{digest}`: {free} more can be made, of which {reserve} are kept")]
    NoFiles {
        /// Which blob.
        digest: Digest,
        /// Files that can be made.
        free: u64,
        /// Of which are kept.
        reserve: u64,
    },
    /// The data partition is full but for what is kept free.
    #[error("no space for `{digest}`: {free} are free, of which {reserve} are kept")]
    Full {
        /// Which blob.
        digest: Digest,
        /// Free bytes.
        free: ByteSize,
        /// Of which are kept.
        reserve: ByteSize,
    },
    /// What was pushed is something else. It is gone.
    #[error("what was pushed as `{digest}` is `{actual}`")]
    Mismatch {
        /// What it should have been.
        digest: Digest,
        /// What it was.
        actual: Digest,
    },
    /// Nothing was pushed.
    #[error("nothing was pushed of `{digest}`")]
    Nothing {
        /// Which blob.
        digest: Digest,
    },
    /// The data partition could not be read or written.
    #[error("failed to store a blob")]
    Files(#[from] blobs::Error),
}

/// The store. Calls may come from several threads at once.
#[derive(Debug)]
pub struct Store {
    blobs: Folder,
    incoming: Folder,
    quotas: Quotas,
}

impl Store {
    /// Opens the store on the data partition `data`, and makes its folders if they are not there.
    ///
    /// # Errors
    /// [`StoreError::Files`].
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        Self::with_quotas(data, Quotas::default())
    }

    /// Opens the store, to take no more than `quotas`.
    ///
    /// # Errors
    /// [`StoreError::Files`].
    pub fn with_quotas(data: &Path, quotas: Quotas) -> Result<Self, StoreError> {
        let (blobs, incoming) = folders(data)?;
        Ok(Self { blobs, incoming, quotas })
    }

    /// How much of a blob is held; `None` if nothing is.
    ///
    /// # Errors
    /// [`StoreError::Files`].
    pub fn state(&self, digest: Digest) -> Result<Option<BlobState>, StoreError> {
        if let Some(blob) = self.blobs.entry(&digest.to_hex())? {
            return Ok(Some(BlobState { digest, held: blob.size, complete: true }));
        }
        let partial = self.incoming.entry(&partial_name(&digest))?;
        Ok(partial.map(|partial| BlobState { digest, held: partial.size, complete: false }))
    }

    /// Every blob that is held in full or in part, in the order of digests.
    ///
    /// # Errors
    /// [`StoreError::Files`].
    pub fn list(&self) -> Result<Vec<BlobState>, StoreError> {
        let mut states = std::collections::BTreeMap::new();
        for entry in self.incoming.list()? {
            if let Some(digest) = partial_digest(&entry.name) {
                states.insert(digest, BlobState { digest, held: entry.size, complete: false });
            }
        }
        for entry in self.blobs.list()? {
            if let Ok(digest) = Digest::from_hex(&entry.name) {
                states.insert(digest, BlobState { digest, held: entry.size, complete: true });
            }
        }
        Ok(states.into_values().collect())
    }

    /// Adds `bytes` to a blob. `offset` is where they belong: the number of bytes held, which [`Store::state`] tells.
    /// Nothing happens to a blob that is held in full. Blocks the calling thread.
    ///
    /// # Errors
    /// Nothing of `bytes` is held after [`StoreError::Offset`], [`StoreError::Busy`], [`StoreError::TooLarge`],
    /// [`StoreError::TooMany`], [`StoreError::Crowded`], [`StoreError::NoFiles`] and [`StoreError::Full`]; some may be
    /// after [`StoreError::Files`].
    pub fn append(&self, digest: Digest, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        if self.blobs.entry(&digest.to_hex())?.is_some() {
            return Ok(());
        }
        self.admit(digest, offset, bytes.len() as u64)?;
        let partial = self.write(digest)?;
        let held = partial.size()?;
        if held != offset {
            return Err(StoreError::Offset { digest, held, offset });
        }
        Ok(partial.write_at(bytes, offset)?)
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
        let (name, partial) = (partial_name(&digest), self.write(digest)?);
        let actual = Digest::from_bytes(partial.hash()?);
        if actual != digest {
            self.incoming.remove(&name)?;
            return Err(StoreError::Mismatch { digest, actual });
        }
        partial.sync()?;
        let held = partial.size()?;
        self.incoming.rename(&name, &self.blobs, &digest.to_hex())?;
        Ok(BlobState { digest, held, complete: true })
    }

    /// Whether `length` more bytes of a blob can be taken.
    fn admit(&self, digest: Digest, offset: u64, length: u64) -> Result<(), StoreError> {
        let Quotas { blob: limit, reserve, partials, blobs, files } = self.quotas;
        if offset.checked_add(length).is_none_or(|size| size > limit.bytes()) {
            return Err(StoreError::TooLarge { digest, limit });
        }
        let free = self.incoming.free()?;
        if free < length.saturating_add(reserve.bytes()) {
            return Err(StoreError::Full { digest, free: ByteSize::from_bytes(free), reserve });
        }
        if self.incoming.entry(&partial_name(&digest))?.is_some() {
            return Ok(());
        }
        let begun = self.incoming.list()?.len();
        if begun >= partials {
            return Err(StoreError::TooMany { limit: partials });
        }
        // What has begun is counted with what is finished, so that none is refused when it is to be finished.
        if begun + self.blobs.list()?.len() >= blobs {
            return Err(StoreError::Crowded { limit: blobs });
        }
        let free = self.incoming.free_files()?;
        if free <= files {
            return Err(StoreError::NoFiles { digest, free, reserve: files });
        }
        Ok(())
    }

    fn write(&self, digest: Digest) -> Result<Writing, StoreError> {
        self.incoming.write(&partial_name(&digest)).map_err(|error| match error {
            blobs::Error::Open { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {
                StoreError::Busy { digest }
            }
            error => error.into(),
        })
    }
}

/// The folders of finished blobs and of pushes in progress.
pub(crate) fn folders(data: &Path) -> Result<(Folder, Folder), blobs::Error> {
    Ok((Folder::open(&data.join("blobs"))?, Folder::open(&data.join("incoming"))?))
}

/// Removes an image, and leaves an empty file that says so. Whoever has the image open goes on reading it.
pub(crate) fn discard_altered(blobs: &Folder, image: &Digest) -> Result<(), blobs::Error> {
    blobs.write(&altered_name(image))?.sync()?;
    blobs.remove(&image.to_hex())
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

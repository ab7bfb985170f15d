//! What can go wrong in this room, and who must act.

use catenoid_core::RoomError;
use catenoid_kernel_base::files;
use catenoid_kernel_storage::{loop_device, mount, verity};
use catenoid_schema::{digest::Digest, status::Blame, units::ByteSize};

/// What went wrong with a guest or a blob.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be read.
    #[error("failed to read the stored blobs")]
    Store(#[source] files::Error),
    /// The devices could not be read.
    #[error("failed to read the verity devices")]
    Devices(#[source] verity::Error),
    /// The mounts could not be read.
    #[error("failed to read the mounts of guests")]
    Mounts(#[source] mount::Error),
    /// The image could not be opened.
    #[error("failed to open the image of guest `{guest}`")]
    Open {
        /// What people call the guest.
        guest: String,
        /// What the disk answered.
        source: files::Error,
    },
    /// The image could not be made a block device.
    #[error("failed to attach the image of guest `{guest}`")]
    Attach {
        /// What people call the guest.
        guest: String,
        /// What the kernel answered.
        source: loop_device::Error,
    },
    /// The verity device could not be made.
    #[error("failed to map guest `{guest}`")]
    Map {
        /// What people call the guest.
        guest: String,
        /// What the kernel answered.
        source: verity::Error,
    },
    /// There is no verity device to mount.
    #[error("guest `{guest}` has no verity device to mount")]
    NotMapped {
        /// What people call the guest.
        guest: String,
    },
    /// A block is not what was signed.
    #[error("the image of guest `{guest}` was altered on the device")]
    Altered {
        /// What people call the guest.
        guest: String,
        /// The block that could not be read.
        source: files::Error,
    },
    /// The disk does not give the image back.
    #[error("failed to read the image of guest `{guest}`")]
    Read {
        /// What people call the guest.
        guest: String,
        /// What the disk answered.
        source: files::Error,
    },
    /// What was signed is no image that the kernel can mount.
    #[error("failed to mount guest `{guest}`")]
    Mount {
        /// What people call the guest.
        guest: String,
        /// What the kernel answered.
        source: mount::Error,
    },
    /// The guest could not be unmounted.
    #[error("failed to unmount guest `{guest}`")]
    Unmount {
        /// What people call the guest.
        guest: String,
        /// What the kernel answered.
        source: mount::Error,
    },
    /// Something is run from the guest still.
    #[error("guest `{guest}` is still in use")]
    InUse {
        /// What people call the guest.
        guest: String,
    },
    /// The verity device could not be removed.
    #[error("failed to unmap guest `{guest}`")]
    Unmap {
        /// What people call the guest.
        guest: String,
        /// What the kernel answered.
        source: verity::Error,
    },
    /// The blob could not be removed.
    #[error("failed to remove blob `{blob}`")]
    Remove {
        /// The blob that is still there.
        blob: Digest,
        /// What the disk answered.
        source: files::Error,
    },
    /// The work in the background ended before its time.
    #[error("the work on guests was broken off")]
    BrokenOff(#[source] tokio::task::JoinError),
}

impl RoomError for Error {
    fn blame(&self) -> Blame {
        match self {
            // A disk or a kernel that does not do its part, and an image that somebody touched.
            Self::Store(_)
            | Self::Devices(_)
            | Self::Open { .. }
            | Self::Attach { .. }
            | Self::Map { .. }
            | Self::Altered { .. }
            | Self::Read { .. }
            | Self::Remove { .. } => Blame::Administrator,
            Self::Mount { .. } => Blame::ManifestAuthor,
            Self::InUse { .. } | Self::Unmount { .. } | Self::Unmap { .. } => Blame::Nobody,
            Self::Mounts(_) | Self::NotMapped { .. } | Self::BrokenOff(_) => Blame::Us,
        }
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
    Files(#[from] files::Error),
}

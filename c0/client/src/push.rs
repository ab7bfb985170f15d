//! Pushing a blob: from where the device's copy ends, as often as the connection breaks.

use std::{
    io::SeekFrom,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use catenoid_schema::{control::BLOB_LIMIT, digest::Digest};
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::Notify,
};
use tokio_util::io::ReaderStream;

use crate::{
    client::{BlobProgress, Client},
    error::ClientError,
};

/// Bytes that are read and sent at once.
const CHUNK: usize = 256 * 1024;
/// How often a push goes on after it broke. Each time the device says where from, so a device that restarts, or a poor
/// line, costs a few of these; a device that breaks off more often has a fault.
const BREAKS_LIMIT: u32 = 32;
/// How often in a row a push may break without that a byte got through.
const IDLE_BREAKS_LIMIT: u32 = 3;
/// How long no byte may get through, and how long the device may verify what it got: 8 GiB from a slow disk take minutes.
const STALL_LIMIT: Duration = Duration::from_secs(300);

/// A file to push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Where it is.
    pub path: PathBuf,
    /// Its digest, which is what the device knows it by.
    pub digest: Digest,
    /// How many bytes it has.
    pub bytes: u64,
}

/// What happens to a file on its way, as whoever watches wants to see it.
#[derive(Debug)]
pub enum Moved<'a> {
    /// It is about to be read, for its digest.
    Reading {
        /// The name of the file.
        name: &'a str,
        /// How many bytes it has.
        bytes: u64,
    },
    /// So many more of its bytes were read.
    Read {
        /// How many.
        bytes: u64,
    },
    /// All of it was read.
    WasRead,
    /// The device has it already.
    Held {
        /// The name of the file.
        name: &'a str,
    },
    /// It is about to be pushed.
    Pushing {
        /// The name of the file.
        name: &'a str,
        /// How many bytes it has.
        bytes: u64,
    },
    /// Its bytes are sent from here on.
    From {
        /// The number of the byte.
        byte: u64,
    },
    /// So many more of its bytes are on their way.
    Sent {
        /// How many.
        bytes: u64,
    },
    /// The connection broke, or the device has another part of it than was thought: it goes on where that ends.
    Broke {
        /// What broke.
        failure: &'a ClientError,
        /// The number of the byte at which it goes on.
        byte: u64,
    },
    /// The device has all of it.
    Pushed {
        /// How many bytes were sent for that.
        bytes: u64,
    },
}

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is larger than any that a device takes.
    #[error("`{}` has {bytes} bytes, more than the limit of {}", path.display(), BLOB_LIMIT.bytes())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        bytes: u64,
    },
    /// Something else than a file has its name.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// The path that names something else.
        path: PathBuf,
    },
    /// The device says what cannot be.
    #[error("the device holds {held} bytes of `{}`, which has {bytes}", path.display())]
    Longer {
        /// The file.
        path: PathBuf,
        /// How many bytes the device has.
        held: u64,
        /// How many bytes the file has.
        bytes: u64,
    },
    /// The device is there, and takes nothing.
    #[error("no byte of `{}` got through for {} s", path.display(), STALL_LIMIT.as_secs())]
    Stalled {
        /// The file.
        path: PathBuf,
    },
    /// A call failed, and going on did not help.
    #[error("failed to push `{}`", path.display())]
    Push {
        /// The file.
        path: PathBuf,
        /// Why the last call failed.
        source: ClientError,
    },
}

impl Parcel {
    /// Reads the file at `path` once, to know its digest.
    ///
    /// # Errors
    /// [`PushError`] if it cannot be read, or is nothing that could be pushed.
    pub async fn read(path: &Path, report: &mut impl FnMut(Moved<'_>)) -> Result<Self, PushError> {
        let error = |source| PushError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).await.map_err(error)?;
        let metadata = file.metadata().await.map_err(error)?;
        if !metadata.is_file() {
            return Err(PushError::NotAFile { path: path.to_owned() });
        }
        let bytes = metadata.len();
        if bytes > BLOB_LIMIT.bytes() {
            return Err(PushError::TooLarge { path: path.to_owned(), bytes });
        }
        report(Moved::Reading { name: &name(path), bytes });
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer).await.map_err(error)? {
                0 => break,
                count => {
                    hash.update(&buffer[..count]);
                    report(Moved::Read { bytes: count as u64 });
                }
            }
        }
        report(Moved::WasRead);
        Ok(Self { path: path.to_owned(), digest: Digest::from_bytes(hash.finalize().into()), bytes })
    }

    /// The name of the file.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.path)
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Makes sure that the device holds the file. Can be repeated; what the device holds already is not sent again.
///
/// # Errors
/// [`PushError`] if it goes wrong more often than a poor line explains.
pub async fn push(client: &Client, parcel: &Parcel, report: &mut impl FnMut(Moved<'_>)) -> Result<(), PushError> {
    let error = |source| PushError::Push { path: parcel.path.clone(), source };
    let BlobProgress::Part { bytes: mut offset } = client.held(&parcel.digest).await.map_err(error)? else {
        report(Moved::Held { name: &parcel.name() });
        return Ok(());
    };
    let first_offset = offset;
    report(Moved::Pushing { name: &parcel.name(), bytes: parcel.bytes });
    let (mut breaks, mut idle_breaks) = (0, 0);
    loop {
        if offset > parcel.bytes {
            return Err(PushError::Longer { path: parcel.path.clone(), held: offset, bytes: parcel.bytes });
        }
        let failure = match send(client, parcel, offset, report).await {
            Ok(()) => break,
            Err(PushError::Push { source, .. }) if can_go_on(&source) => source,
            Err(failure) => return Err(failure),
        };
        client.await_return().await.map_err(error)?;
        let BlobProgress::Part { bytes: held } = client.held(&parcel.digest).await.map_err(error)? else { break };
        breaks += 1;
        idle_breaks = if held > offset { 0 } else { idle_breaks + 1 };
        if idle_breaks == IDLE_BREAKS_LIMIT || breaks == BREAKS_LIMIT {
            return Err(error(failure));
        }
        report(Moved::Broke { failure: &failure, byte: held });
        offset = held;
    }
    report(Moved::Pushed { bytes: parcel.bytes - first_offset });
    Ok(())
}

/// A broken connection, or an offset that the device sees otherwise (409), is answered by asking it again.
fn can_go_on(error: &ClientError) -> bool {
    error.is_absence() || error.problem().is_some_and(|problem| problem.status == 409)
}

/// The bytes of a file that went on their way, and that some did.
#[derive(Debug, Default)]
struct Sent {
    bytes: AtomicU64,
    more: Notify,
}

/// Sends the file from `offset` to its end once.
async fn send(
    client: &Client,
    parcel: &Parcel,
    offset: u64,
    report: &mut impl FnMut(Moved<'_>),
) -> Result<(), PushError> {
    let error = |source| PushError::Read { path: parcel.path.clone(), source };
    let mut file = File::open(&parcel.path).await.map_err(error)?;
    file.seek(SeekFrom::Start(offset)).await.map_err(error)?;
    report(Moved::From { byte: offset });

    let length = parcel.bytes - offset;
    let sent = Arc::new(Sent::default());
    let counted = Arc::clone(&sent);
    let chunks = ReaderStream::with_capacity(file.take(length), CHUNK).inspect_ok(move |chunk| {
        counted.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        counted.more.notify_one();
    });
    let answer = client.send_blob(&parcel.digest, offset, length, reqwest::Body::wrap_stream(chunks));
    tokio::select! {
        answer = answer => answer.map_err(|source| PushError::Push { path: parcel.path.clone(), source }),
        () = stall(&sent, report) => Err(PushError::Stalled { path: parcel.path.clone() }),
    }
}

/// Ends when nothing moved for [`STALL_LIMIT`]; until then, reports what does.
async fn stall(sent: &Sent, report: &mut impl FnMut(Moved<'_>)) {
    while tokio::time::timeout(STALL_LIMIT, sent.more.notified()).await.is_ok() {
        report(Moved::Sent { bytes: sent.bytes.swap(0, Ordering::Relaxed) });
    }
}

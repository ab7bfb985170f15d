//! Pushing a blob: from where the device's copy ends, as often as the connection breaks.

use std::{
    io::SeekFrom,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use catenoid_schema::{control::BLOB_LIMIT, digest::Digest};
use futures::TryStreamExt as _;
use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::Notify,
};
use tokio_util::io::ReaderStream;

use crate::{
    client::{BlobProgress, Client, ClientError},
    progress::Progress,
    show::clean,
    terminal::note,
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
pub(crate) struct Parcel {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error("failed to read `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` has {bytes} bytes, more than the limit of {}", path.display(), BLOB_LIMIT.bytes())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("`{}` is not a file", path.display())]
    NotAFile { path: PathBuf },
    #[error("the device holds {held} bytes of `{}`, which has {bytes}", path.display())]
    Longer { path: PathBuf, held: u64, bytes: u64 },
    #[error("no byte of `{}` got through for {} s", path.display(), STALL_LIMIT.as_secs())]
    Stalled { path: PathBuf },
    #[error("failed to push `{}`", path.display())]
    Push { path: PathBuf, source: ClientError },
}

impl Parcel {
    /// Reads the file at `path` once, to know its digest.
    pub(crate) async fn read(path: &Path) -> Result<Self, PushError> {
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
        let progress = Progress::start("reading", &name(path), bytes);
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer).await.map_err(error)? {
                0 => break,
                count => {
                    hash.update(&buffer[..count]);
                    progress.bar().inc(count as u64);
                }
            }
        }
        progress.abandon();
        Ok(Self { path: path.to_owned(), digest: Digest::from_bytes(hash.finalize().into()), bytes })
    }

    /// The name of the file.
    pub(crate) fn name(&self) -> String {
        name(&self.path)
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Makes sure that the device holds the file. Can be repeated; what the device holds already is not sent again.
pub(crate) async fn push(client: &Client, parcel: &Parcel) -> Result<(), PushError> {
    let error = |source| PushError::Push { path: parcel.path.clone(), source };
    let BlobProgress::Part { bytes: mut offset } = client.held(&parcel.digest).await.map_err(error)? else {
        note(&format!("held   {}: the device has it already", clean(&parcel.name())));
        return Ok(());
    };
    let first_offset = offset;
    let progress = Progress::start("pushing", &parcel.name(), parcel.bytes);
    let (mut breaks, mut idle_breaks) = (0, 0);
    loop {
        if offset > parcel.bytes {
            return Err(PushError::Longer { path: parcel.path.clone(), held: offset, bytes: parcel.bytes });
        }
        let failure = match send(client, parcel, offset, progress.bar()).await {
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
        progress.bar().suspend(|| note(&going_on(&failure, held)));
        offset = held;
    }
    progress.finish("pushed", parcel.bytes - first_offset);
    Ok(())
}

/// A broken connection, or an offset that the device sees otherwise (409), is answered by asking it again.
fn can_go_on(error: &ClientError) -> bool {
    error.is_absence() || error.problem().is_some_and(|problem| problem.status == 409)
}

/// What is said of a push that broke and goes on at a byte.
fn going_on(failure: &ClientError, byte: u64) -> String {
    format!("note: {}; going on at byte {byte}", clean(&failure.to_string()))
}

/// Sends the file from `offset` to its end once.
async fn send(client: &Client, parcel: &Parcel, offset: u64, bar: &ProgressBar) -> Result<(), PushError> {
    let error = |source| PushError::Read { path: parcel.path.clone(), source };
    let mut file = File::open(&parcel.path).await.map_err(error)?;
    file.seek(SeekFrom::Start(offset)).await.map_err(error)?;
    bar.set_position(offset);
    bar.reset_eta();

    let length = parcel.bytes - offset;
    let moved = Arc::new(Notify::new());
    let chunks = ReaderStream::with_capacity(file.take(length), CHUNK);
    let (notice, shown) = (Arc::clone(&moved), bar.clone());
    let chunks = chunks.inspect_ok(move |chunk| {
        shown.inc(chunk.len() as u64);
        notice.notify_one();
    });
    let sent = client.send_blob(&parcel.digest, offset, length, reqwest::Body::wrap_stream(chunks));
    tokio::select! {
        sent = sent => sent.map_err(|source| PushError::Push { path: parcel.path.clone(), source }),
        () = stall(&moved) => Err(PushError::Stalled { path: parcel.path.clone() }),
    }
}

/// Ends when nothing moved for [`STALL_LIMIT`].
async fn stall(moved: &Notify) {
    while tokio::time::timeout(STALL_LIMIT, moved.notified()).await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use catenoid_schema::{control::Problem, status::Blame};

    use super::*;

    #[test]
    fn what_broke_a_push_is_said_on_one_line() {
        let problem = Problem {
            kind: "urn:catenoid:error:blob-offset".to_owned(),
            title: "other\nerror: done\u{1b}[31m".to_owned(),
            status: 409,
            detail: String::new(),
            blame: Blame::Administrator,
            hint: None,
        };
        let failure = ClientError::Refused { problem: Box::new(problem) };
        assert_eq!(going_on(&failure, 7), "note: other\\nerror: done\\u{1b}[31m; going on at byte 7");
    }
}

//! A device made of scripted answers, on a unix socket.
//!
//! Written by hand, byte for byte: half of the tests need a server that does what no server library does, such as to
//! break off in the middle of a body. One request per connection.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use catenoid_schema::digest::Digest;

/// The time on every device of these tests.
pub(crate) const NOW: &str = "Fri, 01 Jan 2027 12:00:00 GMT";

/// What a device answers to one call.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The connection ends with the bytes.
    Close,
    /// It stays open until the client closes it.
    Hold,
    /// The device is gone afterwards.
    Vanish,
}

impl Answer {
    /// Bytes as they are.
    pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self { bytes: bytes.as_ref().to_vec(), end: End::Close }
    }

    fn http(status: &str, content_type: &str, body: &[u8]) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ndate: {NOW}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        Self::raw([head.as_bytes(), body].concat())
    }

    /// A success.
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::http("200 OK", "application/json", body.to_string().as_bytes())
    }

    /// A success with a body that may be anything.
    pub(crate) fn text(body: &str) -> Self {
        Self::http("200 OK", "application/json", body.as_bytes())
    }

    /// A refusal.
    pub(crate) fn problem(body: &serde_json::Value) -> Self {
        let status = body["status"].to_string();
        Self::http(&format!("{status} Refused"), "application/problem+json", body.to_string().as_bytes())
    }

    /// A failure that is no problem document.
    pub(crate) fn failure(status: &str, body: &str) -> Self {
        Self::http(status, "text/html", body.as_bytes())
    }

    /// The beginning of a stream of events, and its end.
    pub(crate) fn events(body: &str) -> Self {
        let head =
            format!("HTTP/1.1 200 OK\r\ndate: {NOW}\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n");
        Self::raw(head + body)
    }

    /// The same, and then the stream stays open.
    pub(crate) fn hold(self) -> Self {
        Self { end: End::Hold, ..self }
    }

    /// The same, and then the device is gone.
    pub(crate) fn vanish(self) -> Self {
        Self { end: End::Vanish, ..self }
    }
}

#[derive(Default)]
struct State {
    /// Per call the answers in turn; the last one stays.
    answers: BTreeMap<String, VecDeque<Answer>>,
    /// What is held of each blob, by digest.
    blobs: BTreeMap<String, Vec<u8>>,
    /// After how many bytes of a push the connection breaks, push after push.
    breaks: VecDeque<usize>,
    /// The calls, as they came.
    calls: Vec<String>,
}

/// The device.
pub(crate) struct Fake {
    pub(crate) directory: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// A device that answers nothing yet but pushes of blobs.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder can be made");
        let listener = UnixListener::bind(directory.path().join("socket")).expect("a fresh path can be bound");
        let fake = Self { directory, state: Arc::default() };
        let (state, socket) = (Arc::clone(&fake.state), fake.socket());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                // A client that goes away early is part of the tests.
                if serve(stream, &state, &socket).is_ok_and(|end| end == End::Vanish) {
                    return;
                }
            }
        });
        fake
    }

    /// Adds an answer to `call`, such as `GET /v1/status`.
    pub(crate) fn on(self, call: &str, answer: Answer) -> Self {
        self.state().answers.entry(call.to_owned()).or_default().push_back(answer);
        self
    }

    /// Lets the next pushes break, each after so many bytes.
    pub(crate) fn breaking(self, after: &[usize]) -> Self {
        self.state().breaks = after.iter().copied().collect();
        self
    }

    /// Holds some bytes of a blob.
    pub(crate) fn holding(self, digest: Digest, bytes: &[u8]) -> Self {
        self.state().blobs.insert(digest.to_string(), bytes.to_vec());
        self
    }

    /// What is held of a blob.
    pub(crate) fn blob(&self, digest: Digest) -> Option<Vec<u8>> {
        self.state().blobs.get(&digest.to_string()).cloned()
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Writes a file beside the socket.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder can be made");
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

fn serve(stream: UnixStream, state: &Mutex<State>, socket: &Path) -> std::io::Result<End> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(End::Close);
        }
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let call = head[0].trim_end_matches(" HTTP/1.1").to_owned();
    let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
    let length: usize = header("content-length").unwrap_or(0);
    let mut state = state.lock().expect("no holder of the lock panics");

    let scripted = state.answers.get_mut(&call).and_then(|answers| match answers.len() {
        0 | 1 => answers.front().cloned(),
        _ => answers.pop_front(),
    });
    let blob = call.split_once(" /v1/blobs/").map(|(method, digest)| (method.to_owned(), digest.to_owned()));
    let answer = match (scripted, blob) {
        (Some(answer), _) => {
            reader.read_exact(&mut vec![0; length])?;
            state.calls.push(call);
            answer
        }
        (None, Some((method, digest))) if method == "HEAD" => {
            state.calls.push(call);
            head_of(state.blobs.get(&digest), &digest)
        }
        (None, Some((_, digest))) => {
            let offset = header("upload-offset").unwrap_or(0);
            state.calls.push(format!("{call} from {offset}, {length} bytes"));
            let taken = state.breaks.pop_front().unwrap_or(length).min(length);
            let mut body = vec![0; taken];
            reader.read_exact(&mut body)?;
            let held = state.blobs.entry(digest).or_default();
            assert_eq!(held.len(), offset, "a push goes on where the last one ended");
            held.extend(body);
            if taken < length {
                return Ok(End::Close);
            }
            Answer::http("201 Created", "text/plain", b"")
        }
        (None, None) => {
            state.calls.push(call);
            Answer::failure("404 Not Found", "nothing is scripted")
        }
    };
    drop(state);
    if answer.end == End::Vanish {
        // Before the answer, so that no later call of the client finds the socket.
        std::fs::remove_file(socket)?;
    }
    let mut stream = stream;
    stream.write_all(&answer.bytes)?;
    if answer.end == End::Hold {
        std::thread::spawn(move || {
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest)
        });
    }
    Ok(answer.end)
}

/// The answer to HEAD: how much of a blob is held.
fn head_of(held: Option<&Vec<u8>>, digest: &str) -> Answer {
    let Some(held) = held else { return Answer::raw("HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n") };
    let complete = u8::from(Digest::of(held).to_string() == digest);
    let offset = held.len();
    Answer::raw(format!(
        "HTTP/1.1 200 OK\r\nupload-offset: {offset}\r\nupload-complete: ?{complete}\r\nconnection: close\r\n\r\n"
    ))
}

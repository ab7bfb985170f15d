//! The calls of the control interface. Every answer is bounded in size and time: the agent is trusted with the device,
//! but a fault in it must end in an error here, not in a program that hangs or eats all memory.

use std::{
    collections::VecDeque,
    error::Error,
    path::{Path, PathBuf},
    time::Duration,
};

use catenoid_schema::{
    control::{
        Accepted, Blobs, ContainerOutput, Event, PROBLEM_TYPE, PlanAnswer, Problem, Resumed, VersionAnswer, Why,
    },
    digest::Digest,
    name::Name,
    status::{Status, Subject},
    units::Timestamp,
};
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{CONTENT_TYPE, DATE, HeaderMap},
};
use serde::de::DeserializeOwned;

use crate::stream::{Item, Parser};

/// The most bytes of an answer: the status of 500 containers with what every room observed takes about 2 MiB.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
/// The most bytes of an answer that is no success.
const PROBLEM_LIMIT: usize = 256 * 1024;
/// How long a call may take. Accepting a manifest verifies signatures and writes the ledger: milliseconds, on a slow
/// disk under load seconds.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// How long a stream of events may be silent: the agent shows every 15 seconds that it lives.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// How long the agent may be away before it counts as gone. PID 1 starts it again within 2 seconds.
pub(crate) const ABSENCE_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait before the next attempt to reach an agent that is away.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(250);
/// How much of an answer that makes no sense is shown.
const EXCERPT_LIMIT: usize = 200;

/// What broke underneath, said by the innermost cause: the layers above it only say that sending a request failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Transport(String);

impl From<reqwest::Error> for Transport {
    fn from(error: reqwest::Error) -> Self {
        let mut cause: &dyn Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self(cause.to_string())
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("failed to prepare the connection to `{}`", socket.display())]
    Prepare { socket: PathBuf, source: Transport },
    #[error("failed to reach the device at `{}`", socket.display())]
    Unreachable { socket: PathBuf, source: Transport },
    #[error("the connection broke during `{call}`")]
    Broken { call: String, source: Transport },
    #[error("the device did not answer `{call}` within {} s", limit.as_secs())]
    Silent { call: String, limit: Duration },
    #[error("the device ended the stream of `{call}`")]
    Ended { call: String },
    #[error("the answer to `{call}` is larger than {limit} bytes")]
    TooLarge { call: String, limit: usize },
    #[error("failed to understand the answer to `{call}`")]
    Understand { call: String, source: serde_json::Error },
    #[error("the answer to `{call}` lacks a usable header `{header}`")]
    Header { call: String, header: &'static str },
    #[error("the device answered `{call}` with status {status}: `{excerpt}`")]
    Unexpected { call: String, status: u16, excerpt: String },
    #[error("{}", problem.title)]
    Refused { problem: Box<Problem> },
}

impl ClientError {
    /// Whether the device is away, so that the same call may work later.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Prepare { .. }
                | Self::Unreachable { .. }
                | Self::Broken { .. }
                | Self::Silent { .. }
                | Self::Ended { .. }
        )
    }

    /// What the device said, if it answered with a reason.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem } => Some(problem),
            _ => None,
        }
    }
}

/// An answer, and the device's time when it was given.
#[derive(Debug, Clone)]
pub(crate) struct Dated<T> {
    pub(crate) value: T,
    pub(crate) at: Timestamp,
}

/// How much of a blob the device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlobProgress {
    /// The first bytes, which may be none.
    Part { bytes: u64 },
    /// All of it, verified.
    All,
}

/// The agent, by its socket.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

impl Client {
    /// Prepares calls to the agent behind `socket`; connects with the first one.
    pub(crate) fn new(socket: &Path) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("catenoid/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| ClientError::Prepare { socket: socket.to_owned(), source: e.into() })?;
        Ok(Self { http, socket: socket.to_owned() })
    }

    pub(crate) async fn status(&self) -> Result<Dated<Status>, ClientError> {
        self.get("/v1/status").await
    }

    pub(crate) async fn plan(&self) -> Result<Dated<PlanAnswer>, ClientError> {
        self.get("/v1/plan").await
    }

    pub(crate) async fn why(&self, subject: &Subject) -> Result<Dated<Why>, ClientError> {
        self.get(&format!("/v1/why/{subject}")).await
    }

    pub(crate) async fn output(&self, container: &Name) -> Result<Dated<ContainerOutput>, ClientError> {
        self.get(&format!("/v1/output/{container}")).await
    }

    pub(crate) async fn blobs(&self) -> Result<Dated<Blobs>, ClientError> {
        self.get("/v1/blobs").await
    }

    pub(crate) async fn version(&self) -> Result<Dated<VersionAnswer>, ClientError> {
        self.get("/v1/version").await
    }

    /// Hands a signed manifest over, or only asks what would follow from it.
    pub(crate) async fn manifest(&self, envelope: Vec<u8>, intent: Intent) -> Result<Dated<Accepted>, ClientError> {
        let path = match intent {
            Intent::Apply => "/v1/manifest",
            Intent::Ask => "/v1/manifest?dry-run=true",
        };
        let call = Call::new(&Method::PUT, path);
        let request = self.request(Method::PUT, path).header(CONTENT_TYPE, "application/cose").body(envelope);
        self.json(call, request).await
    }

    pub(crate) async fn resume(&self) -> Result<Dated<Resumed>, ClientError> {
        let path = "/v1/resume";
        self.json(Call::new(&Method::PUT, path), self.request(Method::PUT, path).timeout(CALL_LIMIT)).await
    }

    /// Asks how much of a blob the device holds.
    pub(crate) async fn held(&self, digest: &Digest) -> Result<BlobProgress, ClientError> {
        let path = format!("/v1/blobs/{digest}");
        let call = Call::new(&Method::HEAD, &path);
        let response = self.send(&call, self.request(Method::HEAD, &path).timeout(CALL_LIMIT)).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(BlobProgress::Part { bytes: 0 }),
            status if !status.is_success() => Err(refusal(&call, response).await),
            _ if response.headers().get("upload-complete").is_some_and(|value| value == "?1") => Ok(BlobProgress::All),
            _ => {
                let offset = response.headers().get("upload-offset").and_then(|value| value.to_str().ok());
                let offset = offset.and_then(|text| text.parse().ok());
                let bytes = offset.ok_or(ClientError::Header { call: call.0, header: "Upload-Offset" })?;
                Ok(BlobProgress::Part { bytes })
            }
        }
    }

    /// Sends the bytes of a blob from `offset` to its end. No limit of time: the caller watches the progress of `body`.
    pub(crate) async fn send_blob(
        &self,
        digest: &Digest,
        offset: u64,
        length: u64,
        body: reqwest::Body,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/blobs/{digest}");
        let call = Call::new(&Method::PUT, &path);
        let request = self
            .request(Method::PUT, &path)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header("upload-offset", offset)
            .header("content-length", length)
            .body(body);
        let response = self.send(&call, request).await?;
        if response.status().is_success() { Ok(()) } else { Err(refusal(&call, response).await) }
    }

    /// Opens the stream of events after number `since`.
    pub(crate) async fn events(&self, since: u64, extent: Extent) -> Result<Events, ClientError> {
        let path = match extent {
            Extent::Backlog => format!("/v1/events?since={since}&follow=false"),
            Extent::Open => format!("/v1/events?since={since}"),
        };
        let call = Call::new(&Method::GET, &path);
        let answer = tokio::time::timeout(CALL_LIMIT, self.send(&call, self.request(Method::GET, &path))).await;
        let response = answer.map_err(|_| ClientError::Silent { call: call.0.clone(), limit: CALL_LIMIT })??;
        if !response.status().is_success() {
            return Err(refusal(&call, response).await);
        }
        Ok(Events { call, response, parser: Parser::default(), ready: VecDeque::new() })
    }

    /// Waits for an agent that is away, for as long as its restart may take.
    ///
    /// The one place with a timer: a socket that nobody listens on gives nothing to wait for.
    pub(crate) async fn await_return(&self) -> Result<(), ClientError> {
        let deadline = tokio::time::Instant::now() + ABSENCE_LIMIT;
        loop {
            match self.version().await {
                Err(error) if error.is_absence() && tokio::time::Instant::now() < deadline => {
                    #[expect(clippy::disallowed_methods, reason = "nobody announces that somebody listens again")]
                    tokio::time::sleep(ATTEMPT_INTERVAL).await;
                }
                Err(error) if error.is_absence() => return Err(error),
                // Whatever else it says, it is there.
                _ => return Ok(()),
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Dated<T>, ClientError> {
        self.json(Call::new(&Method::GET, path), self.request(Method::GET, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        // The host is not resolved: every call goes to the socket.
        self.http.request(method, format!("http://catenoid{path}"))
    }

    async fn json<T: DeserializeOwned>(&self, call: Call, request: RequestBuilder) -> Result<Dated<T>, ClientError> {
        let response = self.send(&call, request.timeout(CALL_LIMIT)).await?;
        if !response.status().is_success() {
            return Err(refusal(&call, response).await);
        }
        let at = device_time(response.headers());
        let bytes = body(&call, response, ANSWER_LIMIT).await?;
        let value =
            serde_json::from_slice(&bytes).map_err(|source| ClientError::Understand { call: call.0, source })?;
        Ok(Dated { value, at })
    }

    async fn send(&self, call: &Call, request: RequestBuilder) -> Result<Response, ClientError> {
        request.send().await.map_err(|error| {
            if error.is_connect() {
                ClientError::Unreachable { socket: self.socket.clone(), source: error.into() }
            } else {
                call.broken(error)
            }
        })
    }
}

/// Whether a manifest is to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Apply,
    Ask,
}

/// How far a stream of events reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What happened.
    Backlog,
    /// What happened and what will.
    Open,
}

/// A stream of events.
#[derive(Debug)]
pub(crate) struct Events {
    call: Call,
    response: Response,
    parser: Parser,
    ready: VecDeque<Message>,
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Event(Event),
    /// Nothing happened; the agent lives.
    Alive,
}

impl Events {
    /// The next message; `None` when the device ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, ClientError> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            let chunk = tokio::time::timeout(SILENCE_LIMIT, self.response.chunk()).await;
            let chunk = chunk
                .map_err(|_| ClientError::Silent { call: self.call.0.clone(), limit: SILENCE_LIMIT })?
                .map_err(|e| self.call.broken(e))?;
            let Some(chunk) = chunk else { return Ok(None) };
            let items = self.parser.take(&chunk).map_err(|_| ClientError::TooLarge {
                call: self.call.0.clone(),
                limit: crate::stream::MESSAGE_LIMIT,
            })?;
            for item in items {
                self.ready.push_back(match item {
                    Item::Comment => Message::Alive,
                    Item::Data(data) => Message::Event(
                        serde_json::from_slice(&data)
                            .map_err(|source| ClientError::Understand { call: self.call.0.clone(), source })?,
                    ),
                });
            }
        }
    }

    /// What arrived already.
    pub(crate) fn take_ready(&mut self) -> impl Iterator<Item = Message> + '_ {
        self.ready.drain(..)
    }
}

/// A call as it is named in errors.
#[derive(Debug, Clone)]
struct Call(String);

impl Call {
    fn new(method: &Method, path: &str) -> Self {
        Self(format!("{method} {path}"))
    }

    fn broken(&self, error: reqwest::Error) -> ClientError {
        let call = self.0.clone();
        if error.is_timeout() {
            ClientError::Silent { call, limit: CALL_LIMIT }
        } else {
            ClientError::Broken { call, source: error.into() }
        }
    }
}

/// The body, if it has at most `limit` bytes.
async fn body(call: &Call, mut response: Response, limit: usize) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| call.broken(e))? {
        if bytes.len() + chunk.len() > limit {
            return Err(ClientError::TooLarge { call: call.0.clone(), limit });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What an answer says that is no success.
async fn refusal(call: &Call, response: Response) -> ClientError {
    let status = response.status().as_u16();
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|value| value == PROBLEM_TYPE);
    let read = tokio::time::timeout(CALL_LIMIT, body(call, response, PROBLEM_LIMIT)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return error,
        Err(_) => return ClientError::Silent { call: call.0.clone(), limit: CALL_LIMIT },
    };
    match serde_json::from_slice(&bytes) {
        Ok(problem) if is_problem => ClientError::Refused { problem: Box::new(problem) },
        Err(source) if is_problem => ClientError::Understand { call: call.0.clone(), source },
        _ => {
            let excerpt = String::from_utf8_lossy(&bytes).trim().chars().take(EXCERPT_LIMIT).collect();
            ClientError::Unexpected { call: call.0.clone(), status, excerpt }
        }
    }
}

/// The time at which the device answered. Its own clock, as far as it says: the age of what it reports must not depend
/// on the clock of the machine that asks.
fn device_time(headers: &HeaderMap) -> Timestamp {
    let stated = headers.get(DATE).and_then(|value| value.to_str().ok());
    let stated = stated.and_then(|text| jiff::fmt::rfc2822::parse(text).ok()).map(|time| time.timestamp());
    let seconds = stated.unwrap_or_else(jiff::Timestamp::now).as_second();
    Timestamp::from_seconds(seconds.max(0)).unwrap_or_else(|| Timestamp::from_seconds(0).expect("1970 can be written"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Connections are taken by the kernel, and nobody ever answers. Time runs ahead as soon as there is only it to
    /// wait for.
    #[tokio::test(start_paused = true)]
    async fn silent_device_ends_every_call() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let client = Client::new(&socket).unwrap();
        let digest = Digest::of(b"");
        let errors = [
            client.status().await.err(),
            client.held(&digest).await.err(),
            client.manifest(Vec::new(), Intent::Apply).await.err(),
            client.events(0, Extent::Open).await.err(),
            client.await_return().await.err(),
        ];
        for error in errors {
            assert!(matches!(error, Some(ClientError::Silent { .. })), "{error:?}");
        }
    }
}

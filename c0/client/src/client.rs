//! The calls of the control interface. Every answer is bounded in size and time: the agent is trusted with the device,
//! but a fault in it must end in an error here, not in a program that hangs or eats all memory.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use catenoid_schema::{
    control::{Accepted, Blobs, ContainerOutput, PlanAnswer, Resumed, VersionAnswer, Why},
    digest::Digest,
    name::Name,
    status::{Status, Subject},
    units::Timestamp,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header::CONTENT_TYPE};
use serde::de::DeserializeOwned;

use crate::{
    call::{CALL_LIMIT, Call, body, device_time, refusal},
    error::ClientError,
    events::{Events, Extent},
};

/// The most bytes of an answer: the status of 500 containers with what every room observed takes about 2 MiB.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
/// How long the agent may be away before it counts as gone. PID 1 starts it again within 2 seconds.
const ABSENCE_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait before the next attempt to reach an agent that is away.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(250);

/// An answer, and the device's time when it was given.
#[derive(Debug, Clone)]
pub struct Dated<T> {
    /// The answer.
    pub value: T,
    /// The device's time.
    pub at: Timestamp,
}

/// How much of a blob the device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobProgress {
    /// The first bytes, which may be none.
    Part {
        /// How many it has.
        bytes: u64,
    },
    /// All of it, verified.
    All,
}

/// The agent, by its socket.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

impl Client {
    /// Prepares calls to the agent behind `socket`; connects with the first one.
    ///
    /// # Errors
    /// [`ClientError::Prepare`].
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("catenoid/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| ClientError::Prepare { socket: socket.to_owned(), source: e.into() })?;
        Ok(Self { http, socket: socket.to_owned() })
    }

    /// What the device holds, and whether it is as the manifest says.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Dated<Status>, ClientError> {
        self.get("/v1/status").await
    }

    /// What the next pass will do.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn plan(&self) -> Result<Dated<PlanAnswer>, ClientError> {
        self.get("/v1/plan").await
    }

    /// Why a subject is as it is, and what happens next.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn why(&self, subject: &Subject) -> Result<Dated<Why>, ClientError> {
        self.get(&format!("/v1/why/{subject}")).await
    }

    /// What a container wrote last.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn output(&self, container: &Name) -> Result<Dated<ContainerOutput>, ClientError> {
        self.get(&format!("/v1/output/{container}")).await
    }

    /// The blobs that the device holds.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn blobs(&self) -> Result<Dated<Blobs>, ClientError> {
        self.get("/v1/blobs").await
    }

    /// The version of the agent, and what documents may require of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn version(&self) -> Result<Dated<VersionAnswer>, ClientError> {
        self.get("/v1/version").await
    }

    /// Hands a signed manifest over, or only asks what would follow from it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn manifest(&self, envelope: Vec<u8>, intent: Intent) -> Result<Dated<Accepted>, ClientError> {
        let path = match intent {
            Intent::Apply => "/v1/manifest",
            Intent::Ask => "/v1/manifest?dry-run=true",
        };
        let call = Call::new(&Method::PUT, path);
        let request = self.request(Method::PUT, path).header(CONTENT_TYPE, "application/cose").body(envelope);
        self.json(call, request).await
    }

    /// Starts everything again that the device holds back for its own sake.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume(&self) -> Result<Dated<Resumed>, ClientError> {
        let path = "/v1/resume";
        self.json(Call::new(&Method::PUT, path), self.request(Method::PUT, path).timeout(CALL_LIMIT)).await
    }

    /// Asks how much of a blob the device holds.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn held(&self, digest: &Digest) -> Result<BlobProgress, ClientError> {
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
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_blob(
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
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&self, since: u64, extent: Extent) -> Result<Events, ClientError> {
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
        Ok(Events::new(call, response))
    }

    /// Waits for an agent that is away, for as long as its restart may take.
    ///
    /// The one place with a timer: a socket that nobody listens on gives nothing to wait for.
    ///
    /// # Errors
    /// [`ClientError`] if it does not come back.
    pub async fn await_return(&self) -> Result<(), ClientError> {
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
pub enum Intent {
    /// It is.
    Apply,
    /// It is only asked what would follow.
    Ask,
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

//! The control interface: HTTP/1.1 and JSON over one unix socket for each container that may speak to us.
//!
//! It reaches what the agent accepts, reports and runs, and nothing in the agent reaches it but the program's start. Its own
//! effects are the sockets.
//!
//! Who speaks is known from the socket (the container) and by the kernel (the user in it). Everything is bounded: the bytes
//! of a request, the requests at once, the time a peer may be silent. What changes something is audited with its actor.
//!
//! [req->SF-17] [req->CR-2.1-1]

mod answer;
pub(crate) mod openapi;
mod peer;
mod routes;

use std::{path::Path, sync::Arc, time::Duration};

use axum::Router;
use catenoid_kernel_base::files;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

pub(crate) use peer::Peer;
pub(crate) use routes::Agent;

/// Connections at once of a container's root, and of all its other users: these cannot keep root out.
const CONNECTIONS: [usize; 2] = [32, 32];
/// Before the next connection is taken when one could not be: the process is out of descriptors.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a peer may take to send a request's head.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The most header fields of a request.
const HEADERS: usize = 32;
/// The most bytes of a request's head that are buffered.
const HEAD_BYTES: usize = 16 * 1024;
/// How much of a refused body is still taken, and for how long, after the answer was given.
const LINGER_BYTES: u64 = 64 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// Serves `socket` for the container named `container`, whose root is `owner` out here, until the future is dropped.
///
/// # Errors
/// If the socket cannot be made.
pub(crate) async fn serve(agent: Arc<Agent>, socket: &Path, container: &str, owner: u32) -> io::Result<()> {
    // Every user of the container may ask; what it may do is decided by who it is.
    let listener = files::listen(socket).map_err(io::Error::other)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let slots = CONNECTIONS.map(|count| Arc::new(Semaphore::new(count)));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not taken");
                #[expect(clippy::disallowed_methods, reason = "nobody announces that there are descriptors again")]
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(credentials) = stream.peer_cred() else { continue };
        let peer = Peer::new(container, owner, credentials.uid());
        // Over the limit it is closed at once: a flood costs a descriptor for a moment, and no memory.
        let Ok(slot) = slots[usize::from(!peer.may_change())].clone().try_acquire_owned() else { continue };
        let agent = agent.clone();
        tokio::spawn(async move {
            answer_calls(agent, peer, stream).await;
            drop(slot);
        });
    }
}

/// Answers the calls of `peer` until one of the two ends the connection.
pub(crate) async fn answer_calls(agent: Arc<Agent>, peer: Peer, stream: UnixStream) {
    converse(stream, routes::router(agent, peer)).await;
}

async fn converse(stream: UnixStream, calls: Router) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Its own keeps the latest time that the wall clock ever showed, also when that was set back.
        .auto_date_header(false)
        .header_read_timeout(HEAD_TIME)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(calls))
        .without_shutdown()
        .await;
    match served {
        Ok(parts) => linger(parts.io.into_inner()).await,
        Err(error) => tracing::debug!(%error, "a connection ended early"),
    }
}

/// Ends a connection whose last answer was given. A peer that was refused may still be writing its request: it would see
/// its connection break instead of the reason, so what it writes is taken for a while, and thrown away.
async fn linger(mut stream: UnixStream) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(LINGER_BYTES);
        // That the time is up is no worse than that the bytes are.
        let _ = timeout(LINGER_TIME, io::copy(&mut rest, &mut io::sink())).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::{http::StatusCode, routing::put};
    #[cfg(feature = "testing")]
    use catenoid_kernel_base::wait::Notify;

    use super::*;
    #[cfg(feature = "testing")]
    use crate::{
        record::audit::{Audit, held},
        testing::Agent as Started,
    };

    /// What root in c0 is answered.
    #[cfg(feature = "testing")]
    async fn call(agent: Arc<Started>, head: &str, body: &[u8]) -> String {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let lines =
            format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        let asked = async move {
            theirs.write_all(lines.as_bytes()).await.unwrap();
            theirs.write_all(body).await.unwrap();
            let mut answer = String::new();
            theirs.read_to_string(&mut answer).await.unwrap();
            answer
        };
        tokio::join!(agent.answer_calls(0, ours), asked).1
    }

    #[cfg(feature = "testing")]
    #[tokio::test]
    async fn whoever_only_asks_waits_for_no_disk() {
        let (data, anchors) = (tempfile::tempdir().unwrap(), include_bytes!("../../../schema/compat/v2/anchors.cbor"));
        let audit = Audit::forced_by(held::force, &data.path().join("audit"), "boot", Notify::new().unwrap()).unwrap();
        let anchors = catenoid_schema::document::decode(anchors).unwrap();
        let agent = Arc::new(Started::with(audit, data.path(), anchors, "QEMU-0001".parse().unwrap()).unwrap());
        let refused: Vec<_> = (0..8)
            .map(|_| {
                let agent = agent.clone();
                tokio::spawn(async move { call(agent, "PUT /v1/manifest", b"nonsense").await })
            })
            .collect();
        tokio::task::spawn_blocking(held::reached).await.unwrap();
        for head in ["GET /v1/status", "GET /v1/plan", "GET /v1/events?follow=false"] {
            let answer = timeout(Duration::from_secs(5), call(agent.clone(), head, b"")).await.expect(head);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{head}: {answer}");
        }
        // As many as are taken in at once.
        while agent.0.audit.last() < 4 {
            tokio::task::yield_now().await;
        }
        assert!(refused.iter().all(|call| !call.is_finished()), "what was refused is answered once it is written down");
        held::let_go();
        for call in refused {
            assert!(call.await.unwrap().starts_with("HTTP/1.1 422 "));
        }
        let log = std::fs::read_to_string(data.path().join("audit/audit.jsonl")).unwrap();
        let numbers: Vec<_> = log.lines().map(|line| line.split(',').next().unwrap().to_owned()).collect();
        assert_eq!(numbers, (1..=8).map(|number| format!("{{\"number\":{number}")).collect::<Vec<_>>());
        assert!(held::count() < 8, "those that wait are forced to the disk together");
    }

    /// The worst of clients: it reads nothing before it has written everything.
    #[tokio::test]
    async fn a_peer_that_is_refused_in_the_middle_of_its_body_still_gets_the_reason() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let calls = Router::new().route("/", put(|| async { (StatusCode::PAYLOAD_TOO_LARGE, "the reason") }));
        let served = tokio::spawn(converse(ours, calls));
        let body = vec![0; 8 << 20];
        let head = format!("PUT / HTTP/1.1\r\nhost: catenoid\r\ncontent-length: {}\r\n\r\n", body.len());
        theirs.write_all(head.as_bytes()).await.unwrap();
        theirs.write_all(&body).await.unwrap();
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("the reason"), "{answer}");
        drop(theirs);
        served.await.unwrap();
    }
}

//! The control socket: whatever the core container's users write, and however they behave, the agent answers in HTTP, is
//! never at fault, lets silent peers go, and answers the next one.
//!
//! The first byte says who is at the other end; the rest is what it writes, over one connection after the other. Time is not waited for: a clock that nobody
//! but the timers sees moves on as soon as nothing else can happen.

use std::time::Duration;

use catenoid_agent::testing::Agent;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use crate::fixture::{FIXTURE, folder};

/// The core container's root, or else somebody in it.
const ROOT: u8 = 1;
/// Shows that nothing more will come, or else stays silent.
const ENDS: u8 = 2;
/// Writes each line by itself, or else everything at once.
const LINES: u8 = 4;
/// Between what is written over one connection and over the next.
pub const NEXT: &[u8] = b"\x1c\x1c";
/// The most connections of one input.
const CONNECTIONS: usize = 8;
/// Longer than the agent waits for anything: what is left of a request's head, a body, the end of a refused one.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn converse(bytes: &[u8]) {
    answer_to(bytes);
}

/// What was answered, when no promise is broken.
pub fn answer_to(bytes: &[u8]) -> Vec<u8> {
    let Some((manner, said)) = bytes.split_first() else { return Vec::new() };
    let data = folder();
    let agent = FIXTURE.agent(data.path());
    for blob in [&FIXTURE.descriptor, &FIXTURE.image] {
        agent.push(blob).expect("there is room");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime can be made").block_on(async {
        let mut answers = Vec::new();
        for said in connections(said) {
            let (answer, let_go) = talk(&agent, *manner, said).await;
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "every answer is HTTP");
            let has = |text: &str| answer.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(!has(r#""blame":"us""#), "{}", String::from_utf8_lossy(&answer));
            assert!(let_go || has("text/event-stream"), "a silent peer is let go");
            answers.extend(answer);
        }
        let (next, let_go) = talk(&agent, ENDS, b"GET /v1/version HTTP/1.1\r\nhost: catenoid\r\n\r\n").await;
        assert!(let_go && next.starts_with(b"HTTP/1.1 200 "), "the next one is answered");
        answers
    })
}

fn connections(mut said: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut more = true;
    std::iter::from_fn(move || {
        let end = said.windows(NEXT.len()).position(|part| part == NEXT);
        let this = more.then(|| &said[..end.unwrap_or(said.len())]);
        more = end.is_some();
        said = end.map_or(&[], |end| &said[end + NEXT.len()..]);
        this
    })
    .take(CONNECTIONS)
}

/// What was answered, and whether the agent ended the connection.
async fn talk(agent: &Agent, manner: u8, said: &[u8]) -> (Vec<u8>, bool) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets can be made");
    let (mut from, mut to) = theirs.into_split();
    let says = async {
        let parts: Vec<_> =
            if manner & LINES == 0 { vec![said] } else { said.split_inclusive(|byte| *byte == b'\n').collect() };
        for part in parts {
            // The agent may have heard enough.
            if to.write_all(part).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        if manner & ENDS != 0 {
            let _ = to.shutdown().await;
        }
        to
    };
    let hears = async {
        let mut answer = Vec::new();
        let let_go = timeout(PATIENCE, from.read_to_end(&mut answer)).await.is_ok();
        drop(from);
        (answer, let_go)
    };
    let user = u32::from(manner & ROOT == 0);
    let conversation = async {
        let (to, heard) = tokio::join!(says, hears);
        drop(to);
        heard
    };
    let ((), heard) = tokio::join!(agent.answer_calls(user, ours), conversation);
    heard
}

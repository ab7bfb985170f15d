//! The control interface, spoken to by somebody who wants it to break: every call of its own description with hostile
//! sizes, calls in hostile orders, and floods. What must hold from the outside (the agent lives, and how much it takes) is
//! the test's to see; from here it must answer, refuse or hang up, in time, and never with an error of its own.

mod floods;
mod forms;
mod order;

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sys::{self, Ended};

/// As long as a peer may be silent in a body (30 s), with time for a machine that is emulated and busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// A user of the core container who is not its root.
const USER: i64 = 1000;
/// The name of the last line.
const END: &str = "the end";
/// A container that the manifest of the test has, and a part of the device.
const CONTAINER: &str = "neighbour";

/// One call of the interface.
#[derive(Debug, Clone)]
struct Call {
    method: String,
    /// With its parameters filled in.
    path: String,
}

/// What a peer gets to see.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Status(u16),
    /// The connection was closed, or broken, without an answer.
    Closed,
    /// Neither, for as long as anybody would wait.
    Silence,
}

impl Reply {
    /// An answer that is the peer's fault, or nobody's; no error of the agent's own. Storage that is full is none.
    fn is_fair(&self) -> bool {
        match self {
            Self::Status(status) => *status < 500 || [501, 505, 507].contains(status),
            Self::Closed => true,
            Self::Silence => false,
        }
    }
}

/// Does everything, but of the forms of calls only each `each`-th after the first `skipped`, and prints what came of it;
/// whether all of it was as it must be.
pub(crate) fn run(socket: &str, each: usize, skipped: usize) -> bool {
    let calls = match described(socket) {
        Ok(calls) => calls,
        Err(error) => {
            crate::say(&format!("{{\"name\":\"the description\",\"asItMust\":false,\"message\":\"{error}\"}}"));
            return false;
        }
    };
    let mut all = report("the description", !calls.is_empty(), &format!("{} calls", calls.len()));
    all &= forms::run(socket, &calls, (each, skipped), "root");
    all &= as_user(|| forms::run(socket, &calls, (each, skipped), "a user"));
    all &= order::run(socket);
    all &= floods::run(socket);
    report(END, all, "")
}

fn report(name: &str, as_it_must: bool, message: &str) -> bool {
    crate::say(&json!({"name": name, "asItMust": as_it_must, "message": message}).to_string());
    as_it_must
}

/// Runs in a child that is a plain user of the container.
fn as_user(work: impl FnOnce() -> bool) -> bool {
    let ended = sys::in_child(|| {
        let changed = sys::call(libc::SYS_setresuid, [USER.into(), USER.into(), USER.into()]);
        if changed.is_ok() && work() { "as it must".to_owned() } else { String::new() }
    });
    ended == Ended::Returned("as it must".to_owned())
}

/// Every call that the agent describes.
fn described(socket: &str) -> io::Result<Vec<Call>> {
    let (status, body) = ask(socket, "GET", "/v1/openapi.json", &[], b"")?;
    let document: Value = serde_json::from_str(&body)?;
    let paths = document["paths"].as_object().filter(|_| status == 200);
    let paths = paths.ok_or_else(|| io::Error::other(format!("no description: {status}")))?;
    let mut calls = Vec::new();
    for (path, methods) in paths {
        let path = path
            .replace("{kind}", "container")
            .replace("{name}", CONTAINER)
            .replace("{container}", CONTAINER)
            .replace("{digest}", &format!("sha256:{}", "0".repeat(64)));
        for method in methods.as_object().into_iter().flat_map(|methods| methods.keys()) {
            calls.push(Call { method: method.to_uppercase(), path: path.clone() });
        }
    }
    Ok(calls)
}

fn connect(socket: &str) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A whole request, and its whole answer.
fn ask(socket: &str, method: &str, path: &str, headers: &[(&str, String)], body: &[u8]) -> io::Result<(u16, String)> {
    let mut stream = connect(socket)?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: c\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = status_of(answer.as_bytes()).ok_or_else(|| io::Error::other("no answer"))?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

/// Sends any bytes, and reads up to the first line of an answer.
fn send(socket: &str, bytes: &[u8], half_close: bool) -> Reply {
    let Ok(mut stream) = connect(socket) else { return Reply::Closed };
    // It may have been refused half-way: then the answer is there already, or the connection is closed.
    let _ = stream.write_all(bytes);
    if half_close {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let mut some = [0; 512];
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match stream.read(&mut some) {
            Ok(0) => return Reply::Closed,
            Ok(read) => answer.extend_from_slice(&some[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => return Reply::Closed,
        }
        if let Some(status) = status_of(&answer) {
            return Reply::Status(status);
        }
    }
    Reply::Silence
}

fn status_of(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(..12)?)
        .ok()?
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| std::str::from_utf8(answer.get(..12)?).ok()?.strip_prefix("HTTP/1.0 "))?
        .parse()
        .ok()
}

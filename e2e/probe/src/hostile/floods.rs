//! Floods: connections, followers who never read, descriptors, refusals.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{USER, ask, connect, report};
use crate::sys::{self, call};

const CONNECTIONS: usize = 300;
/// What the agent takes at once from the users of a container who are not root.
const TAKEN: usize = 32;
const FOLLOWERS: usize = 32;
const REFUSALS: usize = 3000;
const REFUSERS: usize = 8;
/// As much text of ours as a refusal repeats: the agent cuts a message at 4 KiB.
const TEXT: usize = 4000;
const CHURN: usize = 3000;
const MESSAGES: usize = 200;
/// The most descriptors of one message (SCM_MAX_FD of the kernel).
const DESCRIPTORS: usize = 253;
/// What the agent takes of a manifest, and what it gathers of a blob before it writes.
const MANIFEST: usize = 2 << 20;
const CHUNK: usize = 256 << 10;
/// How long unfinished bodies are held.
const HOLD: Duration = Duration::from_secs(3);
/// Until an answer is there while somebody else floods, on a machine that is emulated and busy.
const ANSWER: Duration = Duration::from_secs(10);

pub(super) fn run(socket: &str) -> bool {
    let answered = |when: &'static str| move || answers(socket, when);
    let mut all = while_a_user(socket, "idle connections by the hundred", idle, answered("during idle connections"));
    all &= while_a_user(socket, "heads that come a byte at a time", slow, answered("after slow heads"));
    all &= while_a_user(socket, "followers who never read", follow, || {
        refusals(socket) & answers(socket, "beside followers")
    });
    all &= unfinished(socket, "manifests that are never finished", "manifest", MANIFEST);
    all &= unfinished(socket, "blobs that are never finished", &format!("blobs/sha256:{}", "1".repeat(64)), CHUNK);
    all &= churn(socket);
    all &= descriptors(socket);
    all & answers(socket, "and after all of it")
}

/// Root asks for the status, which it must get in time: its own flood may still hold all that the agent takes from it.
pub(super) fn answers(socket: &str, when: &str) -> bool {
    let (asked, mut got, mut tries) = (Instant::now(), 0, 0);
    while got != 200 && asked.elapsed() < ANSWER {
        got = ask(socket, "GET", "/v1/status", &[], b"").map_or(0, |(status, _)| status);
        tries += 1;
    }
    let took = asked.elapsed();
    let message = format!("{got} after {} ms, at try {tries}", took.as_millis());
    report(&format!("root is answered: {when}"), got == 200 && took < ANSWER, &message)
}

/// A child that is a plain user floods, and what it holds stays held until it is ended: after `meanwhile`.
fn while_a_user(socket: &str, what: &str, flood: fn(&str) -> (bool, String), meanwhile: impl FnOnce() -> bool) -> bool {
    let Ok((mut reader, mut report_as)) = std::io::pipe() else { return report(what, false, "no pipe") };
    let child = sys::spawn(|| {
        if call(libc::SYS_setresuid, [USER.into(), USER.into(), USER.into()]).is_ok() {
            let (as_it_must, text) = flood(socket);
            let _ = report_as.write_all(format!("{}{text}", if as_it_must { '+' } else { '-' }).as_bytes());
        }
        // Its side of the pipe is closed when it is ended.
        sys::pause();
    });
    let Ok(child) = child else { return report(what, false, "no child") };
    drop(report_as);
    let mut text = [0; 1024];
    let read = reader.read(&mut text).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..read]).into_owned();
    let mut all = report(what, text.starts_with('+'), text.get(1..).unwrap_or_default());
    all &= meanwhile();
    let _ = call(libc::SYS_kill, [child.into(), i64::from(libc::SIGKILL).into()]);
    sys::wait_for(child);
    all
}

/// Holds as many connections as it gets; those beyond what is taken are closed at once. The held ones live on in the child.
fn idle(socket: &str) -> (bool, String) {
    let connections: Vec<UnixStream> = (0..CONNECTIONS).filter_map(|_| connect(socket).ok()).collect();
    let closed = connections.iter().filter(|stream| is_closed(stream)).count();
    let text = format!("{} made, {closed} closed at once", connections.len());
    std::mem::forget(connections);
    (closed >= CONNECTIONS - TAKEN, text)
}

fn is_closed(mut stream: &UnixStream) -> bool {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    matches!(stream.read(&mut [0; 1]), Ok(0)) || stream.peer_addr().is_err()
}

/// Sends heads so slowly that they never end; the agent hangs up in its time.
fn slow(socket: &str) -> (bool, String) {
    let mut connections: Vec<Option<UnixStream>> = (0..TAKEN).map(|_| connect(socket).ok()).collect();
    let (began, mut byte) = (Instant::now(), 0);
    let head = b"GET /v1/status HTTP/1.1\r\nhost: a-head-that-comes-a-byte-a-second-and-never-ends\r\n";
    while connections.iter().any(Option::is_some) && byte < head.len() {
        for connection in &mut connections {
            let broken = connection.as_ref().is_some_and(|mut stream| stream.write_all(&head[byte..=byte]).is_err());
            if broken {
                *connection = None;
            }
        }
        byte += 1;
        sys::readable(None, Duration::from_secs(1));
    }
    let left = connections.iter().filter(|connection| connection.is_some()).count();
    (left == 0, format!("{left} of {TAKEN} left after {} s", began.elapsed().as_secs()))
}

/// A manifest that is refused with as much of our text as can be, thousands of times.
fn refusals(socket: &str) -> bool {
    let manifest = with_our_text();
    let (left, refused) = (AtomicUsize::new(REFUSALS), AtomicUsize::new(0));
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..REFUSERS {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let got = ask(socket, "PUT", "/v1/manifest", &[], &manifest).map_or(0, |(status, _)| status);
                    refused.fetch_add(usize::from(got == 422), Ordering::Relaxed);
                }
            });
        }
    });
    let refused = refused.load(Ordering::Relaxed);
    let text = format!("{refused} refused in {} s", began.elapsed().as_secs());
    report("thousands of manifests that are refused", refused == REFUSALS, &text)
}

/// Asks for all events, and reads none. The connections live on in the child.
fn follow(socket: &str) -> (bool, String) {
    let asked = |mut stream: UnixStream| {
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: c\r\n\r\n").is_ok().then_some(stream)
    };
    let followers: Vec<UnixStream> = (0..FOLLOWERS).filter_map(|_| connect(socket).ok().and_then(asked)).collect();
    let text = format!("{} follow", followers.len());
    let enough = followers.len() == FOLLOWERS;
    std::mem::forget(followers);
    (enough, text)
}

/// An envelope of the right form (RFC 9052, `COSE_Sign`) that says in much text that it is something else.
fn with_our_text() -> Vec<u8> {
    let text = "x".repeat(TEXT);
    let length = |length: usize| u16::try_from(length).expect("below 64 KiB").to_be_bytes();
    // {3: text}
    let header = [&[0xa1, 0x03, 0x79][..], &length(TEXT), text.as_bytes()].concat();
    // {1: -35, 33: h'00'}
    let signer = [0xa2, 0x01, 0x38, 0x22, 0x18, 0x21, 0x41, 0x00];
    let signature = [&[0x83, 0x40 + 8][..], &signer, &[0xa0, 0x58, 96], &[0; 96]].concat();
    [&[0xd8, 0x62, 0x84, 0x59][..], &length(header.len()), &header, &[0xa0, 0x41, 0x00, 0x81], &signature].concat()
}

/// Sends all of a body but its last byte, as often at once as the agent takes connections of root, but for the one that asks.
fn unfinished(socket: &str, what: &str, call: &str, bytes: usize) -> bool {
    let head = format!("PUT /v1/{call} HTTP/1.1\r\nhost: c\r\ncontent-length: {bytes}\r\n\r\n");
    let begun = |_| {
        let mut stream = connect(socket).ok()?;
        // One that is not read from yet keeps us no longer than this.
        stream.set_write_timeout(Some(HOLD)).ok()?;
        let body = vec![0; bytes - 1];
        Some((stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_ok(), stream))
    };
    let held: Vec<(bool, UnixStream)> = thread::scope(|scope| {
        let peers: Vec<_> = (1..TAKEN).map(|at| scope.spawn(move || begun(at))).collect();
        peers.into_iter().filter_map(|peer| peer.join().ok().flatten()).collect()
    });
    let taken = held.iter().filter(|(taken, _)| *taken).count();
    let all = report(what, held.len() == TAKEN - 1, &format!("{taken} of {} taken but for a byte", held.len()));
    // Long enough to be seen from outside.
    sys::readable(None, HOLD);
    all & answers(socket, &format!("beside {what}"))
}

/// Connections that are closed as soon as they are there.
fn churn(socket: &str) -> bool {
    let made = (0..CHURN).filter(|_| connect(socket).is_ok()).count();
    report("connections that come and go", made == CHURN, &format!("{made} of {CHURN}"))
}

/// Sends descriptors with its bytes, which nobody asked for: they must not stay with the agent.
fn descriptors(socket: &str) -> bool {
    let sent = (0..MESSAGES).filter(|_| send_descriptors(socket)).count();
    report("descriptors that nobody asked for", sent == MESSAGES, &format!("{sent} messages with {DESCRIPTORS} each"))
}

/// Once it answers, it has taken them. The kernel lets a user have so many on their way only, and a connection that is one too many
/// is closed at once: both say so, and it is tried again.
fn send_descriptors(socket: &str) -> bool {
    let deadline = Instant::now() + ANSWER;
    while Instant::now() < deadline {
        let Ok(mut stream) = connect(socket) else { continue };
        // `struct cmsghdr` (length, SOL_SOCKET, SCM_RIGHTS) and the descriptors; `struct iovec`; `struct msghdr`.
        let own = stream.as_raw_fd().to_ne_bytes();
        let mut control: Vec<u8> =
            [16_u64 + 4 * DESCRIPTORS as u64, 1 | 1 << 32].iter().flat_map(|word| word.to_ne_bytes()).collect();
        control.extend(own.repeat(DESCRIPTORS));
        control.resize(control.len().next_multiple_of(8), 0);
        let mut data = *b"GET /v1/version HTTP/1.1\r\nhost: c\r\n\r\n";
        let mut vector: Vec<u8> =
            [data.as_mut_ptr() as u64, data.len() as u64].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let words = [0, 0, vector.as_mut_ptr() as u64, 1, control.as_mut_ptr() as u64, control.len() as u64, 0];
        let mut message: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let words = [stream.as_raw_fd().into(), message.as_mut_slice().into(), 0.into()];
        if call(libc::SYS_sendmsg, words).is_ok() {
            let _ = stream.read(&mut [0; 64]);
            return true;
        }
        // Nobody reports when: it waits for 20 ms and asks again.
        let _ = call(libc::SYS_poll, [0.into(), 0.into(), 20.into()]);
    }
    false
}

//! Hostile sizes and forms: each call with each of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use super::{Call, Reply, report, send};

/// Requests at once: half of what the agent takes from one kind of user.
const AT_ONCE: usize = 16;
const LONG: usize = 64 * 1024;
/// Sixteen times what the agent takes of a head.
const LONGER: usize = 256 * 1024;
/// More than a manifest may have; calls that take no body get less of one.
const BODY: usize = 3 * 1024 * 1024;
const PIPELINED: usize = 100;

/// A name, and what is sent; whether its end is said afterwards (a peer that only stops is waited for).
struct Form {
    name: &'static str,
    bytes: fn(&Call) -> Vec<u8>,
    half_close: bool,
}

const fn form(name: &'static str, bytes: fn(&Call) -> Vec<u8>) -> Form {
    Form { name, bytes, half_close: true }
}

/// A head with further lines, and what follows it.
fn with(call: &Call, lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{} {} HTTP/1.1\r\nhost: c\r\n{lines}\r\n", call.method, call.path);
    [head.as_bytes(), body].concat()
}

fn at(call: &Call, path: &str) -> Vec<u8> {
    with(&Call { path: path.to_owned(), ..call.clone() }, "content-length: 0\r\n", b"")
}

fn chunked(call: &Call, body: &[u8]) -> Vec<u8> {
    with(call, "transfer-encoding: chunked\r\n", body)
}

fn body(call: &Call) -> Vec<u8> {
    vec![0; if call.method == "PUT" { BODY } else { LONGER }]
}

const FORMS: &[Form] = &[
    form("nothing special", |call| with(call, "content-length: 0\r\n", b"")),
    form("a header of 256 KiB", |call| with(call, &format!("x: {}\r\n", "a".repeat(LONGER)), b"")),
    form("a header's name of 256 KiB", |call| with(call, &format!("{}: a\r\n", "x".repeat(LONGER)), b"")),
    form("a thousand headers", |call| with(call, &"x: a\r\n".repeat(1000), b"")),
    form("a header without an end", |call| with(call, "x: a", &vec![b'a'; LONGER])),
    form("a header that is no text", |call| {
        let head = format!("{} {} HTTP/1.1\r\nhost: c\r\nx: ", call.method, call.path);
        [head.as_bytes(), b"\xff\xfe\x80\r\n\r\n"].concat()
    }),
    form("a NUL in a header", |call| with(call, "x: a\0b\r\n", b"")),
    form("a header over two lines", |call| with(call, "x: a\r\n b\r\n", b"")),
    form("a space before a colon", |call| with(call, "content-length : 0\r\n", b"")),
    form("only line feeds", |call| format!("{} {} HTTP/1.1\nhost: c\n\n", call.method, call.path).into_bytes()),
    form("a path of 64 KiB", |call| at(call, &format!("{}/{}", call.path, "a".repeat(LONG)))),
    form("a path that climbs", |call| at(call, &format!("{}/../../..%2f..%2fetc%2fpasswd", call.path))),
    form("a path that is no text", |call| at(call, &format!("{}%00%ff%c0%af", call.path))),
    form("a path that is a link", |call| at(call, &format!("http://other{}", call.path))),
    form("a query of 64 KiB", |call| at(call, &format!("{}?since={}", call.path, "9".repeat(LONG)))),
    form("a negative number in the query", |call| at(call, &format!("{}?since=-1", call.path))),
    form("a number too large in the query", |call| at(call, &format!("{}?since=18446744073709551616", call.path))),
    form("the largest number in the query", |call| {
        at(call, &format!("{}?since=18446744073709551615&follow=false", call.path))
    }),
    form("a word that is none in the query", |call| at(call, &format!("{}?dry-run=maybe&follow=perhaps", call.path))),
    form("the same field twice in the query", |call| {
        at(call, &format!("{}?since=1&since=2&dry-run=true&dry-run=false", call.path))
    }),
    form("a negative length", |call| with(call, "content-length: -1\r\n", b"a")),
    form("the largest length", |call| with(call, "content-length: 18446744073709551615\r\n", b"a")),
    form("a length too large", |call| with(call, "content-length: 99999999999999999999999\r\n", b"a")),
    form("a length in hex", |call| with(call, "content-length: 0x10\r\n", b"a")),
    form("two lengths", |call| with(call, "content-length: 1\r\ncontent-length: 2\r\n", b"aa")),
    form("a list of lengths", |call| with(call, "content-length: 1, 2\r\n", b"aa")),
    form("a length and chunks", |call| with(call, "content-length: 4\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n")),
    form("chunks in an unknown coding", |call| with(call, "transfer-encoding: gzip, none\r\n", b"aa")),
    form("a chunk of the largest size", |call| chunked(call, b"ffffffffffffffff\r\naa")),
    form("a chunk of a size too large", |call| chunked(call, b"ffffffffffffffffff\r\naa")),
    form("a chunk of a negative size", |call| chunked(call, b"-1\r\naa\r\n0\r\n\r\n")),
    form("a chunk of no size", |call| chunked(call, b"\r\naa\r\n0\r\n\r\n")),
    form("a chunk of a size that is no number", |call| chunked(call, b"zz\r\naa\r\n0\r\n\r\n")),
    form("a chunk longer than it says", |call| chunked(call, b"1\r\naaaaaaaa\r\n0\r\n\r\n")),
    form("a chunk's extension of 256 KiB", |call| {
        chunked(call, format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(LONGER)).as_bytes())
    }),
    form("a trailer of 256 KiB", |call| chunked(call, format!("0\r\nx: {}\r\n\r\n", "a".repeat(LONGER)).as_bytes())),
    form("ten thousand chunks of a byte", |call| {
        chunked(call, &[b"1\r\na\r\n".repeat(10_000), b"0\r\n\r\n".to_vec()].concat())
    }),
    form("a body too large", |call| {
        let body = body(call);
        with(call, &format!("content-length: {}\r\n", body.len()), &body)
    }),
    form("a body too large in one chunk", |call| {
        let body = body(call);
        chunked(call, &[format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat())
    }),
    form("a body that ends too early", |call| with(call, "content-length: 1000\r\n", b"aaaa")),
    Form {
        name: "a body that never ends",
        bytes: |call| with(call, "content-length: 1000\r\n", b"aaaa"),
        half_close: false,
    },
    Form {
        name: "a head that never ends",
        bytes: |call| format!("{} {} HTTP/1.1\r\nhost", call.method, call.path).into_bytes(),
        half_close: false,
    },
    form("a head that ends too early", |call| format!("{} {} HT", call.method, call.path).into_bytes()),
    form("the end of the largest blob", |call| with(call, "upload-offset: 8589934591\r\ncontent-length: 2\r\n", b"aa")),
    form("a negative offset", |call| with(call, "upload-offset: -1\r\ncontent-length: 2\r\n", b"aa")),
    form("the largest offset", |call| {
        with(call, "upload-offset: 18446744073709551615\r\ncontent-length: 2\r\n", b"aa")
    }),
    form("the largest signed offset", |call| {
        with(call, "upload-offset: 9223372036854775807\r\ntransfer-encoding: chunked\r\n", b"2\r\naa\r\n0\r\n\r\n")
    }),
    form("an offset that is no number", |call| with(call, "upload-offset: 1e3\r\ncontent-length: 2\r\n", b"aa")),
    form("two offsets", |call| with(call, "upload-offset: 0\r\nupload-offset: 1\r\ncontent-length: 2\r\n", b"aa")),
    form("a wish to be asked", |call| with(call, "expect: 100-continue\r\ncontent-length: 2\r\n", b"aa")),
    form("a wish for another protocol", |call| {
        with(call, "connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAAA\r\n", b"")
    }),
    form("another version", |call| format!("{} {} HTTP/9.9\r\n\r\n", call.method, call.path).into_bytes()),
    form("no version", |call| format!("{} {}\r\n\r\n", call.method, call.path).into_bytes()),
    form("an old version", |call| format!("{} {} HTTP/1.0\r\n\r\n", call.method, call.path).into_bytes()),
    form("a method in small letters", |call| {
        with(&Call { method: call.method.to_lowercase(), ..call.clone() }, "", b"")
    }),
    form("a method of 64 KiB", |call| with(&Call { method: "A".repeat(LONG), ..call.clone() }, "", b"")),
    form("other methods", |call| {
        let methods = ["DELETE", "TRACE", "CONNECT", "OPTIONS", "PATCH", "POST"];
        let request =
            |method: &str| with(&Call { method: method.to_owned(), ..call.clone() }, "content-length: 0\r\n", b"");
        methods.into_iter().flat_map(request).collect()
    }),
    form("a hundred requests at once", |call| with(call, "content-length: 0\r\n", b"").repeat(PIPELINED)),
    form("a request in a request's body", |call| {
        with(call, "content-length: 20\r\n", b"PUT /v1/manifest HTTP/1.1\r\nhost: c\r\ncontent-length: 1\r\n\r\nx")
    }),
    form("another protocol (TLS)", |_| [&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 512]].concat()),
    form("another protocol (HTTP/2)", |_| [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0; 64]].concat()),
    form("64 KiB of anything", |call| {
        // Bytes of a linear congruence, another row for each call.
        let mut state =
            call.path.bytes().chain(call.method.bytes()).fold(1_u64, |sum, byte| sum * 31 % 65_521 + u64::from(byte));
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..LONG).map(|_| next()).collect()
    }),
];

/// Sends forms of calls as whoever this process is: each `each`-th after the first `skipped` of all forms of all calls.
pub(super) fn run(socket: &str, calls: &[Call], (each, skipped): (usize, usize), who: &str) -> bool {
    let all = calls.iter().flat_map(|call| FORMS.iter().map(move |form| (call, form)));
    let work: VecDeque<(&Call, &Form)> = all.skip(skipped).step_by(each).collect();
    let total = work.len();
    let (work, replies) = (Mutex::new(work), Mutex::new(Vec::new()));
    let take = || work.lock().ok()?.pop_front();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((call, form)) = take() {
                    let begun = Instant::now();
                    let reply = send(socket, &(form.bytes)(call), form.half_close);
                    if let Ok(mut replies) = replies.lock() {
                        replies.push((call, form, reply, begun.elapsed()));
                    }
                }
            });
        }
    });
    let replies = replies.into_inner().unwrap_or_default();
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    let mut unfair = Vec::new();
    for (call, form, reply, _) in &replies {
        let name = match reply {
            Reply::Status(status) => status.to_string(),
            Reply::Closed => "closed".to_owned(),
            Reply::Silence => "silence".to_owned(),
        };
        *statuses.entry(name).or_default() += 1;
        if !reply.is_fair() {
            unfair.push(format!("{} {}: {}: {reply:?}", call.method, call.path, form.name));
        }
    }
    let slowest = replies.iter().max_by_key(|(.., took)| *took).map(|(call, form, _, took)| {
        format!("{} {} with {} took {:.0} s", call.method, call.path, form.name, took.as_secs_f32())
    });
    let (forms, calls, slowest) = (FORMS.len(), calls.len(), slowest.unwrap_or_default());
    let message = format!("{total} of {forms} forms of {calls} calls: {statuses:?}; {slowest} {}", unfair.join("; "));
    report(&format!("sizes and forms, as {who}"), unfair.is_empty() && replies.len() == total, &message)
}

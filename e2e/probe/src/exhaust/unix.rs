//! Sockets of `AF_UNIX`.

use super::sockets::{close, pair, send};
use super::taking::{Stop, Taking};
use crate::sys::{Refusal, call};

/// Sockets that go with one message: a step takes no more memory than a [`Taking`] expects.
const CARRIED: u64 = 40;
const DATAGRAM: usize = 16 << 10;
/// More than fit into a queue.
const ENOUGH: u64 = 4096;

/// Sockets go away in messages to a socket that nobody reads: nobody has them open then. The next one takes the messages when
/// one is full.
pub(super) fn descriptors(taking: &mut Taking) -> Stop {
    let mut queue = None;
    taking.each(|taking| {
        let end = match queue {
            Some(end) => end,
            None => *queue.insert(pair(libc::SOCK_DGRAM)?[0]),
        };
        let carried = (0..CARRIED / 2).map(|_| pair(libc::SOCK_DGRAM)).collect::<Result<Vec<_>, _>>()?.concat();
        let sent = carry(end, &carried);
        carried.into_iter().for_each(close);
        match sent {
            Err(refusal) if refusal.errno == libc::EAGAIN => {
                taking.error = refusal.to_string();
                queue = None;
                Ok(0)
            }
            sent => sent.map(|_| CARRIED),
        }
    })
}

/// Sends a byte with descriptors.
fn carry(fd: i64, carried: &[i64]) -> Result<i64, Refusal> {
    let word = |word: u64| word.to_ne_bytes();
    // `struct cmsghdr` (length, SOL_SOCKET, SCM_RIGHTS) and the descriptors; `struct iovec`; `struct msghdr`.
    let mut control = [word(16 + 4 * carried.len() as u64), word(1 | 1 << 32)].concat();
    control.extend(carried.iter().flat_map(|fd| i32::try_from(*fd).unwrap_or(-1).to_ne_bytes()));
    control.resize(control.len().next_multiple_of(8), 0);
    let mut byte = [0];
    let mut vector = [word(byte.as_mut_ptr() as u64), word(1)].concat();
    let words = [0, 0, vector.as_mut_ptr() as u64, 1, control.as_mut_ptr() as u64, control.len() as u64, 0];
    let mut message = words.map(word).concat();
    call(libc::SYS_sendmsg, [fd.into(), message.as_mut_slice().into(), i64::from(libc::MSG_DONTWAIT).into()])
}

pub(super) fn datagrams(taking: &mut Taking) -> Stop {
    let mut bytes = vec![0; DATAGRAM];
    taking.each(|taking| {
        let [one, _other] = pair(libc::SOCK_DGRAM)?;
        taking.fill(ENOUGH, || send(one, &mut bytes, &mut []))
    })
}

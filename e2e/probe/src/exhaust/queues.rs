//! Queues of netlink sockets.

use std::os::fd::IntoRawFd as _;

use super::sockets::{self, LARGE, RECEIVE_BUFFER, SOCKET, own_address, send, set, socket};
use super::taking::{Stop, Taking};
use crate::netlink;
use crate::sys::{Arg, Refusal, call};

/// linux/netlink.h.
const USERSOCK: i64 = 2;
const GENERIC: i64 = 16;
/// A message to itself.
const MESSAGE: usize = 16 << 10;
/// linux/genetlink.h: the controller, and asking it for a family by its name.
const CONTROLLER: u16 = 16;
const GET_FAMILY: [u8; 4] = [3, 1, 0, 0];
const FAMILY_NAME: u16 = 2;
/// `SO_ERROR` (asm-generic/socket.h).
const ERROR: i64 = 4;
/// Answers of the kernel that are asked for between two looks whether the queue is full.
const BURST: u64 = 32;
/// More than fill a queue.
const BURSTS: u64 = 2048;
/// More messages than a queue can take.
const ENOUGH: u64 = 4096;

/// Programs may send to each other over this protocol, and to themselves.
pub(super) fn usersock(taking: &mut Taking) -> Stop {
    let mut message = netlink::message(0, 0, &[0; MESSAGE - 16]);
    taking.each(|taking| {
        let fd = socket(libc::AF_NETLINK, libc::SOCK_RAW, USERSOCK)?;
        sockets::bind(fd, &netlink::address(0, 0))?;
        let mut own = own_address(fd, 12)?;
        taking.fill(ENOUGH, || send(fd, &mut message, &mut own))
    })
}

/// Asks for an interface over and over.
pub(super) fn route(taking: &mut Taking) -> Stop {
    unread(taking, netlink::ROUTE, netlink::message(netlink::GET_LINK, netlink::REQUEST_ACK, &netlink::link(1, &[])))
}

/// Asks for a family of generic netlink over and over.
pub(super) fn generic(taking: &mut Taking) -> Stop {
    let body = [&GET_FAMILY[..], &netlink::attribute(FAMILY_NAME, b"nlctrl\0")].concat();
    unread(taking, GENERIC, netlink::message(CONTROLLER, netlink::REQUEST_ACK, &body))
}

fn unread(taking: &mut Taking, protocol: i64, mut request: Vec<u8>) -> Stop {
    taking.each(|taking| {
        let fd = i64::from(netlink::open(protocol, 0)?.into_raw_fd());
        set(fd, SOCKET, RECEIVE_BUFFER, &LARGE.to_ne_bytes())?;
        for _ in 0..BURSTS {
            if is_full(fd)? || taking.left() == 0 {
                break;
            }
            taking.count += taking.fill(BURST, || send(fd, &mut request, &mut []))?;
        }
        Ok(0)
    })
}

/// Whether an answer found no room: the socket has an error then.
fn is_full(fd: i64) -> Result<bool, Refusal> {
    let (mut error, mut length) = ([0; 4], 4_i32.to_ne_bytes());
    call(
        libc::SYS_getsockopt,
        [fd.into(), SOCKET.into(), ERROR.into(), Arg::Bytes(&mut error), Arg::Bytes(&mut length)],
    )?;
    Ok(i32::from_ne_bytes(error) != 0)
}

//! Sockets to the kernel: a request, and all of its answer.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use libc::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, connect, recv, send, setsockopt,
    socket, sockopt::RcvBuf,
};

use super::message::{Message, Received, messages, number};
use catenoid_kernel_base::fault::look;

/// The most bytes of one answer: 4096 links of 2 KiB. What does not fit is not seen, so a container that fills its own
/// namespace with links only hides its own.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;
/// More than the kernel puts into one datagram: a link can have 64 KiB of alternative names.
const DATAGRAM: usize = 128 * 1024;

/// Room for notifications until they are read; if it overflows the reader is still woken, and looks at everything anyway.
const NOTIFICATIONS: usize = 256 * 1024;

#[allow(clippy::cast_possible_truncation, reason = "all of them are flags of 16 bits")]
pub(crate) mod flags {
    pub(crate) const REQUEST: u16 = super::NLM_F_REQUEST as u16;
    pub(crate) const DUMP: u16 = super::NLM_F_DUMP as u16;
    pub(crate) const ACKNOWLEDGED: u16 = REQUEST | super::NLM_F_ACK as u16;
    pub(crate) const CREATE_ONLY: u16 = super::NLM_F_CREATE as u16;
    pub(crate) const CREATE: u16 = ACKNOWLEDGED | CREATE_ONLY | super::NLM_F_EXCL as u16;
    pub(crate) const REPLACE: u16 = super::NLM_F_REPLACE as u16;
}

/// A request for all there is of something.
pub(crate) fn listing(kind: u16, fixed: &[u8]) -> Message {
    Message::new(kind, flags::REQUEST | flags::DUMP, fixed)
}

/// A netlink socket in the calling thread's network namespace. Nobody but the kernel can answer on it: who has NET_ADMIN
/// in a namespace can send to any other socket of it, but not to one that is connected to somebody else (netlink(7)).
pub(crate) fn open(protocol: SockProtocol, flags: SockFlag, groups: u32) -> io::Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    let fd = look("netlink.open", || socket(AddressFamily::Netlink, SockType::Raw, flags, protocol))?;
    if groups != 0 {
        setsockopt(&fd, RcvBuf, &NOTIFICATIONS)?;
    }
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    connect(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(fd)
}

thread_local! {
    /// For the answers of a whole visit, whose thread it ends with: to clear one for each costs about as much as to ask.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Sends `request` and hands each message of its answer to `each`, until the kernel says that it is done.
pub(crate) fn exchange(fd: &OwnedFd, request: Message, mut each: impl FnMut(Received<'_>)) -> io::Result<()> {
    /// The answer to this request, and not to one that was given up: one request is under way at a time.
    const SEQUENCE: u32 = 1;
    let fd = fd.as_fd().as_raw_fd();
    look("netlink.ask", || send(fd, &request.finish(SEQUENCE), MsgFlags::empty()))?;
    let mut seen = 0;
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(DATAGRAM, 0);
        loop {
            // MSG_TRUNC: the length that it had, which must not be more than there was room for.
            let length = match recv(fd, buffer, MsgFlags::MSG_TRUNC) {
                Err(nix::Error::EINTR) => continue,
                received => received?,
            };
            if length > buffer.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            seen += length;
            for received in messages(&buffer[..length]).filter(|received| received.sequence == SEQUENCE) {
                match i32::from(received.kind) {
                    // The end of a listing says as well whether it is whole.
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => return acknowledged(received.body),
                    _ if seen <= ANSWER_LIMIT => each(received),
                    // Read to the end all the same: what is left in the socket would be taken for the next answer.
                    _ => {}
                }
            }
        }
    })
}

/// `struct nlmsgerr`: a negative errno, or 0 for success.
fn acknowledged(body: &[u8]) -> io::Result<()> {
    match number(body).cast_signed() {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
    }
}

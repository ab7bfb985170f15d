//! Requests to the kernel by netlink, and its answers: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use crate::sys::{self, Arg, Refusal, call};

/// How long an announcement or an answer is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) const ROUTE: i64 = 0;

pub(crate) const NEW_LINK: u16 = 16;
pub(crate) const DELETE_LINK: u16 = 17;
pub(crate) const GET_LINK: u16 = 18;

/// Flags of a request: answered in any case; makes what is missing.
pub(crate) const REQUEST_ACK: u16 = 5;
pub(crate) const CREATE: u16 = 0x400;

pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_LINKINFO: u16 = 18;
pub(crate) const IFLA_INFO_KIND: u16 = 1;

const NLMSG_ERROR: u16 = 2;

/// `struct sockaddr_nl`.
pub(crate) fn address(port: u32, groups: u32) -> Vec<u8> {
    [&16_u16.to_ne_bytes()[..], &[0, 0], &port.to_ne_bytes(), &groups.to_ne_bytes()].concat()
}

/// A socket of this protocol that hears these groups.
pub(crate) fn open(protocol: i64, groups: u32) -> Result<OwnedFd, Refusal> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    let socket = sys::owned(call(libc::SYS_socket, [libc::AF_NETLINK.into(), kind.into(), protocol.into()])?);
    let mut own = address(0, groups);
    call(libc::SYS_bind, [socket.as_raw_fd().into(), own.as_mut_slice().into(), 12.into()])?;
    Ok(socket)
}

pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("attributes of ours are short");
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct ifinfomsg` of the interface with this number, and attributes.
pub(crate) fn link(number: u32, attributes: &[u8]) -> Vec<u8> {
    [&[0; 4][..], &number.to_ne_bytes(), &[0; 8], attributes].concat()
}

/// `struct nlmsghdr` and what follows it.
pub(crate) fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).expect("requests of ours are short");
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], body].concat()
}

/// Sends a request and reads what the kernel answers: 0 and everything that is no error is success.
pub(crate) fn ask(socket: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> Result<i64, Refusal> {
    let mut message = message(kind, flags, body);
    let length = i64::try_from(message.len()).expect("requests of ours are short");
    let fd = socket.as_raw_fd();
    call(libc::SYS_sendto, [fd.into(), message.as_mut_slice().into(), length.into(), 0.into(), 0.into(), 0.into()])?;
    if !sys::readable(Some(fd.into()), PATIENCE) {
        return Err(Refusal { errno: libc::ETIMEDOUT, filter: false });
    }
    let mut answer = [0; 4096];
    call(libc::SYS_recvfrom, [fd.into(), Arg::Bytes(&mut answer), 4096.into(), 0.into(), 0.into(), 0.into()])?;
    let errno = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    match u16::from_ne_bytes([answer[4], answer[5]]) {
        NLMSG_ERROR if errno != 0 => Err(Refusal { errno: -errno, filter: false }),
        _ => Ok(1),
    }
}

/// The number of an interface.
pub(crate) fn number(name: &str) -> Result<u32, Refusal> {
    /// `SIOCGIFINDEX` (linux/sockios.h).
    const NUMBER_OF: i64 = 0x8933;
    let socket = sys::owned(call(libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_DGRAM.into(), 0.into()])?);
    // `struct ifreq`: name and number.
    let mut request = [0; 40];
    let unknown = || Refusal { errno: libc::ENODEV, filter: false };
    request[..16].get_mut(..name.len()).ok_or_else(unknown)?.copy_from_slice(name.as_bytes());
    call(libc::SYS_ioctl, [socket.as_raw_fd().into(), NUMBER_OF.into(), Arg::Bytes(&mut request)])?;
    request[16..].first_chunk().map(|number| u32::from_ne_bytes(*number)).ok_or_else(unknown)
}

//! Sockets by their numbers, which nobody closes: what a row took it holds.

use crate::sys::{Arg, Refusal, call};

/// `SOL_SOCKET` and its options (asm-generic/socket.h).
pub(super) const SOCKET: i64 = 1;
const SEND_BUFFER: i64 = 7;
pub(super) const RECEIVE_BUFFER: i64 = 8;
const SEND_TIME: i64 = 21;
/// More than a buffer may have: the kernel takes less.
pub(super) const LARGE: i32 = 1 << 30;
/// Calls on a socket do not wait.
pub(super) const AT_ONCE: i64 = libc::MSG_DONTWAIT as i64;
/// 127.0.0.1.
pub(super) const LOCAL: [u8; 4] = [127, 0, 0, 1];

/// A socket with buffers as large as it can have them, closed by no program that this one becomes.
pub(super) fn socket(family: i32, kind: i32, protocol: i64) -> Result<i64, Refusal> {
    let fd = call(libc::SYS_socket, [family.into(), (kind | libc::SOCK_CLOEXEC).into(), protocol.into()])?;
    for buffer in [SEND_BUFFER, RECEIVE_BUFFER] {
        set(fd, SOCKET, buffer, &LARGE.to_ne_bytes())?;
    }
    Ok(fd)
}

pub(super) fn set(fd: i64, level: i64, option: i64, value: &[u8]) -> Result<i64, Refusal> {
    let (mut value, length) = (value.to_vec(), length(value));
    call(libc::SYS_setsockopt, [fd.into(), level.into(), option.into(), value.as_mut_slice().into(), length.into()])
}

/// Connecting and sending give up after a fifth of a second (`struct timeval`).
pub(super) fn hurry(fd: i64) -> Result<i64, Refusal> {
    set(fd, SOCKET, SEND_TIME, &[0_i64.to_ne_bytes(), 200_000_i64.to_ne_bytes()].concat())
}

/// `struct sockaddr_in`.
pub(super) fn inet(host: [u8; 4], port: u16) -> Vec<u8> {
    [&2_u16.to_ne_bytes()[..], &port.to_be_bytes(), &host, &[0; 8]].concat()
}

pub(super) fn bind(fd: i64, address: &[u8]) -> Result<i64, Refusal> {
    let (mut address, length) = (address.to_vec(), length(address));
    call(libc::SYS_bind, [fd.into(), address.as_mut_slice().into(), length.into()])
}

pub(super) fn connect(fd: i64, address: &[u8]) -> Result<i64, Refusal> {
    let (mut address, length) = (address.to_vec(), length(address));
    call(libc::SYS_connect, [fd.into(), address.as_mut_slice().into(), length.into()])
}

/// Binds to a free port of this host and says which address that is.
pub(super) fn bind_anywhere(fd: i64, host: [u8; 4]) -> Result<Vec<u8>, Refusal> {
    bind(fd, &inet(host, 0))?;
    own_address(fd, 16)
}

/// The address of a socket, which is so long.
pub(super) fn own_address(fd: i64, length: usize) -> Result<Vec<u8>, Refusal> {
    let (mut address, mut room) = (vec![0; length], u32::try_from(length).unwrap_or_default().to_ne_bytes());
    call(libc::SYS_getsockname, [fd.into(), address.as_mut_slice().into(), Arg::Bytes(&mut room)])?;
    Ok(address)
}

/// Sends to `address`, or to whom it is connected if that is empty, without waiting.
pub(super) fn send(fd: i64, bytes: &mut [u8], address: &mut [u8]) -> Result<i64, Refusal> {
    let (size, length) = (length(bytes), length(address));
    let to = if address.is_empty() { Arg::Int(0) } else { Arg::Bytes(address) };
    call(libc::SYS_sendto, [fd.into(), Arg::Bytes(bytes), size.into(), AT_ONCE.into(), to, length.into()])
}

pub(super) fn close(fd: i64) {
    let _ = call(libc::SYS_close, [fd.into()]);
}

/// How long something of ours is, as the kernel takes it.
pub(super) fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).expect("what this program sends fits into memory")
}

/// Two sockets of `AF_UNIX` that are connected.
pub(super) fn pair(kind: i32) -> Result<[i64; 2], Refusal> {
    let mut made = [0; 8];
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    call(libc::SYS_socketpair, [libc::AF_UNIX.into(), kind.into(), 0.into(), Arg::Bytes(&mut made)])?;
    let pair = two(made);
    for fd in pair {
        set(fd, SOCKET, SEND_BUFFER, &LARGE.to_ne_bytes())?;
    }
    Ok(pair)
}

/// Two descriptors as the kernel writes them.
pub(super) fn two(written: [u8; 8]) -> [i64; 2] {
    let [a, b, c, d, e, f, g, h] = written;
    [i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h])].map(i64::from)
}

//! Sockets on which the kernel announces changes: to wait for, never to believe; whoever is woken looks.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::sys::socket::{MsgFlags, recv};

/// Datagrams of announcements that are read at a time: who sends without end must not hold up who reads.
const DRAINED: usize = 1024;

/// Reads what a socket of announcements has, without waiting, and forgets it; whether there was anything.
///
/// # Errors
/// The socket's.
pub fn drain(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    let mut any = false;
    for _ in 0..DRAINED {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            // ENOBUFS: more came than there was room for, which is an announcement too.
            Ok(_) | Err(nix::Error::ENOBUFS) => any = true,
            Err(nix::Error::EAGAIN) => break,
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(any)
}

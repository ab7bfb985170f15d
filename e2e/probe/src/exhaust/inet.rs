//! Sockets of the internet family, all on `lo`.

use super::sockets::{LOCAL, RECEIVE_BUFFER, SOCKET, bind_anywhere, close, connect, hurry, send, set, socket};
use super::taking::{Stop, Taking};
use crate::sys::{Refusal, call};

const DATAGRAM: usize = 32 << 10;
/// More datagrams than fit into a queue.
const ENOUGH: u64 = 16;
const KIB: usize = 1024;
/// KiB in each connection that nobody reads.
const UNREAD: u64 = 64;
/// What a connection that nobody accepts is sent: less than a window, so that the peer can go.
const UNACCEPTED: usize = 32 << 10;
/// What a connection is sent before it is closed, and the least buffer that its peer can have, which takes less.
const UNSENT: usize = 8 << 10;
const LEAST: i32 = 1;
/// `net.core.somaxconn` by default: more connections wait for no socket.
const BACKLOG: i32 = 4096;
/// `SO_ATTACH_FILTER` (asm-generic/socket.h).
const ATTACH_FILTER: i64 = 26;
/// As many instructions as `net.core.optmem_max` lets a socket have, by default.
const INSTRUCTIONS: u16 = 2400;
/// `IPV6_ADD_MEMBERSHIP` and `IPV6_FLOWLABEL_MGR` (linux/in6.h).
const IPV6: i64 = 41;
const ADD_MEMBERSHIP: i64 = 20;
const FLOW_LABELS: i64 = 32;

pub(super) fn udp_unread(taking: &mut Taking) -> Stop {
    let mut bytes = vec![0; DATAGRAM];
    taking.each(|taking| {
        let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let mut own = bind_anywhere(fd, LOCAL)?;
        taking.fill(ENOUGH, || send(fd, &mut bytes, &mut own))
    })
}

pub(super) fn tcp_unread(taking: &mut Taking) -> Stop {
    let mut bytes = vec![0; KIB];
    taking.each(|taking| {
        let (listener, address) = listener(1, None)?;
        let client = client(&address)?;
        call(libc::SYS_accept4, [listener.into(), 0.into(), 0.into(), 0.into()])?;
        close(listener);
        taking.fill(UNREAD, || send(client, &mut bytes, &mut []))
    })
}

/// Who has sent and gone: its bytes wait at a connection that is nobody's until it is accepted.
pub(super) fn unaccepted(taking: &mut Taking) -> Stop {
    leave(taking, UNACCEPTED, None)
}

/// Each leaves bytes behind for which its peer has no room, so that the kernel keeps the connection.
pub(super) fn orphans(taking: &mut Taking) -> Stop {
    leave(taking, UNSENT, Some(LEAST))
}

/// Connects, sends and closes, over and over, to who never accepts.
fn leave(taking: &mut Taking, size: usize, buffer: Option<i32>) -> Stop {
    let mut bytes = vec![0; size];
    let mut listening: Option<Vec<u8>> = None;
    taking.each(|_| {
        let address = match listening.take() {
            Some(address) => address,
            None => listener(BACKLOG, buffer)?.1,
        };
        // A full backlog answers nobody: the next step takes another listener.
        let Ok(client) = client(&address) else { return Ok(0) };
        let sent = send(client, &mut bytes, &mut []);
        close(client);
        listening = Some(address);
        sent.map(|_| 1)
    })
}

pub(super) fn sockets(taking: &mut Taking) -> Stop {
    taking.each(|_| socket(libc::AF_INET, libc::SOCK_STREAM, 0).map(|_| 1))
}

/// The kernel makes machine code of each.
pub(super) fn filters(taking: &mut Taking) -> Stop {
    // `struct sock_filter`: A ^= a constant, over and over, and taking the packet.
    let (xor, take) = (0xa4_u16, 0x06_u16);
    let mut program: Vec<u8> = (1..INSTRUCTIONS).flat_map(|k| instruction(xor, 0x5a5a_0000 | u32::from(k))).collect();
    program.extend(instruction(take, u32::MAX));
    // `struct sock_fprog`: the number of instructions and where they are.
    let filter = [u64::from(INSTRUCTIONS), program.as_mut_ptr() as u64].map(u64::to_ne_bytes).concat();
    taking.each(|_| {
        let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        set(fd, SOCKET, ATTACH_FILTER, &filter).map(|_| 1)
    })
}

fn instruction(code: u16, constant: u32) -> Vec<u8> {
    [&code.to_ne_bytes()[..], &[0, 0], &constant.to_ne_bytes()].concat()
}

/// Each group is joined once in the namespace; the kernel holds its lock for all interfaces meanwhile.
pub(super) fn groups(taking: &mut Taking) -> Stop {
    let mut next = 0_u32;
    taking.each(|taking| {
        let fd = socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
        // `struct ipv6_mreq`: ff01::<number>, and the interface `lo`.
        taking.fill(u64::MAX, || {
            next += 1;
            let request = [&[0xff, 1][..], &[0; 10], &next.to_be_bytes(), &1_u32.to_ne_bytes()].concat();
            set(fd, IPV6, ADD_MEMBERSHIP, &request)
        })
    })
}

/// The kernel has 4096 of them for all network namespaces.
pub(super) fn flow_labels(taking: &mut Taking) -> Stop {
    let (get, exclusive, create) = (0_u8, 1_u8, 1_u16);
    // `struct in6_flowlabel_req`: the peer ::1, any label, what is asked, for how many seconds.
    let mut request = [&[0; 15][..], &[1], &[0; 4], &[get, exclusive], &create.to_ne_bytes()].concat();
    request.extend([60_u16.to_ne_bytes(), 60_u16.to_ne_bytes(), [0; 2], [0; 2]].concat());
    taking.each(|taking| {
        let fd = socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
        taking.fill(u64::MAX, || set(fd, IPV6, FLOW_LABELS, &request))
    })
}

/// A socket that waits for connections to its address; of them, each may have a buffer of its own size.
fn listener(backlog: i32, buffer: Option<i32>) -> Result<(i64, Vec<u8>), Refusal> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    if let Some(buffer) = buffer {
        set(fd, SOCKET, RECEIVE_BUFFER, &buffer.to_ne_bytes())?;
    }
    let address = bind_anywhere(fd, LOCAL)?;
    call(libc::SYS_listen, [fd.into(), backlog.into()])?;
    Ok((fd, address))
}

/// A connection to it.
fn client(address: &[u8]) -> Result<i64, Refusal> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    hurry(fd)?;
    match connect(fd, address) {
        Ok(_) => Ok(fd),
        Err(refusal) => {
            close(fd);
            Err(refusal)
        }
    }
}

/// Where nobody reads what the flood of [`super::load`] sends.
pub(super) fn sink() -> Result<(i64, Vec<u8>), Refusal> {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let address = bind_anywhere(fd, LOCAL)?;
    Ok((fd, address))
}

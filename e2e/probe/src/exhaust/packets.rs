//! Sockets that see whole packets (NET_RAW).

use super::sockets::{bind, inet, send, set, socket};
use super::taking::{Stop, Taking};
use crate::sys::Refusal;

/// `SOL_PACKET` and `PACKET_RX_RING` (linux/if_packet.h).
const PACKET: i64 = 263;
const RECEIVE_RING: i64 = 5;
/// `struct tpacket_req` of a ring of 1 MiB: size of a block, blocks, size of a frame, frames.
const RING: [u32; 4] = [64 << 10, 16, 2048, 512];
const FRAME: usize = 32 << 10;
/// More than fit into a queue.
const ENOUGH: u64 = 16;
/// The first protocol of Ethernet that a socket of ours hears, and the number of those after it.
const FIRST: u16 = 0x8900;
const PROTOCOLS: u16 = 0x7000;
/// For use in experiments (RFC 3692).
const EXPERIMENT: i64 = 253;
/// The number of `lo`.
const LO: u32 = 1;

/// Rings of memory that a program could map.
pub(super) fn ring(taking: &mut Taking) -> Stop {
    taking.each(|_| {
        let fd = socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        set(fd, PACKET, RECEIVE_RING, &RING.map(u32::to_ne_bytes).concat())?;
        Ok(1)
    })
}

/// Each socket hears a protocol of its own, so that no two share a frame.
pub(super) fn unread(taking: &mut Taking) -> Stop {
    let mut frame = vec![0; FRAME];
    let mut protocols = (FIRST..FIRST + PROTOCOLS).cycle();
    taking.each(|taking| {
        let protocol = protocols.next().unwrap_or(FIRST);
        let fd = socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        let mut own = link_layer(protocol);
        bind(fd, &own)?;
        frame[12..14].copy_from_slice(&protocol.to_be_bytes());
        taking.fill(ENOUGH, || send(fd, &mut frame, &mut own))
    })
}

/// `struct sockaddr_ll` of a protocol on `lo`.
fn link_layer(protocol: u16) -> Vec<u8> {
    let family = u16::try_from(libc::AF_PACKET).expect("families are small");
    [&family.to_ne_bytes()[..], &protocol.to_be_bytes(), &LO.to_ne_bytes(), &[0; 12]].concat()
}

/// Each socket has an address of its own, so that no two share a packet.
pub(super) fn raw(taking: &mut Taking) -> Stop {
    let mut packet = vec![0; FRAME];
    let mut next = 0_u32;
    taking.each(|taking| {
        next += 1;
        let mut own = own_inet(next)?;
        let fd = socket(libc::AF_INET, libc::SOCK_RAW, EXPERIMENT)?;
        bind(fd, &own)?;
        taking.fill(ENOUGH, || send(fd, &mut packet, &mut own))
    })
}

/// The `number`-th address of 127.0.0.0/8.
fn own_inet(number: u32) -> Result<Vec<u8>, Refusal> {
    let [net, b, c, d] = number.to_be_bytes();
    let left = net == 0;
    if left { Ok(inet([127, b, c, d], 0)) } else { Err(Refusal { errno: libc::EADDRNOTAVAIL, filter: false }) }
}

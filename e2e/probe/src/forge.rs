//! Sends the table of forged frames, and hears which of them arrive (NET_RAW).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use crate::frames::{self, End, Row};
use crate::netlink;
use crate::sys::{self, Arg, Refusal, call};

/// Every protocol of Ethernet (linux/if_ether.h).
const EVERYTHING: u16 = 3;

/// A member as `HARDWARE,IPV4,IPV6`.
pub(crate) fn end(text: &str) -> Option<End> {
    let [hardware, v4, v6] = text.split(',').collect::<Vec<_>>()[..] else { return None };
    let hardware = hardware.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<Vec<_>>>()?;
    Some(End {
        hardware: hardware.try_into().ok()?,
        v4: v4.parse::<Ipv4Addr>().ok()?.octets(),
        v6: v6.parse::<Ipv6Addr>().ok()?.octets(),
    })
}

/// Sends each row by `interface`, and prints what may arrive of them: `arrives` or `dropped`, and the row's name.
pub(crate) fn send(interface: &str, rows: &[Row]) -> Result<(), Refusal> {
    let socket = open(0)?;
    let mut address = on(interface)?;
    let length = i64::try_from(address.len()).unwrap_or_default();
    for Row { name, arrives, frames } in rows {
        for frame in frames {
            let mut frame = frame.clone();
            let bytes = i64::try_from(frame.len()).unwrap_or_default();
            let to = Arg::Bytes(&mut address);
            let fd = socket.as_raw_fd().into();
            call(libc::SYS_sendto, [fd, Arg::Bytes(&mut frame), bytes.into(), 0.into(), to, length.into()])?;
        }
        crate::say(&format!("{}: {name}", if *arrives { "arrives" } else { "dropped" }));
    }
    crate::say("sent");
    Ok(())
}

/// Prints the name of each row that arrives, once, for so long.
pub(crate) fn hear(long: Duration) -> Result<(), Refusal> {
    let nobody = End { hardware: [0; 6], v4: [0; 4], v6: [0; 16] };
    let rows = frames::rows(nobody, nobody, nobody, 0);
    let socket = open(EVERYTHING)?;
    crate::say("hears");
    let (end, mut heard, mut frame) = (Instant::now() + long, BTreeSet::new(), vec![0; 2048]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if !sys::readable(Some(socket.as_raw_fd().into()), left) {
            continue;
        }
        let room = i64::try_from(frame.len()).unwrap_or_default();
        let got = call(libc::SYS_read, [socket.as_raw_fd().into(), Arg::Bytes(&mut frame), room.into()])?;
        let got = usize::try_from(got).unwrap_or_default();
        if let Some(number) = frames::heard(&frame[..got])
            && let Some(row) = rows.get(number)
            && heard.insert(number)
        {
            crate::say(&format!("heard: {}", row.name));
        }
    }
}

/// A socket for whole frames of this protocol.
fn open(protocol: u16) -> Result<OwnedFd, Refusal> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    let protocol = i64::from(protocol.to_be());
    Ok(sys::owned(call(libc::SYS_socket, [libc::AF_PACKET.into(), kind.into(), protocol.into()])?))
}

/// `struct sockaddr_ll` of an interface.
fn on(interface: &str) -> Result<Vec<u8>, Refusal> {
    let family = u16::try_from(libc::AF_PACKET).unwrap_or_default().to_ne_bytes();
    Ok([&family[..], &[0; 2], &netlink::number(interface)?.to_ne_bytes(), &[0; 12]].concat())
}

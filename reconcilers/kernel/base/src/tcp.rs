//! A connection to whoever listens in the network namespace that the caller is in.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use nix::sys::socket::SockaddrStorage;

use crate::fault::look;

/// A connection that nobody waits for longer than until a moment.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    until: Instant,
}

impl Connection {
    /// Connects to `port` at the first of the namespace's own addresses that takes it, loopback first.
    ///
    /// # Errors
    /// What the first address said, which is what people look for; `TimedOut`.
    pub fn to(port: u16, until: Instant) -> io::Result<Self> {
        let mut first = None;
        for address in addresses() {
            match TcpStream::connect_timeout(&SocketAddr::new(address, port), left(until)?) {
                // A port that programs get by themselves may have been given to this end, which then speaks to itself.
                Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {
                    first = first.or(Some(io::ErrorKind::ConnectionRefused.into()));
                }
                Ok(stream) => return Ok(Self { stream, until }),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let error = first.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
        Err(io::Error::new(error.kind(), format!("port {port}: {error}")))
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn addresses() -> Vec<IpAddr> {
    let local = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    // What cannot be listed has loopback all the same.
    let listed = look("tcp.addresses", nix::ifaddrs::getifaddrs).into_iter().flatten();
    let others = listed.filter_map(|found| ip(&found.address?)).filter(|address| !is_link_local(address));
    local.into_iter().chain(others.filter(|address| !local.contains(address))).collect()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

/// Such an address is none without its interface.
fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

//! Sockets, interfaces and announcements of others.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};

use crate::netlink::{
    self, CREATE, DELETE_LINK, GET_LINK, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, NEW_LINK, PATIENCE, REQUEST_ACK,
    address, attribute, link,
};
use crate::sys::{self, Arg, Refusal, call};
use crate::table::{Outcome, Row};

/// The most interfaces whose numbers are tried.
const NUMBERS: u32 = 128;
/// linux/netlink.h, linux/if_link.h, linux/audit.h.
const NETLINK_AUDIT: i64 = 9;
const NETLINK_CONNECTOR: i64 = 11;
const NETLINK_NETFILTER: i64 = 12;
const NETLINK_UEVENT: i64 = 15;
const AUDIT_GET: u16 = 1000;
/// linux/netfilter/nfnetlink.h, nf_tables.h.
const NFT_GET_GENERATION: u16 = 10 << 8 | 16;
const IFLA_TARGET_NETNSID: u16 = 46;
const IFLA_NET_NS_PID: u16 = 19;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("connect to an abstract socket of others", || {
            Outcome::of(
                SocketAddr::from_abstract_name(crate::neighbour::SOCKET)
                    .and_then(|name| UnixStream::connect_addr(&name)),
            )
        }),
        Row::new("list sockets of others", || {
            let listed = fs::read_to_string("/proc/net/unix").unwrap_or_default();
            let name = String::from_utf8_lossy(crate::neighbour::SOCKET).into_owned();
            Outcome::found(&listed.lines().filter(|line| line.contains(&name)).map(str::to_owned).collect::<Vec<_>>())
        }),
        Row::new("connect to the control socket", || {
            let places = ["/run/catenoid/control.sock", "/run/catenoid/control/core0/control.sock"];
            Outcome::of(UnixStream::connect(places[0]).or_else(|_| UnixStream::connect(places[1])))
        })
        .core("it is given it"),
        Row::new("see interfaces of others", || Outcome::found(&interfaces())),
        Row::new("see interfaces of others by their numbers", || {
            let named = (1..NUMBERS).filter_map(name_of);
            Outcome::found(&named.filter(|name| is_foreign(name)).collect::<Vec<_>>())
        }),
        Row::new("see frames of others (AF_PACKET)", packets),
        Row::new("ask for interfaces of the root namespace by its id", || {
            let target = attribute(IFLA_TARGET_NETNSID, &0_i32.to_ne_bytes());
            ask(netlink::ROUTE, GET_LINK, REQUEST_ACK, &link(1, &target))
        }),
        Row::new("make an interface", || made("veth")).core("NET_ADMIN in its own network namespace"),
        Row::new("make a bridge", || made("bridge")).core("NET_ADMIN in its own network namespace"),
        Row::new("give an interface to another's namespace", || {
            // Loopback goes nowhere (EINVAL); whose namespace it is is asked first.
            let to = attribute(IFLA_NET_NS_PID, &crate::victim().to_ne_bytes());
            let moved = ask(netlink::ROUTE, NEW_LINK, REQUEST_ACK, &link(1, &to));
            match moved {
                Outcome::Stopped(by) if by == "EINVAL" || by == "EOPNOTSUPP" => {
                    Outcome::Reached(format!("permitted; then {by}"))
                }
                moved => moved,
            }
        }),
        Row::new("hear devices come and go (uevents)", || listen(NETLINK_UEVENT, 1)),
        Row::new("send an announcement of a device", || {
            let sent = netlink::open(NETLINK_UEVENT, 0).and_then(|socket| {
                let mut message = *b"add@/devices/none\0ACTION=add\0";
                let length = i64::try_from(message.len()).unwrap_or_default();
                let mut to = address(0, 1);
                call(
                    libc::SYS_sendto,
                    [
                        fd_of(&socket),
                        Arg::Bytes(&mut message),
                        length.into(),
                        0.into(),
                        to.as_mut_slice().into(),
                        12.into(),
                    ],
                )
            });
            // ECONNREFUSED: sent to everybody in this network namespace, where nobody listens.
            Outcome::past(sent, &[libc::ECONNREFUSED])
        })
        .core("to its own network namespace, where no one listens"),
        Row::new("hear processes come and go (connector)", || {
            let subscribed = netlink::open(NETLINK_CONNECTOR, 1).and_then(|socket| {
                // `struct nlmsghdr`, `struct cn_msg` of CN_IDX_PROC 1.1, PROC_CN_MCAST_LISTEN (linux/cn_proc.h).
                let words: [u32; 10] = [40, 3, 0, 0, 1, 1, 0, 0, 4, 1];
                let mut message: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                call(
                    libc::SYS_sendto,
                    [fd_of(&socket), message.as_mut_slice().into(), 40.into(), 0.into(), 0.into(), 0.into()],
                )?;
                let other = sys::spawn(|| {});
                let heard = sys::readable(Some(socket.as_raw_fd().into()), PATIENCE);
                if let Ok(pid) = other {
                    sys::wait_for(pid);
                }
                if heard { Ok(1) } else { Err(Refusal { errno: libc::ENODATA, filter: false }) }
            });
            Outcome::of(subscribed)
        }),
        Row::new("ask the kernel's audit", || ask(NETLINK_AUDIT, AUDIT_GET, REQUEST_ACK, &[])),
        Row::new("reach the firewall (nfnetlink)", || ask(NETLINK_NETFILTER, NFT_GET_GENERATION, REQUEST_ACK, &[0; 4])),
        Row::new("reach the hypervisor (AF_VSOCK)", || socket(40)).nobody("the image has no vsock"),
        Row::new("reach the kernel's ciphers (AF_ALG)", || socket(38)).nobody("the image has no AF_ALG"),
        Row::new("reach IPsec (AF_KEY)", || socket(15)).nobody("the image has no AF_KEY"),
        Row::new("read counters of interfaces of others", || {
            let own = fs::read_to_string("/proc/net/dev").unwrap_or_default();
            Outcome::found(
                &own.lines()
                    .filter_map(|line| line.split(':').next())
                    .map(|name| name.trim().to_owned())
                    .filter(|name| is_foreign(name))
                    .collect::<Vec<_>>(),
            )
        }),
    ]
}

/// Bridges and outer ends of pairs are in the root namespace only; a physical interface that is free is called so there.
fn is_foreign(name: &str) -> bool {
    ["cz-", "cv-", "enx", "eth"].iter().any(|prefix| name.starts_with(prefix))
}

fn interfaces() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_foreign(name)).collect()
}

/// The name of the interface with this number, by SIOCGIFNAME.
fn name_of(number: u32) -> Option<String> {
    let socket = sys::owned(call(libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_DGRAM.into(), 0.into()]).ok()?);
    let mut request = [0; 40];
    request[16..20].copy_from_slice(&number.to_ne_bytes());
    call(libc::SYS_ioctl, [fd_of(&socket), 0x8910.into(), Arg::Bytes(&mut request)]).ok()?;
    let name = request[..16].split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Opens a packet socket and binds it to each number of an interface that is not its own.
fn packets() -> Outcome {
    let opened = call(libc::SYS_socket, [libc::AF_PACKET.into(), libc::SOCK_RAW.into(), 0x0300.into()]);
    let socket = match opened {
        Ok(socket) => sys::owned(socket),
        Err(refusal) => return Outcome::Stopped(refusal.to_string()),
    };
    let mut last = String::new();
    for number in 1..NUMBERS {
        if name_of(number).is_some_and(|name| !is_foreign(&name)) {
            continue;
        }
        // `struct sockaddr_ll`: family, protocol (ETH_P_ALL), number.
        let mut address = [0; 20];
        address[..2].copy_from_slice(&17_u16.to_ne_bytes());
        address[2..4].copy_from_slice(&3_u16.to_be_bytes());
        address[4..8].copy_from_slice(&number.to_ne_bytes());
        match call(libc::SYS_bind, [fd_of(&socket), Arg::Bytes(&mut address), 20.into()]) {
            Ok(_) => return Outcome::Reached(format!("interface {number}")),
            Err(refusal) => last = refusal.to_string(),
        }
    }
    Outcome::Stopped(format!("{last} for all but its own"))
}

fn socket(family: i32) -> Outcome {
    Outcome::of(call(libc::SYS_socket, [family.into(), libc::SOCK_STREAM.into(), 0.into()]))
}

fn fd_of(socket: &OwnedFd) -> Arg<'_> {
    socket.as_raw_fd().into()
}

fn listen(protocol: i64, groups: u32) -> Outcome {
    match netlink::open(protocol, groups) {
        Err(refusal) => Outcome::Stopped(refusal.to_string()),
        Ok(socket) if sys::readable(Some(socket.as_raw_fd().into()), PATIENCE) => {
            Outcome::Reached("heard one".to_owned())
        }
        Ok(_) => Outcome::Stopped("nothing heard".to_owned()),
    }
}

/// Sends a request and reads what the kernel answers.
fn ask(protocol: i64, kind: u16, flags: u16, body: &[u8]) -> Outcome {
    Outcome::of(netlink::open(protocol, 0).and_then(|socket| netlink::ask(&socket, kind, flags, body)))
}

/// Makes an interface and removes it again.
fn made(kind: &str) -> Outcome {
    let name = attribute(IFLA_IFNAME, b"probe0\0");
    let info = attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, kind.as_bytes()));
    let made = ask(netlink::ROUTE, NEW_LINK, REQUEST_ACK | CREATE, &link(0, &[name.clone(), info].concat()));
    let _ = ask(netlink::ROUTE, DELETE_LINK, REQUEST_ACK, &link(0, &name));
    made
}

//! Those who are not on the way between two others.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use catenoid_zones::desired;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket};

use crate::{
    device::{Kernel, PATIENCE, addresses, inside, manifest, on_a_thread, run_ip, run_nft},
    frames,
};

/// An error about a packet goes to whoever sent that, with anything behind it: nobody sends one who is not on the way.
// [req->TSF-ISOLATION]
#[test]
fn netns_errors_come_from_the_way_only() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        kernel.converge(&desired(&manifest())).await;
        kernel.address_the_uplink();
        let asks = |from: &str, own: (IpAddr, u16), to: (IpAddr, u16)| {
            let socket = inside(&kernel.net(from), || UdpSocket::bind(own).unwrap());
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(to).unwrap();
            socket.send(b"question").unwrap();
            socket
        };
        // One that nobody listens for is answered with an error, also from another zone and from outside.
        let world = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap());
        for (targets, port) in [(addresses("lab", "lab1"), 7001), (world, 123)] {
            for (own, to) in addresses("plant", "web").into_iter().zip(targets) {
                let asks = asks("web", (own, 0), (to, port));
                assert_eq!(asks.recv(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{to}");
            }
        }
        // Who asks whom, at which addresses and port, who else says something about that, and whose rules stop it.
        let (web, core) = (addresses("plant", "web"), addresses("plant", "core0"));
        for (from, own, to, other, port, forger, guard) in [
            ("web", web, "core0", core, 8053, "lab1", "root"),
            ("web", web, "core0", core, 8053, "world", "core0"),
            ("core0", core, "web", web, 53, "lab1", "root"),
            ("core0", core, "web", web, 53, "world", "core0"),
        ] {
            for (own, other) in own.into_iter().zip(other) {
                let _hears = inside(&kernel.net(to), || UdpSocket::bind((other, port)).unwrap());
                let asks = asks(from, (own, frames::SOURCE), (other, port));
                let forged = || {
                    inside(&kernel.net(forger), || send_error(own, &error_about(own, other, port)));
                    asks.recv(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
                };
                assert!(!forged(), "{forger} about {own} and {other}");
                // The same where errors pass: it is our rules that stopped it.
                for chain in if guard == "root" { ["zone-plant", "zone-lab"] } else { ["input", "forward"] } {
                    let rule = format!("insert rule inet catenoid {chain} ct state related accept");
                    run_nft(&kernel.net(guard), &rule);
                }
                assert!(forged(), "{forger} about {own} and {other}, without our rules");
                kernel.converge(&desired(&manifest())).await;
            }
        }
    });
}

/// The message that nobody listens at `port` (ICMP, ICMPv6), about a datagram.
fn error_about(from: IpAddr, to: IpAddr, port: u16) -> Vec<u8> {
    let datagram = frames::udp4(port, b"question");
    let (kind, about) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ([3, 3], frames::ip4(from.octets(), to.octets(), (0, false, 1), &datagram))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => ([1, 4], frames::ip6(from.octets(), to.octets(), 17, &datagram)),
        _ => panic!("of one family"),
    };
    let mut message = [&kind[..], &[0; 6], &about].concat();
    if from.is_ipv4() {
        // The kernel does it for IPv6.
        let sum = frames::checksum(&message);
        message[2..4].copy_from_slice(&sum);
    }
    message
}

fn send_error(to: IpAddr, message: &[u8]) {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::empty(), protocol).unwrap();
    let to = SockaddrStorage::from(SocketAddr::new(to, 0));
    sendto(socket.as_raw_fd(), message, &to, MsgFlags::empty()).unwrap();
}

/// Somebody outside who sends the answer that a member is asked for.
// [req->TSF-ISOLATION]
#[test]
fn netns_nobody_outside_answers_for_a_member() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        kernel.converge(&desired(&manifest())).await;
        kernel.address_the_uplink();
        let core = kernel.net("core0");
        for (own, web) in addresses("plant", "core0").into_iter().zip(addresses("plant", "web")) {
            let asks = inside(&core, || UdpSocket::bind((own, 0)).unwrap());
            asks.set_read_timeout(Some(PATIENCE)).unwrap();
            asks.send_to(b"question", (web, 53)).unwrap();
            let port = asks.local_addr().unwrap().port();
            let length = if own.is_ipv4() { 32 } else { 128 };
            inside(&kernel.world, || {
                run_ip(&format!("addr add {web}/{length} dev lo {}", if own.is_ipv4() { "" } else { "nodad" }));
                run_ip(&format!("route replace {own}/{length} dev wire"));
                run_ip(&format!("neigh replace {own} lladdr 52:54:00:12:34:56 dev wire"));
            });
            let answer = || {
                let answers = inside(&kernel.world, || UdpSocket::bind((web, 53)).unwrap());
                answers.send_to(b"answer", (own, port)).unwrap();
                asks.recv(&mut [0; 16]).is_ok()
            };
            assert!(!answer(), "{web}");
            // The same without our rules: it is them that stopped it.
            run_nft(&core, "flush chain inet catenoid from-standing");
            assert!(answer(), "{web}");
            kernel.converge(&desired(&manifest())).await;
        }
    });
}

//! The network of an uplink, which others choose.

use std::{
    net::{IpAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use catenoid_core::{Planner, Reconciler};
use catenoid_schema::status::Sync;
use catenoid_zones::{Step, ZonesPlanner, desired};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::{
    device::{Kernel, PATIENCE, addresses, frames_by, inside, ip_json, manifest, on_a_thread, run_ip},
    frames,
};

/// The uplink's network becomes another one without any new manifest: whatever it is, the core container is reached by it, and
/// what is for a member of a zone does not leave by it.
// [req->TSF-ISOLATION]
#[test]
fn netns_uplink_change_keeps_c0() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let wanted = desired(&manifest());
        kernel.converge(&wanted).await;
        let (core, web) = (kernel.net("core0"), addresses("plant", "web"));
        let of_web = web.map(|address| address.to_string());
        // What the core container is given, where a neighbour on that network is, and the held subnet.
        let table = [
            ("another network", "192.0.2.2/24", "192.0.2.200/24", None),
            ("the zone's own network", "10.20.0.77/24", "10.20.0.200/24", Some("10.20.0.0/24")),
            ("half of the zone's network", "10.20.0.140/25", "10.20.0.200/25", Some("10.20.0.0/24")),
            ("a network with the zone's in it", "10.20.7.7/16", "10.20.0.200/16", Some("10.20.0.0/24")),
            ("a neighbour with the zone's gateway address", "10.20.0.77/24", "10.20.0.1/24", Some("10.20.0.0/24")),
            ("the zone's gateway address", "10.20.0.1/24", "10.20.0.200/24", Some("10.20.0.0/24")),
            ("a member's address", &format!("{}/24", of_web[0]), "10.20.0.200/24", Some("10.20.0.0/24")),
            ("the zone's own network of IPv6", "fd20::77/64", "fd20::200/64", Some("fd20::/64")),
            ("half of the zone's network of IPv6", "fd20::8000:0:0:77/65", "fd20::8000:0:0:2/65", Some("fd20::/64")),
        ];
        let ear = inside(&kernel.world, || frames_by("wire", PATIENCE / 4));
        for (what, own, neighbour, held) in table {
            let address = |text: &str| text.split('/').next().unwrap().parse::<IpAddr>().unwrap();
            let nodad = |text: &str| if text.contains(':') { "nodad" } else { "" };
            inside(&core, || run_ip(&format!("addr add {own} dev uplink0 {}", nodad(own))));
            inside(&kernel.world, || run_ip(&format!("addr add {neighbour} dev wire {}", nodad(neighbour))));
            // Before anybody looks at it, and afterwards.
            let leaves = || {
                inside(&core, || {
                    for to in web {
                        let anybody: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
                        // What the rules drop is refused at once.
                        let _ = UdpSocket::bind((anybody, 0)).unwrap().send_to(b"question", (to, 81));
                    }
                });
                let mut frame = [0; 2048];
                let seen = std::iter::from_fn(|| {
                    let length = recv(ear.as_raw_fd(), &mut frame, MsgFlags::empty()).ok()?;
                    Some(frame[..length].to_vec())
                });
                seen.filter(|frame| is_to(frame, &web)).count()
            };
            assert_eq!(leaves(), 0, "{what}: a connection to a member leaves by the uplink");
            let steps = kernel.converge(&wanted).await;
            assert_eq!(steps.is_empty(), held.is_none(), "{what}: {steps:#?}");
            assert!(kernel.tcp("world", "core0", address(own), 22), "{what}: the core container is not reached");
            assert_eq!(leaves(), 0, "{what}: a connection to a member leaves by the uplink while it is held back");
            let observed = kernel.room.observe().await.unwrap();
            let reported: Vec<_> = ZonesPlanner::status(&wanted, &observed)
                .into_iter()
                .filter(|subject| subject.sync != Sync::Synced)
                .flat_map(|subject| {
                    subject.conditions.into_iter().map(move |condition| (subject.subject.clone(), condition))
                })
                .map(|(subject, condition)| format!("{} {} {}", subject.as_str(), condition.reason, condition.message))
                .collect();
            let expected = held.map(|subnet| format!("zone/plant OverlapsUplink its subnet {subnet} overlaps"));
            assert_eq!(reported.len(), usize::from(held.is_some()), "{what}: {reported:?}");
            assert!(
                reported.iter().zip(&expected).all(|(reported, start)| reported.starts_with(start)),
                "{what}: {reported:?}"
            );
            // Nobody else notices.
            let [lab, _] = addresses("lab", "lab1");
            assert!(kernel.tcp("core0", "lab1", lab, 80), "{what}");
            assert!(kernel.tcp("db", "web", web[0], 80), "{what}");

            inside(&core, || run_ip(&format!("addr del {own} dev uplink0")));
            inside(&kernel.world, || run_ip(&format!("addr del {neighbour} dev wire")));
            kernel.converge(&wanted).await;
            for address in web {
                let reached = (0..10).any(|_| kernel.tcp("core0", "web", address, 80));
                assert!(reached, "{what}: {address} is not reached afterwards");
            }
        }
    });
}

/// Whether a frame is a packet of the core container to one of these addresses.
fn is_to(frame: &[u8], addresses: &[IpAddr]) -> bool {
    let of_core = frame[6..12] == [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    of_core
        && addresses.iter().any(|address| match address {
            IpAddr::V4(address) => frame[12..14] == [8, 0] && frame.get(30..34) == Some(&address.octets()[..]),
            IpAddr::V6(address) => frame[12..14] == [0x86, 0xdd] && frame.get(38..54) == Some(&address.octets()[..]),
        })
}

/// Asks again and again, until it is so.
fn until(so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "it is not so");
    }
}

/// A router advertisement of networks with these flags (RFC 4861, 4.2 and 4.6.2), for ever, from a router with no name.
fn advertisement(networks: impl Iterator<Item = [u8; 16]>, flags: u8) -> Vec<u8> {
    let prefix = |network: [u8; 16]| [&[3, 4, 64, flags][..], &[0xff; 8], &[0; 4], &network].concat();
    let body = [vec![64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0], networks.flat_map(prefix).collect()].concat();
    let [from, to]: [[u8; 16]; 2] =
        ["fe80::9", "ff02::1"].map(|text| text.parse::<std::net::Ipv6Addr>().unwrap().octets());
    let packet = frames::ip6(from, to, 58, &frames::icmp6(from, to, 134, &body));
    frames::ethernet([0x33, 0x33, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9], [0x86, 0xdd], &packet)
}

/// Router advertisements as fast as they can be sent, each with as many networks as it has room for.
// [req->TSF-ISOLATION]
#[test]
fn netns_advertisements_are_bounded() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let wanted = desired(&manifest());
        kernel.converge(&wanted).await;
        let core = kernel.net("core0");
        let routes = || ip_json(&core, "-6 route show dev uplink0").len();
        let mouth = inside(&kernel.world, || frames_by("wire", PATIENCE));
        let advertise = |networks: &[String], flags: u8| {
            let networks = networks.iter().map(|net| net.parse::<std::net::Ipv6Addr>().unwrap().octets());
            let frame = advertisement(networks, flags);
            send(mouth.as_raw_fd(), &frame, MsgFlags::empty()).unwrap();
        };
        const ADDRESS_TOO: u8 = 0xc0;
        const ON_LINK: u8 = 0x80;
        // One that is honest: an address, and a way out.
        advertise(&["2001:db8:1::".to_owned()], ADDRESS_TOO);
        until(|| routes() > 1);
        assert_eq!(ip_json(&core, "-6 route show default").len(), 1);
        let honest = routes();
        kernel.converge(&wanted).await;
        assert_eq!(routes(), honest, "it is left alone");

        let (before, start) = (routes(), Instant::now());
        for number in 0..3000_u32 {
            let networks: Vec<_> = (0..44).map(|place| format!("2001:db8:{number:x}:{place:x}::")).collect();
            advertise(&networks, if number % 2 == 0 { ON_LINK } else { ADDRESS_TOO });
        }
        until(|| routes() > before);
        let flooded = routes();
        println!("3000 advertisements of 44 networks made {} routes", flooded - before);
        // Eight at once and one a second, and the second that has begun.
        let taken = 8 + 1 + usize::try_from(start.elapsed().as_secs()).unwrap();
        assert!(flooded - before <= taken * 44);
        let steps = kernel.converge(&wanted).await;
        assert!(matches!(steps[..], [Step::ForgetAdvertised { .. }]), "{steps:?}");
        // The one that every link has, and those of addresses.
        assert!(routes() <= 1 + 16, "{} routes are kept", routes());
        assert_eq!(kernel.converge(&wanted).await, []);

        // One that has a zone's subnet on the uplink, as soon as one is taken again.
        until(|| {
            advertise(&["fd20::".to_owned()], ON_LINK);
            !ip_json(&core, "-6 route show fd20::/64 dev uplink0").is_empty()
        });
        let steps = kernel.converge(&wanted).await;
        assert!(matches!(steps[..], [Step::SetFirewall { .. }, Step::SetPort { .. }]), "{steps:?}");
        inside(&core, || run_ip("-6 route del fd20::/64 dev uplink0"));
        kernel.converge(&wanted).await;
        let [_, web] = addresses("plant", "web");
        assert!((0..10).any(|_| kernel.tcp("core0", "web", web, 80)));
    });
}

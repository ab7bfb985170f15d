//! The messages, against the kernel.

use std::os::fd::AsFd;

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockType, getsockname, sendto, socket};

use super::{types::CONF, *};

#[test]
fn netns_nobody_but_the_kernel_can_answer() {
    let fresh = crate::namespace::make(1 << 30, 65_536).unwrap();
    crate::namespace::inside(fresh.net().unwrap().as_fd(), || {
        let ours = open(SockProtocol::NetlinkRoute, SockFlag::empty(), 0).unwrap();
        let port: NetlinkAddr = getsockname(ours.as_raw_fd()).unwrap();
        let forged = Message::new(RTM_NEWLINK, 0, &link_header(7, None)).text(IFLA_IFNAME, "forged").finish(1);
        let kind = SockType::Raw;
        let plain = socket(AddressFamily::Netlink, kind, SockFlag::empty(), SockProtocol::NetlinkRoute).unwrap();
        let to = |socket: &OwnedFd, port| sendto(socket.as_raw_fd(), &forged, &port, MsgFlags::empty());
        assert_eq!(to(&plain, port), Err(nix::Error::ECONNREFUSED));
        // The same to a socket as anybody opens it.
        let open_to_all: NetlinkAddr = getsockname(plain.as_raw_fd()).unwrap();
        assert_eq!(to(&plain, open_to_all), Ok(forged.len()));
        let links = Netlink(ours).links().unwrap();
        assert_eq!(links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["lo"]);
    })
    .unwrap();
}

#[test]
fn netns_the_settings_of_a_link_are_those_of_its_files() {
    let fresh = crate::namespace::make(1 << 30, 65_536).unwrap();
    crate::namespace::inside(fresh.net().unwrap().as_fd(), || {
        let netlink = Netlink::open().unwrap();
        let keys = CONF.iter().flat_map(|(folder, names)| names.split(' ').map(move |name| format!("{folder}{name}")));
        let compared = keys.filter(|key| {
            let path = key.replace('*', "lo");
            let of_file = || crate::namespace::settings([path.as_str()]).unwrap().remove(0)?.parse::<i32>().ok();
            let listed = || netlink.links().unwrap().remove(0).setting(key);
            let Some(before) = of_file() else { return false };
            assert_eq!(listed(), Some(before), "{key}");
            // Where it takes another value.
            let _ = crate::namespace::set(&path, if before == 0 { "1" } else { "0" });
            assert_eq!(listed(), of_file(), "{key}");
            true
        });
        assert!(compared.count() > 50);
    })
    .unwrap();
}

#[test]
fn netns_a_listing_that_breaks_off_is_an_error() {
    let fresh = crate::namespace::make(1 << 30, 65_536).unwrap();
    crate::namespace::inside(fresh.net().unwrap().as_fd(), || {
        let netlink = Netlink::open().unwrap();
        netlink.switch_on("lo").unwrap();
        // `struct rtnexthop`: its length, flags, weight, interface.
        let mut hop = [0; 8];
        hop[0] = 8;
        hop[4..].copy_from_slice(&netlink.index("lo").unwrap().to_ne_bytes());
        let fixed = [2, 24, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, libc::RT_SCOPE_LINK, RTN_UNICAST, 0, 0, 0, 0];
        let request = Message::new(RTM_NEWROUTE, CREATE, &fixed).attribute(libc::RTA_DST, &[203, 0, 113, 0]);
        netlink.change(request.attribute(libc::RTA_MULTIPATH, &hop.repeat(8000)), "make", "lo").unwrap();
        assert!(netlink.routes().is_err_and(|error| error.is_cut()));
        assert_eq!(netlink.links().unwrap().len(), 1);
    })
    .unwrap();
}

//! Objects of the own network namespace (NET_ADMIN).

use std::fs;
use std::os::fd::OwnedFd;

use super::taking::{Stop, Taking};
use crate::netlink::{
    self, CREATE, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, NEW_LINK, REQUEST_ACK, ask, attribute, link,
};
use crate::sys::Refusal;

/// linux/rtnetlink.h, linux/neighbour.h, linux/if_addr.h.
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const NEW_NEIGHBOUR: u16 = 28;
const PERMANENT: u16 = 0x80;
/// For the bridge itself.
const SELF: u8 = 2;
const NEIGHBOUR: u16 = 1;
const HARDWARE: u16 = 2;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const DESTINATION: u16 = 1;
const OUT: u16 = 4;
const MAIN: u8 = 254;
const BY_HAND: u8 = 4;
const UNICAST: u8 = 1;
const ON_LINK: u8 = 253;
/// The number of `lo`.
const LO: u32 = 1;
/// linux/netlink.h, linux/xfrm.h.
const XFRM: i64 = 6;
const NEW_POLICY: u16 = 19;
const BRIDGE: &str = "exhaust-bridge";
const PF_BRIDGE: u8 = 7;
const INET: u8 = 2;
const INET6: u8 = 10;

/// An address that nobody has here: a row may take what the device has, and not cut itself off.
fn address(number: u32) -> Vec<u8> {
    [&[11][..], &number.to_be_bytes()[1..]].concat()
}

/// Asks for one object after the other.
fn objects(
    taking: &mut Taking,
    protocol: i64,
    kind: u16,
    mut body: impl FnMut(&OwnedFd, u32) -> Result<Vec<u8>, Refusal>,
) -> Stop {
    let socket = match netlink::open(protocol, 0) {
        Ok(socket) => socket,
        Err(refusal) => {
            taking.error = refusal.to_string();
            return Stop::Refused;
        }
    };
    let mut next = 0_u32;
    taking.each(|_| {
        next += 1;
        let body = body(&socket, next)?;
        ask(&socket, kind, REQUEST_ACK | CREATE, &body).map(|_| 1)
    })
}

/// On the first interface that is not `lo`, or one of its own.
pub(super) fn neighbours(taking: &mut Taking) -> Stop {
    let mut on = None;
    objects(taking, netlink::ROUTE, NEW_NEIGHBOUR, |socket, next| {
        let on = match on {
            Some(on) => on,
            None => *on.insert(foreign().map_or_else(|| made(socket, "veth", "exhaust-veth"), Ok)?),
        };
        let to = attribute(NEIGHBOUR, &address(next));
        Ok([neighbour(INET, on, 0), to, attribute(HARDWARE, &hardware(next))].concat())
    })
}

pub(super) fn bridge_entries(taking: &mut Taking) -> Stop {
    let mut on = None;
    objects(taking, netlink::ROUTE, NEW_NEIGHBOUR, |socket, next| {
        let on = match on {
            Some(on) => on,
            None => *on.insert(made(socket, "bridge", BRIDGE)?),
        };
        Ok([neighbour(PF_BRIDGE, on, SELF), attribute(HARDWARE, &hardware(next))].concat())
    })
}

/// `struct ndmsg` of a permanent one.
fn neighbour(family: u8, on: u32, flags: u8) -> Vec<u8> {
    [&[family, 0, 0, 0][..], &on.to_ne_bytes(), &PERMANENT.to_ne_bytes(), &[flags, 0]].concat()
}

/// An address of Ethernet that is nobody's.
fn hardware(number: u32) -> Vec<u8> {
    [&[2, 0][..], &number.to_be_bytes()].concat()
}

pub(super) fn routes(taking: &mut Taking) -> Stop {
    objects(taking, netlink::ROUTE, NEW_ROUTE, |_, next| {
        let to = address(next);
        Ok(route(INET, 32, ON_LINK, &to))
    })
}

pub(super) fn routes_ipv6(taking: &mut Taking) -> Stop {
    objects(taking, netlink::ROUTE, NEW_ROUTE, |_, next| {
        let to = [&[0xfd][..], &[0; 11], &next.to_be_bytes()].concat();
        Ok(route(INET6, 128, 0, &to))
    })
}

/// `struct rtmsg` of a route through `lo`, and its attributes.
fn route(family: u8, bits: u8, scope: u8, to: &[u8]) -> Vec<u8> {
    let head = [family, bits, 0, 0, MAIN, BY_HAND, scope, UNICAST, 0, 0, 0, 0];
    [&head[..], &attribute(DESTINATION, to), &attribute(OUT, &LO.to_ne_bytes())].concat()
}

pub(super) fn addresses(taking: &mut Taking) -> Stop {
    objects(taking, netlink::ROUTE, NEW_ADDRESS, |_, next| {
        let own = address(next);
        // `struct ifaddrmsg`: family, bits, flags, scope, interface.
        let head = [&[INET, 32, 0, 0][..], &LO.to_ne_bytes()].concat();
        Ok([head, attribute(LOCAL, &own), attribute(ADDRESS, &own)].concat())
    })
}

/// Dummies, or pairs where there are no dummies.
pub(super) fn links(taking: &mut Taking) -> Stop {
    let mut kind = "dummy";
    objects(taking, netlink::ROUTE, NEW_LINK, |socket, next| {
        if next == 1 && make(socket, kind, "exhaust-first").is_err() {
            kind = "veth";
        }
        Ok(description(kind, &format!("exhaust{next}")))
    })
}

fn description(kind: &str, name: &str) -> Vec<u8> {
    let name = attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    let info = attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, kind.as_bytes()));
    link(0, &[name, info].concat())
}

fn make(socket: &OwnedFd, kind: &str, name: &str) -> Result<i64, Refusal> {
    ask(socket, NEW_LINK, REQUEST_ACK | CREATE, &description(kind, name))
}

/// Makes an interface and gives its number.
fn made(socket: &OwnedFd, kind: &str, name: &str) -> Result<u32, Refusal> {
    make(socket, kind, name)?;
    netlink::number(name)
}

/// The number of an interface that is not `lo`.
fn foreign() -> Option<u32> {
    let listed = fs::read_to_string("/proc/net/dev").ok()?;
    let mut names = listed.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    names.find(|name| *name != "lo").and_then(|name| netlink::number(name).ok())
}

/// Memory of the firewall's kind without the firewall's protocol.
pub(super) fn policies(taking: &mut Taking) -> Stop {
    objects(taking, XFRM, NEW_POLICY, |_, next| {
        // `struct xfrm_userpolicy_info`: selector (56 bytes), lifetimes (96 bytes), priority, index, direction and so on.
        let mut policy = vec![0; 168];
        policy[..4].copy_from_slice(&address(next));
        policy[40..42].copy_from_slice(&u16::from(INET).to_ne_bytes());
        policy[42] = 32;
        // Without an end: bytes and packets, soft and hard.
        policy[56..88].fill(0xff);
        Ok(policy)
    })
}

//! Our netlink messages against rtnetlink, on the kernel: both read the same of a network namespace, and what one of them
//! made of a configuration is what the other one makes of it.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use catenoid_kernel_net::namespace;
use catenoid_kernel_net::netlink::{Address, BridgeSettings, Link, Netlink, Route};
use futures::TryStreamExt as _;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, BridgeStpState, Inet6DevConf, InetDevConf, InfoBridge, InfoData, InfoKind,
    InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// Of a machine's configurations, so many.
const CONFIGURATIONS: usize = 8;
/// The ids that the user namespaces of the test map theirs to: nobody else's.
const IDS: (u32, u32) = (1 << 30, 65_536);

/// Settings of an interface that a manifest or the room decides, as both name them.
const SETTINGS_4: [Setting<InetDevConf>; 4] = [
    ("ipv4/conf/*/forwarding", |conf| conf.forwarding),
    ("ipv4/conf/*/accept_redirects", |conf| conf.accept_redirects),
    ("ipv4/conf/*/arp_ignore", |conf| conf.arp_ignore),
    ("ipv4/conf/*/rp_filter", |conf| conf.rp_filter),
];
const SETTINGS_6: [Setting<Inet6DevConf>; 8] = [
    ("ipv6/conf/*/forwarding", |conf| conf.forwarding),
    ("ipv6/conf/*/accept_ra", |conf| conf.accept_ra),
    ("ipv6/conf/*/max_addresses", |conf| conf.max_addresses),
    ("ipv6/conf/*/accept_ra_rt_info_max_plen", |conf| conf.accept_ra_rt_info_max_plen),
    ("ipv6/conf/*/disable_ipv6", |conf| conf.disable_ipv6),
    ("ipv6/conf/*/suppress_frag_ndisc", |conf| conf.suppress_frag_ndisc),
    ("ipv6/conf/*/accept_ra_min_hop_limit", |conf| conf.accept_ra_min_hop_limit),
    ("ipv6/conf/*/addr_gen_mode", |conf| conf.addr_gen_mode),
];
/// Its key for us, and where rtnetlink has it.
type Setting<Conf> = (&'static str, fn(&Conf) -> i32);

/// A change of one network namespace.
#[derive(Debug, Clone)]
enum Change {
    MakeBridge(String),
    SetBridge(String, BridgeSettings),
    MakePair {
        outer: String,
        inner: String,
        address: [u8; 6],
    },
    Switch(String, bool),
    SetMaster(String, String),
    AddAddress(String, IpAddr, u8),
    RemoveAddress(String, IpAddr, u8),
    SetDefaultRoute(String, IpAddr),
    RemoveDefaultRoute(String, IpAddr),
    /// Into the other namespace, under another name.
    Move(String, String),
    Remove(String),
}

/// A pair of interfaces as it is made, and what becomes of it.
#[derive(Debug, Clone)]
struct Port {
    bridge: bool,
    up: [bool; 2],
    address: [u8; 5],
    v4: Option<(u16, u8)>,
    v6: Option<(u16, u8)>,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Stays,
    LosesAddresses,
    Leaves,
    Goes,
}

fn any_port() -> impl Strategy<Value = Port> {
    let end = prop_oneof![Just(End::Stays), Just(End::LosesAddresses), Just(End::Leaves), Just(End::Goes)];
    let v4 = any::<Option<u16>>().prop_flat_map(|host| (Just(host), 8..=29_u8));
    let v6 = any::<Option<u16>>().prop_flat_map(|host| (Just(host), 32..=124_u8));
    let of = |(host, prefix): (Option<u16>, u8)| host.map(|host| (host, prefix));
    (any::<bool>(), any::<[bool; 2]>(), any::<[u8; 5]>(), v4.prop_map(of), v6.prop_map(of), end)
        .prop_map(|(bridge, up, address, v4, v6, end)| Port { bridge, up, address, v4, v6, end })
}

fn any_bridge() -> impl Strategy<Value = BridgeSettings> {
    any::<[bool; 3]>().prop_map(|[stp, snooping, filtered]| BridgeSettings { stp, snooping, filtered })
}

/// An address of the port with this number, and a gateway in its network.
fn addresses(number: u8, port: &Port) -> Vec<(IpAddr, IpAddr, u8)> {
    let v4 = port.v4.map(|(host, prefix)| {
        let [high, low] = (host & !7).to_be_bytes();
        let of = |last| Ipv4Addr::new(10 + number, 1, high, low | last).into();
        (of(2), of(1), prefix)
    });
    let v6 = port.v6.map(|(host, prefix)| {
        let of = |last| Ipv6Addr::new(0xfd00 + u16::from(number), 1, 2, 3, 4, 5, 6, (host & !7) | last).into();
        (of(2), of(1), prefix)
    });
    v4.into_iter().chain(v6).collect()
}

/// What is made, and what is taken away again, each in the outer and in the inner namespace.
fn changes(bridge: BridgeSettings, ports: &[Port]) -> [[Vec<Change>; 2]; 2] {
    let bridge_name = || "cz-plant".to_owned();
    let mut made = [vec![Change::MakeBridge(bridge_name()), Change::SetBridge(bridge_name(), bridge)], Vec::new()];
    made[0].push(Change::Switch(bridge_name(), true));
    let mut taken = [Vec::new(), Vec::new()];
    let mut gateways = [false; 2];
    for (number, port) in (0..).zip(ports) {
        let (outer, inner) = (format!("cv-{number}"), format!("plant{number}"));
        let [b, c, d, e, f] = port.address;
        made[0].push(Change::MakePair { outer: outer.clone(), inner: inner.clone(), address: [2, b, c, d, e, f] });
        made[0].push(Change::Switch(outer.clone(), port.up[0]));
        if port.bridge {
            made[0].push(Change::SetMaster(outer.clone(), bridge_name()));
        }
        made[1].push(Change::Switch(inner.clone(), port.up[1]));
        for (address, gateway, prefix) in addresses(number, port) {
            made[1].push(Change::AddAddress(inner.clone(), address, prefix));
            // One default route for each family, by an interface that is on.
            let has = &mut gateways[usize::from(gateway.is_ipv6())];
            if port.up[1] && !*has {
                *has = true;
                made[1].push(Change::SetDefaultRoute(inner.clone(), gateway));
                if matches!(port.end, End::LosesAddresses) {
                    taken[1].push(Change::RemoveDefaultRoute(inner.clone(), gateway));
                }
            }
            if matches!(port.end, End::LosesAddresses) {
                taken[1].push(Change::RemoveAddress(inner.clone(), address, prefix));
            }
        }
        match port.end {
            End::Stays => taken[0].push(Change::Switch(outer, !port.up[0])),
            End::LosesAddresses => {}
            End::Leaves => taken[0].push(Change::Move(outer, format!("z{number}"))),
            End::Goes => taken[0].push(Change::Remove(outer)),
        }
    }
    [made, taken]
}

fn make(netlink: &Netlink, change: &Change, other: &OwnedFd) {
    match change {
        Change::MakeBridge(name) => netlink.make_bridge(name),
        Change::SetBridge(name, bridge) => netlink.set_bridge(name, *bridge),
        Change::MakePair { outer, inner, address } => netlink.make_veth(outer, inner, *address, other.as_fd()),
        Change::Switch(name, true) => netlink.switch_on(name),
        Change::Switch(name, false) => netlink.switch_off(name),
        Change::SetMaster(name, bridge) => netlink.set_master(name, bridge),
        Change::AddAddress(name, address, prefix) => netlink.add_address(name, *address, *prefix),
        Change::RemoveAddress(name, address, prefix) => netlink.remove_address(name, *address, *prefix),
        Change::SetDefaultRoute(name, gateway) => netlink.set_default_route(name, *gateway),
        Change::RemoveDefaultRoute(name, gateway) => netlink.remove_default_route(name, *gateway),
        Change::Move(name, renamed) => netlink.move_to(name, other.as_fd(), renamed),
        Change::Remove(name) => netlink.remove(name),
    }
    .unwrap_or_else(|error| panic!("{change:?}: {error}: {:?}", std::error::Error::source(&error)));
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    Ok(links.try_next().await?.expect("it was made").header.index)
}

async fn make_by_theirs(handle: &Handle, change: &Change, other: &OwnedFd) -> Result<(), rtnetlink::Error> {
    let link = async |name: &str| index_of(handle, name).await.map(LinkUnspec::new_with_index);
    let set = async |message: LinkMessage| handle.link().set(message).execute().await;
    match change {
        Change::MakeBridge(name) => {
            let bridge = LinkMessageBuilder::<LinkBridge>::new(name);
            handle.link().add(bridge.build()).execute().await
        }
        Change::SetBridge(name, BridgeSettings { stp, snooping, filtered }) => {
            let stp = if *stp { BridgeStpState::KernelStp } else { BridgeStpState::Disabled };
            let bridge = LinkMessageBuilder::<LinkBridge>::new(name)
                .append_info_data(InfoBridge::StpState(stp))
                .append_info_data(InfoBridge::MulticastSnooping(*snooping))
                .append_info_data(InfoBridge::NfCallIpTables(*filtered))
                .append_info_data(InfoBridge::NfCallIp6Tables(*filtered));
            handle.link().change(bridge.build()).execute().await
        }
        Change::MakePair { outer, inner, address } => {
            let peer = LinkMessageBuilder::<LinkUnspec>::new().name(inner.as_str()).address(address.to_vec());
            let peer = InfoData::Veth(InfoVeth::Peer(peer.setns_by_fd(other.as_raw_fd()).build()));
            handle.link().add(LinkVeth::new(outer, inner).set_info_data(peer).build()).execute().await
        }
        Change::Switch(name, true) => set(link(name).await?.up().build()).await,
        Change::Switch(name, false) => set(link(name).await?.down().build()).await,
        Change::SetMaster(name, bridge) => {
            set(link(name).await?.controller(index_of(handle, bridge).await?).build()).await
        }
        Change::AddAddress(name, address, prefix) => {
            let mut add = handle.address().add(index_of(handle, name).await?, *address, *prefix);
            add.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            add.execute().await
        }
        Change::RemoveAddress(name, address, prefix) => {
            let mut message = AddressMessage::default();
            message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            message.header.prefix_len = *prefix;
            message.header.index = index_of(handle, name).await?;
            message.attributes = vec![AddressAttribute::Local(*address), AddressAttribute::Address(*address)];
            handle.address().del(message).execute().await
        }
        Change::SetDefaultRoute(name, gateway) => {
            handle.route().add(default_route(handle, name, *gateway).await?).execute().await
        }
        Change::RemoveDefaultRoute(name, gateway) => {
            handle.route().del(default_route(handle, name, *gateway).await?).execute().await
        }
        Change::Move(name, renamed) => {
            let index = index_of(handle, name).await?;
            set(LinkUnspec::new_with_index(index).down().build()).await?;
            let moved = LinkUnspec::new_with_index(index).name(renamed.as_str()).setns_by_fd(other.as_raw_fd());
            set(moved.build()).await
        }
        Change::Remove(name) => handle.link().del(index_of(handle, name).await?).execute().await,
    }
}

async fn default_route(handle: &Handle, name: &str, gateway: IpAddr) -> Result<RouteMessage, rtnetlink::Error> {
    let index = index_of(handle, name).await?;
    Ok(match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).output_interface(index).build(),
    })
}

/// What is in a network namespace, in one order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    links: Vec<SeenLink>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SeenLink {
    index: u32,
    name: String,
    kind: Option<String>,
    up: bool,
    loopback: bool,
    address: Option<[u8; 6]>,
    permanent: Option<[u8; 6]>,
    master: Option<u32>,
    peer: Option<u32>,
    peer_namespace: Option<u32>,
    bridge: BridgeSettings,
    settings: Vec<Option<i32>>,
}

fn sorted<T: Debug>(mut all: Vec<T>) -> Vec<T> {
    all.sort_by_key(|one| format!("{one:?}"));
    all
}

impl Seen {
    fn new(links: Vec<SeenLink>, addresses: Vec<Address>, routes: Vec<Route>) -> Self {
        Self { links: sorted(links), addresses: sorted(addresses), routes: sorted(routes) }
    }

    /// Without the addresses that the kernel chose by chance: of bridges and of outer ends.
    fn without_chance(mut self) -> Self {
        for link in self.links.iter_mut().filter(|link| !link.name.starts_with("plant")) {
            link.address = None;
        }
        self
    }
}

fn seen_by_us() -> Seen {
    let netlink = Netlink::open().unwrap();
    let keys = || SETTINGS_4.iter().map(|(key, _)| key).chain(SETTINGS_6.iter().map(|(key, _)| key));
    let links = netlink.links().unwrap().into_iter().map(|link| {
        let settings = keys().map(|key| link.setting(key)).collect();
        let Link { index, name, kind, up, loopback, address, permanent, master, peer, peer_namespace, bridge, .. } =
            link;
        SeenLink { index, name, kind, up, loopback, address, permanent, master, peer, peer_namespace, bridge, settings }
    });
    Seen::new(links.collect(), netlink.addresses().unwrap(), netlink.routes().unwrap())
}

async fn seen_by_theirs(handle: &Handle) -> Result<Seen, rtnetlink::Error> {
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    let addresses: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    let mut routes: Vec<RouteMessage> = Vec::new();
    for of_family in [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()] {
        routes.extend(handle.route().get(of_family).execute().try_collect::<Vec<_>>().await?);
    }
    Ok(Seen::new(
        links.iter().map(their_link).collect(),
        addresses.iter().filter_map(their_address).collect(),
        routes.iter().filter_map(their_route).collect(),
    ))
}

fn their_link(message: &LinkMessage) -> SeenLink {
    let mut link = SeenLink {
        index: message.header.index,
        name: String::new(),
        kind: None,
        up: message.header.flags.contains(LinkFlags::Up),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        address: None,
        permanent: None,
        master: None,
        peer: None,
        peer_namespace: None,
        bridge: BridgeSettings::default(),
        settings: Vec::new(),
    };
    let mut conf: (Option<InetDevConf>, Option<Inet6DevConf>) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(address) => link.address = address.as_slice().try_into().ok(),
            LinkAttribute::PermAddress(address) => link.permanent = address.as_slice().try_into().ok(),
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Link(index) => link.peer = Some(*index),
            LinkAttribute::LinkNetNsId(number) => link.peer_namespace = Some(number.cast_unsigned()),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| their_link_info(info, &mut link)),
            LinkAttribute::AfSpecUnspec(specs) => specs.iter().for_each(|spec| match spec {
                AfSpecUnspec::Inet(all) => conf.0 = all.iter().find_map(conf_4),
                AfSpecUnspec::Inet6(all) => conf.1 = all.iter().find_map(conf_6),
                _ => {}
            }),
            _ => {}
        }
    }
    let v4 = SETTINGS_4.iter().map(|(_, setting)| conf.0.as_ref().map(setting));
    let v6 = SETTINGS_6.iter().map(|(_, setting)| conf.1.as_ref().map(setting));
    link.settings = v4.chain(v6).collect();
    link
}

fn conf_4(of: &AfSpecInet) -> Option<InetDevConf> {
    if let AfSpecInet::DevConf(conf) = of { Some(*conf) } else { None }
}

fn conf_6(of: &AfSpecInet6) -> Option<Inet6DevConf> {
    if let AfSpecInet6::DevConf(conf) = of { Some(*conf) } else { None }
}

fn their_link_info(info: &LinkInfo, link: &mut SeenLink) {
    match info {
        LinkInfo::Kind(InfoKind::Other(kind)) => link.kind = Some(kind.clone()),
        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
        LinkInfo::Data(InfoData::Bridge(data)) => {
            let has = |wanted: &InfoBridge| data.contains(wanted);
            link.bridge = BridgeSettings {
                stp: !has(&InfoBridge::StpState(BridgeStpState::Disabled)),
                snooping: has(&InfoBridge::MulticastSnooping(true)),
                filtered: has(&InfoBridge::NfCallIpTables(true)) && has(&InfoBridge::NfCallIp6Tables(true)),
            };
        }
        _ => {}
    }
}

fn their_address(message: &AddressMessage) -> Option<Address> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    let (index, prefix) = (message.header.index, message.header.prefix_len);
    local.or(address).map(|address| Address { index, address, prefix })
}

fn their_route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    let everywhere: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (mut to, mut gateway, mut index) = (Some(everywhere), None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Oif(number) => index = Some(*number),
            _ => {}
        }
    }
    let by_kernel = matches!(header.protocol, RouteProtocol::Kernel | RouteProtocol::Ra);
    Some(Route { index: index?, to: to?, prefix: header.destination_prefix_length, gateway, by_kernel })
}

/// Runs `work` with rtnetlink in the network namespace of the calling thread.
fn with_theirs<T>(work: impl AsyncFnOnce(&Handle) -> Result<T, rtnetlink::Error>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        work(&handle).await.unwrap()
    })
}

/// Two namespaces with what one of the two made in them.
struct World {
    sides: [OwnedFd; 2],
    by_us: bool,
}

impl World {
    fn new(by_us: bool) -> Self {
        let world = Self { sides: [(); 2].map(|()| namespace::make(IDS.0, IDS.1).unwrap().net().unwrap()), by_us };
        // The kernel makes addresses at a time of its own, and of what it chose by chance.
        world.inside_each(|_, _| namespace::set("ipv6/conf/default/addr_gen_mode", "1").unwrap());
        world
    }

    fn inside_each<T: Send>(&self, work: impl Fn(usize, &OwnedFd) -> T + Send + Sync) -> [T; 2] {
        let [outer, inner] = &self.sides;
        [(0, outer, inner), (1, inner, outer)]
            .map(|(side, here, other)| namespace::inside(here.as_fd(), || work(side, other)).unwrap())
    }

    fn apply(&self, changes: &[Vec<Change>; 2]) {
        self.inside_each(|side, other| {
            if self.by_us {
                let netlink = Netlink::open().unwrap();
                changes[side].iter().for_each(|change| make(&netlink, change, other));
            } else {
                with_theirs(async |handle| {
                    for change in &changes[side] {
                        make_by_theirs(handle, change, other)
                            .await
                            .unwrap_or_else(|error| panic!("{change:?}: {error}"));
                    }
                    Ok(())
                });
            }
        });
    }

    /// What both read alike.
    fn seen(&self, of: &str) -> [Seen; 2] {
        self.inside_each(|side, _| {
            let (ours, theirs) = (seen_by_us(), with_theirs(seen_by_theirs));
            assert_eq!(ours, theirs, "side {side}, made by us: {}: {of}", self.by_us);
            ours
        })
    }
}

#[test]
fn netns_any_configuration_is_made_and_read_as_by_rtnetlink() {
    let mut runner = TestRunner::deterministic();
    let configuration = (any_bridge(), prop::collection::vec(any_port(), 0..=5));
    let mut routes = 0;
    for _ in 0..CONFIGURATIONS {
        let (bridge, ports) = configuration.new_tree(&mut runner).unwrap().current();
        let worlds = [World::new(true), World::new(false)];
        for changes in changes(bridge, &ports) {
            worlds.iter().for_each(|world| world.apply(&changes));
            let of = format!("{changes:?}");
            let [ours, theirs] = worlds.each_ref().map(|world| world.seen(&of));
            routes += ours[1].routes.len();
            assert_eq!(ours.map(Seen::without_chance), theirs.map(Seen::without_chance), "{of}");
        }
    }
    assert!(routes > CONFIGURATIONS, "there was something to compare");
}

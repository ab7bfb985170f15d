//! Reads what there is of namespaces, segments and firewalls.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    time::Instant,
};

use catenoid_core::holds_until;
use catenoid_kernel_net::{
    firewall,
    namespace::{self, Pair, Visitor},
    netlink::{self, Address, Announcements, Link, Netlink, Route},
};
use catenoid_schema::{manifest::MacAddress, name::Name};
use ipnet::IpNet;
use serde_json::json;

use crate::{
    ADVERTISED_MOST, Advertised, Bridge, BridgePort, Differing, Error, Inner, Namespaces, NetworkNamespace, Observed,
    ObservedInterface, Of, Rules, name,
    overlap::is_link_local,
    settings::{ADVERTISEMENTS, IPV6_OFF, about},
};

/// The most bytes of a listing of the root namespace's rules, which nobody can change but root: 1000 ports and 64 zones of
/// 256 flows come to about half of it.
const ROOT_LISTING: usize = 16 * 1024 * 1024;
/// The same of a container's, unless we gave it more: whoever has the core container can write any rules, each of which
/// costs the agent many times its length, and the status carries them to everybody who asks.
const CONTAINER_LISTING: usize = 1024 * 1024;

/// What [`ADVERTISEMENTS`] is set to: who forwards, as the core container, ignores them unless it is set to this.
pub(crate) const TAKEN: i32 = 2;

/// What is in one network namespace; addresses and routes by the number of their interface.
#[derive(Debug, Default)]
struct Content {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    /// The number by which this namespace knows the root namespace.
    root: Option<u32>,
    forwarding: Option<bool>,
    firewall: Option<firewall::State>,
}

impl Content {
    fn addresses_of(&self, link: &Link) -> &[Address] {
        by(&self.addresses, |address| address.index, link.index)
    }

    fn routes_of(&self, link: &Link) -> &[Route] {
        by(&self.routes, |route| route.index, link.index)
    }
}

/// What each firewall was listed as, and in which state it was then. While the kernel says that nothing was changed since,
/// it is not listed again: that would cost more than all the rest of a look.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    known: BTreeMap<u64, (firewall::State, Rules)>,
    /// Bytes of the longest rules that we gave to a container.
    longest: usize,
}

impl Listed {
    /// The rules in the namespace `net` of `place`, whose firewall is in `state`.
    fn rules(
        &mut self,
        net: BorrowedFd<'_>,
        place: &NetworkNamespace,
        state: firewall::State,
    ) -> Result<Rules, firewall::Error> {
        match self.known.get(&state.namespace) {
            Some((then, rules)) if *then == state => Ok(rules.clone()),
            _ => {
                let limit = match place {
                    NetworkNamespace::Root => ROOT_LISTING,
                    NetworkNamespace::Container(_) => CONTAINER_LISTING.max(2 * self.longest),
                };
                let rules = Rules::normal(firewall::list(net, name::TABLE, limit)?);
                self.known.insert(state.namespace, (state, rules.clone()));
                Ok(rules)
            }
        }
    }
}

/// What was read, and is read again only where it may have changed.
#[derive(Debug, Default)]
pub(crate) struct Known {
    listed: Listed,
    inside: BTreeMap<Name, Visited>,
    /// The containers that can change their namespaces by themselves: nobody listens in those for long, as they could announce
    /// without end; they are read each time.
    free: BTreeSet<Name>,
}

/// What was read in the namespaces of one container.
#[derive(Debug)]
struct Visited {
    /// The number of the network namespace.
    number: u64,
    announcements: Option<[Announcements; 2]>,
    until: Instant,
    namespaces: Namespaces,
    content: Content,
    rules: Rules,
}

impl Known {
    /// Notes that `rules` were given to a container: a listing of as many is read.
    pub(crate) fn gave(&mut self, rules: &Rules) {
        self.listed.longest = self.listed.longest.max(rules.bytes());
    }

    /// These may set by themselves what is not announced.
    pub(crate) fn are_free(&mut self, containers: &BTreeSet<Name>) {
        self.free.clone_from(containers);
    }

    /// Something was changed in the namespaces of `container`; and they live no longer because somebody listens in them.
    pub(crate) fn forget(&mut self, container: &Name) {
        self.inside.remove(container);
    }
}

impl Visited {
    /// Whether it is still so: nothing was announced since it was read, and that is not long ago.
    fn holds(&self) -> bool {
        let quiet = |announcements: &Announcements| matches!(announcements.drain(), Ok(false));
        let Some([links, firewall]) = &self.announcements else { return false };
        // Both are read: one that is left full would announce nothing more.
        let (links, firewall) = (quiet(links), quiet(firewall));
        links && firewall && Instant::now() < self.until
    }
}

/// Reads everything. Blocks: some tenths of a millisecond for each container and some milliseconds for each firewall.
///
/// A firewall in a container's namespace that cannot be listed is drift, too: it is observed as none of ours. That the rest
/// cannot be read is nothing that a container can bring about, and an error: a pair that is merely not read for once must
/// not be taken for one that is not whole, for that is made anew, and who runs in it is cut off.
pub(crate) fn observe(run: &Path, root: &OwnedFd, known: &mut Known) -> Result<Observed, Error> {
    namespace::visit(|visitor| visit(visitor, run, root, known)).map_err(Error::Observe)?
}

fn visit(visitor: &Visitor, run: &Path, root: &OwnedFd, known: &mut Known) -> Result<Observed, Error> {
    let mut observed = Observed::default();
    let mut there = BTreeSet::new();
    let mut inner = BTreeMap::new();
    let mut before = std::mem::take(&mut known.inside);
    for entry in namespace::list(run).map_err(Error::Observe)? {
        let Ok(container) = entry.parse::<Name>() else { continue };
        let Some(pair) = namespace::read(&run.join(container.as_str())).map_err(Error::Observe)? else {
            observed.namespaces.insert(container, None);
            continue;
        };
        let number = namespace::number(&pair.net).map_err(Error::Observe)?;
        let held = before.remove(&container).filter(|inside| inside.number == number);
        let is_free = known.free.contains(&container);
        let inside = match held {
            Some(inside) if inside.holds() && inside.namespaces.base == pair.base && !is_free => inside,
            held => {
                visitor.enter(pair.net.as_fd()).map_err(Error::Observe)?;
                let before = held.and_then(|inside| inside.announcements);
                // What changes from now on is announced.
                let listen = || Ok::<_, netlink::Error>([Announcements::of_links()?, Announcements::of_firewall()?]);
                let announcements = if is_free { None } else { Some(before.map_or_else(listen, Ok)) };
                let announcements = announcements.transpose().map_err(Error::Links)?;
                look_inside(&container, (&pair, number), announcements, root, &mut known.listed)?
            }
        };
        let Visited { namespaces, content, rules, .. } = &inside;
        observed.namespaces.insert(container.clone(), Some(namespaces.clone()));
        there.extend(content.firewall.map(|state| state.namespace));
        let place = NetworkNamespace::Container(container.clone());
        note(place.clone(), rules.clone(), &mut observed);
        for link in &content.links {
            match joined_to(link, content) {
                Some(outer) => {
                    inner.extend(inner_end(&container, link, content).map(|end| (outer, end)));
                }
                None => interface(&place, link, content, &mut observed),
            }
        }
        known.inside.insert(container, inside);
    }
    visitor.enter(root.as_fd()).map_err(Error::Observe)?;
    let unreadable = |source| Error::Firewall { place: NetworkNamespace::Root, source };
    let state = firewall::state().map_err(unreadable)?;
    there.insert(state.namespace);
    let listed = &mut known.listed;
    note(
        NetworkNamespace::Root,
        listed.rules(root.as_fd(), &NetworkNamespace::Root, state).map_err(unreadable)?,
        &mut observed,
    );
    listed.known.retain(|namespace, _| there.contains(namespace));
    segments(inner, &mut observed)?;
    Ok(observed)
}

/// All there is to read of a container in whose network namespace the visitor is.
fn look_inside(
    container: &Name,
    (pair, number): (&Pair, u64),
    announcements: Option<[Announcements; 2]>,
    root: &OwnedFd,
    listed: &mut Listed,
) -> Result<Visited, Error> {
    let content = read(root)?;
    let settings = namespace::settings(about(Of::Namespace).map(|line| line.key)).map_err(Error::Observe)?;
    let settings = differing(Of::Namespace, settings);
    let namespaces = Namespaces { base: pair.base, forwarding: content.forwarding, settings };
    let place = NetworkNamespace::Container(container.clone());
    // It may be taken away while it is listed.
    let rules = content.firewall.and_then(|state| listed.rules(pair.net.as_fd(), &place, state).ok());
    let rules = rules.unwrap_or_else(|| Rules::normal([json!({"unreadable": "table"})]));
    // Settings are not announced; only root of the device can change them there.
    let until = holds_until(number);
    Ok(Visited { number, announcements, until, namespaces, content, rules })
}

/// What is in the network namespace of a container that the visitor is in.
fn read(root: &OwnedFd) -> Result<Content, Error> {
    let netlink = Netlink::open().map_err(Error::Links)?;
    let [v4, v6] = netlink.forwarding().map_err(Error::Links)?;
    let (mut addresses, mut routes) = (bounded(netlink.addresses())?, bounded(netlink.routes())?);
    addresses.sort_by_key(|address| address.index);
    routes.sort_by_key(|route| route.index);
    Ok(Content {
        root: netlink.number_of(root.as_fd()).map_err(Error::Links)?,
        links: bounded(netlink.links())?,
        addresses,
        routes,
        forwarding: forwarding(v4, v6),
        firewall: firewall::state().ok(),
    })
}

/// What the core container made too long to be listed is drift of its own: nothing of it is ours.
fn bounded<T>(listed: Result<Vec<T>, netlink::Error>) -> Result<Vec<T>, Error> {
    match listed {
        Err(error) if error.is_cut() => Ok(Vec::new()),
        listed => listed.map_err(Error::Links),
    }
}

/// What both settings say, if it is the same and one that we write; a family that is not there forwards nothing.
fn forwarding(v4: Option<i32>, v6: Option<i32>) -> Option<bool> {
    match (v4, v6) {
        (Some(1), Some(1)) => Some(true),
        (Some(0) | None, Some(0) | None) => Some(false),
        _ => None,
    }
}

/// What is set otherwise than the table has it, by the `values` of its lines. What this kernel does not have is as it should
/// be.
fn differing(of: Of, values: impl IntoIterator<Item = Option<String>>) -> Differing {
    let known = about(of).zip(values).filter_map(|(line, is)| Some((line, is?)));
    known.filter(|(line, is)| is != line.value).map(|(line, is)| (line.key.to_owned(), is)).collect()
}

/// The same of an interface.
fn set_on(link: &Link, of: Of) -> Differing {
    differing(of, about(of).map(|line| link.setting(line.key).map(|value| value.to_string())))
}

/// The number of the interface in the root namespace that is the other end of `link`. The kernel reports both, and a
/// container can forge neither.
fn joined_to(link: &Link, content: &Content) -> Option<u32> {
    let veth = link.kind.as_deref() == Some("veth");
    link.peer.filter(|_| veth && content.root.is_some() && link.peer_namespace == content.root)
}

fn inner_end(container: &Name, link: &Link, content: &Content) -> Option<Inner> {
    let addresses = content.addresses_of(link).iter();
    let routes = content.routes_of(link).iter().filter(|route| route.prefix == 0);
    Some(Inner {
        container: container.clone(),
        name: link.name.clone(),
        mac: MacAddress::from_bytes(link.address?),
        up: link.up,
        addresses: addresses.filter_map(|found| IpNet::new(found.address, found.prefix).ok()).collect(),
        gateways: routes.filter_map(|route| route.gateway).collect(),
        settings: set_on(link, Of::Inner),
    })
}

/// Bridges and outer ends in the root namespace, which the visitor is in, and the interfaces that are none of ours.
fn segments(mut inner: BTreeMap<u32, Inner>, observed: &mut Observed) -> Result<(), Error> {
    let links = Netlink::open().and_then(|netlink| netlink.links()).map_err(Error::Links)?;
    for link in &links {
        let (up, mut settings) = (link.up, set_on(link, Of::Outer));
        // It has had a field of its own from the beginning.
        let ipv6 = settings.remove(IPV6_OFF).is_some();
        match link.kind.as_deref() {
            Some("bridge") if name::is_bridge(&link.name) => {
                let netlink::BridgeSettings { stp, snooping, filtered } = link.bridge;
                let bridge = Bridge { up, stp, snooping, filtered, ipv6, settings };
                observed.bridges.insert(link.name.clone(), bridge);
            }
            Some("veth") if name::is_port(&link.name) => {
                let bridge = link.master.and_then(|master| links.iter().find(|other| other.index == master));
                let bridge = bridge.map(|bridge| bridge.name.clone());
                let port = BridgePort { bridge, up, ipv6, inner: inner.remove(&link.index), settings };
                observed.ports.insert(link.name.clone(), port);
            }
            _ if name::is_bridge(&link.name) || name::is_port(&link.name) => {
                observed.strays.insert(link.name.clone());
            }
            _ => interface(&NetworkNamespace::Root, link, &Content::default(), observed),
        }
    }
    Ok(())
}

/// Notes a physical interface, or a pair that somebody else made and that can stand in for one. Where two have the same
/// address, hardware comes before what a container may have made, and the root namespace before containers.
fn interface(place: &NetworkNamespace, link: &Link, content: &Content, observed: &mut Observed) {
    let physical = link.kind.is_none() && !link.loopback;
    let mac = link.permanent.filter(|_| physical).or(link.address).map(MacAddress::from_bytes);
    let Some(mac) = mac.filter(|_| physical || link.kind.as_deref() == Some("veth")) else { return };
    let rank = |interface: &ObservedInterface| (interface.physical, interface.place == NetworkNamespace::Root);
    let inside = *place != NetworkNamespace::Root;
    let (addresses, routes) = (content.addresses_of(link), content.routes_of(link));
    let advertised = advertised(addresses, routes).filter_map(advertised_by);
    let found = ObservedInterface {
        place: place.clone(),
        name: link.name.clone(),
        up: link.up,
        physical,
        advertisements: inside && link.setting(ADVERTISEMENTS) == Some(TAKEN),
        settings: if inside { set_on(link, Of::Uplink) } else { Differing::new() },
        networks: networks(addresses, routes),
        advertised: advertised.take(ADVERTISED_MOST + 1).collect(),
    };
    match observed.interfaces.get(&mac) {
        Some(known) if rank(known) >= rank(&found) => {}
        _ => {
            observed.interfaces.insert(mac, found);
        }
    }
}

/// The most addresses of an interface that are looked at: who has the core container can give it any number.
const ADDRESSES_LIMIT: usize = 64;

/// The networks of the addresses of one interface, but for the one that every interface has.
fn own(addresses: &[Address]) -> Vec<IpNet> {
    let nets = addresses.iter().filter_map(|found| IpNet::new(found.address, found.prefix).ok());
    nets.filter(|net| !is_link_local(net)).take(ADDRESSES_LIMIT).collect()
}

/// The networks that one interface has an address in.
fn networks(addresses: &[Address], routes: &[Route]) -> BTreeSet<IpNet> {
    let own = own(addresses);
    let on_link = routes.iter().filter(|route| route.by_kernel && route.gateway.is_none()).filter_map(network);
    let used = on_link.filter(|net| own.iter().any(|own| net.contains(&own.addr())));
    own.iter().map(IpNet::trunc).chain(used).collect()
}

/// The routes of router advertisements by one interface that it has no address for.
pub(crate) fn advertised<'a>(addresses: &[Address], routes: &'a [Route]) -> impl Iterator<Item = &'a Route> {
    let own = own(addresses);
    let by_kernel = routes.iter().filter(|route| route.by_kernel && route.to.is_ipv6());
    by_kernel.filter(move |route| {
        let Some(net) = network(route) else { return false };
        let used = route.gateway.is_none() && own.iter().any(|own| net.contains(&own.addr()));
        !used && !is_link_local(&net)
    })
}

/// What is of the interface `index`, in what is sorted by interfaces.
fn by<T>(sorted: &[T], of: impl Fn(&T) -> u32, index: u32) -> &[T] {
    let start = sorted.partition_point(|item| of(item) < index);
    let end = sorted.partition_point(|item| of(item) <= index);
    &sorted[start..end]
}

fn network(route: &Route) -> Option<IpNet> {
    IpNet::new(route.to, route.prefix).ok()
}

fn advertised_by(route: &Route) -> Option<Advertised> {
    Some(Advertised { to: network(route)?, router: route.gateway })
}

fn note(place: NetworkNamespace, rules: Rules, observed: &mut Observed) {
    if !rules.is_empty() {
        observed.firewalls.insert(place, rules);
    }
}

//! Does the steps.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use catenoid_core::{Applied, Reconciler, Signals, Source, chain};
use catenoid_kernel_base::lock;
use catenoid_kernel_net::{
    firewall,
    namespace::{self, inside},
    netlink::{self, Announcements, Link, Netlink},
};
use catenoid_schema::{
    allocate,
    manifest::{Addressing, MacAddress},
    name::Name,
};
use ipnet::IpNet;

use crate::{
    Bridge, BridgePort, Desired, Error, Inner, NetworkNamespace, Observed, Of, Step, ZonesPlanner, name,
    observe::{self, TAKEN},
    settings::{ADVERTISEMENTS, FORWARDING, about},
};

/// What the kernel announces in one network namespace, of interfaces or of the firewall.
#[derive(Debug)]
struct Heard {
    announcements: Announcements,
    /// Whether a container causes it.
    inside: bool,
}

impl AsFd for Heard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.announcements.as_fd()
    }
}

impl Source for Heard {
    fn drain(&self) -> io::Result<()> {
        self.announcements.drain().map(drop)
    }

    fn is_shaken(&self) -> bool {
        self.inside
    }
}

/// Of both.
type Both = [Arc<Heard>; 2];

fn listen(net: &OwnedFd, within: bool) -> Result<Both, Error> {
    let heard = |announcements| Arc::new(Heard { announcements, inside: within });
    let open = || Ok([heard(Announcements::of_links()?), heard(Announcements::of_firewall()?)]);
    inside(net.as_fd(), open).map_err(Error::Observe)?.map_err(Error::Links)
}

/// The half of this room that has effects.
#[derive(Debug, Clone)]
pub struct Zones(Arc<Ground>);

/// What its work stands on.
#[derive(Debug)]
struct Ground {
    /// The folder of the pairs of namespaces.
    run: PathBuf,
    /// The root network namespace.
    root: OwnedFd,
    /// What is announced in it.
    heard: Both,
    /// What is announced in those of containers that can change theirs, with the number of the namespace. It keeps that alive.
    inside: Mutex<BTreeMap<Name, (u64, Both)>>,
    known: Mutex<observe::Known>,
}

impl Zones {
    /// Takes the calling thread's network namespace for the root one, and `run` (usually `/run/catenoid/namespaces`, on a
    /// private mount) for the folder that keeps the containers' namespaces: `<container>/user` and `<container>/net`.
    ///
    /// # Errors
    /// [`Error::Observe`], [`Error::Links`].
    pub fn open(run: &Path) -> Result<Self, Error> {
        let root = namespace::current().map_err(Error::Observe)?;
        let (heard, run) = (listen(&root, false)?, run.to_owned());
        Ok(Self(Arc::new(Ground { run, root, heard, inside: Mutex::default(), known: Mutex::default() })))
    }

    /// The work blocks and changes namespaces, so it is not done on the threads that carry the agent.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ground) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let ground = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&ground)).await.map_err(Error::Cut)?
    }
}

impl Reconciler for Zones {
    type Planner = ZonesPlanner;
    type Error = Error;

    fn look_for(&self, desired: &Desired) {
        self.0.known().are_free(&desired.free);
    }

    /// Of the root namespace, and of those whose containers can change them by themselves.
    fn signals(&self, desired: &Desired, _: &Observed) -> Signals {
        let mut inside = lock(&self.0.inside);
        let mut before = std::mem::take(&mut *inside);
        let mut signals = Signals { sources: sources(&self.0.heard), ..Signals::default() };
        for container in &desired.free {
            match self.0.listen_inside(container, before.remove(container)) {
                Ok(None) => {}
                Ok(Some((number, both))) => {
                    signals.sources.extend(sources(&both));
                    inside.insert(container.clone(), (number, both));
                }
                Err(error) => signals.unheard.push(format!("the namespace of `{container}`: {}", chain(&error))),
            }
        }
        signals
    }

    async fn observe(&self) -> Result<Observed, Error> {
        self.blocking(|ground| observe::observe(&ground.run, &ground.root, &mut ground.known())).await
    }

    async fn apply(&self, step: &Step) -> Result<Applied, Error> {
        let step = step.clone();
        self.blocking(move |ground| ground.apply(&step)).await.map(|()| Applied::Done)
    }
}

fn sources(both: &Both) -> Vec<Arc<dyn Source>> {
    both.iter().map(|heard| Arc::clone(heard) as Arc<dyn Source>).collect()
}

impl Ground {
    fn known(&self) -> MutexGuard<'_, observe::Known> {
        lock(&self.known)
    }

    /// Listens in the namespace that `container` has now; none if it has none. What is `held` goes on if that is still the
    /// same.
    fn listen_inside(&self, container: &Name, held: Option<(u64, Both)>) -> Result<Option<(u64, Both)>, Error> {
        let Some(net) = namespace::net(&self.folder(container)).map_err(Error::Observe)? else { return Ok(None) };
        let number = namespace::number(&net).map_err(Error::Observe)?;
        match held.filter(|(before, _)| *before == number) {
            Some(held) => Ok(Some(held)),
            None => Ok(Some((number, listen(&net, true)?))),
        }
    }

    fn apply(&self, step: &Step) -> Result<(), Error> {
        step.changes().into_iter().for_each(|container| self.known().forget(container));
        match step {
            Step::MakeNamespaces { container, base } => self.make_namespaces(container, *base),
            Step::RemoveNamespaces { container } => {
                namespace::remove(&self.folder(container)).map_err(|source| namespaces(container, source))
            }
            Step::Settle { container, forwarding } => self.on(&NetworkNamespace::Container(container.clone()), |_| {
                settle(*forwarding).map_err(|source| namespaces(container, source))
            }),
            Step::SetFirewall { place, rules } => {
                let replaced = firewall::replace(self.net(place)?.as_fd(), name::TABLE, &rules.objects());
                replaced.map_err(|source| Error::Firewall { place: place.clone(), source })?;
                if matches!(place, NetworkNamespace::Container(_)) {
                    self.known().gave(rules);
                }
                Ok(())
            }
            Step::SetBridge { bridge, .. } => self.set_bridge(bridge),
            Step::RemoveBridge { bridge: name } | Step::RemoveStray { interface: name } => self.remove(name),
            Step::RemovePort { outer, .. } => self.remove(outer),
            Step::MakePort { outer, port, .. } => {
                if let Some(inner) = &port.inner {
                    self.make_port(outer, inner)?;
                }
                self.set_port(outer, port)
            }
            Step::SetPort { outer, port, .. } => self.set_port(outer, port),
            Step::MoveInterface { mac, from, container, name, address, .. } => {
                self.move_interface(*mac, from, container, name, *address)
            }
            Step::ForgetAdvertised { container, name, .. } => self
                .on(&NetworkNamespace::Container(container.clone()), |netlink| {
                    forget_advertised(netlink, name).map_err(|source| interface(name, source))
                }),
            Step::ReturnInterface { mac, from } => {
                let from = NetworkNamespace::Container(from.clone());
                let Some(link) = self.find(*mac, &from)? else {
                    return Err(Error::Gone { mac: *mac, place: from });
                };
                self.carry(&link, &from, &NetworkNamespace::Root, &name::returned(*mac))
            }
        }
    }

    fn folder(&self, container: &Name) -> PathBuf {
        self.run.join(container.as_str())
    }

    /// The network namespace of `place`.
    fn net(&self, place: &NetworkNamespace) -> Result<OwnedFd, Error> {
        match place {
            NetworkNamespace::Root => self
                .root
                .try_clone()
                .map_err(|source| Error::Observe(namespace::Error::Read { path: PathBuf::from("root"), source })),
            NetworkNamespace::Container(container) => {
                let net = namespace::net(&self.folder(container)).map_err(|source| namespaces(container, source))?;
                net.ok_or_else(|| Error::NoNamespaces { container: container.clone() })
            }
        }
    }

    /// Works on the interfaces of `place`.
    fn on<T: Send>(
        &self,
        place: &NetworkNamespace,
        work: impl FnOnce(&Netlink) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let net = self.net(place)?;
        inside(net.as_fd(), || work(&Netlink::open().map_err(Error::Links)?)).map_err(Error::Observe)?
    }

    fn make_namespaces(&self, container: &Name, base: u32) -> Result<(), Error> {
        let folder = self.folder(container);
        let failed = |source| namespaces(container, source);
        if namespace::net(&folder).map_err(failed)?.is_some() {
            return Ok(());
        }
        let fresh = namespace::make(base, allocate::RANGE).map_err(failed)?;
        let net = fresh.net().map_err(failed)?;
        let set = inside(net.as_fd(), || {
            settle(false).map_err(failed)?;
            Netlink::open().and_then(|netlink| netlink.switch_on("lo")).map_err(|source| interface("lo", source))
        });
        set.map_err(failed)??;
        fresh.keep(&folder).map_err(failed)
    }

    fn set_bridge(&self, name: &str) -> Result<(), Error> {
        let wanted = netlink::BridgeSettings {
            stp: Bridge::WANTED.stp,
            snooping: Bridge::WANTED.snooping,
            filtered: Bridge::WANTED.filtered,
        };
        self.on(&NetworkNamespace::Root, |netlink| {
            netlink.make_bridge(name).map_err(|source| interface(name, source))?;
            set(Of::Outer, name)?;
            netlink.set_bridge(name, wanted).map_err(|source| interface(name, source))?;
            netlink.switch_on(name).map_err(|source| interface(name, source))
        })
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        self.on(&NetworkNamespace::Root, |netlink| netlink.remove(name).map_err(|source| interface(name, source)))
    }

    fn make_port(&self, outer: &str, inner: &Inner) -> Result<(), Error> {
        let net = self.net(&NetworkNamespace::Container(inner.container.clone()))?;
        self.on(&NetworkNamespace::Root, |netlink| {
            let made = netlink.make_veth(outer, &inner.name, inner.mac.bytes(), net.as_fd());
            made.map_err(|source| interface(outer, source))
        })
    }

    /// The inner end first, and the outer end, by which packets come, last.
    fn set_port(&self, outer: &str, port: &BridgePort) -> Result<(), Error> {
        self.guarded(&NetworkNamespace::Root)?;
        if let Some(inner) = &port.inner {
            self.on(&NetworkNamespace::Container(inner.container.clone()), |netlink| {
                set(Of::Inner, &inner.name)?;
                set_inner(netlink, inner).map_err(|source| interface(&inner.name, source))
            })?;
        }
        self.on(&NetworkNamespace::Root, |netlink| {
            set(Of::Outer, outer)?;
            let bridge = port.bridge.iter().try_for_each(|bridge| netlink.set_master(outer, bridge));
            bridge.and_then(|()| switch(netlink, outer, port.up)).map_err(|source| interface(outer, source))
        })
    }

    fn move_interface(
        &self,
        mac: MacAddress,
        from: &NetworkNamespace,
        container: &Name,
        name: &str,
        address: Addressing,
    ) -> Result<(), Error> {
        let to = NetworkNamespace::Container(container.clone());
        self.guarded(&to)?;
        match self.find(mac, from)? {
            Some(link) => self.carry(&link, from, &to, name)?,
            None if self.find(mac, &to)?.is_some() => {}
            None => return Err(Error::Gone { mac, place: from.clone() }),
        }
        self.on(&to, |netlink| {
            let taken = if address == Addressing::Dhcp { TAKEN } else { 0 };
            let written = namespace::set(&ADVERTISEMENTS.replace('*', name), &taken.to_string());
            written.map_err(|source| Error::Setting { interface: name.to_owned(), source })?;
            set(Of::Uplink, name)?;
            netlink.switch_on(name).map_err(|source| interface(name, source))
        })
    }

    /// Moves a link that is not there yet, or not under this name.
    fn carry(&self, link: &Link, from: &NetworkNamespace, to: &NetworkNamespace, name: &str) -> Result<(), Error> {
        if from == to && link.name == name {
            return Ok(());
        }
        let net = self.net(to)?;
        self.on(from, |netlink| {
            netlink.move_to(&link.name, net.as_fd(), name).map_err(|source| interface(&link.name, source))
        })
    }

    /// The link with this hardware address in `place`, hardware first.
    fn find(&self, mac: MacAddress, place: &NetworkNamespace) -> Result<Option<Link>, Error> {
        let links = self.on(place, |netlink| netlink.links().map_err(Error::Links))?;
        let has = |link: &Link| link.permanent.or(link.address) == Some(mac.bytes());
        let mut found: Vec<_> = links.into_iter().filter(has).collect();
        found.sort_by_key(|link| link.kind.is_some());
        Ok(found.into_iter().next())
    }

    // [req->NDR-5.2-3]
    /// That nothing is joined to a place before its firewall is there.
    fn guarded(&self, place: &NetworkNamespace) -> Result<(), Error> {
        let tables = firewall::tables(self.net(place)?.as_fd(), name::TABLE);
        let tables = tables.map_err(|source| Error::Firewall { place: place.clone(), source })?;
        let needed: &[&str] = if *place == NetworkNamespace::Root { &["bridge", "inet"] } else { &["inet"] };
        if needed.iter().all(|family| tables.contains(family)) {
            Ok(())
        } else {
            Err(Error::Unguarded { place: place.clone() })
        }
    }
}

/// Sets what the calling thread's network namespace is to have set. Forwarding first: with it the kernel changes others
/// (`inet_forward_change` in `net/ipv4/devinet.c`).
fn settle(forwarding: bool) -> Result<(), namespace::Error> {
    let value = if forwarding { "1" } else { "0" };
    FORWARDING.iter().try_for_each(|key| namespace::set(key, value))?;
    about(Of::Namespace).try_for_each(|line| namespace::set(line.key, line.value))
}

/// Sets what an interface is to have set.
fn set(of: Of, interface: &str) -> Result<(), Error> {
    let set = about(of).try_for_each(|line| namespace::set(&line.path(interface), line.value));
    set.map_err(|source| Error::Setting { interface: interface.to_owned(), source })
}

fn switch(netlink: &Netlink, name: &str, up: bool) -> Result<(), netlink::Error> {
    if up { netlink.switch_on(name) } else { netlink.switch_off(name) }
}

/// Switched on before it has addresses: IPv6 ones do not outlast being off.
fn set_inner(netlink: &Netlink, inner: &Inner) -> Result<(), netlink::Error> {
    let index = netlink.index(&inner.name)?;
    switch(netlink, &inner.name, inner.up)?;
    for found in netlink.addresses()?.into_iter().filter(|found| found.index == index) {
        let wanted = IpNet::new(found.address, found.prefix).is_ok_and(|net| inner.addresses.contains(&net));
        if !wanted {
            netlink.remove_address(&inner.name, found.address, found.prefix)?;
        }
    }
    for net in &inner.addresses {
        netlink.add_address(&inner.name, net.addr(), net.prefix_len())?;
    }
    let routes = netlink.routes()?.into_iter().filter(|route| route.index == index && route.prefix == 0);
    for gateway in routes.filter_map(|route| route.gateway) {
        if !inner.gateways.contains(&gateway) {
            netlink.remove_default_route(&inner.name, gateway)?;
        }
    }
    inner.gateways.iter().try_for_each(|gateway| netlink.set_default_route(&inner.name, *gateway))
}

fn forget_advertised(netlink: &Netlink, name: &str) -> Result<(), netlink::Error> {
    let (index, mut addresses, mut routes) = (netlink.index(name)?, netlink.addresses()?, netlink.routes()?);
    addresses.retain(|address| address.index == index);
    routes.retain(|route| route.index == index);
    observe::advertised(&addresses, &routes).try_for_each(|route| netlink.remove_route(name, route))
}

fn interface(name: &str, source: netlink::Error) -> Error {
    Error::Interface { interface: name.to_owned(), source }
}

fn namespaces(container: &Name, source: namespace::Error) -> Error {
    Error::Namespaces { container: container.clone(), source }
}

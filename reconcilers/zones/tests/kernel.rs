//! The room on the real kernel, in a root network namespace that only the test has; what passes is shown by packets.
//!
//! ```text
//!   web, db ── plant ── core0 ── uplink ── world
//!        lab1 ── lab ─────┘
//! ```

#![cfg(feature = "kernel")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

/// The same table as on the device.
#[path = "../../../e2e/probe/src/frames.rs"]
mod frames;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use catenoid_core::{Planner, Reconciler, Step as _};
use catenoid_kernel::{
    namespace,
    netlink::Netlink,
    wait::{For, wait},
};
use catenoid_schema::{
    allocate,
    manifest::{Container, Manifest, Port, check},
    status::Sync,
};
use catenoid_zones::{Desired, NetworkNamespace, Observed, Of, SETTINGS, Step, Zones, ZonesPlanner, desired, name};
use nix::{
    ifaddrs::getifaddrs,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike as _, SockaddrStorage, bind, recv,
            send, sendto, setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::TimeVal,
    },
};
use proptest::{collection, prelude::*, sample, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

/// Long enough for a packet over two bridges on a busy machine; short, because most of these packets never arrive.
const PATIENCE: Duration = Duration::from_millis(400);

const MANIFEST: &str = r#"
apiVersion: catenoid.dev/v1
kind: Manifest
metadata: { name: zones, sequence: 1, notAfter: 2100-01-01T00:00:00Z }
target: { serials: [TEST] }
guests: { g: { ref: "g@1" } }
zones:
  uplink:
    interfaces: [{ mac: "52:54:00:12:34:56" }]
    address: dhcp
    flows: [{ to: core, tcp: [22] }, { to: lab, tcp: [7002] }]
  plant:
    subnet: ["10.20.0.0/24", "fd20::/64"]
    flows:
      - { to: core, tcp: [8080, 8081], udp: [8053] }
      - { to: uplink, tcp: [443], udp: [123] }
      - { to: lab, tcp: [7000], udp: [7001] }
  lab: { subnet: ["10.30.0.0/24", "fd30::/64"] }
containers:
  core0: { guest: g, role: core, zones: [uplink, plant, lab] }
  web: { guest: g, zones: [plant] }
  db: { guest: g, zones: [plant] }
  lab1: { guest: g, zones: [lab] }
"#;

fn manifest() -> Manifest {
    serde_yaml::from_str(MANIFEST).unwrap()
}

/// A root network namespace with a wire into the world, and a folder for pinned namespaces.
struct Kernel {
    run: tempfile::TempDir,
    root: OwnedFd,
    world: OwnedFd,
    room: Zones,
}

impl Kernel {
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("tests on the kernel run as root");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        // As on the device, which has no names for protocols.
        if Path::new("/etc/protocols").exists() {
            mount(Some("/dev/null"), "/etc/protocols", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        }
        let run = tempfile::tempdir().unwrap();
        mount(Some("none"), run.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let world = namespace::make(1 << 30, 65_536).unwrap().net().unwrap();
        let netlink = Netlink::open().unwrap();
        netlink.make_veth("eth0", "wire", [2, 0, 0, 0, 0, 9], world.as_fd()).unwrap();
        run_ip("link set eth0 address 52:54:00:12:34:56");
        inside(&world, || {
            run_ip("link set lo up");
            run_ip("link set wire up");
            run_ip("addr add 192.0.2.1/24 dev wire");
            run_ip("addr add 2001:db8::1/64 dev wire nodad");
        });
        let root = namespace::current().unwrap();
        let room = Zones::open(run.path()).unwrap();
        Self { run, root, world, room }
    }

    /// The namespace of a container, or of the world.
    fn net(&self, name: &str) -> OwnedFd {
        match name {
            "world" => self.world.try_clone().unwrap(),
            "root" => self.root.try_clone().unwrap(),
            container => namespace::read(&self.run.path().join(container)).unwrap().unwrap().net,
        }
    }

    /// Does every step of the plan, each of them twice, and compares the kernel with the model after each.
    async fn converge(&self, desired: &Desired) -> Vec<Step> {
        self.room.look_for(desired);
        let mut model = self.room.observe().await.unwrap();
        let plan = ZonesPlanner::plan(desired, &model);
        for (_, step) in plan.steps() {
            for _ in 0..2 {
                self.room.apply(step).await.unwrap_or_else(|error| panic!("{step}: {}", chain(&error)));
            }
            step.effect_on(&mut model);
            assert_eq!(self.room.observe().await.unwrap(), model, "after: {step}");
        }
        assert!(ZonesPlanner::satisfied(desired, &model), "{model:#?}");
        plan.steps().map(|(_, step)| step.clone()).collect()
    }

    /// What the guest of the core container does once it has its uplink.
    fn address_the_uplink(&self) {
        inside(&self.net("core0"), || {
            run_ip("addr add 192.0.2.2/24 dev uplink0");
            run_ip("addr add 2001:db8::2/64 dev uplink0 nodad");
        });
        inside(&self.world, || {
            run_ip("route add 10.0.0.0/8 via 192.0.2.2");
            run_ip("route add fd00::/8 via 2001:db8::2");
        });
    }

    /// Whether `from` can open a connection to `port` at `address` in `to`.
    fn tcp(&self, from: &str, to: &str, address: IpAddr, port: u16) -> bool {
        let target = SocketAddr::new(address, port);
        let listener = inside(&self.net(to), || TcpListener::bind(target).unwrap());
        let stream = inside(&self.net(from), || TcpStream::connect_timeout(&target, PATIENCE));
        drop(listener);
        match stream {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut, "{from} to {target}: dropped, not refused");
                false
            }
        }
    }

    /// Whether a datagram from `source` in `from` reaches `port` at `address` in `to`, and its answer comes back.
    fn udp(&self, from: &str, source: IpAddr, to: &str, address: IpAddr, port: u16) -> bool {
        let target = SocketAddr::new(address, port);
        let server = inside(&self.net(to), || UdpSocket::bind(target).unwrap());
        let client = inside(&self.net(from), || UdpSocket::bind((source, 0)).unwrap());
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        client.send_to(b"question", target).unwrap();
        let mut buffer = [0; 16];
        let Ok((_, sender)) = server.recv_from(&mut buffer) else { return false };
        server.send_to(b"answer", sender).unwrap();
        assert!(client.recv(&mut buffer).is_ok(), "{from} to {target}: the answer was dropped");
        true
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = umount2(self.run.path(), MntFlags::MNT_DETACH);
    }
}

fn inside<T: Send>(net: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    namespace::inside(net.as_fd(), work).unwrap()
}

/// In the namespace that the calling thread is in.
fn setting(key: &str) -> Option<String> {
    namespace::settings([key]).unwrap().remove(0)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

fn run_ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

fn run_nft(net: &OwnedFd, arguments: &str) -> String {
    let output = inside(net, || Command::new("nft").args(arguments.split_whitespace()).output().unwrap());
    assert!(output.status.success(), "nft {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn ip_json(net: &OwnedFd, arguments: &str) -> Vec<Value> {
    let output = inside(net, || Command::new("ip").arg("-j").args(arguments.split_whitespace()).output().unwrap());
    assert!(output.status.success(), "ip -j {arguments}");
    let mut shown: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    // What a filter leaves out is shown as an empty object.
    shown.retain(|entry| entry.get("ifname").is_some() || entry.get("dst").is_some());
    shown
}

fn on_a_thread<F: Future>(test: impl FnOnce() -> F + Send + 'static) {
    // A thread of its own: it leaves the namespaces of the test's process for good.
    let thread = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// From whom, at which addresses, to whom, at which addresses, on which port, and whether it passes.
type Question<'a> = (&'a str, [IpAddr; 2], &'a str, [IpAddr; 2], u16, bool);

/// The addresses of a container in a zone, IPv4 first, without the link-local one.
fn addresses(zone: &str, container: &str) -> [IpAddr; 2] {
    let found = allocate::addresses(&manifest(), &zone.parse().unwrap());
    found[&container.parse().unwrap()].iter().map(|net| net.addr()).collect::<Vec<_>>().try_into().unwrap()
}

// [req->COM-01]
#[test]
fn netns_first_pass_makes_what_ip_shows_and_the_last_removes_it() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let before = kernel.room.observe().await.unwrap();
        let steps = kernel.converge(&desired(&manifest())).await;
        assert!(steps.len() > 12, "{steps:#?}");
        assert_eq!(kernel.converge(&desired(&manifest())).await, []);

        // `ip` as the oracle: what it shows in one container, and in the root namespace.
        let web = kernel.net("web");
        let [v4, v6] = addresses("plant", "web");
        let shown = ip_json(&web, "addr show dev plant0");
        let shown: Vec<_> = shown[0]["addr_info"].as_array().unwrap().iter().map(|a| &a["local"]).collect();
        assert_eq!(shown[..2], [&Value::from(v4.to_string()), &Value::from(v6.to_string())]);
        assert_eq!(shown.len(), 3, "and a link-local one: {shown:?}");
        let routes = ip_json(&web, "route show default");
        assert_eq!(routes[0]["gateway"], "10.20.0.1");
        assert_eq!(ip_json(&web, "-6 route show default")[0]["gateway"], "fd20::1");
        assert_eq!(
            ip_json(&kernel.root, "addr show up").iter().filter(|l| l["addr_info"] != Value::Array(vec![])).count(),
            0
        );
        let uplink = ip_json(&kernel.net("core0"), "link show dev uplink0");
        assert_eq!(uplink[0]["address"], "52:54:00:12:34:56");

        // Everything but the containers' namespaces goes with the manifest that named it.
        let mut smaller = manifest();
        smaller.zones.retain(|name, _| name.as_str() == "lab");
        smaller.zones.values_mut().for_each(|zone| zone.flows.clear());
        smaller.containers.retain(|name, _| ["core0", "lab1"].contains(&name.as_str()));
        smaller.containers.values_mut().for_each(|c| c.zones.retain(|zone| zone.as_str() == "lab"));
        // The stand-in is no hardware, so no plan takes it back; the step that takes hardware back does it.
        let back = Step::ReturnInterface { mac: "52:54:00:12:34:56".parse().unwrap(), from: "core0".parse().unwrap() };
        let mut model = kernel.room.observe().await.unwrap();
        kernel.room.apply(&back).await.unwrap();
        back.effect_on(&mut model);
        assert_eq!(kernel.room.observe().await.unwrap(), model);
        kernel.converge(&desired(&smaller)).await;

        smaller.containers.clear();
        smaller.zones.clear();
        kernel.converge(&desired(&smaller)).await;
        let after = kernel.room.observe().await.unwrap();
        assert_eq!(
            after.firewalls.keys().collect::<Vec<_>>(),
            [&NetworkNamespace::Root],
            "the root namespace stays guarded"
        );
        let bare = Observed { firewalls: before.firewalls, interfaces: before.interfaces, ..after };
        assert_eq!(bare.ports.len() + bare.bridges.len() + bare.namespaces.len(), 0, "{bare:#?}");
    });
}

// [req->TSF-ISOLATION] [req->CR-5.1] [req->NDR-5.2] [req->NDR-5.2-1] [req->NDR-1.13]
#[test]
fn netns_only_what_flows_permit_passes() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        kernel.converge(&desired(&manifest())).await;
        kernel.address_the_uplink();
        let of = addresses;
        let world = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let uplink = ["192.0.2.2".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        #[rustfmt::skip]
        let tcp: [(&str, &str, [IpAddr; 2], u16, bool); 21] = [
            // Within a zone.
            ("web",   "db",    of("plant", "db"),    5432, true),
            ("db",    "web",   of("plant", "web"),   80,   true),
            // From the core container to everybody, and from members to it by flows.
            ("core0", "web",   of("plant", "web"),   80,   true),
            ("core0", "lab1",  of("lab", "lab1"),    80,   true),
            ("core0", "world", world,                80,   true),
            ("web",   "core0", of("plant", "core0"), 8080, true),
            ("web",   "core0", of("plant", "core0"), 8081, true),
            ("web",   "core0", of("plant", "core0"), 22,   false),
            ("lab1",  "core0", of("lab", "core0"),   8080, false),
            // The core container's other addresses are no way around.
            ("web",   "core0", of("lab", "core0"),   8080, false),
            ("web",   "core0", uplink,               8080, false),
            ("web",   "core0", uplink,               443,  false),
            // To another zone.
            ("web",   "lab1",  of("lab", "lab1"),    7000, true),
            ("web",   "lab1",  of("lab", "lab1"),    7001, false),
            ("web",   "lab1",  of("lab", "lab1"),    443,  false),
            ("lab1",  "web",   of("plant", "web"),   7000, false),
            // Out and in.
            ("web",   "world", world,                443,  true),
            ("web",   "world", world,                80,   false),
            ("lab1",  "world", world,                443,  false),
            ("world", "core0", uplink,               22,   true),
            ("world", "core0", uplink,               8080, false),
        ];
        for (from, to, addresses, port, passes) in tcp {
            for address in addresses {
                assert_eq!(kernel.tcp(from, to, address, port), passes, "{from} to {to} at {address}, TCP {port}");
            }
        }
        for (from, to, [v4, v6], port, passes) in
            [("world", "lab1", of("lab", "lab1"), 7002, true), ("world", "web", of("plant", "web"), 7002, false)]
        {
            assert_eq!(kernel.tcp(from, to, v4, port), passes, "{from} to {to}, TCP {port}");
            assert_eq!(kernel.tcp(from, to, v6, port), passes, "{from} to {to}, TCP {port}");
        }
        #[rustfmt::skip]
        let udp: [Question<'_>; 8] = [
            ("web",   of("plant", "web"),   "db",    of("plant", "db"),    53,   true),
            ("web",   of("plant", "web"),   "core0", of("plant", "core0"), 8053, true),
            ("web",   of("plant", "web"),   "core0", of("plant", "core0"), 53,   false),
            ("core0", of("plant", "core0"), "web",   of("plant", "web"),   53,   true),
            ("web",   of("plant", "web"),   "lab1",  of("lab", "lab1"),    7001, true),
            ("web",   of("plant", "web"),   "lab1",  of("lab", "lab1"),    7000, false),
            ("web",   of("plant", "web"),   "world", world,                123,  true),
            ("web",   of("plant", "web"),   "world", world,                53,   false),
        ];
        for (from, sources, to, targets, port, passes) in udp {
            for (source, target) in sources.into_iter().zip(targets) {
                let passed = kernel.udp(from, source, to, target, port);
                assert_eq!(passed, passes, "{from} to {to} at {target}, UDP {port}");
            }
        }
    });
}

/// Whoever takes the table in the core container's namespace away does not open the core container's ports to its neighbours.
// [req->TSF-ISOLATION]
#[test]
fn netns_root_rules_hold_without_those_of_the_core_container() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        kernel.converge(&desired(&manifest())).await;
        run_nft(&kernel.net("core0"), "delete table inet catenoid");
        for (address, lab) in addresses("plant", "core0").into_iter().zip(addresses("lab", "lab1")) {
            assert!(!kernel.tcp("web", "core0", address, 22), "{address}");
            assert!(kernel.tcp("web", "core0", address, 8080), "{address}");
            assert!(!kernel.tcp("web", "lab1", lab, 443), "{lab}");
            assert!(kernel.tcp("core0", "web", addresses("plant", "web")[usize::from(address.is_ipv6())], 1));
        }
    });
}

// [req->TSF-ISOLATION]
#[test]
fn netns_nothing_passes_under_anothers_name() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        kernel.converge(&desired(&manifest())).await;
        let (web, db) = (kernel.net("web"), kernel.net("db"));
        inside(&web, || {
            run_ip("addr add 10.20.0.99/24 dev plant0");
            run_ip("addr add fd20::99/64 dev plant0 nodad");
            // Answers for another's address with its own as the source: what `adverts` is for.
            run_ip("-6 neigh add proxy fd20::98 dev plant0");
            namespace::set("ipv6/conf/all/forwarding", "1").unwrap();
            namespace::set("ipv6/conf/plant0/proxy_ndp", "1").unwrap();
            namespace::set("ipv6/neigh/plant0/proxy_delay", "0").unwrap();
            run_ip("-6 route add fd20::98/128 dev lo");
        });
        let spoofed = || {
            let from = |source: &str, to: IpAddr| kernel.udp("web", source.parse().unwrap(), "db", to, 53);
            let [v4, v6] = addresses("plant", "db");
            // And whether the others believe it: neighbour tables after a question for the false address.
            inside(&db, || {
                for target in ["10.20.0.99", "fd20::99", "fd20::98"] {
                    let own = addresses("plant", "db")[usize::from(target.contains(':'))];
                    let socket = UdpSocket::bind((own, 0)).unwrap();
                    socket.send_to(b"who", (target.parse::<IpAddr>().unwrap(), 9)).unwrap();
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    let _ = socket.recv(&mut [0]);
                }
            });
            let believed = |target: &str| {
                let shown = ip_json(&db, &format!("neigh show to {target} dev plant0"));
                shown.iter().any(|entry| entry["lladdr"].is_string())
            };
            let spoofed = [
                from("10.20.0.99", v4),
                from("fd20::99", v6),
                believed("10.20.0.99"),
                believed("fd20::99"),
                believed("fd20::98"),
            ];
            inside(&db, || run_ip("neigh flush dev plant0"));
            spoofed
        };
        assert_eq!(spoofed(), [false; 5]);
        // Under a hardware address that is not its own it says nothing at all.
        let [web4, db4] = ["web", "db"].map(|name| addresses("plant", name)[0]);
        let own = ip_json(&web, "link show dev plant0")[0]["address"].as_str().unwrap().to_owned();
        let alien = |address: &str| {
            inside(&web, || run_ip(&format!("link set dev plant0 address {address}")));
            kernel.udp("web", web4, "db", db4, 53)
        };
        assert!(!alien("02:00:00:00:00:77"));
        assert!(alien(&own));
        // The same without our tables: it is them, and not the test's own mistakes, that stopped it.
        run_nft(&kernel.root, "delete table bridge catenoid");
        run_nft(&kernel.root, "delete table inet catenoid");
        assert_eq!(spoofed(), [true; 5]);
        assert!(alien("02:00:00:00:00:77"));
    });
}

/// A socket for whole frames, in the namespace that the calling thread is in, whose reader waits so long.
fn frames_by(interface: &str, patience: Duration) -> OwnedFd {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll).unwrap();
    let own = getifaddrs().unwrap().filter(|found| found.interface_name == interface);
    let own = own.filter_map(|found| found.address).find(|address| address.family() == Some(AddressFamily::Packet));
    bind(socket.as_raw_fd(), own.unwrap().as_link_addr().unwrap()).unwrap();
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(0, patience.subsec_micros().into())).unwrap();
    socket
}

/// The rows that somebody hears who listens at `ears`.
fn heard(ears: &[OwnedFd]) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    let mut frame = [0; 2048];
    for ear in ears {
        while let Ok(length) = recv(ear.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            numbers.extend(frames::heard(&frame[..length]));
        }
    }
    numbers
}

/// Every row of the table of frames, as root with every capability in one's own network namespace.
// [req->TSF-ISOLATION]
#[test]
fn netns_forged_frames() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        kernel.converge(&desired(&manifest())).await;
        let end = |container: &str| {
            let [IpAddr::V4(v4), IpAddr::V6(v6)] = addresses("plant", container) else { panic!("both families") };
            let hardware = allocate::mac(&"plant".parse().unwrap(), &container.parse().unwrap()).bytes();
            frames::End { hardware, v4: v4.octets(), v6: v6.octets() }
        };
        let table = frames::rows(end("web"), end("db"), end("core0"), 8053);
        let ears = ["db", "core0"].map(|name| inside(&kernel.net(name), || frames_by("plant0", PATIENCE)));
        let mouth = inside(&kernel.net("web"), || frames_by("plant0", PATIENCE));
        let arrived = || {
            for frame in table.iter().flat_map(|row| &row.frames) {
                send(mouth.as_raw_fd(), frame, MsgFlags::empty()).unwrap();
            }
            heard(&ears)
        };
        let numbers = arrived();
        let wrong = table.iter().enumerate().filter(|(number, row)| numbers.contains(number) != row.arrives);
        assert_eq!(wrong.map(|(_, row)| (row.name, row.arrives)).collect::<Vec<_>>(), []);
        // Without our tables all of them arrive: it is the rules that stopped them. The bridge learns nothing then, and checks
        // nothing.
        run_nft(&kernel.root, "delete table bridge catenoid");
        run_nft(&kernel.root, "delete table inet catenoid");
        run_ip("link set cz-plant type bridge ageing_time 0 nf_call_iptables 0 nf_call_ip6tables 0");
        namespace::set("bridge/bridge-nf-call-iptables", "0").unwrap();
        namespace::set("bridge/bridge-nf-call-ip6tables", "0").unwrap();
        let numbers = arrived();
        let lost = table.iter().enumerate().filter(|(number, _)| !numbers.contains(number)).map(|(_, row)| row.name);
        assert_eq!(lost.collect::<Vec<_>>(), [""; 0]);
    });
}

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

// [req->NDR-5.2-3]
#[test]
fn netns_frames_that_bypass_the_ip_layer_are_dropped() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        kernel.converge(&desired(&manifest())).await;
        let [web, db] = ["web", "db"].map(|name| addresses("plant", name)[0]);
        assert!(kernel.udp("web", web, "db", db, 53));
        // As if `br_netfilter` were not loaded: no frame gets the mark.
        run_ip("link set cz-plant type bridge nf_call_iptables 0 nf_call_ip6tables 0");
        namespace::set("bridge/bridge-nf-call-iptables", "0").unwrap();
        assert!(!kernel.udp("web", web, "db", db, 53));
    });
}

#[test]
fn netns_every_change_by_hand_is_found_and_healed() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let wanted = desired(&manifest());
        kernel.converge(&wanted).await;
        kernel.address_the_uplink();
        let first_rule = |net: &OwnedFd, table: &str| {
            let listed: Value = serde_json::from_str(&run_nft(net, &format!("-j list table {table}"))).unwrap();
            let rule = listed["nftables"].as_array().unwrap().iter().find_map(|object| object.get("rule")).unwrap();
            format!("{table} {} handle {}", rule["chain"].as_str().unwrap(), rule["handle"])
        };
        let (root, core, web) = (kernel.net("root"), kernel.net("core0"), kernel.net("web"));
        let port = catenoid_zones::name::veth("plant", "web");
        let run = kernel.run.path().to_owned();
        let unpin = move |file: &str| umount2(&run.join("web").join(file), MntFlags::MNT_DETACH).unwrap();
        type Change<'a> = (&'a str, Box<dyn Fn() + 'a>);
        let changes: Vec<Change<'_>> = vec![
            (
                "a rule is deleted",
                Box::new(|| {
                    run_nft(&root, &format!("delete rule {}", first_rule(&root, "bridge catenoid")));
                }),
            ),
            (
                "a rule is added",
                Box::new(|| {
                    run_nft(&root, "add rule inet catenoid forward accept");
                }),
            ),
            (
                "an element is added to a set",
                Box::new(|| {
                    run_nft(&root, &format!("add element bridge catenoid receivers {{ {port} . 02:00:00:00:00:77 }}"));
                }),
            ),
            (
                "a policy is changed",
                Box::new(|| {
                    run_nft(&root, "add chain bridge catenoid forward { policy accept ; }");
                }),
            ),
            (
                "a table of ours in a new family",
                Box::new(|| {
                    run_nft(&root, "add table ip catenoid");
                }),
            ),
            (
                "the core container's table is flushed",
                Box::new(|| {
                    run_nft(&core, "flush table inet catenoid");
                }),
            ),
            (
                "the core container's table is deleted",
                Box::new(|| {
                    run_nft(&core, "delete table inet catenoid");
                }),
            ),
            (
                "the core container stops forwarding",
                Box::new(|| {
                    inside(&core, || namespace::set("ipv4/ip_forward", "0").unwrap());
                }),
            ),
            (
                "the core container stops forwarding IPv6",
                Box::new(|| {
                    inside(&core, || namespace::set("ipv6/conf/all/forwarding", "0").unwrap());
                }),
            ),
            (
                "a service forwards IPv4, not IPv6",
                Box::new(|| {
                    inside(&web, || namespace::set("ipv4/ip_forward", "1").unwrap());
                }),
            ),
            (
                "the core container's table is filled with more than is read",
                Box::new(|| {
                    let rules =
                        "add rule inet catenoid input tcp dport 1 comment \"".to_owned() + &"x".repeat(120) + "\"\n";
                    let file = kernel.run.path().join("rules");
                    std::fs::write(&file, rules.repeat(60_000)).unwrap();
                    run_nft(&core, &format!("-f {}", file.display()));
                }),
            ),
            ("a port is removed", Box::new(|| run_ip(&format!("link del {port}")))),
            ("a port is switched off", Box::new(|| run_ip(&format!("link set {port} down")))),
            ("a port leaves its bridge", Box::new(|| run_ip(&format!("link set {port} nomaster")))),
            ("a port is moved to another bridge", Box::new(|| run_ip(&format!("link set {port} master cz-lab")))),
            (
                "the root namespace speaks IPv6 by a port",
                Box::new(|| {
                    namespace::set(&format!("ipv6/conf/{port}/disable_ipv6"), "0").unwrap();
                }),
            ),
            ("an inner end is switched off", Box::new(|| inside(&core, || run_ip("link set plant0 down")))),
            (
                "an inner end is renamed",
                Box::new(|| {
                    inside(&core, || {
                        run_ip("link set plant0 down");
                        run_ip("link set plant0 name other");
                    });
                }),
            ),
            (
                "an inner end has another address",
                Box::new(|| {
                    inside(&web, || run_ip("addr add 10.20.0.77/24 dev plant0"));
                }),
            ),
            ("an inner end has lost its addresses", Box::new(|| inside(&web, || run_ip("addr flush dev plant0")))),
            ("a default route is gone", Box::new(|| inside(&web, || run_ip("-6 route del default")))),
            (
                "a default route leads elsewhere",
                Box::new(|| {
                    let db = addresses("plant", "db")[0];
                    inside(&web, || run_ip(&format!("route replace default via {db}")));
                }),
            ),
            ("a bridge is removed", Box::new(|| run_ip("link del cz-plant"))),
            (
                "a bridge speaks the spanning tree protocol",
                Box::new(|| {
                    run_ip("link set cz-plant type bridge stp_state 1");
                }),
            ),
            (
                "a bridge's frames bypass the IP layer",
                Box::new(|| {
                    run_ip("link set cz-plant type bridge nf_call_ip6tables 0");
                }),
            ),
            (
                "an interface called like ours",
                Box::new(|| {
                    run_ip("link add cv-x type bridge");
                }),
            ),
            ("an uplink is switched off", Box::new(|| inside(&core, || run_ip("link set uplink0 down")))),
            (
                "an uplink is renamed",
                Box::new(|| {
                    inside(&core, || {
                        run_ip("link set uplink0 down");
                        run_ip("link set uplink0 name wan");
                    });
                }),
            ),
            (
                "an uplink is renamed and has the names of others, more than fit into one answer of the kernel",
                Box::new(|| {
                    inside(&core, || {
                        let long =
                            |from: u32| (from..from + 100).map(|n| format!(" altname {n:0>120}")).collect::<String>();
                        (0..4).for_each(|n| run_ip(&format!("link property add dev uplink0{}", long(n * 100))));
                        run_ip("link property add dev uplink0 altname cz-plant altname eth0");
                        run_ip("link set uplink0 down");
                        run_ip("link set uplink0 name wan");
                    });
                }),
            ),
            (
                "router advertisements are not taken by an uplink",
                Box::new(|| inside(&core, || namespace::set("ipv6/conf/uplink0/accept_ra", "0").unwrap())),
            ),
            (
                "the core container has an inner end make addresses up",
                Box::new(|| inside(&core, || run_ip("link set plant0 addrgenmode random"))),
            ),
            (
                "an uplink makes no link-local address",
                Box::new(|| inside(&core, || run_ip("link set uplink0 addrgenmode none"))),
            ),
            ("a network namespace is unpinned", Box::new(|| unpin("net"))),
            ("a user namespace is unpinned", Box::new(|| unpin("user"))),
        ];
        // Whether something was announced in the root namespace, and in that of the core container.
        let announced = || {
            let sources = kernel.room.signals(&wanted, &Observed::default()).sources;
            let fds: Vec<_> = sources.iter().map(|source| (source.as_fd(), For::Input)).collect();
            let woke = wait(&fds, Instant::now()).unwrap();
            sources.iter().for_each(|source| source.drain().unwrap());
            let any = |shaken| sources.iter().zip(&woke).any(|(source, woke)| *woke && source.is_shaken() == shaken);
            [any(false), any(true)]
        };
        for (what, change) in &changes {
            announced();
            change();
            let [outside, within] = announced();
            let core_changed = what.contains("core container") || what.starts_with("an uplink");
            assert!(within || !core_changed, "{what}: not announced inside of the core container");
            // What a container does in its own namespace, and mounts, are not announced to the root namespace.
            let silent =
                ["core container", "forwards", "inner end", "default route", "uplink", "unpinned", "speaks IPv6"];
            assert!(outside || silent.iter().any(|part| what.contains(part)), "{what}: not announced");
            let observed = kernel.room.observe().await.unwrap();
            assert!(!ZonesPlanner::satisfied(&wanted, &observed), "{what}: not found");
            let unreadable = serde_json::to_string(&observed).unwrap().contains("unreadable");
            assert_eq!(unreadable, what.contains("more than is read"), "{what}");
            kernel.converge(&wanted).await;
            assert_eq!(
                kernel.room.observe().await.unwrap(),
                {
                    let mut model = observed.clone();
                    ZonesPlanner::plan(&wanted, &observed).steps().for_each(|(_, step)| step.effect_on(&mut model));
                    model
                },
                "{what}: not healed as planned"
            );
            for address in addresses("plant", "db") {
                // A neighbour whose first question was lost asks again after a second.
                let reached = (0..10).any(|_| kernel.tcp("web", "db", address, 80));
                assert!(reached, "{what}: {address} is not reached");
            }
        }
    });
}

/// Each line of the table, wherever it holds: in the namespaces of the core container and of a service, on their inner ends, on
/// the uplink, on a bridge and on an outer end.
#[test]
fn netns_every_setting_that_was_changed_is_found_and_set_again() {
    on_a_thread(|| async {
        let mut kernel = Kernel::new();
        let wanted = desired(&manifest());
        kernel.converge(&wanted).await;
        let whole = kernel.room.observe().await.unwrap();
        let port = name::veth("plant", "web");
        for line in SETTINGS {
            let places: &[(&str, &str)] = match line.of {
                Of::Namespace => &[("core0", ""), ("web", "")],
                Of::Inner => &[("core0", "plant0"), ("web", "plant0")],
                Of::Uplink => &[("core0", "uplink0")],
                Of::Outer => &[("root", "cz-plant"), ("root", &port)],
            };
            for (place, interface) in places {
                let path = line.path(interface);
                let other = if line.value == "0" { "1" } else { "0" };
                inside(&kernel.net(place), || namespace::set(&path, other).unwrap());
                // Where nobody but root of the device can do so it is found later: by a room that has read nothing yet, at once.
                if *place == "web" {
                    kernel.room = Zones::open(kernel.run.path()).unwrap();
                    kernel.room.look_for(&wanted);
                }
                let observed = kernel.room.observe().await.unwrap();
                assert!(!ZonesPlanner::satisfied(&wanted, &observed), "`{path}` in {place} is not found");
                let open =
                    ZonesPlanner::status(&wanted, &observed).into_iter().filter(|open| open.sync != Sync::Synced);
                assert_eq!(open.flat_map(|open| open.conditions).count(), 1, "`{path}` in {place}");
                assert_eq!(kernel.converge(&wanted).await.len(), 1, "`{path}` in {place}");
                inside(&kernel.net(place), || assert_eq!(setting(&path).as_deref(), Some(line.value)));
                assert!(kernel.room.observe().await.unwrap() == whole, "`{path}` in {place}");
            }
        }
    });
}

/// What was read in a namespace is not read again before something is announced in it.
#[test]
fn netns_nothing_is_read_in_a_namespace_that_announced_nothing() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let wanted = desired(&manifest());
        kernel.converge(&wanted).await;
        let whole = kernel.room.observe().await.unwrap();
        let line = SETTINGS.iter().find(|line| line.of == Of::Namespace).unwrap();
        let (path, web) = (line.path(""), kernel.net("web"));
        inside(&web, || namespace::set(&path, "0").unwrap());
        // What the kernel announces late of what was set up before has it read all the same.
        let mut quiet = false;
        for _ in 0..5 {
            inside(&web, || namespace::set(&path, line.value).unwrap());
            kernel.room.observe().await.unwrap();
            inside(&web, || namespace::set(&path, "0").unwrap());
            quiet |= kernel.room.observe().await.unwrap() == whole;
        }
        assert!(quiet, "a setting is not announced");
        inside(&web, || run_ip("link set lo down"));
        let observed = kernel.room.observe().await.unwrap();
        assert!(!ZonesPlanner::satisfied(&wanted, &observed), "all of it is read when anything is announced");
        kernel.converge(&wanted).await;
    });
}

// [req->NDR-5.2-3]
/// A container that adds and deletes tables as fast as it can while they are listed is drift of its own, and no error.
// [req->TSF-ISOLATION]
#[test]
fn netns_a_container_that_changes_its_firewall_all_the_time_fails_no_pass() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let wanted = desired(&manifest());
        kernel.converge(&wanted).await;
        let web = kernel.net("web");
        let done = Arc::new(AtomicBool::new(false));
        let toggled = done.clone();
        let toggle = std::thread::spawn(move || {
            while !toggled.load(Ordering::Relaxed) {
                run_nft(&web, "add table ip catenoid");
                run_nft(&web, "delete table ip catenoid");
            }
        });
        let mut passes = Vec::new();
        for _ in 0..60 {
            passes.push(kernel.room.observe().await);
        }
        done.store(true, Ordering::Relaxed);
        toggle.join().unwrap();
        for observed in passes {
            let mut observed = observed.unwrap_or_else(|error| panic!("{}", chain(&error)));
            observed.firewalls.remove(&NetworkNamespace::Container("web".parse().unwrap()));
            assert!(ZonesPlanner::satisfied(&wanted, &observed), "of nobody else: {observed:#?}");
        }
        kernel.converge(&wanted).await;
    });
}

/// A pair that cannot be looked into is not one that has to be made anew: that would cut off who runs in it.
#[test]
fn netns_a_shortage_of_descriptors_is_an_error_and_no_drift() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let wanted = desired(&manifest());
        kernel.converge(&wanted).await;
        let full = kernel.room.observe().await.unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let mut failed = 0;
        for limit in 1..64 {
            setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
            let observed = kernel.room.observe().await;
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            match observed {
                Ok(observed) => assert!(observed == full, "another device with {limit} descriptors"),
                Err(_) => failed += 1,
            }
        }
        assert!((1..63).contains(&failed), "{failed} failed");
    });
}

/// A pair that is kept has everything set: a setting that fails, or a crash at it, leaves no pair.
#[test]
fn netns_a_pair_that_could_not_be_set_is_not_kept() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let wanted = desired(&manifest());
        let step = Step::MakeNamespaces { container: "web".parse().unwrap(), base: 1 << 30 };
        mount(Some("none"), "/proc/sys/net", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let error = kernel.room.apply(&step).await.unwrap_err();
        umount2("/proc/sys/net", MntFlags::empty()).unwrap();
        assert!(matches!(error, catenoid_zones::Error::Namespaces { .. }), "{}", chain(&error));
        assert_eq!(kernel.room.observe().await.unwrap().namespaces.len(), 0);
        kernel.converge(&wanted).await;
        inside(&kernel.net("web"), || {
            assert_eq!(setting("ipv4/conf/all/arp_announce").as_deref(), Some("2"));
        });
    });
}

#[test]
fn netns_no_port_is_made_where_there_is_no_firewall() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let wanted = desired(&manifest());
        let plan = ZonesPlanner::plan(&wanted, &kernel.room.observe().await.unwrap());
        let mut refused = 0;
        for (_, step) in plan.steps().filter(|(_, step)| !matches!(step, Step::SetFirewall { .. })) {
            match kernel.room.apply(step).await {
                Ok(_) => assert!(!matches!(step, Step::MakePort { .. } | Step::MoveInterface { .. }), "{step}"),
                Err(error) => {
                    assert!(matches!(error, catenoid_zones::Error::Unguarded { .. }), "{}", chain(&error));
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 6, "five ports and an uplink");
        let up = ip_json(&kernel.root, "link show up");
        assert_eq!(up.iter().filter(|link| link["ifname"].as_str().unwrap().starts_with("cv-")).count(), 0);
        assert_eq!(ip_json(&kernel.root, "link show dev eth0").len(), 1, "the uplink has stayed");
    });
}

#[test]
fn netns_rules_are_listed_as_they_were_set() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        // What the other tests' manifest lacks: one address family, several uplinks, no core container in a zone,
        // neighbouring subnets, names that are shortened, a subnet whose address begins with zeros.
        let mut manifest = manifest();
        let more: Manifest = serde_yaml::from_str(&MANIFEST.replace(
            "zones:\n  uplink:",
            r#"zones:
  four: { subnet: ["10.20.1.0/24"], flows: [{ to: core, udp: [1, 2, 3] }, { to: wan, tcp: [80, 81] }] }
  six: { subnet: ["64::/96"], flows: [{ to: four, tcp: [1] }, { to: plant, tcp: [9] }] }
  apart: { subnet: ["10.21.0.0/16", "fd21::/48"], flows: [{ to: core, tcp: [1] }] }
  a-zone-of-24-characters: { subnet: ["10.20.2.0/23"] }
  wan: { interfaces: [{ mac: "52:54:00:00:00:01" }, { mac: "52:54:00:00:00:02" }], flows: [{ to: uplink, tcp: [5] }] }
  uplink:"#,
        ))
        .unwrap();
        manifest.zones = more.zones;
        let zones = ["four", "six", "a-zone-of-24-characters", "wan"].map(|name| name.parse().unwrap());
        for (name, container) in &mut manifest.containers {
            match name.as_str() {
                "core0" | "web" => container.zones.extend(zones.clone()),
                _ => container.zones.push("apart".parse().unwrap()),
            }
        }
        kernel.converge(&desired(&manifest)).await;
        assert_eq!(kernel.converge(&desired(&manifest)).await, []);

        // One run of nft lists all that is there: what is of somebody else is none of ours.
        for table in ["ip somebody", "inet somebody"] {
            run_nft(&kernel.root, &format!("add table {table}"));
            run_nft(&kernel.root, &format!("add set {table} marks {{ type mark ; elements = {{ 1, 2 }} }}"));
            run_nft(&kernel.root, &format!("add chain {table} catenoid"));
            run_nft(&kernel.root, &format!("add rule {table} catenoid mark @marks accept"));
        }
        assert_eq!(kernel.converge(&desired(&manifest)).await, []);
        // What is of ours and was changed is found beside it.
        run_nft(&kernel.root, "add chain bridge catenoid somebody");
        assert_ne!(kernel.converge(&desired(&manifest)).await, []);
    });
}

/// A manifest of some zones with subnets, in any of the address families, with any flows and members.
fn any_manifest() -> impl Strategy<Value = Manifest> {
    const ZONES: [&str; 4] = ["plant", "lab", "a-zone-of-24-characters", "z"];
    const SUBNETS: [&[&str]; 3] = [&["10.{}.0.0/24"], &["fd{}::/96"], &["10.{}.0.0/22", "fd{}::/64"]];
    let flow = || (0..=ZONES.len(), collection::btree_set(1u16.., 1..3), collection::btree_set(1u16.., 0..3));
    let zone = (0..SUBNETS.len(), collection::vec(flow(), 0..3));
    let members = || collection::vec(sample::subsequence(ZONES.to_vec(), 0..=ZONES.len()), 1..4);
    (collection::vec(zone, 1..=ZONES.len()), sample::subsequence(ZONES.to_vec(), 0..=ZONES.len()), members())
        .prop_map(|(zones, core, services)| {
            let mut manifest = manifest();
            let name = |text: &str| text.parse().unwrap();
            let there = &ZONES[..zones.len()];
            manifest.zones.clear();
            for (index, (zone, (family, flows))) in there.iter().zip(&zones).enumerate() {
                let subnet: Vec<_> =
                    SUBNETS[*family].iter().map(|text| text.replace("{}", &(40 + index).to_string())).collect();
                let mut flows: Vec<Value> = flows
                    .iter()
                    .map(|(to, tcp, udp)| json!({"to": there.get(*to).unwrap_or(&"core"), "tcp": tcp, "udp": udp}))
                    .filter(|flow| flow["to"] != *zone)
                    .collect();
                flows.dedup_by_key(|flow| flow["to"].clone());
                let made = json!({"subnet": subnet, "flows": flows});
                manifest.zones.insert(name(zone), serde_json::from_value(made).unwrap());
            }
            let member =
                |zones: &[&str]| zones.iter().filter(|zone| there.contains(zone)).map(|zone| name(zone)).collect();
            let service = manifest.containers[&name("web")].clone();
            manifest.containers.retain(|name, _| name.as_str() == "core0");
            manifest.containers.values_mut().for_each(|container| container.zones = member(&core));
            for (index, zones) in services.iter().enumerate() {
                let container = Container { zones: member(zones), ..service.clone() };
                manifest.containers.insert(name(&format!("service{index}")), container);
            }
            manifest
        })
        .prop_filter("it breaks a rule", |manifest| check::check(manifest, check::Stage::Authored).is_empty())
}

/// One manifest after the other, each made of what the one before left; `ip` and `nft` say what there is.
#[test]
fn netns_any_manifest_is_what_ip_and_nft_show() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        let mut runner = TestRunner::deterministic();
        for _ in 0..8 {
            let manifest = any_manifest().new_tree(&mut runner).unwrap().current();
            kernel.converge(&desired(&manifest)).await;
            assert_eq!(kernel.converge(&desired(&manifest)).await, []);

            let mut masters = BTreeMap::new();
            for (container, wanted) in &manifest.containers {
                let mut addresses = BTreeSet::new();
                for zone in &wanted.zones {
                    let inner = name::inner(zone.as_str(), 0);
                    let found = &allocate::addresses(&manifest, zone)[container];
                    addresses.extend(found.iter().map(|net| (inner.clone(), net.to_string())));
                    masters.insert(name::veth(zone.as_str(), container.as_str()), name::bridge(zone.as_str()));
                }
                let shown = ip_json(&kernel.net(container.as_str()), "addr show scope global");
                let shown = shown.iter().flat_map(|link| {
                    let of_link = |address: &Value| {
                        let local = address["local"].as_str()?;
                        Some((link["ifname"].as_str()?.to_owned(), format!("{local}/{}", address["prefixlen"])))
                    };
                    link["addr_info"].as_array().into_iter().flatten().filter_map(of_link)
                });
                assert_eq!(shown.collect::<BTreeSet<_>>(), addresses, "{container} of {manifest:?}");
            }
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let links = ip_json(&kernel.root, "link show");
            let enslaved = links.iter().filter(|link| link["master"].is_string());
            let shown: BTreeMap<_, _> = enslaved.map(|link| (text(&link["ifname"]), text(&link["master"]))).collect();
            assert_eq!(shown, masters, "{manifest:?}");
            let bridges: BTreeSet<_> = manifest.zones.keys().map(|zone| name::bridge(zone.as_str())).collect();
            let shown = ip_json(&kernel.root, "link show type bridge");
            assert_eq!(shown.iter().map(|link| text(&link["ifname"])).collect::<BTreeSet<_>>(), bridges);

            let listed = [&kernel.root, &kernel.net("core0")].map(|net| ports(&run_nft(net, "-j list ruleset")));
            assert_eq!(listed.into_iter().flatten().collect::<BTreeSet<_>>(), permitted(&manifest), "{manifest:?}");
        }
    });
}

/// The ports of all flows from zones that the core container is in: there is no other way out of a zone.
fn permitted(manifest: &Manifest) -> BTreeSet<(String, u64)> {
    let core = &manifest.containers[&"core0".parse().unwrap()].zones;
    let zones = manifest.zones.iter().filter(|(name, _)| core.contains(name));
    let named =
        |kind: &str, ports: &[Port]| ports.iter().map(|p| (kind.to_owned(), p.get().into())).collect::<Vec<_>>();
    zones
        .flat_map(|(_, zone)| &zone.flows)
        .flat_map(|flow| [named("tcp", &flow.tcp), named("udp", &flow.udp)].concat())
        .collect()
}

/// Protocol and port of each destination that a rule names.
fn ports(ruleset: &str) -> BTreeSet<(String, u64)> {
    fn collect(value: &Value, found: &mut BTreeSet<(String, u64)>) {
        if let Some(matched) = value.get("match")
            && matched["left"]["payload"]["field"] == "dport"
        {
            let protocol = matched["left"]["payload"]["protocol"].as_str().unwrap();
            let right = &matched["right"];
            let set = right["set"].as_array().cloned().unwrap_or_else(|| vec![right.clone()]);
            for port in set {
                let range = port["range"].as_array().cloned().unwrap_or_else(|| vec![port.clone(), port.clone()]);
                let [first, last] = [&range[0], &range[1]].map(|port| port.as_u64().unwrap());
                found.extend((first..=last).map(|port| (protocol.to_owned(), port)));
            }
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(fields) => fields.values().for_each(|field| collect(field, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    collect(&serde_json::from_str(ruleset).unwrap(), &mut found);
    found
}

#[test]
fn netns_pinned_namespaces_belong_together_and_map_the_range() {
    on_a_thread(|| async {
        let kernel = Kernel::new();
        kernel.converge(&desired(&manifest())).await;
        let base = allocate::id_ranges(&manifest())[&"web".parse().unwrap()];
        let folder = kernel.run.path().join("web");
        let enter = |command: &str| {
            let (user, net) = (folder.join("user"), folder.join("net"));
            let output = Command::new("nsenter")
                .args([format!("--user={}", user.display()), format!("--net={}", net.display())])
                .args(["sh", "-c", command])
                .output()
                .unwrap();
            (output.status.success(), String::from_utf8(output.stdout).unwrap())
        };
        let (_, map) = enter("cat /proc/self/uid_map /proc/self/gid_map");
        let map: Vec<u32> = map.split_whitespace().map(|number| number.parse().unwrap()).collect();
        assert_eq!(map, [0, base, 65_536, 0, base, 65_536]);
        // Root of the one has its capabilities in the other, and nowhere else.
        assert!(enter("ip link set lo down && ip link set lo up").0);
        let (root, _) = enter("nsenter --net=/proc/1/ns/net ip link show");
        assert!(!root);
        // A pair of two that do not belong together is no pair.
        let other = kernel.run.path().join("db");
        umount2(&folder.join("net"), MntFlags::MNT_DETACH).unwrap();
        mount(Some(&other.join("net")), &folder.join("net"), None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        assert!(namespace::read(&folder).unwrap().is_none());
        mount(Some(Path::new("/proc/self/ns/uts")), &folder.join("net"), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .unwrap();
        assert!(namespace::read(&folder).unwrap().is_none());
        kernel.converge(&desired(&manifest())).await;
        assert!(namespace::read(&folder).unwrap().is_some());
    });
}

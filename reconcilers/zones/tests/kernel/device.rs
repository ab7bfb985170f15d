//! The device of these tests: a root network namespace with a wire into the world, and a folder for pinned namespaces.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
    process::Command,
    time::Duration,
};

use catenoid_core::{Planner, Reconciler, Step as _, chain};
use catenoid_kernel_net::{namespace, netlink::Netlink};
use catenoid_schema::{allocate, manifest::Manifest};
use catenoid_zones::{Desired, Step, Zones, ZonesPlanner};
use nix::{
    ifaddrs::getifaddrs,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        socket::{
            AddressFamily, SockFlag, SockProtocol, SockType, SockaddrLike as _, bind, setsockopt, socket,
            sockopt::ReceiveTimeout,
        },
        time::TimeVal,
    },
};
use serde_json::Value;

/// Long enough for a packet over two bridges on a busy machine; short, because most of these packets never arrive.
pub(crate) const PATIENCE: Duration = Duration::from_millis(400);

pub(crate) const MANIFEST: &str = r#"
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

pub(crate) fn manifest() -> Manifest {
    serde_yaml::from_str(MANIFEST).unwrap()
}

/// A root network namespace with a wire into the world, and a folder for pinned namespaces.
pub(crate) struct Kernel {
    pub(crate) run: tempfile::TempDir,
    pub(crate) root: OwnedFd,
    pub(crate) world: OwnedFd,
    pub(crate) room: Zones,
}

impl Kernel {
    pub(crate) fn new() -> Self {
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
    pub(crate) fn net(&self, name: &str) -> OwnedFd {
        match name {
            "world" => self.world.try_clone().unwrap(),
            "root" => self.root.try_clone().unwrap(),
            container => namespace::read(&self.run.path().join(container)).unwrap().unwrap().net,
        }
    }

    /// Does every step of the plan, each of them twice, and compares the kernel with the model after each.
    pub(crate) async fn converge(&self, desired: &Desired) -> Vec<Step> {
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
    pub(crate) fn address_the_uplink(&self) {
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
    pub(crate) fn tcp(&self, from: &str, to: &str, address: IpAddr, port: u16) -> bool {
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
    pub(crate) fn udp(&self, from: &str, source: IpAddr, to: &str, address: IpAddr, port: u16) -> bool {
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

pub(crate) fn inside<T: Send>(net: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    namespace::inside(net.as_fd(), work).unwrap()
}

/// In the namespace that the calling thread is in.
pub(crate) fn setting(key: &str) -> Option<String> {
    namespace::settings([key]).unwrap().remove(0)
}

pub(crate) fn run_ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

pub(crate) fn run_nft(net: &OwnedFd, arguments: &str) -> String {
    let output = inside(net, || Command::new("nft").args(arguments.split_whitespace()).output().unwrap());
    assert!(output.status.success(), "nft {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn ip_json(net: &OwnedFd, arguments: &str) -> Vec<Value> {
    let output = inside(net, || Command::new("ip").arg("-j").args(arguments.split_whitespace()).output().unwrap());
    assert!(output.status.success(), "ip -j {arguments}");
    let mut shown: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    // What a filter leaves out is shown as an empty object.
    shown.retain(|entry| entry.get("ifname").is_some() || entry.get("dst").is_some());
    shown
}

pub(crate) fn on_a_thread<F: Future>(test: impl FnOnce() -> F + Send + 'static) {
    // A thread of its own: it leaves the namespaces of the test's process for good.
    let thread = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The addresses of a container in a zone, IPv4 first, without the link-local one.
pub(crate) fn addresses(zone: &str, container: &str) -> [IpAddr; 2] {
    let found = allocate::addresses(&manifest(), &zone.parse().unwrap());
    found[&container.parse().unwrap()].iter().map(|net| net.addr()).collect::<Vec<_>>().try_into().unwrap()
}

/// A socket for whole frames, in the namespace that the calling thread is in, whose reader waits so long.
pub(crate) fn frames_by(interface: &str, patience: Duration) -> OwnedFd {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll).unwrap();
    let own = getifaddrs().unwrap().filter(|found| found.interface_name == interface);
    let own = own.filter_map(|found| found.address).find(|address| address.family() == Some(AddressFamily::Packet));
    bind(socket.as_raw_fd(), own.unwrap().as_link_addr().unwrap()).unwrap();
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(0, patience.subsec_micros().into())).unwrap();
    socket
}

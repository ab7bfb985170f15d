//! What passes from one container to another, and out.

use std::net::{IpAddr, UdpSocket};

use catenoid_kernel_net::namespace;
use catenoid_zones::desired;

use crate::device::{Kernel, PATIENCE, addresses, inside, ip_json, manifest, on_a_thread, run_ip, run_nft};

/// From whom, at which addresses, to whom, at which addresses, on which port, and whether it passes.
type Question<'a> = (&'a str, [IpAddr; 2], &'a str, [IpAddr; 2], u16, bool);

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

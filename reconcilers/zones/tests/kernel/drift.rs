//! What was changed by hand, or could not be read.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use catenoid_core::{Planner, Reconciler, Step as _, chain};
use catenoid_kernel_base::wait::{For, wait};
use catenoid_kernel_net::namespace;
use catenoid_schema::status::Sync;
use catenoid_zones::{NetworkNamespace, Observed, Of, SETTINGS, Zones, ZonesPlanner, desired, name};
use nix::{
    mount::{MntFlags, umount2},
    sys::resource::{Resource, getrlimit, setrlimit},
};
use serde_json::Value;

use crate::device::{Kernel, addresses, inside, manifest, on_a_thread, run_ip, run_nft, setting};

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
                // Where nobody but root of the device can do so it is found later: by a room that has read nothing yet, at
                // once.
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

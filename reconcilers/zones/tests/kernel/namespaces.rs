//! Pairs of namespaces.

use std::{path::Path, process::Command};

use catenoid_core::{Reconciler, chain};
use catenoid_kernel_net::namespace;
use catenoid_schema::allocate;
use catenoid_zones::{Step, desired};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::device::{Kernel, inside, manifest, on_a_thread, setting};

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

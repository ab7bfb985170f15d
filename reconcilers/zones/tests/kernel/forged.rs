//! Frames that nobody who obeys the rules would send.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use catenoid_kernel_net::namespace;
use catenoid_schema::allocate;
use catenoid_zones::desired;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::{
    device::{Kernel, PATIENCE, addresses, frames_by, inside, manifest, on_a_thread, run_ip, run_nft},
    frames,
};

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

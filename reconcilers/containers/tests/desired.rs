//! What the manifest asks of the room, and what names a launch.

use std::collections::BTreeMap;

use catenoid_containers::{ContainersPlanner, Desired, Launch, Paths, WantedContainer, desired};
use catenoid_core::{Asked, Planner as _};
use catenoid_schema::{
    digest::Digest,
    guest::Guest,
    manifest::Manifest,
    name::Name,
    status::{Kind, Subject},
};

const MANIFEST: &str = r#"
apiVersion: catenoid.dev/v1
kind: Manifest
metadata: { name: line, sequence: 1, notAfter: 2030-01-01T00:00:00Z }
target: { serials: [QEMU-0001] }
guests: { tiny: { ref: tiny@1 }, core: { ref: core@1 } }
zones: { plant: { subnet: [10.20.0.0/24] } }
containers:
  core0: { guest: core, role: core, zones: [plant] }
  web:
    guest: tiny
    command: [/bin/web, -v]
    environment: { MODE: fast }
    zones: [plant]
    limits: { memory: 64MiB }
    capabilities: [NET_BIND_SERVICE, CHOWN]
    stop: { signal: QUIT, grace: 3s }
"#;

const GUEST: &str = r#"
apiVersion: catenoid.dev/v1
kind: Guest
metadata: { name: tiny, version: "1" }
architecture: x86_64
image:
  digest: "sha256:00000000000000000000000000000000000000000000000000000000000000aa"
  size: 1MiB
  verity:
    rootHash: "sha256:00000000000000000000000000000000000000000000000000000000000000bb"
    salt: "sha256:00000000000000000000000000000000000000000000000000000000000000cc"
    dataBlocks: 16
defaults: { command: [/bin/init], environment: { MODE: slow, PATH: /bin }, workingDirectory: /srv, user: 33, group: 34 }
root: { tmpfs: { size: 16MiB } }
"#;

fn name(text: &str) -> Name {
    text.parse().expect("it is a name")
}

fn manifest(change: impl Fn(&str) -> String) -> Manifest {
    serde_yaml::from_str(&change(MANIFEST)).expect("it is a manifest")
}

fn of(manifest: &Manifest, descriptor: &[u8]) -> Desired {
    let guest: Guest = serde_yaml::from_str(GUEST).expect("it is a guest");
    let guests =
        BTreeMap::from(["tiny", "core"].map(|guest_name| (name(guest_name), (Digest::of(descriptor), guest.clone()))));
    ContainersPlanner::desired(&Asked { manifest, guests: &guests, paths: &Paths::default() })
}

fn web(desired: &Desired) -> &Launch {
    match &desired.containers[&name("web")] {
        WantedContainer::Ready(launch) => launch,
        WantedContainer::Waiting { reason } | WantedContainer::HeldBack { reason, .. } => panic!("{reason}"),
    }
}

#[test]
fn an_order_leaves_no_choice() {
    let desired = of(&manifest(str::to_owned), b"descriptor");
    insta::assert_yaml_snapshot!(web(&desired));
    let WantedContainer::Ready(core) = &desired.containers[&name("core0")] else { panic!("it waits") };
    assert_eq!(core.order.control.as_deref(), Some("/run/catenoid/control/core0".as_ref()));
    assert_eq!(core.order.command, ["/bin/init"]);
}

#[test]
fn a_launch_is_named_by_all_that_makes_it_and_by_nothing_else() {
    let before = of(&manifest(str::to_owned), b"descriptor");
    let same = |from: &'static str, to: &'static str| {
        assert!(MANIFEST.contains(from));
        let after = of(&manifest(|text| text.replace(from, to)), b"descriptor");
        web(&after).id == web(&before).id
    };
    for (from, to) in [
        ("limits: { memory: 64MiB }", "limits: { memory: 32MiB, cpu: 0.5, pids: 7 }"),
        ("stop: { signal: QUIT, grace: 3s }", "restart: never"),
        ("sequence: 1", "sequence: 2"),
        ("[10.20.0.0/24]", "[10.30.0.0/24]"),
        ("[NET_BIND_SERVICE, CHOWN]", "[CHOWN, NET_BIND_SERVICE]"),
    ] {
        assert!(same(from, to), "{to} replaces the container");
    }
    for (from, to) in
        [("[/bin/web, -v]", "[/bin/web]"), ("MODE: fast", "MODE: faster"), ("[NET_BIND_SERVICE, CHOWN]", "[CHOWN]")]
    {
        assert!(!same(from, to), "{to} does not replace the container");
    }
    assert_ne!(web(&of(&manifest(str::to_owned), b"other")).id, web(&before).id, "another descriptor replaces it");
}

#[test]
fn what_is_missing_is_waited_for() {
    let manifest = manifest(str::to_owned);
    let without = desired(&manifest, &BTreeMap::new(), &Paths::default());
    let waits = WantedContainer::Waiting { reason: "guest `tiny` is not there".to_owned() };
    assert_eq!(without.containers[&name("web")], waits);
    let guest: Guest = serde_yaml::from_str(GUEST).expect("it is a guest");
    let guests = BTreeMap::from([(name("tiny"), (Digest::of(b""), guest))]);
    let mut without = desired(&manifest, &guests, &Paths::default());
    let web = Subject::new(Kind::Container, "web");
    assert_eq!(ContainersPlanner::needs(&without, "guests"), [(web.clone(), Digest::of(b"").to_string())]);
    ContainersPlanner::let_wait(&mut without, &Subject::new(Kind::Container, "another"), "it is not mounted");
    assert!(matches!(without.containers[&name("web")], WantedContainer::Ready(_)), "it is none of its business");
    ContainersPlanner::let_wait(&mut without, &web, "it is not mounted");
    let waits = WantedContainer::Waiting { reason: "it is not mounted".to_owned() };
    assert_eq!(without.containers[&name("web")], waits);
}

//! What interfaces, settings and places are called.

use std::collections::BTreeSet;

use catenoid_zones::{NetworkNamespace, SETTINGS};
use serde_json::json;

use crate::states::{mac, name};

#[test]
fn a_setting_has_one_file_for_each_interface() {
    let paths: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.path("eth7")).collect();
    assert!(paths.contains("ipv4/conf/eth7/accept_redirects"), "{paths:?}");
    assert!(paths.iter().all(|path| !path.contains('*')), "{paths:?}");
}

#[test]
fn names_say_whose_an_interface_is() {
    assert_eq!(catenoid_zones::name::returned(mac(0xa1)), "enx5254000000a1");
    let (bridge, port) = (catenoid_zones::name::bridge("plant"), catenoid_zones::name::veth("plant", "web"));
    for (interface, is_bridge, is_port) in [(&*bridge, true, false), (&port, false, true), ("eth0", false, false)] {
        assert_eq!(catenoid_zones::name::is_bridge(interface), is_bridge, "{interface}");
        assert_eq!(catenoid_zones::name::is_port(interface), is_port, "{interface}");
    }
}

#[test]
fn a_place_is_the_root_or_a_containers() {
    let read = |text: &str| serde_json::from_value::<NetworkNamespace>(json!(text)).ok();
    assert_eq!(read("root"), Some(NetworkNamespace::Root));
    assert_eq!(read("container/web"), Some(NetworkNamespace::Container(name("web"))));
    assert_eq!([read("web"), read("container/"), read("")], [None, None, None]);
}

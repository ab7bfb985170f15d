//! What a pass makes, and what it leaves behind.

use catenoid_core::{Planner, Reconciler, Step as _, chain};
use catenoid_schema::manifest::Manifest;
use catenoid_zones::{NetworkNamespace, Observed, Step, ZonesPlanner, desired};
use serde_json::Value;

use crate::device::{Kernel, MANIFEST, addresses, ip_json, manifest, on_a_thread, run_nft};

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

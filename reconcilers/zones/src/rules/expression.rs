//! The words that rules are made of, each as nft lists it.

use std::net::IpAddr;

use catenoid_schema::manifest::Flow;
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};

use crate::name;

/// The objects of one table.
pub(super) struct Table(pub(super) Vec<Value>, &'static str);

impl Table {
    pub(super) fn new(family: &'static str) -> Self {
        Self(vec![json!({"table": {"family": family, "name": name::TABLE}})], family)
    }

    pub(super) fn set(&mut self, name: &str, kinds: &[&str], elements: Vec<Value>) {
        let mut set = json!({"family": self.1, "table": name::TABLE, "name": name, "type": kinds});
        if !elements.is_empty() {
            set["elem"] = Value::Array(elements);
        }
        self.0.push(json!({"set": set}));
    }

    pub(super) fn chain(&mut self, name: &str) {
        self.0.push(json!({"chain": {"family": self.1, "table": name::TABLE, "name": name}}));
    }

    pub(super) fn base_chain(&mut self, name: &str, kind: &str, hook: &str, priority: i32, policy: &str) {
        self.0.push(json!({"chain": {
            "family": self.1, "table": name::TABLE, "name": name,
            "type": kind, "hook": hook, "prio": priority, "policy": policy,
        }}));
    }

    pub(super) fn rule(&mut self, chain: &str, expressions: impl IntoIterator<Item = Value>) {
        let expressions: Vec<_> = expressions.into_iter().collect();
        self.0.push(json!({
            "rule": {"family": self.1, "table": name::TABLE, "chain": chain, "expr": expressions}
        }));
    }
}

/// A flow's ports, as one expression for each protocol.
pub(super) fn services(flow: &Flow) -> Vec<Value> {
    let ports = [("tcp", &flow.tcp), ("udp", &flow.udp)].into_iter().filter(|(_, ports)| !ports.is_empty());
    ports.map(|(protocol, ports)| any_of(payload(protocol, "dport"), ports.iter().map(|p| p.get()))).collect()
}

pub(super) fn neighbours() -> Value {
    any_of(payload("icmpv6", "type"), ["nd-neighbor-advert", "nd-neighbor-solicit"])
}

pub(super) fn answers() -> Value {
    state(json!(["established", "related"]))
}

pub(super) fn state(states: impl Into<Value>) -> Value {
    json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": states.into()}})
}

pub(super) fn equal(left: Value, right: impl Serialize) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

pub(super) fn differs(left: Value, right: impl Serialize) -> Value {
    json!({"match": {"op": "!=", "left": left, "right": right}})
}

/// A set of one is listed as that one.
pub(super) fn any_of(left: Value, values: impl IntoIterator<Item = impl Serialize>) -> Value {
    let mut values: Vec<_> = values.into_iter().map(|value| json!(value)).collect();
    match values.len() {
        1 => equal(left, values.remove(0)),
        _ => equal(left, json!({"set": values})),
    }
}

/// The same for what is in no set.
pub(super) fn none_of(left: Value, values: impl IntoIterator<Item = impl Serialize>) -> Value {
    let mut values: Vec<_> = values.into_iter().map(|value| json!(value)).collect();
    match values.len() {
        1 => differs(left, values.remove(0)),
        _ => differs(left, json!({"set": values})),
    }
}

/// An end of the first packet of a connection, in the family of `address`.
pub(super) fn first_packet(address: IpAddr, end: &str) -> Value {
    json!({"ct": {"key": format!("{} {end}", family(address)), "dir": "original"}})
}

pub(super) fn meta(key: &str) -> Value {
    json!({"meta": {"key": key}})
}

pub(super) fn payload(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

pub(super) fn prefix(net: &IpNet) -> Value {
    json!({"prefix": {"addr": net.network(), "len": net.prefix_len()}})
}

pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

pub(super) fn accept() -> Value {
    json!({"accept": null})
}

pub(super) fn drop_() -> Value {
    json!({"drop": null})
}

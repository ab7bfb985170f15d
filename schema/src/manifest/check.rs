//! The rules of a manifest that span fields. The signing tool shows each violation at its place in the YAML; the device
//! refuses a manifest that has one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Addressing, CORE, Capability, ContainerRole, Manifest, ROOT, Zone};
use crate::{allocate, feature::REQUIRES_LIMIT, foreign::listed, guest::Guest, name::Name, units::Span};

/// The most containers in one manifest: what `allocate` has id ranges for with room, and what the pass is measured at.
pub const CONTAINERS_LIMIT: usize = 1000;
/// The most zones: a bridge and a rule set each.
pub const ZONES_LIMIT: usize = 64;
/// The most bytes of command and environment together: below the kernel's 128 KiB for one argument and far below its
/// limit for all.
pub const PROCESS_LIMIT: usize = 64 * 1024;
/// The most entries of a command, an environment, a flow's ports, a zone's flows.
pub const ENTRIES_LIMIT: usize = 256;
/// The most violations that are reported at once, and the most names in one hint: whoever mends them sees the next ones.
pub const VIOLATIONS_LIMIT: usize = 256;
const NAMED: usize = 8;
/// The least memory a container can be started in.
pub const MEMORY_LEAST: u64 = 4 * 1024 * 1024;
/// The most memory, 16 TiB: more than any device has, and far below where `memory.max` turns into `max`.
pub const MEMORY_MOST: u64 = SIZE_MOST;
/// The largest size of anything, 16 TiB: far below where the kernel's arithmetic in pages and sectors wraps.
pub const SIZE_MOST: u64 = 16 << 40;
/// The most thousandths of processors: more than any device has, and five digits to read.
pub const CPU_MOST: u32 = 99_999_999;
/// The highest sequence and epoch, 2^53: what every reader of JSON keeps exactly, and far below the end, behind which a device
/// could take no manifest ever again.
pub const COUNT_MOST: u64 = 1 << 53;
/// The most processes: the kernel's `PID_MAX_LIMIT`, past which `pids.max` takes no number.
pub const PIDS_MOST: u32 = 4 * 1024 * 1024;
/// The longest grace in milliseconds: what takes the place of a container waits for its end.
pub const GRACE_LIMIT: u64 = 10 * 60 * 1000;

/// From one check of health to the next, in milliseconds: less is work without end, more is no check.
pub const EVERY: std::ops::RangeInclusive<u64> = 1000..=60 * 60 * 1000;
/// How long a check may take, in milliseconds.
pub const TIMEOUT: std::ops::RangeInclusive<u64> = 100..=30 * 1000;
/// For how long after a start failures may not count, in milliseconds.
pub const START_LIMIT: u64 = 60 * 60 * 1000;
/// The most failures in a row of a container that works.
pub const FAILURES_MOST: u32 = 100;
/// What is asked for by HTTP: nothing that could end the line it stands in.
pub const HTTP_PATH: &str = "^/[!-~]{0,1023}$";

/// Words of ours that stand where the names of one kind stand: a kind, a word, and what it stands for. None of that kind is
/// called so. All else that is named after something of a manifest has a place of its own: a control group (the kernel's
/// files beside it have a dot), a folder for each container, a chain (`zone-...`), an interface (with a prefix or a number).
const RESERVED: [(&str, &str, &str); 2] = [
    ("zone", CORE, "the core container in flows"),
    ("container", ROOT, "the device's own network namespace in a status"),
];

const fn v4(a: u8, b: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length))
}

const fn v6(first: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), length))
}

/// Where the kernel, or everybody, takes an address for something else than a host behind a bridge (RFC 6890).
const NOT_FOR_HOSTS: [(IpNet, &str); 8] = [
    (v4(0, 0, 8), "\"this network\""),
    (v4(127, 0, 8), "loopback"),
    (v4(169, 254, 16), "link-local: each interface has it"),
    (v4(224, 0, 4), "multicast"),
    (v4(240, 0, 4), "reserved"),
    (v6(0, 64), "reserved: loopback and IPv4 within IPv6"),
    (v6(0xfe80, 10), "link-local: each interface has it"),
    (v6(0xff00, 8), "multicast"),
];

/// One rule broken at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where: the keys from the top, as in `containers.web.zones`.
    pub path: String,
    /// What is wrong there.
    pub message: String,
    /// What to do about it, if there is one thing.
    pub hint: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// How far a manifest is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// As its author wrote it: guests may be named by version only.
    Authored,
    /// As it is signed: every guest has its digest.
    Signed,
}

/// The rules that `manifest` breaks, the first [`VIOLATIONS_LIMIT`] of them, in the order of the document. Empty means that it
/// can be applied.
#[must_use]
pub fn check(manifest: &Manifest, stage: Stage) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    counts(manifest, &mut found);
    if !found.0.is_empty() {
        // What is compared with each other is never more than that.
        return found.0;
    }
    metadata(manifest, &mut found);
    guests(manifest, stage, &mut found);
    zones(manifest, &mut found);
    containers(manifest, &mut found);
    found.0
}

fn counts(manifest: &Manifest, found: &mut Found) {
    let counts = [
        ("guests", manifest.guests.len(), CONTAINERS_LIMIT),
        ("zones", manifest.zones.len(), ZONES_LIMIT),
        ("containers", manifest.containers.len(), CONTAINERS_LIMIT),
    ];
    for (what, count, most) in counts.into_iter().filter(|(_, count, most)| count > most) {
        found.add(what, format!("{count} {what} are more than {most}"));
    }
    for (name, container) in manifest.containers.iter().filter(|(_, container)| container.zones.len() > ZONES_LIMIT) {
        let count = container.zones.len();
        found.add(format!("containers.{name}.zones"), format!("{count} zones are more than {ZONES_LIMIT}"));
    }
    for (name, zone) in manifest.zones.iter().filter(|(_, zone)| zone.flows.len() > ENTRIES_LIMIT) {
        let count = zone.flows.len();
        found.add(format!("zones.{name}.flows"), format!("{count} flows are more than {ENTRIES_LIMIT}"));
    }
}

/// What the guests of `manifest` need and their containers do not permit. `guests` are by their names in it.
#[must_use]
pub fn permissions<'a>(manifest: &Manifest, guests: impl Iterator<Item = (&'a Name, &'a Guest)>) -> Vec<Violation> {
    let guests: BTreeMap<&Name, &Guest> = guests.collect();
    let mut found = Found(Vec::new());
    for (name, container) in &manifest.containers {
        let needs = guests.get(&container.guest).map(|guest| &guest.needs);
        for need in needs.into_iter().flatten().filter(|need| !container.permits.contains(need)) {
            let need = need.name();
            found.hint(
                format!("containers.{name}.permits"),
                format!("its guest `{}` needs `{need}`, which is not permitted", container.guest),
                format!("`permits: [{need}]` gives it more of the kernel to attack; see docs/provision.md"),
            );
        }
    }
    found.0
}

/// What no version ever accepted and no room could carry, if `manifest` is so: asked of what is held already, besides its
/// signatures. These bounds are those of the first version; they may be widened and never be narrowed, or a device loses what
/// it accepted. A test holds that whatever [`check`] takes is within them.
#[must_use]
pub fn bounds(manifest: &Manifest) -> Option<Violation> {
    let violation =
        |path: &str, message: &str| Some(Violation { path: path.to_owned(), message: message.to_owned(), hint: None });
    let cores = manifest.containers.values().filter(|c| c.role == ContainerRole::Core).count();
    if cores != 1 {
        return violation("containers", "not exactly one has the role `core`");
    }
    if manifest.containers.len() > 1000 || manifest.zones.len() > 64 {
        return violation("containers", "there are more containers or zones than any version takes");
    }
    for zone in manifest.zones.values() {
        let ports = zone.flows.iter().map(|flow| flow.tcp.len() + flow.udp.len()).max().unwrap_or_default();
        if zone.subnet.len() > 2 || zone.flows.len() > 256 || ports > 256 {
            return violation("zones", "one has more subnets, flows or ports than any version takes");
        }
        if zone.interfaces.is_empty() == zone.subnet.is_empty() {
            return violation("zones", "one has not either `interfaces` or a `subnet`");
        }
    }
    let entries = |container: &super::Container| {
        container.environment.len().max(container.command.as_ref().map_or(0, Vec::len)).max(container.zones.len())
    };
    if manifest.containers.values().map(entries).max() > Some(256) {
        return violation("containers", "one has more entries than any version takes");
    }
    None
}

struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Violation { path: path.into(), message: message.into(), hint: None });
    }

    fn hint(&mut self, path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Violation { path: path.into(), message: message.into(), hint: Some(hint.into()) });
    }

    fn push(&mut self, violation: Violation) {
        if self.0.len() < VIOLATIONS_LIMIT {
            self.0.push(violation);
        }
    }

    fn reserved(&mut self, kind: &str, name: &Name) {
        let word = RESERVED.iter().find(|(of, word, _)| *of == kind && *word == name.as_str());
        if let Some((_, word, what)) = word {
            self.add(format!("{kind}s.{name}"), format!("`{word}` stands for {what} and cannot name a {kind}"));
        }
    }
}

fn metadata(manifest: &Manifest, found: &mut Found) {
    let metadata = &manifest.metadata;
    if manifest.requires.len() > REQUIRES_LIMIT {
        found.add("requires", format!("more than {REQUIRES_LIMIT} features"));
    }
    if metadata.sequence == 0 {
        found.add("metadata.sequence", "sequences begin at 1");
    }
    for (name, count) in [("sequence", metadata.sequence), ("epoch", metadata.epoch)] {
        if count > COUNT_MOST {
            found.hint(
                format!("metadata.{name}"),
                format!("`{count}` is more than {COUNT_MOST} (2^53)"),
                "a device that took it would take no later manifest; count up by one",
            );
        }
    }
    if metadata.not_before.is_some_and(|start| start >= metadata.not_after) {
        found.add("metadata.notAfter", "is not after `notBefore`");
    }
    if manifest.target.serials.is_empty() {
        found.hint("target.serials", "names no device", "a manifest for no device can be applied nowhere");
    }
}

fn guests(manifest: &Manifest, stage: Stage, found: &mut Found) {
    for (name, guest) in &manifest.guests {
        if stage == Stage::Signed && guest.descriptor.is_none() {
            found.add(
                format!("guests.{name}.descriptor"),
                format!("`{}` was not resolved to a digest", guest.reference),
            );
        }
        if !manifest.containers.values().any(|c| c.guest == *name) {
            found.hint(
                format!("guests.{name}"),
                "no container is run from it",
                "remove it, or name it in a container's `guest`",
            );
        }
    }
}

fn zones(manifest: &Manifest, found: &mut Found) {
    let mut macs = BTreeSet::new();
    for (name, zone) in &manifest.zones {
        let path = format!("zones.{name}");
        found.reserved("zone", name);
        for (index, interface) in zone.interfaces.iter().enumerate() {
            if !macs.insert(interface.mac) {
                found
                    .add(format!("{path}.interfaces.{index}.mac"), format!("`{}` is in a zone already", interface.mac));
            }
            let [first, ..] = interface.mac.bytes();
            if first & 1 == 1 || interface.mac.bytes() == [0; 6] {
                found.hint(
                    format!("{path}.interfaces.{index}.mac"),
                    format!("`{}` is the address of no single interface", interface.mac),
                    "write the interface's own, such as `52:54:00:12:34:56`",
                );
            }
        }
        segment(&path, zone, found);
        subnets(manifest, name, zone, found);
        flows(manifest, name, zone, found);
    }
}

fn segment(path: &str, zone: &Zone, found: &mut Found) {
    match (zone.interfaces.is_empty(), zone.subnet.is_empty()) {
        (true, true) => found.add(path, "has neither `interfaces` nor a `subnet`"),
        (false, false) => found.add(path, "has both `interfaces` and a `subnet`"),
        _ => {}
    }
    if zone.interfaces.is_empty() && zone.address != Addressing::None {
        found.add(format!("{path}.address"), "only a zone with `interfaces` asks for addresses");
    }
}

fn subnets(manifest: &Manifest, name: &Name, zone: &Zone, found: &mut Found) {
    let v4 = zone.subnet.iter().filter(|net| net.addr().is_ipv4()).count();
    if v4 > 1 || zone.subnet.len() - v4 > 1 {
        found.add(format!("zones.{name}.subnet"), "more than one subnet of the same family");
    }
    for (index, net) in zone.subnet.iter().enumerate() {
        let path = format!("zones.{name}.subnet.{index}");
        if net.addr() != net.network() {
            found.hint(&path, format!("`{net}` has host bits set"), format!("write `{}`", net.trunc()));
        }
        let (least, most) = if net.addr().is_ipv4() { (8, 28) } else { (48, 112) };
        if !(least..=most).contains(&net.prefix_len()) {
            found.hint(
                &path,
                format!("`{net}` is not between /{least} and /{most}"),
                if net.addr().is_ipv4() {
                    "a zone's network is like `10.20.0.0/24`"
                } else {
                    "a zone's network is like `fd20::/64`"
                },
            );
        }
        let special = NOT_FOR_HOSTS.iter().find(|(range, _)| range.contains(net) || net.contains(range));
        if let Some((range, what)) = special {
            found.hint(
                &path,
                format!("`{net}` is not a network of hosts: `{range}` is {what}"),
                "a private network is like `10.20.0.0/24` or `fd20::/64`",
            );
        }
        let other = manifest
            .zones
            .iter()
            .take_while(|(other, _)| *other != name)
            .find(|(_, zone)| zone.subnet.iter().any(|n| n.contains(&net.network()) || net.contains(&n.network())));
        if let Some((other, _)) = other {
            found.add(&path, format!("`{net}` overlaps a subnet of zone `{other}`"));
        }
    }
}

fn flows(manifest: &Manifest, name: &Name, zone: &Zone, found: &mut Found) {
    for (index, flow) in zone.flows.iter().enumerate() {
        let path = format!("zones.{name}.flows.{index}");
        if flow.to.as_str() != CORE && !manifest.zones.contains_key(&flow.to) {
            found.hint(
                format!("{path}.to"),
                format!("there is no zone `{}`", flow.to),
                known("zones are", manifest.zones.keys()),
            );
        }
        if flow.to == *name {
            found.add(format!("{path}.to"), "a zone needs no flow to itself");
        }
        if flow.tcp.is_empty() && flow.udp.is_empty() {
            found.add(&path, "permits nothing: `tcp` and `udp` are empty");
        }
        if flow.tcp.len() + flow.udp.len() > ENTRIES_LIMIT {
            found.add(&path, format!("more than {ENTRIES_LIMIT} ports"));
        }
        for ports in [&flow.tcp, &flow.udp] {
            if ports.iter().collect::<BTreeSet<_>>().len() != ports.len() {
                found.add(&path, "names a port twice");
            }
        }
    }
}

fn containers(manifest: &Manifest, found: &mut Found) {
    let cores: Vec<_> =
        manifest.containers.iter().filter(|(_, c)| c.role == ContainerRole::Core).map(|(n, _)| n).collect();
    match cores.as_slice() {
        [_] => {}
        [] => found.hint(
            "containers",
            "none has the role `core`",
            "a device without core container could never be spoken to again",
        ),
        [_, second, ..] => found.add(format!("containers.{second}.role"), "a second container with the role `core`"),
    }
    for (name, container) in &manifest.containers {
        let path = format!("containers.{name}");
        found.reserved("container", name);
        if !manifest.guests.contains_key(&container.guest) {
            found.hint(
                format!("{path}.guest"),
                format!("there is no guest `{}`", container.guest),
                known("guests are", manifest.guests.keys()),
            );
        }
        process(&path, container, found);
        limits(&path, container, found);
        if let Some(check) = &container.health {
            health(&format!("{path}.health"), check, found);
            if container.limits.pids < 2 {
                found.hint(
                    format!("{path}.limits.pids"),
                    "leaves no process for its health check",
                    "a check is one more process of the container, and one for each program that it starts",
                );
            }
        }
        membership(manifest, &path, container, found);
    }
    for (zone, missing) in allocate::unplaced(manifest) {
        found.add(format!("zones.{zone}.subnet"), format!("has no address left for container `{missing}`"));
    }
}

fn process(path: &str, container: &super::Container, found: &mut Found) {
    let command = container.command.as_deref().unwrap_or_default();
    if container.command.is_some() && !command.first().is_some_and(|program| program.starts_with('/')) {
        found.add(format!("{path}.command"), "does not begin with an absolute path");
    }
    let environment = &container.environment;
    let checked = container.health.as_ref().and_then(|check| check.exec.as_deref()).unwrap_or_default();
    let texts = command.iter().chain(checked).map(String::len);
    let bytes = texts.chain(environment.iter().map(|(k, v)| k.len() + v.len())).sum::<usize>();
    let entries = [command.len(), checked.len(), environment.len()];
    if bytes > PROCESS_LIMIT || entries.into_iter().any(|entries| entries > ENTRIES_LIMIT) {
        found.add(path, format!("command and environment are over {PROCESS_LIMIT} bytes or {ENTRIES_LIMIT} entries"));
    }
    if command.iter().chain(environment.values()).any(|text| text.contains('\0')) {
        found.add(path, "command or environment has a NUL");
    }
    for key in environment.keys().filter(|key| key.is_empty() || key.contains(['=', '\0'])) {
        found.add(format!("{path}.environment"), format!("`{}` cannot name a variable", key.escape_default()));
    }
}

fn limits(path: &str, container: &super::Container, found: &mut Found) {
    let limits = container.limits;
    if limits.memory.bytes() < MEMORY_LEAST || !limits.memory.bytes().is_multiple_of(4096) {
        found.add(
            format!("{path}.limits.memory"),
            format!("`{}` is not a multiple of 4KiB of at least 4MiB", limits.memory),
        );
    }
    if limits.cpu.thousandths() > CPU_MOST {
        found.add(format!("{path}.limits.cpu"), format!("`{}` is more than 99999.999", limits.cpu));
    }
    if limits.cpu.thousandths() < 10 {
        found.add(format!("{path}.limits.cpu"), format!("`{}` is less than 0.01", limits.cpu));
    }
    if limits.memory.bytes() > MEMORY_MOST {
        found.add(format!("{path}.limits.memory"), format!("`{}` is more than 16TiB", limits.memory));
    }
    if limits.pids == 0 {
        found.add(format!("{path}.limits.pids"), "no process could start");
    }
    if limits.pids > PIDS_MOST {
        found.add(format!("{path}.limits.pids"), format!("`{}` is more than {PIDS_MOST}", limits.pids));
    }
    if container.stop.grace.milliseconds() > GRACE_LIMIT {
        found.add(format!("{path}.stop.grace"), format!("`{}` is longer than 10m", container.stop.grace));
    }
}

fn health(path: &str, check: &super::HealthCheck, found: &mut Found) {
    let ways = [check.exec.is_some(), check.tcp.is_some(), check.http.is_some()];
    if ways.into_iter().filter(|way| *way).count() != 1 {
        found.hint(
            path,
            "has not exactly one of `exec`, `tcp` and `http`",
            "a container is checked in one way; `exec` can do several things",
        );
    }
    if let Some(command) = &check.exec {
        if !command.first().is_some_and(|program| program.starts_with('/')) {
            found.add(format!("{path}.exec"), "does not begin with an absolute path");
        }
        if command.iter().any(|text| text.contains('\0')) {
            found.add(format!("{path}.exec"), "has a NUL");
        }
    }
    if let Some(http) = &check.http {
        let fits =
            http.path.len() <= 1024 && http.path.starts_with('/') && http.path.bytes().all(|b| b.is_ascii_graphic());
        if !fits {
            let path = format!("{path}.http.path");
            found.hint(path, "is no path of HTTP", "it begins with `/`, and has 1024 printed ASCII characters at most");
        }
    }
    for (name, span, range) in
        [("every", check.every, EVERY), ("timeout", check.timeout, TIMEOUT), ("start", check.start, 0..=START_LIMIT)]
    {
        if !range.contains(&span.milliseconds()) {
            let [least, most] = [*range.start(), *range.end()].map(Span::from_milliseconds);
            found.add(format!("{path}.{name}"), format!("`{span}` is not from {least} to {most}"));
        }
    }
    if check.failures == 0 || check.failures > FAILURES_MOST {
        found.add(format!("{path}.failures"), format!("`{}` is not from 1 to {FAILURES_MOST}", check.failures));
    }
}

fn membership(manifest: &Manifest, path: &str, container: &super::Container, found: &mut Found) {
    let service = container.role == ContainerRole::Service;
    let mut seen = BTreeSet::new();
    for (index, name) in container.zones.iter().enumerate() {
        let path = format!("{path}.zones.{index}");
        match manifest.zones.get(name) {
            None => found.hint(&path, format!("there is no zone `{name}`"), known("zones are", manifest.zones.keys())),
            Some(zone) if service && !zone.interfaces.is_empty() => {
                found.hint(
                    &path,
                    format!("zone `{name}` has physical interfaces"),
                    "only the core container can be in it; permit a flow instead",
                );
            }
            Some(_) => {}
        }
        if !seen.insert(name) {
            found.add(&path, format!("zone `{name}` is listed twice"));
        }
    }
    if service && container.capabilities.contains(&Capability::NetAdmin) {
        found.add(format!("{path}.capabilities"), "`NET_ADMIN` is for the core container only");
    }
}

fn known<'a>(what: &str, names: impl ExactSizeIterator<Item = &'a Name>) -> String {
    format!("{what} {}", listed(names, NAMED).unwrap_or_else(|| "none".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What is reported has a bound, whatever a manifest of a permitted size says.
    #[test]
    fn a_manifest_with_many_faults_is_reported_in_short() {
        let zones = |count: usize| -> BTreeMap<String, Value> {
            let subnet = |number: usize| json!({"subnet": [format!("10.{}.{}.0/24", number / 250, number % 250)]});
            (0..count).map(|number| (format!("a-zone-of-a-name-{number}"), subnet(number))).collect()
        };
        let manifest = |zones: BTreeMap<String, Value>, containers: usize, members: usize| -> Manifest {
            let container = json!({"guest": "nowhere", "zones": vec!["z"; members]});
            let containers: BTreeMap<_, _> = (0..containers).map(|n| (format!("c{n}"), container.clone())).collect();
            let manifest = json!({
                "apiVersion": "catenoid.dev/v1",
                "kind": "Manifest",
                "metadata": {"name": "many", "sequence": 1, "notAfter": "2036-01-01T00:00:00Z"},
                "target": {"serials": ["MANY"]},
                "guests": {},
                "zones": zones,
                "containers": containers,
            });
            serde_json::from_value(manifest).expect("a manifest")
        };
        for (zone_count, containers, members, first) in [
            (6000, 1, 100_000, "zones: 6000 zones are more than 64"),
            (60, 1000, 64, "containers: none has the role `core`"),
            (60, 1, 65, "containers.c0.zones: 65 zones are more than 64"),
        ] {
            let found = check(&manifest(zones(zone_count), containers, members), Stage::Signed);
            assert_eq!(found[0].to_string(), first);
            let bytes: usize = found.iter().map(|v| v.to_string().len() + v.hint.as_ref().map_or(0, String::len)).sum();
            assert!(found.len() <= VIOLATIONS_LIMIT && bytes < 256 * 1024, "{} violations, {bytes} bytes", found.len());
        }
    }
}

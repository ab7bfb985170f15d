//! The rules of `containers`: the core container, what runs, and the zones it is in.

use std::collections::BTreeSet;

use super::{
    found::{Found, known},
    health::health,
    limits::limits,
};
use crate::{
    allocate,
    limits::{ENTRIES_LIMIT, PROCESS_LIMIT},
    manifest::{Capability, Container, ContainerRole, Manifest},
};

pub(super) fn containers(manifest: &Manifest, found: &mut Found) {
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

fn process(path: &str, container: &Container, found: &mut Found) {
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

fn membership(manifest: &Manifest, path: &str, container: &Container, found: &mut Found) {
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

//! What the manifest asks of this room.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use catenoid_schema::{
    allocate,
    digest::Digest,
    guest::{Guest, Root},
    manifest::{Capability, Container, ContainerRole, Manifest, Restart, Stop},
    name::Name,
};
use serde::{Deserialize, Serialize};

use crate::order::{LaunchOrder, Namespaces, RootMode};

/// Variables that every program finds; guest and manifest override them.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("container", "catenoid")];

/// Where things are on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// State of this boot: `guests`, `namespaces`, `control`, `logs` and `exits` are in it.
    pub run: PathBuf,
    /// Where cgroup v2 is mounted.
    pub cgroup: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { run: "/run/catenoid".into(), cgroup: "/sys/fs/cgroup".into() }
    }
}

impl Paths {
    /// The folder in which PID 1 records the ends of containers.
    #[must_use]
    pub fn exits(&self) -> PathBuf {
        self.run.join("exits")
    }

    /// The folder in which the namespaces of `container` are pinned.
    pub(crate) fn namespaces(&self, container: &Name) -> PathBuf {
        self.run.join("namespaces").join(container.as_str())
    }
}

/// The containers that are to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Desired {
    /// By name.
    pub containers: BTreeMap<Name, Wanted>,
}

/// What is wanted of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wanted {
    /// It is to run.
    Ready(Box<Launch>),
    /// Something that it needs is not there yet. What runs of it stays as it is.
    #[serde(rename_all = "camelCase")]
    Waiting {
        /// What it waits for, for people.
        reason: String,
    },
    /// It must not run for now, for the sake of the device. What runs of it is ended.
    #[serde(rename_all = "camelCase")]
    HeldBack {
        /// Why, for people.
        reason: String,
        /// How it is asked to end.
        stop: Stop,
    },
}

/// How a container is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Launch {
    /// The name of the launch: [`LaunchOrder::id`].
    pub id: String,
    /// How to start it.
    pub order: LaunchOrder,
    /// What happens when it ends.
    pub restart: Restart,
    /// How it is asked to end.
    pub stop: Stop,
}

impl Desired {
    /// Lets the containers of the guest with this descriptor wait for `reason`.
    pub fn let_wait(&mut self, descriptor: &Digest, reason: &str) {
        for wanted in self.containers.values_mut() {
            if matches!(wanted, Wanted::Ready(launch) if launch.order.guest == *descriptor) {
                *wanted = Wanted::Waiting { reason: reason.to_owned() };
            }
        }
    }

    /// Lets `container` not run, for `reason`.
    pub fn hold_back(&mut self, container: &Name, reason: &str) {
        if let Some(wanted) = self.containers.get_mut(container) {
            let stop = if let Wanted::Ready(launch) = wanted { launch.stop } else { Stop::default() };
            *wanted = Wanted::HeldBack { reason: reason.to_owned(), stop };
        }
    }
}

/// What `manifest` asks of this room, as if all that other rooms bring were there (image mounted, namespaces pinned, limits
/// set). `guests` are those whose descriptors were verified, by their name in the manifest, with the descriptor's digest.
#[must_use]
pub fn desired(manifest: &Manifest, guests: &BTreeMap<Name, (Digest, Guest)>, paths: &Paths) -> Desired {
    let ranges = allocate::id_ranges(manifest);
    let wanted = |name: &Name, container: &Container| {
        let waiting = |reason| Wanted::Waiting { reason };
        let Some((digest, guest)) = guests.get(&container.guest) else {
            return waiting(format!("guest `{}` is not there", container.guest));
        };
        let Some(base) = ranges.get(name) else {
            return waiting("there is no id range left".to_owned());
        };
        let order = order(name, container, *digest, guest, *base, paths);
        Wanted::Ready(Box::new(Launch { id: order.id(), order, restart: container.restart, stop: container.stop }))
    };
    Desired { containers: manifest.containers.iter().map(|(name, c)| (name.clone(), wanted(name, c))).collect() }
}

fn order(name: &Name, container: &Container, digest: Digest, guest: &Guest, base: u32, paths: &Paths) -> LaunchOrder {
    let run = |folder: &str| paths.run.join(folder);
    let namespaces = paths.namespaces(name);
    let defaults = &guest.defaults;
    let environment = ENVIRONMENT.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    LaunchOrder {
        container: name.clone(),
        guest: digest,
        image: run("guests").join(digest.short()),
        root: match guest.root {
            Root::ReadOnly => RootMode::ReadOnly,
            Root::Tmpfs { size } => RootMode::Tmpfs { size },
        },
        id_base: base,
        namespaces: Namespaces { user: namespaces.join("user"), network: namespaces.join("net") },
        group: paths.cgroup.join(GROUPS).join(name.as_str()),
        log: run("logs").join(name.as_str()),
        control: (container.role == ContainerRole::Core).then(|| run("control").join(name.as_str())),
        host_name: name.clone(),
        command: container.command.clone().unwrap_or_else(|| defaults.command.clone()),
        environment: environment.chain(defaults.environment.clone()).chain(container.environment.clone()).collect(),
        working_directory: defaults.working_directory.clone(),
        user: defaults.user.into(),
        group_id: defaults.group.into(),
        capabilities: container.capabilities.iter().map(|c: &Capability| c.number()).collect::<BTreeSet<_>>(),
        needs: guest.needs.intersection(&container.permits).copied().collect(),
    }
}

/// As `kernel::name::CGROUP`, which the pure half does not see; a test holds them together.
const GROUPS: &str = "catenoid";

#[cfg(all(test, feature = "kernel"))]
mod tests {
    #[test]
    fn groups_are_where_the_kernel_door_makes_them() {
        assert_eq!(super::GROUPS, catenoid_kernel::name::CGROUP);
    }
}

//! What the manifest asks of this room.

use std::collections::{BTreeMap, BTreeSet};

use catenoid_core::Paths;
use catenoid_names::objects;
use catenoid_schema::{
    allocate,
    digest::Digest,
    guest::{Guest, Root},
    manifest::{Capability, Container, ContainerRole, HealthCheck, Manifest, Restart, Stop},
    name::Name,
    status::{Kind, Subject},
};
use serde::{Deserialize, Serialize};

use crate::{
    model::subject,
    order::{LaunchOrder, NamespacePaths, RootMode},
};

/// Variables that every program finds; guest and manifest override them.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("container", "catenoid")];

/// The containers that are to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Desired {
    /// By name.
    pub containers: BTreeMap<Name, WantedContainer>,
}

/// What is wanted of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WantedContainer {
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
    /// How it is asked whether it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// What names that way: another one begins anew, in the same run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

impl Launch {
    /// By `order`.
    #[must_use]
    pub fn new(order: LaunchOrder, restart: Restart, stop: Stop, health: Option<HealthCheck>) -> Self {
        let text = |health: &HealthCheck| serde_json::to_vec(health).expect("a check has only text keys");
        let check = health.as_ref().map(|health| Digest::of(&text(health)).short());
        Self { id: order.id(), order, restart, stop, health, check }
    }
}

impl Desired {
    /// What each container that is to run is run from, by the name that the room of guests has for it.
    pub(crate) fn needs(&self) -> Vec<(Subject, String)> {
        let ready = self.containers.iter().filter_map(|(name, wanted)| match wanted {
            WantedContainer::Ready(launch) => Some((subject(name), launch.order.guest.to_string())),
            WantedContainer::Waiting { .. } | WantedContainer::HeldBack { .. } => None,
        });
        ready.collect()
    }

    /// Lets the container `subject` wait for `reason`.
    pub(crate) fn let_wait(&mut self, subject: &Subject, reason: &str) {
        if let Some(wanted) = self.of(subject)
            && matches!(wanted, WantedContainer::Ready(_))
        {
            *wanted = WantedContainer::Waiting { reason: reason.to_owned() };
        }
    }

    /// Lets the container `subject` not run, for `reason`.
    pub(crate) fn hold_back(&mut self, subject: &Subject, reason: &str) {
        if let Some(wanted) = self.of(subject) {
            let stop = if let WantedContainer::Ready(launch) = wanted { launch.stop } else { Stop::default() };
            *wanted = WantedContainer::HeldBack { reason: reason.to_owned(), stop };
        }
    }

    fn of(&mut self, subject: &Subject) -> Option<&mut WantedContainer> {
        let name = subject.is(Kind::Container).then(|| subject.name().parse::<Name>().ok())??;
        self.containers.get_mut(&name)
    }
}

/// What `manifest` asks of this room, as if all that other rooms bring were there (image mounted, namespaces pinned, limits
/// set). `guests` are those whose descriptors were verified, by their name in the manifest, with the descriptor's digest.
#[must_use]
pub fn desired(manifest: &Manifest, guests: &BTreeMap<Name, (Digest, Guest)>, paths: &Paths) -> Desired {
    let ranges = allocate::id_ranges(manifest);
    let wanted = |name: &Name, container: &Container| {
        let waiting = |reason| WantedContainer::Waiting { reason };
        let Some((digest, guest)) = guests.get(&container.guest) else {
            return waiting(format!("guest `{}` is not there", container.guest));
        };
        let Some(base) = ranges.get(name) else {
            return waiting("there is no id range left".to_owned());
        };
        let order = order(name, container, *digest, guest, *base, paths);
        WantedContainer::Ready(Box::new(Launch::new(
            order,
            container.restart,
            container.stop,
            container.health.clone(),
        )))
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
        namespaces: NamespacePaths { user: namespaces.join("user"), network: namespaces.join("net") },
        group: paths.cgroup.join(objects::CGROUP).join(name.as_str()),
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

//! The launch order: all that the launcher needs to start one container, with no choice left to it, and what it answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::PathBuf,
};

use catenoid_core::chain;
use catenoid_schema::{cbor, digest::Digest, guest::Need, manifest::HealthCheck, name::Name, units::ByteSize};
use serde::{Deserialize, Serialize};

/// The most bytes of a request: command and environment have 64 KiB each in descriptor and manifest, which JSON can
/// write as six times as many; the rest is below 4 KiB.
pub const REQUEST_LIMIT: u64 = 1024 * 1024;

/// How to start one container. Its digest names the launch: whatever changes it replaces the container. Limits are not
/// in it; they change under a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchOrder {
    /// The container.
    pub container: Name,
    /// The digest of its guest's signed descriptor.
    pub guest: Digest,
    /// Where the guest's image is mounted.
    pub image: PathBuf,
    /// How its root can be written to.
    pub root: RootMode,
    /// The user (and group) id of the host that the container's root is.
    pub id_base: u32,
    /// Where its user and network namespaces are pinned.
    pub namespaces: NamespacePaths,
    /// The container's control group, in which the launch gets a leaf.
    pub group: PathBuf,
    /// The fifo that takes its output.
    pub log: PathBuf,
    /// The folder with the control socket, which the core container gets at `/run/catenoid`.
    pub control: Option<PathBuf>,
    /// What the container calls itself.
    pub host_name: Name,
    /// Program, by absolute path, and arguments.
    pub command: Vec<String>,
    /// All environment variables.
    pub environment: BTreeMap<String, String>,
    /// Where the program starts.
    pub working_directory: String,
    /// Its user id, inside of the container.
    pub user: u32,
    /// Its group id, inside of the container.
    pub group_id: u32,
    /// The capabilities that it may hold at most, by number.
    pub capabilities: BTreeSet<u8>,
    /// The system calls that it gets beyond those of every container.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<Need>,
}

/// How a container's root can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RootMode {
    /// Not at all.
    ReadOnly,
    /// Into memory, until it ends.
    Tmpfs {
        /// The most it can hold.
        size: ByteSize,
    },
}

/// Where the pair of namespaces is pinned that a container enters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespacePaths {
    /// The user namespace, which maps the container's ids.
    pub user: PathBuf,
    /// The network namespace, which belongs to the user namespace.
    pub network: PathBuf,
}

impl LaunchOrder {
    /// The name of the launch: 16 hex digits of the digest of the order's deterministic CBOR.
    #[must_use]
    pub fn id(&self) -> String {
        Digest::of(&cbor::encode(self).expect("an order has only text keys, and no floats")).short()
    }

    /// The ids of its user and group as the device sees them.
    #[must_use]
    pub fn host_ids(&self) -> (u32, u32) {
        (self.id_base.saturating_add(self.user), self.id_base.saturating_add(self.group_id))
    }
}

/// What the launcher reads, as JSON, on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The name of the launch and so of the leaf.
    pub launch: String,
    /// What to start, or what was started.
    pub order: LaunchOrder,
    /// Whether it is not to be started but asked whether it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckOrder>,
}

/// What to ask a container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckOrder {
    /// The pid of its first process.
    pub pid: u32,
    /// When that started, in clock ticks after boot.
    pub started: u64,
    /// In which way.
    pub health: HealthCheck,
}

/// What the launcher writes, as one line of JSON, on its standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum LaunchAnswer {
    /// The program was executed.
    Started {
        /// The container's first process.
        pid: u32,
    },
    /// It was not, and nothing of the container is left; or it could not be asked.
    Failed(LaunchFailure),
    /// It was asked whether it works.
    Checked {
        /// Whether it does.
        passed: bool,
        /// What it said, or how it failed.
        said: String,
    },
}

/// Where and why a launch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchFailure {
    /// In which stage.
    pub stage: LaunchStage,
    /// The whole chain of causes.
    pub message: String,
    /// The kernel's error number, where a system call failed.
    pub errno: Option<i32>,
}

impl LaunchFailure {
    /// A launch that ended in `stage` because of `error`.
    #[must_use]
    pub fn new(stage: LaunchStage, error: &dyn Error, errno: Option<i32>) -> Self {
        Self { stage, message: chain(error), errno }
    }
}

/// The stages of a launch, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LaunchStage {
    /// The order could not be read.
    Order,
    /// As root of the device: image, namespaces, control group, log.
    Prepare,
    /// The clone into the namespaces.
    Clone,
    /// Inside: file systems.
    Mount,
    /// Inside: ids, capabilities, filter.
    Confine,
    /// Inside: the program.
    Execute,
    /// The way into a container that runs.
    Join,
}

impl std::fmt::Display for LaunchStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Order => "order",
            Self::Prepare => "prepare",
            Self::Clone => "clone",
            Self::Mount => "mount",
            Self::Confine => "confine",
            Self::Execute => "execute",
            Self::Join => "join",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first version's names of two launches, every field used in one: another name would start every container again.
    #[test]
    fn a_launch_has_the_same_name_for_ever() {
        let paths = |name: &str| PathBuf::from("/run").join(name);
        let plain = LaunchOrder {
            container: "web".parse().unwrap(),
            guest: Digest::of(b"guest"),
            image: paths("image"),
            root: RootMode::ReadOnly,
            id_base: 1 << 16,
            namespaces: NamespacePaths { user: paths("user"), network: paths("net") },
            group: paths("group"),
            log: paths("log"),
            control: None,
            host_name: "web".parse().unwrap(),
            command: vec!["/bin/web".to_owned()],
            environment: BTreeMap::new(),
            working_directory: "/".to_owned(),
            user: 0,
            group_id: 0,
            capabilities: BTreeSet::new(),
            needs: BTreeSet::new(),
        };
        let full = LaunchOrder {
            root: RootMode::Tmpfs { size: ByteSize::from_mebibytes(1) },
            control: Some(paths("control")),
            environment: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            user: 7,
            group_id: 8,
            capabilities: BTreeSet::from([10]),
            ..plain.clone()
        };
        assert_eq!([plain.id(), full.id()], ["c33f2c8671d1383b", "611f90f36cd91cb4"]);
    }

    #[test]
    fn the_longest_request_fits_and_a_stage_is_called_as_it_is_written() {
        // 64 KiB each, of bytes that JSON writes as six.
        let longest = serde_json::to_string(&"\u{1}".repeat(2 * 64 * 1024)).unwrap();
        assert!(longest.len() as u64 + 4096 < REQUEST_LIMIT);
        for stage in [
            LaunchStage::Order,
            LaunchStage::Prepare,
            LaunchStage::Clone,
            LaunchStage::Mount,
            LaunchStage::Confine,
            LaunchStage::Execute,
            LaunchStage::Join,
        ] {
            assert_eq!(serde_json::to_string(&stage).unwrap(), format!("\"{stage}\""));
        }
    }
}

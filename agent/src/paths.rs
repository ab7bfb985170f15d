//! Where things lie on the device.

/// The data partition.
pub(crate) const DATA: &str = "/data";
/// State of this boot.
pub(crate) const RUN: &str = "/run/catenoid";
/// What the ledger last took, for this boot.
pub(crate) const LEDGER_COPY: &str = "/run/catenoid/ledger";
/// How the agent before this one ended, written by PID 1.
pub(crate) const AGENT_END: &str = "/run/catenoid/agent";
/// What came with the boot image and is not of it, written by PID 1.
pub(crate) const FOREIGN: &str = "/run/catenoid/foreign";
/// That a watchdog ended the boot before this one, written by PID 1.
pub(crate) const RESET: &str = "/run/catenoid/reset";
/// What containers ended with, written by PID 1.
pub(crate) const EXITS: &str = "/run/catenoid/exits";
/// Namespaces of containers, a folder for each.
pub(crate) const NAMESPACES: &str = "/run/catenoid/namespaces";
/// Control sockets, one folder for each container that has one.
pub(crate) const CONTROL: &str = "/run/catenoid/control";
/// Root of the cgroup v2 hierarchy.
pub(crate) const CGROUP: &str = "/sys/fs/cgroup";
/// Whom this device believes; part of the signed boot image.
pub(crate) const ANCHORS: &str = "/etc/catenoid/anchors.cbor";
/// Modules to load at boot, one a line; part of the signed boot image.
pub(crate) const MODULES: &str = "/etc/catenoid/modules";
/// The program that starts containers.
pub(crate) const LAUNCHER: &str = "/usr/lib/catenoid/catenoid-launcher";
/// GPT label of the data partition.
pub(crate) const DATA_LABEL: &str = "catenoid-data";
/// GPT label of the partition with the factory bundle.
pub(crate) const FACTORY_LABEL: &str = "catenoid-factory";

//! What there is of containers: their leaves, what lives in them, and how it ended.

use std::collections::BTreeMap;

use catenoid_schema::{
    manifest::Stop,
    name::Name,
    status::{Kind, Subject},
    units::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// What is there: the containers that have a control group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Observed {
    /// By name.
    pub containers: BTreeMap<Name, ObservedContainer>,
}

/// What is there of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedContainer {
    /// Its leaves, by launch.
    #[serde(default)]
    pub runs: BTreeMap<String, Run>,
    /// Its last end that was recorded, of whichever launch.
    #[serde(default)]
    pub last_exit: Option<Exit>,
}

/// One leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The id (inode) of the leaf.
    pub leaf: u64,
    /// What lives in it.
    pub state: RunState,
    /// Whether its processes are frozen.
    pub frozen: bool,
    /// Whether its first process is outside of the namespaces that are pinned for the container: they were removed by hand.
    #[serde(default, alias = "astray")]
    pub wrong_namespace: bool,
    /// Whether another launcher started it than the device has now: its system call filter may be another one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub outdated: bool,
    /// How it is asked to end, as was written down when it was started. Of what an earlier version started nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// How often in a row the runs before it failed (`history.rs`), as was written down when it was started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ends: u32,
    /// Whether it has run for so long that it counts as recovered.
    #[serde(default, skip_serializing_if = "is_false")]
    pub steady: bool,
    /// That it was asked to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Stopping>,
    /// Whether its first process is gone, all others were killed with it, and are not gone yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ending: bool,
    /// What came of asking it whether it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

impl Run {
    /// One of which no more is known.
    #[must_use]
    pub const fn new(leaf: u64, state: RunState) -> Self {
        Self {
            leaf,
            state,
            frozen: false,
            wrong_namespace: false,
            outdated: false,
            stop: None,
            ends: 0,
            steady: false,
            stopping: None,
            ending: false,
            checked: None,
        }
    }
}

/// What came of the checks of a run so far, as it is written down with its leaf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Which check it was ([`crate::Launch::check`]): what came of another one says nothing.
    #[serde(default)]
    pub check: String,
    /// Whether one passed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub passed: bool,
    /// How many failed since then, of those that count, up to so many that it does not work.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// After how many failures, of a run that did not work any more, the last one passed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recovered: u32,
    /// What the last one that failed said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
}

/// A run that was asked to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopping {
    /// When what is left of it is killed, by the wall clock, as far as that is right.
    pub until: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What lives in a leaf, and what the plan does with it.
///
/// A run is wanted if the container is to run, and by this launch. Each variant says what the plan does with a run that is
/// wanted. One that is not is asked to end, ended or cleared away, whatever its state is. While the container waits for
/// something, all its runs stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunState {
    /// The container's first process, and what it started.
    ///
    /// It stays while it fits. It is thawed if it is frozen, and gets the stop of the manifest that is in force. One that is in
    /// the wrong namespaces or outdated, was asked to end, or failed its health check is asked to end, and started again.
    Running {
        /// Its pid on the device.
        pid: u32,
        /// When it started, in clock ticks (1/100 s) after boot: with the pid this names a process for good.
        started: u64,
        /// The same by the wall clock, as far as that is right.
        since: Option<Timestamp>,
    },
    /// Something, but not the first process: what a start left that was cut short.
    ///
    /// It is ended without a grace, and started again. While it ends by itself ([`Run::ending`]), nothing is started beside it.
    #[serde(alias = "headless")]
    InitExited,
    /// Nothing any more.
    ///
    /// It stays if its restart policy says that it rests, and nobody asked it to end. Else it is cleared away, and started
    /// again.
    Ended {
        /// How it ended, if that was recorded.
        exit: Option<Exit>,
    },
}

/// The subject that `container` is reported under.
pub(crate) fn subject(container: &Name) -> Subject {
    Subject::new(Kind::Container, container)
}

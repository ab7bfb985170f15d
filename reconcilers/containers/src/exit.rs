//! How a container ended: the record that PID 1 leaves when it reaps a container's first process.

use std::fmt;

use catenoid_schema::units::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// The end of one run of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// The launch it was a run of.
    pub launch: String,
    /// The id (inode) of the leaf it ran in, which distinguishes two runs of one launch; 0 if the leaf was gone.
    pub leaf: u64,
    /// The pid that its first process had.
    pub pid: u32,
    /// How that process ended.
    pub end: RunEnd,
    /// When.
    pub at: Timestamp,
    /// How long it ran.
    pub ran: Span,
    /// Processes of the container's group that were killed for want of memory so far (`memory.events`).
    pub memory_kills: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunEnd {
    /// By itself, with this code.
    Code(i32),
    /// By a signal of this number.
    Signal(i32),
    /// By the kernel, as the container's memory was used up.
    OutOfMemory,
}

/// Names of the signals that end a process by default (signal(7)), by their numbers on x86 and ARM.
const SIGNALS: [(i32, &str); 20] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (26, "SIGVTALRM"),
    (27, "SIGPROF"),
    (31, "SIGSYS"),
];

impl fmt::Display for RunEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::OutOfMemory => f.write_str("killed: out of memory"),
            Self::Signal(number) => match SIGNALS.iter().find(|(known, _)| known == number) {
                Some((_, name)) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {number}"),
            },
        }
    }
}

#[cfg(feature = "kernel")]
pub use crate::error::ReapError as Error;
#[cfg(feature = "kernel")]
pub use record::{Reaped, reap_orphans};

#[cfg(feature = "kernel")]
mod record {
    use std::{path::Path, time::SystemTime};

    use catenoid_kernel_base::process::{self, Identity, Zombie};
    use catenoid_kernel_net::namespace;
    use catenoid_names::objects;
    use catenoid_schema::{name::Name, units::Span};

    use super::{Error, Exit, RunEnd};
    use crate::Paths;

    /// How the kernel marks a group that was removed under a zombie.
    const REMOVED: &str = " (deleted)";

    /// A child that was reaped.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Reaped {
        /// Its pid.
        pub pid: u32,
        /// How it ended.
        pub end: process::End,
        /// The container that it was the first process of, and what was recorded.
        pub container: Option<(Name, Exit)>,
    }

    /// Reaps the next child that ended, if there is one. For PID 1, which calls it at each SIGCHLD until it answers none.
    /// If the child was the first process of a container, its end is recorded in a file by the container's name before it is
    /// let go. The namespaces of one that used up its memory go first: what it has put into them (interfaces, addresses) still
    /// counts as its memory, and its next run would have none.
    ///
    /// # Errors
    /// [`Error::Reap`]; the others after the child was let go.
    // [req->CR-7.2]
    pub fn reap_orphans(paths: &Paths) -> Result<Option<Reaped>, Error> {
        let exits = &paths.exits();
        let Some(zombie) = process::ended_child().map_err(Error::Reap)? else { return Ok(None) };
        // A process that cannot be read is reaped as one of which nothing is known.
        let identity = process::identity(zombie.pid).ok().flatten();
        let run = identity.as_ref().and_then(run_of);
        let recorded = run.map(|(container, launch)| {
            let started = identity.as_ref().map_or(0, |identity| identity.started);
            let removed = identity.as_ref().is_some_and(|identity| identity.cgroup.ends_with(REMOVED));
            let exit = describe(zombie, &container, launch, (started, removed), exits, &paths.cgroup);
            (container, exit)
        });
        let kept = recorded.map(|(container, exit)| keep(paths, container, exit));
        process::reap(zombie).map_err(Error::Reap)?;
        Ok(Some(Reaped { pid: zombie.pid, end: zombie.end, container: kept.transpose()? }))
    }

    fn keep(paths: &Paths, container: Name, exit: Exit) -> Result<(Name, Exit), Error> {
        let cleared = match exit.end {
            // Of one whose leaf is gone, a later run may be in them.
            RunEnd::OutOfMemory if exit.leaf != 0 => namespace::remove(&paths.namespaces(&container)),
            RunEnd::OutOfMemory | RunEnd::Code(_) | RunEnd::Signal(_) => Ok(()),
        };
        match (write(&paths.exits(), &container, &exit), cleared) {
            (Err(source), _) => Err(Error::Record { container, source }),
            (Ok(()), Err(source)) => Err(Error::Namespaces { container, source }),
            (Ok(()), Ok(())) => Ok((container, exit)),
        }
    }

    /// The container and launch that a process is the first one of: pid 1 in a pid namespace further in, in a leaf.
    pub(crate) fn run_of(identity: &Identity) -> Option<(Name, String)> {
        let first = identity.pids.len() > 1 && identity.pids.last() == Some(&1);
        let path = identity.cgroup.trim_end_matches(REMOVED);
        let mut parts = path.rsplit('/');
        let (launch, container) = (objects::leaf_launch(parts.next()?)?, parts.next()?);
        let ours = first && parts.next() == Some(objects::CGROUP);
        ours.then(|| Some((container.parse().ok()?, launch.to_owned()))).flatten()
    }

    /// `removed`: its leaf is gone, and what bears the leaf's name by now is another run's.
    fn describe(
        zombie: Zombie,
        container: &Name,
        launch: String,
        (started, removed): (u64, bool),
        exits: &Path,
        base: &Path,
    ) -> Exit {
        let group = base.join(objects::CGROUP).join(container.as_str());
        let memory_kills = process::read_record(&group.join("memory.events")).ok().flatten().map_or(0, |text| {
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
        });
        // A group that was made anew counts from zero again.
        let before = read(exits, container).ok().flatten().map_or(0, |exit| exit.memory_kills);
        let killed_for_memory = memory_kills > if before > memory_kills { 0 } else { before };
        let end = match zombie.end {
            process::End::Signal(9) if killed_for_memory => RunEnd::OutOfMemory,
            process::End::Signal(number) => RunEnd::Signal(number),
            process::End::Code(code) => RunEnd::Code(code),
        };
        let leaf = || process::folder_id(&group.join(objects::leaf(&launch))).ok().flatten().unwrap_or(0);
        let leaf = if removed { 0 } else { leaf() };
        Exit {
            leaf,
            launch,
            pid: zombie.pid,
            end,
            at: SystemTime::now().into(),
            ran: Span::from_milliseconds(
                process::ticks_since_boot().saturating_sub(started) * process::TICK_MILLISECONDS,
            ),
            memory_kills,
        }
    }

    fn write(exits: &Path, container: &Name, exit: &Exit) -> Result<(), process::Error> {
        let text = serde_json::to_string(exit).expect("a record has only text keys");
        process::write_record(&exits.join(container.as_str()), &text)
    }

    /// The last recorded end of `container`. A record that cannot be read as one is none.
    pub(crate) fn read(exits: &Path, container: &Name) -> Result<Option<Exit>, process::Error> {
        let text = process::read_record(&exits.join(container.as_str()))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_the_first_process_of_a_leaf_speaks_for_its_container() {
            let run = |pids: &[u32], cgroup: &str| {
                let cgroup = cgroup.to_owned();
                run_of(&Identity { pids: pids.to_vec(), started: 1, cgroup, handled: 0 })
                    .map(|(c, l)| format!("{c} {l}"))
            };
            let leaf = "/catenoid/web/run.0123456789abcdef";
            let web = Some("web 0123456789abcdef".to_owned());
            assert_eq!(run(&[70, 1], leaf), web);
            assert_eq!(run(&[70, 1], &format!("{leaf} (deleted)")), web);
            assert_eq!(run(&[70, 1], &format!("/test{leaf}")), web);
            assert_eq!(run(&[70, 2], leaf), None, "another process of the container");
            assert_eq!(run(&[1], leaf), None, "ourselves");
            assert_eq!(run(&[70, 1], "/catenoid/web"), None);
            assert_eq!(run(&[70, 1], "/other/web/run.0123456789abcdef"), None);
            assert_eq!(run(&[70, 1], "/catenoid/Not A Name/run.0123456789abcdef"), None);
            assert_eq!(run(&[70, 1], ""), None);
        }
    }
}

#[cfg(feature = "kernel")]
pub(crate) use record::read;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_reported_in_words() {
        for (end, words) in [
            (RunEnd::Code(0), "exited with code 0"),
            (RunEnd::Signal(11), "killed by SIGSEGV"),
            (RunEnd::Signal(34), "killed by signal 34"),
            (RunEnd::OutOfMemory, "killed: out of memory"),
        ] {
            assert_eq!(end.to_string(), words);
        }
    }
}

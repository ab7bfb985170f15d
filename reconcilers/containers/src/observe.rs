//! Reads the leaves, what lives in them, and how what lived in them ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use catenoid_kernel_base::process::{self, RecordWatch, TICK_MILLISECONDS};
use catenoid_kernel_cgroup::{Hierarchy, Leaf, Mark};
use catenoid_kernel_net::namespace;
use catenoid_names::objects;
use catenoid_schema::{name::Name, units::Timestamp};

use crate::{Observed, ObservedContainer, Paths, Run, RunState, Stopping, error::ObserveError, exit, history::STEADY};

/// How long everything may take to be gone after SIGKILL. A process that the kernel holds in the middle of a call, for
/// want of a device that answers, ends when that does; the step is tried again.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the record of an end is waited for, once. PID 1 writes it as it reaps, within milliseconds.
const RECORD_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the end of those is waited for, once, whose first process is gone. The kernel kills them with it; who is not killed
/// by then is what a broken start left. Who is killed, and holds much or waits for a device, ends in its own time.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// The leaves that were waited for once, by id.
#[derive(Debug, Default)]
pub(crate) struct Waited {
    /// For the end of what is in them, from when on.
    ends: BTreeMap<u64, Instant>,
    /// For the record of an end, in vain.
    records: BTreeSet<u64>,
}

/// Everything of ours. `launcher` is what runs are started by now.
pub(crate) fn observe(
    hierarchy: &Hierarchy,
    paths: &Paths,
    (booted, launcher): (Timestamp, &str),
    waited: &mut Waited,
) -> Result<Observed, ObserveError> {
    let mut observed = Observed::default();
    let mut seen = BTreeSet::new();
    for group in hierarchy.groups()? {
        // No container can be called otherwise; the room of limits removes such a group.
        let Ok(name) = group.parse::<Name>() else { continue };
        let mut runs = BTreeMap::new();
        let group_frozen = hierarchy.is_group_frozen(&group)?;
        for leaf in hierarchy.leaves(&group)? {
            let folder = paths.cgroup.join(objects::CGROUP).join(&group).join(objects::leaf(&leaf.launch_id));
            let Some(id) = process::folder_id(&folder)? else { continue };
            seen.insert(id);
            let mut state = if leaf.populated { living(&leaf.pids, booted)? } else { RunState::Ended { exit: None } };
            // With the first process all others end, a moment before it and after: as soon as they have, it is known how.
            let alone = state == RunState::InitExited && !leaf.frozen;
            let (ended, ending) =
                if alone { ends(hierarchy, &group, (&leaf, id), &mut waited.ends)? } else { (false, false) };
            if ended || !leaf.populated {
                state = RunState::Ended { exit: recorded(&paths.exits(), &name, id, &mut waited.records)? };
            }
            let frozen = leaf.frozen && leaf.populated && !ended && !group_frozen;
            let wrong_namespace = match state {
                RunState::Running { pid, .. } => namespace::is_outside(pid, &paths.namespaces(&name))?,
                RunState::InitExited | RunState::Ended { .. } => false,
            };
            // Of one without a mark nothing is known: a version before marks started it.
            let marks = [Mark::Launcher, Mark::Stop, Mark::Ends, Mark::Deadline, Mark::Checked];
            let [started_by, stop, ends, deadline, checked] = hierarchy.marked(&group, &leaf.launch_id, marks)?;
            let outdated = matches!(state, RunState::Running { .. }) && started_by.is_some_and(|mark| mark != launcher);
            let stop = stop.and_then(|mark| serde_json::from_str(&mark).ok());
            let ends = ends.and_then(|mark| mark.parse().ok()).unwrap_or_default();
            let steady = matches!(state, RunState::Running { started, .. } if lasts(started));
            let stopping = deadline
                .and_then(|mark| mark.parse().ok())
                .map(|milliseconds: u64| Stopping { until: after(booted, milliseconds) });
            let checked = checked.and_then(|mark| serde_json::from_str(&mark).ok());
            let run = Run {
                leaf: id,
                state,
                frozen,
                wrong_namespace,
                outdated,
                stop,
                ends,
                steady,
                stopping,
                ending,
                checked,
            };
            runs.insert(leaf.launch_id, run);
        }
        let last_exit = exit::read(&paths.exits(), &name)?;
        observed.containers.insert(name, ObservedContainer { runs, last_exit });
    }
    waited.ends.retain(|id, _| seen.contains(id));
    waited.records.retain(|id| seen.contains(id));
    Ok(observed)
}

/// Whether all that is in a leaf without its first process has ended by now, which is waited for once; and whether it is about
/// to: it was killed, a short time ago.
fn ends(
    hierarchy: &Hierarchy,
    group: &str,
    (leaf, id): (&Leaf, u64),
    waited: &mut BTreeMap<u64, Instant>,
) -> Result<(bool, bool), ObserveError> {
    let is_new = !waited.contains_key(&id);
    let since = *waited.entry(id).or_insert_with(Instant::now);
    if is_new && hierarchy.wait_empty(group, &leaf.launch_id, END_TIMEOUT)? {
        return Ok((true, false));
    }
    if leaf.pids.is_empty() || since.elapsed() > KILL_TIMEOUT {
        return Ok((false, false));
    }
    for pid in &leaf.pids {
        if !process::is_killed(*pid)? {
            return Ok((false, false));
        }
    }
    Ok((false, true))
}

/// Whether a process that started at that tick has run for long enough by now.
fn lasts(started: u64) -> bool {
    process::ticks_since_boot().saturating_sub(started) * TICK_MILLISECONDS >= STEADY.milliseconds()
}

/// So long after boot, by the wall clock.
fn after(booted: Timestamp, milliseconds: u64) -> Option<Timestamp> {
    let seconds = i64::try_from(milliseconds / 1000).ok()?;
    Timestamp::from_seconds(booted.seconds().saturating_add(seconds))
}

fn living(pids: &[u32], booted: Timestamp) -> Result<RunState, ObserveError> {
    for pid in pids {
        let Some(identity) = process::identity(*pid)? else { continue };
        if identity.pids.len() > 1 && identity.pids.last() == Some(&1) {
            let started = identity.started;
            let since = after(booted, started.saturating_mul(TICK_MILLISECONDS));
            return Ok(RunState::Running { pid: *pid, started, since });
        }
    }
    Ok(RunState::InitExited)
}

/// The recorded end of the run in the leaf `id`. A run is over when its processes are; the record follows when PID 1 has
/// reaped the first of them. It decides whether the container is started again, so it is waited for, once.
fn recorded(
    exits: &Path,
    name: &Name,
    id: u64,
    missing: &mut BTreeSet<u64>,
) -> Result<Option<exit::Exit>, ObserveError> {
    let read = || Ok::<_, ObserveError>(exit::read(exits, name)?.filter(|exit| exit.leaf == id));
    if missing.contains(&id) {
        return read();
    }
    if let Some(exit) = read()? {
        return Ok(Some(exit));
    }
    let watch = RecordWatch::new(exits)?;
    let deadline = Instant::now() + RECORD_TIMEOUT;
    loop {
        // Read after the watch is set: a record is either found here or wakes us.
        if let Some(exit) = read()? {
            return Ok(Some(exit));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            missing.insert(id);
            return Ok(None);
        }
        watch.wait(left)?;
    }
}

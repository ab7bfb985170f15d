//! Who is to blame, decided by what was seen.

use catenoid_kernel_cgroup::shortage::Locks;
use catenoid_schema::manifest::ContainerRole;

use super::suspicion::{Evidence, Suspect};

/// The fewest that have to stand still for memory to shrink less, as `loses_less` says: the first, mostly; else of the first
/// ones, which are services, and else of all. It looks about log2 times.
pub(super) fn fewest<E>(
    services: usize,
    all: usize,
    mut loses_less: impl FnMut(usize) -> Result<bool, E>,
) -> Result<Option<usize>, E> {
    let first = services.min(1);
    for (mut too_few, mut enough) in [(0, first), (first, services), (services, all)] {
        if too_few == enough || !loses_less(enough)? {
            continue;
        }
        while too_few + 1 < enough {
            let middle = usize::midpoint(too_few, enough);
            if loses_less(middle)? { enough = middle } else { too_few = middle }
        }
        return Ok(Some(enough));
    }
    Ok(None)
}

/// Who has most of what no control group counts, services before the core container: of `locks`, or at least `much` of what
/// `queued` says for the namespace of a process.
pub(super) fn blame<'a>(
    suspects: &'a [Suspect],
    locks: &Locks,
    queued: impl Fn(u32) -> Option<u64>,
    much: u64,
) -> Option<(&'a Suspect, Evidence)> {
    let evidence = |suspect: &Suspect| {
        let count = suspect.pids.iter().filter_map(|pid| locks.by_process.get(pid)).sum::<u64>();
        // Of so many that they are not all listed, most: then it has many more.
        if locks.more && count > locks.listed / 2 {
            return Some((u64::MAX, Evidence::Locks(count)));
        }
        // All of its processes are in one network namespace; the first may have ended but for its threads.
        let queued = suspect.pids.iter().find_map(|pid| queued(*pid)).unwrap_or_default();
        (queued >= much).then_some((queued, Evidence::Queued(queued)))
    };
    let found = suspects.iter().filter_map(|suspect| evidence(suspect).map(|(bytes, found)| (bytes, suspect, found)));
    let is_service = |suspect: &Suspect| suspect.role == ContainerRole::Service;
    found.max_by_key(|(bytes, suspect, _)| (is_service(suspect), *bytes)).map(|(_, suspect, found)| (suspect, found))
}

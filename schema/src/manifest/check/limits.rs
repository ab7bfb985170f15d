//! The rules of a container's `limits`, and of how long its end may take.

use super::found::Found;
use crate::{
    limits::{CPU_MOST, GRACE_LIMIT, MEMORY_LEAST, MEMORY_MOST, PIDS_MOST},
    manifest::Container,
};

pub(super) fn limits(path: &str, container: &Container, found: &mut Found) {
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

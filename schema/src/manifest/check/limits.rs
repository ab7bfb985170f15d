//! The rules of a container's `limits`, and of how long its end may take.

use super::found::Found;
use crate::{
    limits::{CPU_MOST, GRACE_LIMIT, IO_BYTES, IO_OPERATIONS, IO_WEIGHT, MEMORY_LEAST, MEMORY_MOST, PIDS_MOST},
    manifest::{Container, IoLimits},
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
    if let Some(io) = &limits.io {
        self::io(&format!("{path}.limits.io"), io, found);
    }
    if container.stop.grace.milliseconds() > GRACE_LIMIT {
        found.add(format!("{path}.stop.grace"), format!("`{}` is longer than 10m", container.stop.grace));
    }
}

fn io(path: &str, io: &IoLimits, found: &mut Found) {
    if *io == IoLimits::default() {
        found.add(path.to_owned(), "it limits nothing");
    }
    for (field, bytes) in [("readBps", io.read_bps), ("writeBps", io.write_bps)] {
        if let Some(bytes) = bytes.filter(|bytes| !IO_BYTES.contains(&bytes.bytes())) {
            found.add(format!("{path}.{field}"), format!("`{bytes}` is not from 1MiB to 1TiB"));
        }
    }
    for (field, operations) in [("readIops", io.read_iops), ("writeIops", io.write_iops)] {
        if let Some(operations) = operations.filter(|operations| !IO_OPERATIONS.contains(operations)) {
            found.add(format!("{path}.{field}"), format!("`{operations}` is not from 100 to 100000000"));
        }
    }
    if let Some(weight) = io.weight.filter(|weight| !IO_WEIGHT.contains(weight)) {
        found.add(format!("{path}.weight"), format!("`{weight}` is not from 1 to 1000"));
    }
}

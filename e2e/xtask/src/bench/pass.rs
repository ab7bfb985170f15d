//! `bench pass`: what it costs to look after a device that is as it should be, and to change one thing.

use std::process::Command;

use anyhow::Result;
use catenoid_e2e::Artefacts;

use super::{Figures, Report, program};
use crate::run;

/// Service containers, besides the core container.
const SIZES: [&str; 3] = ["10", "100", "500"];
const ROUNDS: &str = "15";

/// The namespaces of whoever observes: its own, so that nothing of it is left.
const OWN_NAMESPACES: &str = "\
mount -t tmpfs run /run && umount -l /sys/fs/cgroup; mount -t tmpfs sys /sys/fs && mkdir -p /sys/fs/cgroup && \
mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";

pub(super) fn measure(artefacts: &Artefacts) -> Result<Report> {
    let program = program(artefacts, "pass")?;
    let mut figures = Figures::default();
    figures.read(&run::output(Command::new(&program).args(["pure", ROUNDS]).args(SIZES))?)?;
    let mut observing = Command::new("unshare");
    observing.args(["--mount", "--net", "--fork", "sh", "-c", OWN_NAMESPACES, "sh"]);
    figures.read(&run::output(observing.arg(&program).args(["kernel", ROUNDS]).args(SIZES))?)?;
    // Linear is 10 and 50 times as much as with ten containers, where nothing is the same for all sizes.
    for name in figures.names() {
        if let Some((what, _)) = name.rsplit_once(", ") {
            figures.compare(&name, &format!("{what}, {}", SIZES[0]));
        }
    }
    Ok(Report { ran_on: "this machine's own kernel, no VM".to_owned(), figures, notes: Vec::new() })
}

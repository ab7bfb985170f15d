//! `bench push`: how fast a guest gets to the device and is verified there, against `sha256sum` of the same bytes.

use anyhow::{Context as _, Result};
use catenoid_e2e::Artefacts;

use super::fleet::Fleet;
use super::{Figures, Report};

const ROUNDS: usize = 7;
/// Of a blob; c0 has it in memory, of which it has 192 MiB.
const MIB: u32 = 24;

/// Prints microseconds around a command in c0 (bash).
const CLOCK: &str = "now() { echo ${EPOCHREALTIME/./}; }; ";

pub(super) fn measure(artefacts: &Artefacts) -> Result<Report> {
    let mut fleet = Fleet::boot(artefacts, "push")?;
    let mut figures = Figures::default();
    let speed = |milliseconds: f64, mib: f64| mib / (milliseconds / 1e3);
    for _ in 0..ROUNDS {
        fleet.c0(&format!("head -c {} /dev/urandom >/tmp/blob", MIB << 20), b"")?;
        for (what, command) in
            [("c0: sha256sum", "sha256sum /tmp/blob"), ("c0: catenoid guests push", "catenoid guests push /tmp/blob")]
        {
            let line = format!("{CLOCK} from=$(now); {command} >/dev/null || exit 1; echo $(($(now) - from))");
            let printed = fleet.c0(&line, b"")?;
            let micros: f64 = printed.trim().parse().with_context(|| format!("`{printed}` is no time"))?;
            figures.add_and_print(what, "MiB/s", speed(micros / 1e3, f64::from(MIB)));
        }
        // The core guest, whose image is the largest there is: as a file, and block by block through its hash tree.
        let device = "/dev/$(ls -d /sys/block/dm-* | head -n 1 | cut -d / -f 4)";
        let file = "$(ls -S /data/blobs/* | head -n 1)";
        let reads = [
            ("device: cat of the blob, from disk", format!("cat {file}"), file),
            ("device: cat through dm-verity, from disk", format!("cat {device}"), device),
            ("device: sha256sum of the blob, from disk", format!("sha256sum {file}"), file),
        ];
        for (what, command, of) in reads {
            let script = format!(
                "sync; echo 3 >/proc/sys/vm/drop_caches; read from rest </proc/uptime; {command} >/dev/null || exit 1; \
                 read to rest </proc/uptime; echo $from $to $(wc -c <{of})"
            );
            let printed = fleet.device.root(&script)?;
            let numbers: Vec<f64> = printed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            let [from, to, bytes] = numbers[..] else { anyhow::bail!("`{printed}` is not two times and a size") };
            figures.add_and_print(what, "MiB/s", speed((to - from) * 1e3, bytes / f64::from(1 << 20)));
        }
    }
    figures.compare("c0: catenoid guests push", "c0: sha256sum");
    figures.compare("device: cat through dm-verity, from disk", "device: sha256sum of the blob, from disk");
    figures.compare("device: cat of the blob, from disk", "device: sha256sum of the blob, from disk");
    let note =
        "A push reads the file twice in c0 (once for its digest) and is hashed, written and synced by the agent.";
    Ok(Report { ran_on: super::DEVICE.to_owned(), figures, notes: vec![note.to_owned()] })
}

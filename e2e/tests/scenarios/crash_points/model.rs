//! What there is of ours on a device, as text that two devices can be compared by.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::bench::Bench;

/// The lines that are kept of what a line for a shell prints.
type Keep = fn(&str) -> Vec<String>;

/// What there is of ours in the kernel and on the disk: a line for a shell, few programs long, and what is kept of what it
/// prints: not what has another number each time.
const MODEL: [(&str, &str, Keep); 10] = [
    ("mounts", "cat /proc/1/mountinfo", mounts),
    ("loops", "cat /sys/block/loop*/loop/backing_file 2>/dev/null", lines),
    ("device-mapper", "cat /sys/block/dm-*/dm/name 2>/dev/null", lines),
    ("namespaces", "find /run/catenoid/namespaces; ls -l /proc/[0-9]*/ns/net 2>/dev/null", namespaces),
    (
        "links",
        "for n in /run/catenoid/namespaces/*; do echo \"$n\"; nsenter --net=$n/net ip -o addr show 2>/dev/null; done
         ls /sys/class/net",
        links,
    ),
    (
        "groups",
        "find /sys/fs/cgroup/catenoid -type d; cd /sys/fs/cgroup/catenoid
         grep -Hs . */memory.max */cpu.max */pids.max */memory.swap.max",
        lines,
    ),
    ("rules", "nft list ruleset; nsenter --net=/run/catenoid/namespaces/core0/net nft list ruleset", unsorted),
    ("files", "cd /data && find blobs incoming -type f -exec ls -l {} +", |text| words(text, &[4, 8])),
    ("run", "cd /run/catenoid; ls . output control 2>/dev/null", unsorted),
    ("processes", "ps -o comm,stat", processes),
];

/// Reads all of it.
pub(super) fn read(bench: &mut Bench) -> Result<String> {
    let script: Vec<_> = MODEL.iter().map(|(name, line, _)| format!("echo '@@ {name}'; ({line})")).collect();
    let printed = bench.device.root(&(script.join("\n") + "\ntrue"))?;
    let mut model = Vec::new();
    for (name, _, keep) in MODEL {
        let part = printed.split("@@ ").find_map(|part| part.strip_prefix(name)?.strip_prefix('\n'));
        model.push(format!("# {name}"));
        model.extend(keep(part.with_context(|| format!("nothing of {name}: {printed}"))?));
    }
    Ok(model.join("\n"))
}

fn unsorted(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn lines(text: &str) -> Vec<String> {
    let mut lines = unsorted(text);
    lines.sort_unstable();
    lines
}

/// These words of each line.
fn words(text: &str, which: &[usize]) -> Vec<String> {
    let of = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        which.iter().filter_map(|at| words.get(*at).copied()).collect::<Vec<_>>().join(" ")
    };
    lines(&text.lines().map(of).collect::<Vec<_>>().join("\n"))
}

fn mounts(text: &str) -> Vec<String> {
    let mut mounts = words(text, &[4, 5]);
    mounts.retain(|mount| mount.starts_with("/run/catenoid") || mount.starts_with("/data"));
    mounts.push(format!("{} mounts", text.lines().count()));
    mounts
}

/// Who was about to end shows none.
fn namespaces(text: &str) -> Vec<String> {
    let mut pinned = lines(text);
    let all: BTreeSet<_> = text.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, of)| of).collect();
    pinned.retain(|line| line.starts_with('/'));
    pinned.push(format!("{} network namespaces", all.len()));
    pinned
}

/// Name and addresses of each interface, in each namespace.
fn links(text: &str) -> Vec<String> {
    let mut of = "";
    let mut links = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [folder] if folder.starts_with('/') => of = folder,
            [_, name, family, address, ..] => links.push(format!("{of} {name} {family} {address}")),
            _ => links.push(line.to_owned()),
        }
    }
    links.sort_unstable();
    links
}

/// Launchers, and who was not reaped.
fn processes(text: &str) -> Vec<String> {
    let mut processes = words(text, &[0, 1]);
    processes
        .retain(|line| line.split(' ').nth(1).is_some_and(|state| state.contains('Z')) || line.contains("launcher"));
    processes
}

/// The lines that only one of the two has.
pub(super) fn difference(wanted: &str, is: &str) -> String {
    let only = |of: &str, other: &str, sign: &str| -> Vec<String> {
        let lines = of.lines().filter(|line| !other.lines().any(|o| o == *line));
        lines.map(|line| format!("{sign} {line}")).collect()
    };
    [only(wanted, is, "-"), only(is, wanted, "+")].concat().join("\n")
}

//! What the root namespace of a booted device keeps in memory: its file system, which is the unpacked initramfs, and its
//! processes.

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::{Artefacts, Device, device};

use crate::image::{self, Variant};

/// More than two looks of the agent's timer: what the boot needed is given back.
const QUIET: &str = "sleep 65";
/// Blocks in use of `/`, which is a tmpfs, and their size.
const ROOT: &str = "stat -f -c '%b %f %S' /";
/// All memory, and what is left for others, in KiB.
const WHOLE: &str = "awk '/^Mem(Total|Available):/ { print $2 }' /proc/meminfo";
/// A line for each process in the mount namespace of PID 1: PSS and what of it is of no file, in KiB; its words. Threads of
/// the kernel have no program, and the test image's shell is no part of a device.
const PROCESSES: &str = r#"for process in /proc/[0-9]*; do
  [ "$(readlink $process/ns/mnt)" = "$(readlink /proc/1/ns/mnt)" ] || continue
  program=$(readlink $process/exe) || continue
  case "$program" in */busybox) continue ;; esac
  awk -v words="$(tr '\0' ' ' <$process/cmdline)" '/^Pss:/ { pss = $2 } /^Pss_Anon:/ { own = $2 }
    END { print pss, own, words }' $process/smaps_rollup
done"#;

/// What was found, in KiB.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// The root file system.
    pub(super) root: usize,
    pub(super) processes: Vec<Process>,
    /// All memory of the device.
    pub(super) total: usize,
    /// What the kernel says is left for others.
    pub(super) available: usize,
}

/// A process of the root namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// The command that it was started by.
    pub(super) words: String,
    /// Its share of what it has mapped.
    pub(super) pss: usize,
    /// What of that is of no file. What is of a file is in the root file system.
    pub(super) own: usize,
}

impl Memory {
    /// The file system and what is of no file: nothing counts twice.
    pub(super) fn resident(&self) -> usize {
        self.root + self.processes.iter().map(|process| process.own).sum::<usize>()
    }

    /// The PSS of all processes.
    pub(super) fn pss(&self) -> usize {
        self.processes.iter().map(|process| process.pss).sum()
    }
}

/// Boots the test image as a factory-new device, whose only container is c0, and looks when it is idle.
pub(super) fn measure(artefacts: &Artefacts) -> Result<Memory> {
    image::build(artefacts, Variant::Test)?;
    let machine = device::machine(artefacts, "size")?.processors(2);
    let mut device = Device::start(artefacts.clone(), machine)?;
    device.root(QUIET)?;
    let printed = [ROOT, PROCESSES, WHOLE].map(|script| device.root(script));
    let [root, processes, whole] = printed;
    read(&root?, &processes?, &whole?)
}

fn read(root: &str, processes: &str, whole: &str) -> Result<Memory> {
    let [blocks, free, size] = numbers(root)?;
    let [total, available] = numbers(whole)?;
    let processes = processes.lines().map(process).collect::<Result<Vec<_>>>()?;
    ensure!(!processes.is_empty(), "no process was found");
    let root = blocks.checked_sub(free).context("more blocks are free than there are")? * size / 1024;
    Ok(Memory { root, processes, total, available })
}

fn numbers<const COUNT: usize>(printed: &str) -> Result<[usize; COUNT]> {
    let numbers: Vec<usize> = printed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().ok().with_context(|| format!("`{printed}` is not {COUNT} numbers"))
}

fn process(line: &str) -> Result<Process> {
    let mut words = line.splitn(3, ' ');
    let mut number = || words.next()?.parse().ok();
    let found = number().zip(number());
    let (pss, own) = found.with_context(|| format!("`{line}` does not begin with two numbers"))?;
    Ok(Process { words: words.next().unwrap_or_default().trim().to_owned(), pss, own })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_resident_counts_twice() {
        let memory = read("1000 400 4096\n", "2500 300 /init \n7000 2000 /init agent \n", "1000000\n800000\n");
        let process = |words: &str, pss, own| Process { words: words.to_owned(), pss, own };
        let expected = Memory {
            root: 2400,
            processes: vec![process("/init", 2500, 300), process("/init agent", 7000, 2000)],
            total: 1_000_000,
            available: 800_000,
        };
        let memory = memory.expect("what a device prints");
        assert_eq!(memory, expected);
        assert_eq!((memory.resident(), memory.pss()), (4700, 9500));
    }

    #[test]
    fn what_a_device_does_not_print_is_refused() {
        let (root, processes, whole) = ("2 1 4096", "1 1 /init", "2 1");
        assert!(read(root, processes, whole).is_ok());
        for (root, processes, whole) in [
            ("1 2 4096", processes, whole),
            ("2 1", processes, whole),
            (root, "", whole),
            (root, "x 1 /init", whole),
            (root, "1", whole),
            (root, processes, "2"),
        ] {
            assert!(read(root, processes, whole).is_err(), "{root:?} {processes:?} {whole:?}");
        }
    }
}

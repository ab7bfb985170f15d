//! What is set in the kernel for the whole device, beside its signed command line: one table, each line with its reason. PID 1
//! sets it before anything else runs; the agent looks in each pass, and puts right what differs.

use std::{fs, io, path::Path, sync::LazyLock};

use catenoid_kernel_base::fault::{at, look};

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Below `/proc/sys`.
    pub key: &'static str,
    /// As the kernel prints it.
    pub value: &'static str,
    /// Why it has this value.
    pub reason: &'static str,
}

const fn setting(key: &'static str, value: &'static str, reason: &'static str) -> Setting {
    Setting { key, value, reason }
}

/// Pages of memory, where there are three: when it begins to be too much, when it is, and the end.
const NO_END: &str = "1073741823\t1073741823\t1073741823";
const WITHOUT_END: &str = "without an end (the kernel's own is a tenth of the memory, for everybody): what a container's sockets \
                           have is paid for with its memory, and what they have beside it is the guard's";

/// The device's settings.
pub const DEVICE: &[Setting] = &[
    setting(
        "debug/exception-trace",
        "0",
        "a container that crashes writes nothing into the kernel's log, which is everybody's",
    ),
    // Files that containers and agent draw on together; a container's own share is bounded in its user namespace.
    setting(
        "fs/file-max",
        "9223372036854775807",
        "without an end (the kernel's own is a tenth of the memory, for everybody): each open file is paid for with the memory \
         of the container that opens it",
    ),
    setting("fs/inotify/max_user_instances", "65536", "of the device; a container has its own share"),
    setting("fs/inotify/max_user_watches", "1048576", "of the device; a container has its own share"),
    setting("fs/protected_fifos", "2", "nobody writes to a pipe that somebody else put into a shared folder"),
    setting("fs/protected_hardlinks", "1", "nobody gives another name to a file that is not his"),
    setting("fs/protected_regular", "2", "nobody writes to a file that somebody else put into a shared folder"),
    setting("fs/protected_symlinks", "1", "nobody follows a link that somebody else put into a shared folder"),
    setting("fs/suid_dumpable", "0", "what had other rights leaves no image of its memory"),
    setting("kernel/core_pattern", "core", "no program runs as root of the device for a container that crashes"),
    setting(
        "kernel/ctrl-alt-del",
        "0",
        "the keys ask PID 1, which ends everything in order, instead of resetting at once",
    ),
    setting("kernel/dmesg_restrict", "1", "the kernel's log has addresses and names of everybody"),
    setting("kernel/kexec_load_disabled", "1", "no other kernel is started but by the firmware; until the next boot"),
    setting("kernel/kptr_restrict", "2", "nobody sees addresses of the kernel"),
    setting("kernel/panic_on_oops", "1", "a kernel whose state is broken restarts instead of going on"),
    setting(
        "kernel/pid_max",
        "4194304",
        "the most there can be: each process is paid for with its container's memory and `pids`",
    ),
    setting("kernel/perf_event_paranoid", "3", "nobody measures the kernel or others"),
    setting("kernel/pty/max", "1048576", "terminals of the device; a container has its own share"),
    setting("kernel/randomize_va_space", "2", "addresses of programs are random"),
    setting("kernel/sysrq", "0", "no key and no break on a serial line commands the kernel"),
    setting(
        "kernel/threads-max",
        "1073741823",
        "the same for threads; the kernel's own is a part of the memory, for everybody",
    ),
    setting(
        "kernel/unprivileged_bpf_disabled",
        "1",
        "no program of a container runs in the kernel; until the next boot",
    ),
    setting("net/core/bpf_jit_harden", "2", "no constant of a filter becomes code of the kernel"),
    setting("net/ipv4/tcp_mem", NO_END, WITHOUT_END),
    setting("net/ipv4/udp_mem", NO_END, WITHOUT_END),
    setting("vm/mmap_min_addr", "65536", "nothing lies where a null pointer of the kernel leads"),
    setting("vm/overcommit_memory", "0", "what programs expect; the kernel's default"),
    setting(
        "vm/watermark_scale_factor",
        "600",
        "the kernel begins to look for memory while 6 % is free, and the guard hears of it",
    ),
    setting("vm/panic_on_oom", "0", "whoever takes too much memory is ended, not the device"),
    setting("vm/unprivileged_userfaultfd", "0", "nobody holds the kernel up in the middle of a copy"),
    // Hangs.
    setting("kernel/softlockup_panic", "1", "a processor that the kernel never gives back ends in a restart"),
    setting("kernel/hung_task_panic", "1", "a process that waits for the kernel for minutes ends in a restart"),
    setting("kernel/hung_task_timeout_secs", "300", "of the line above; a slow disk is no hang"),
];

/// How long a processor may be held before it counts as hung is twice this, in seconds. The kernel's own is 10; a processor
/// that QEMU translates (TCG) stalls by itself for longer.
const WATCHDOG: [Setting; 2] = [
    setting("kernel/watchdog_thresh", "10", "half of the time after which a processor counts as hung, in seconds"),
    setting("kernel/watchdog_thresh", "60", "the same where QEMU translates the processor, which stalls by itself"),
];

/// Whether QEMU translates the processor, which stays the same: `/proc/cpuinfo` is as long as there are processors.
static TRANSLATED: LazyLock<bool> =
    LazyLock::new(|| fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG")));

/// All that holds on this machine.
fn all() -> impl Iterator<Item = Setting> {
    DEVICE.iter().copied().chain([WATCHDOG[usize::from(*TRANSLATED)]])
}

/// A setting that differed.
#[derive(Debug)]
pub struct Differed {
    /// The setting as it should be.
    pub setting: Setting,
    /// What it was.
    pub was: String,
    /// Whether it is as it should be again.
    pub set: io::Result<()>,
}

impl std::fmt::Display for Differed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { setting: Setting { key, value, .. }, was, set } = self;
        write!(f, "`{key}` was {was}, not {value}")?;
        set.as_ref().map_or_else(|error| write!(f, ", and cannot be set: {error}"), |()| Ok(()))
    }
}

/// Looks at every setting, and sets what differs.
#[must_use]
pub fn settle() -> Vec<Differed> {
    settle_in(Path::new("/proc/sys"), all())
}

fn settle_in(base: &Path, settings: impl Iterator<Item = Setting>) -> Vec<Differed> {
    let differed = settings.filter_map(|setting| {
        let path = base.join(setting.key);
        let was = match look("settings.read", || fs::read_to_string(&path)) {
            Ok(was) => was.trim().to_owned(),
            Err(error) => format!("unreadable ({error})"),
        };
        if was == setting.value {
            return None;
        }
        let set = at("settings.set", || fs::write(&path, setting.value));
        Some(Differed { setting, was, set })
    });
    differed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_set_and_reported_and_nothing_else_is_written() {
        let folder = std::env::temp_dir().join(format!("catenoid-settings-{}", std::process::id()));
        fs::create_dir_all(folder.join("kernel")).unwrap();
        let table = [setting("kernel/a", "1", "-"), setting("kernel/b", "2", "-"), setting("net/none", "3", "-")];
        fs::write(folder.join("kernel/a"), "1\n").unwrap();
        fs::write(folder.join("kernel/b"), "0\n").unwrap();
        let reported: Vec<_> = settle_in(&folder, table.into_iter()).iter().map(ToString::to_string).collect();
        assert_eq!(reported[0], "`kernel/b` was 0, not 2");
        assert!(reported[1].starts_with("`net/none` was unreadable"), "{reported:?}");
        assert_eq!(fs::read_to_string(folder.join("kernel/a")).unwrap(), "1\n");
        assert!(settle_in(&folder, table[..2].iter().copied()).is_empty());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn each_key_is_in_the_table_once_and_has_a_reason() {
        let keys: std::collections::BTreeSet<_> = DEVICE.iter().map(|setting| setting.key).collect();
        assert_eq!(keys.len(), DEVICE.len());
        assert!(DEVICE.iter().chain(&WATCHDOG).all(|setting| !setting.reason.is_empty()));
    }
}

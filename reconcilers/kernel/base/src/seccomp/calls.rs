//! Every system call of the kernel's table, with what becomes of it and why. A call that is in no line is refused; a test
//! finds it.

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallAction {
    /// It reaches the kernel, which judges it by the container's ids, capabilities and namespaces.
    Allowed,
    /// Its arguments decide: [`super::Filter`] says how.
    Looked,
    /// It reaches the kernel in a container whose guest needs this by its signed descriptor, and whose manifest permits it.
    Needs(&'static str),
    /// Refused with `EPERM`.
    Denied,
    /// Answered with `ENOSYS`, as by a kernel that does not have it: programs then do it another way.
    Absent,
}

/// Calls with the same action for the same reason.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What becomes of them.
    pub action: CallAction,
    /// The reason for the action.
    pub reason: &'static str,
    /// By the kernel's names. Not every processor has all of them.
    pub calls: &'static [&'static str],
}

const fn group(action: CallAction, reason: &'static str, calls: &'static [&'static str]) -> Group {
    Group { action, reason, calls }
}

use CallAction::{Absent, Allowed, Denied, Looked, Needs};

/// The table.
#[rustfmt::skip]
pub const TABLE: &[Group] = &[
    group(Allowed, "reading and writing what is open; memory of it is counted by the container's group", &[
        "read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2", "lseek",
        "sendfile", "splice", "tee", "vmsplice", "copy_file_range", "readahead", "fadvise64", "close", "close_range", "dup",
        "dup2", "dup3", "fcntl", "flock", "pipe", "pipe2", "fsync", "fdatasync", "syncfs", "sync_file_range",
        "fallocate", "truncate", "ftruncate",
    ]),
    group(Allowed, "files by their names, in the container's own tree", &[
        "open", "openat", "openat2", "creat", "access", "faccessat", "faccessat2", "stat", "fstat", "lstat", "newfstatat",
        "fstatat", "statx", "statfs", "fstatfs", "getdents", "getdents64", "getcwd", "chdir", "fchdir", "rename", "renameat",
        "renameat2", "mkdir", "mkdirat", "rmdir", "link", "linkat", "unlink", "unlinkat", "symlink", "symlinkat", "readlink",
        "readlinkat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "umask", "utime", "utimes",
        "futimesat", "utimensat", "mknod", "mknodat", "chroot", "getxattr", "lgetxattr",
        "fgetxattr", "listxattr", "llistxattr", "flistxattr", "removexattr", "lremovexattr", "fremovexattr",
        "name_to_handle_at",
    ]),
    group(Allowed, "the process's own memory", &[
        "brk", "mmap", "mprotect", "munmap", "mremap", "msync", "mincore", "madvise", "mlock", "mlock2", "munlock", "mlockall",
        "munlockall", "remap_file_pages", "memfd_create", "pkey_mprotect", "pkey_alloc", "pkey_free", "membarrier",
        "process_mrelease",
    ]),
    group(Allowed, "processes and threads, counted by `pids`", &[
        "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "getpid", "getppid", "gettid",
        "getpgid", "setpgid", "getpgrp", "getsid", "setsid", "set_tid_address", "set_robust_list", "get_robust_list", "rseq",
        "arch_prctl", "set_thread_area", "get_thread_area", "prctl", "futex", "futex_waitv", "pidfd_open",
        "pidfd_send_signal", "getrusage", "times", "restart_syscall",
    ]),
    group(Allowed, "signals to who may be signalled: only the container's own processes are seen", &[
        "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo",
        "rt_tgsigqueueinfo", "rt_sigsuspend", "sigaltstack", "kill", "tkill", "tgkill", "pause", "signalfd", "signalfd4",
    ]),
    group(Allowed, "ids and rights, within the user namespace", &[
        "getuid", "getgid", "geteuid", "getegid", "setuid", "setgid", "setreuid", "setregid", "getgroups", "setgroups",
        "setresuid", "getresuid", "setresgid", "getresgid", "setfsuid", "setfsgid", "capget", "capset", "seccomp",
        "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
    ]),
    group(Allowed, "limits and scheduling: the group's `cpu.max` bounds all of it", &[
        "getrlimit", "setrlimit", "prlimit64", "getpriority", "setpriority", "sched_yield", "sched_setparam",
        "sched_getparam", "sched_setscheduler", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min",
        "sched_rr_get_interval", "sched_setaffinity", "sched_getaffinity", "sched_setattr", "sched_getattr", "ioprio_set",
        "ioprio_get", "getcpu",
    ]),
    group(Allowed, "reading the clocks, and timers", &[
        "time", "gettimeofday", "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "getitimer", "setitimer",
        "alarm", "timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete", "timerfd_create",
        "timerfd_settime", "timerfd_gettime",
    ]),
    group(Allowed, "waiting for several things", &[
        "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
        "epoll_pwait2", "eventfd", "eventfd2", "inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
    ]),
    group(Allowed, "sockets that are there", &[
        "connect", "accept", "accept4", "sendto", "recvfrom", "sendmsg", "sendmmsg", "recvmsg", "recvmmsg", "shutdown",
        "bind", "listen", "getsockname", "getpeername", "getsockopt",
    ]),
    group(Allowed, "System V and POSIX queues, semaphores and memory, in the container's own namespace", &[
        "shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv",
        "msgctl", "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr",
    ]),
    group(Allowed, "what the system is called, and how much there is of it", &[
        "uname", "sysinfo", "getrandom", "sethostname", "setdomainname",
    ]),

    group(Looked, "no socket of a family or a netlink protocol that reaches past the container or is in little use", &[
        "socket", "socketpair",
    ]),
    group(Looked, "no ring of packets, whose memory nobody counts; no flow label, of which the device has few", &["setsockopt"]),
    group(Looked, "none larger than 256 bytes: in a file system in memory nobody counts them", &[
        "setxattr", "lsetxattr", "fsetxattr",
    ]),
    group(Looked, "no namespace is made", &["clone", "unshare"]),
    group(Looked, "no input is pushed to a terminal, which may be somebody else's", &["ioctl"]),
    group(Looked, "no other personality than none, and that without random addresses", &["personality"]),
    group(Absent, "a filter cannot read its flags; the C libraries go back to `clone`", &["clone3"]),

    group(Needs("io-uring"), "a second way to make every call, past this filter; holes were found in it every year", &[
        "io_uring_setup", "io_uring_enter", "io_uring_register",
    ]),
    group(Needs("aio"), "the device has 65536 events of it for everybody; programs do without", &[
        "io_setup", "io_destroy", "io_getevents", "io_pgetevents", "io_submit", "io_cancel",
    ]),
    group(Needs("ptrace"), "other processes' memory and descriptors; of use to debuggers", &[
        "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
    ]),
    group(Needs("keyrings"), "they are not divided by namespaces", &["add_key", "request_key", "keyctl"]),
    group(Needs("memory-policy"), "of use on machines with several memories only; nobody counts what it costs", &[
        "mbind", "set_mempolicy", "get_mempolicy", "set_mempolicy_home_node", "move_pages", "migrate_pages",
    ]),
    group(Needs("namespaces"), "the container's mounts and namespaces are finished; of use to containers in a container", &[
        "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick", "mount_setattr",
        "pivot_root", "setns",
    ]),

    group(Denied, "the kernel itself: its code, its state, what it measures", &[
        "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "bpf", "perf_event_open",
        "userfaultfd", "reboot", "swapon", "swapoff", "acct", "syslog", "lookup_dcookie", "memfd_secret",
    ]),
    group(Denied, "the clock of the whole device", &["settimeofday", "clock_settime", "clock_adjtime", "adjtimex"]),
    group(Denied, "the quotas and terminals of the whole device", &["quotactl", "quotactl_fd", "vhangup"]),
    group(Denied, "it writes out every file system of the device, for everybody; `syncfs` does its own", &["sync"]),
    group(Denied, "files by handle pass every check of a path", &["open_by_handle_at"]),
    group(Denied, "it can hold up who opens a file; inotify reports changes", &["fanotify_init", "fanotify_mark"]),
    group(Denied, "ways to the machine that only old programs go", &[
        "iopl", "ioperm", "modify_ldt", "uselib", "ustat", "sysfs",
    ]),

    group(Absent, "no kernel has it any more", &[
        "_sysctl", "create_module", "get_kernel_syms", "query_module", "nfsservctl", "getpmsg", "putpmsg", "afs_syscall",
        "tuxcall", "security", "epoll_ctl_old", "epoll_wait_old", "vserver",
    ]),
    group(Absent, "the device's kernel does not have it yet: to be decided with the kernel that does", &[
        "uretprobe", "uprobe", "cachestat", "fchmodat2", "map_shadow_stack", "futex_wake", "futex_wait", "futex_requeue",
        "statmount", "listmount", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules", "mseal", "setxattrat",
        "getxattrat", "listxattrat", "removexattrat", "open_tree_attr", "file_getattr", "file_setattr",
    ]),
];

/// What becomes of `call`, and why.
#[must_use]
pub fn action(call: &str) -> Option<(CallAction, &'static str)> {
    TABLE.iter().find(|group| group.calls.contains(&call)).map(|group| (group.action, group.reason))
}

/// What a guest can need, each a set of calls.
pub fn needs() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter_map(|group| if let Needs(need) = group.action { Some(need) } else { None })
}

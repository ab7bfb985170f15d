//! The system call filter of containers: what no container needs is refused with `EPERM`.
//!
//! A list of what is denied, as Docker's and Podman's default profiles amount to, not of what is allowed: the walls are
//! namespaces and capabilities; the filter takes away the parts of the kernel where their holes were found. Two programs
//! are installed, as `seccompiler` gives one answer per program: `EPERM`, and `ENOSYS` for `clone3`, whose flags lie in
//! memory that a filter cannot read; the C libraries fall back to `clone`.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter's own rules are at fault.
    #[error("failed to build the system call filter")]
    Build(#[from] seccompiler::BackendError),
    /// The kernel did not take it.
    #[error("failed to install the system call filter")]
    Install(#[from] seccompiler::Error),
}

/// Programs ready to be installed.
#[derive(Debug)]
pub struct Filter(Vec<BpfProgram>);

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// Denied whatever the arguments are.
const DENIED: &[libc::c_long] = &[
    // The kernel itself: its code, its state, its clock.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_vhangup,
    // Keyrings: not namespaced.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Mounts and namespaces: the container's are finished.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    // Files by handle pass every path check.
    libc::SYS_open_by_handle_at,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Memory policies of other nodes.
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_fanotify_init,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

/// Flags of `clone` (argument 0 on both architectures) and `unshare` that make a namespace.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
/// linux/sched.h; in `clone` these bits are the exit signal's.
const CLONE_NEWTIME: u64 = 0x80;

/// Families of sockets that stay: `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`, `AF_PACKET`. Others reach past the
/// network namespace (`AF_VSOCK`: the hypervisor) or into little-used protocols.
const FAMILIES: [libc::c_int; 5] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET];

/// `NETLINK_NETFILTER`, whom a container with NET_ADMIN could ask for any number of rules, and for an announcement of each,
/// which the kernel takes from the memory of all (linux/netlink.h). The agent sets what firewall there is.
const FIREWALL: u64 = 12;

/// Personalities that stay: none, without address randomisation, and asking.
const PERSONALITIES: [u64; 3] = [0, 0x004_0000, 0xffff_ffff];

/// Pushing input to a terminal, which may be somebody else's.
const TERMINAL_REQUESTS: [u64; 2] = [0x5412, 0x541c]; // TIOCSTI, TIOCLINUX (asm-generic/ioctls.h)

impl Filter {
    /// The filter of containers.
    ///
    /// # Errors
    /// [`Error::Build`].
    pub fn new() -> Result<Self, Error> {
        let mut denied: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|number| (*number, Vec::new())).collect();
        let namespaces = || NAMESPACES.iter().map(|flag| u64::from(flag.cast_unsigned()));
        let flag = |flag| rule(&[(0, Is::MaskedEq(flag), flag)]);
        denied.insert(libc::SYS_clone, namespaces().map(flag).collect::<Result<_, _>>()?);
        denied.insert(libc::SYS_unshare, namespaces().chain([CLONE_NEWTIME]).map(flag).collect::<Result<_, _>>()?);
        let families = FAMILIES.map(|family| (0, Is::Ne, u64::from(family.cast_unsigned())));
        let netlink = u64::from(libc::AF_NETLINK.cast_unsigned());
        let firewall = rule(&[(0, Is::Eq, netlink), (2, Is::Eq, FIREWALL)])?;
        denied.insert(libc::SYS_socket, vec![rule(&families)?, firewall]);
        denied.insert(libc::SYS_socketpair, vec![rule(&families)?]);
        denied.insert(libc::SYS_personality, vec![rule(&PERSONALITIES.map(|persona| (0, Is::Ne, persona)))?]);
        let request = |request| rule(&[(1, Is::Eq, request)]);
        denied.insert(libc::SYS_ioctl, TERMINAL_REQUESTS.into_iter().map(request).collect::<Result<_, _>>()?);

        let missing = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        Ok(Self(vec![program(denied, libc::EPERM)?, program(missing, libc::ENOSYS)?]))
    }

    /// Installs the filter for this process and all that it becomes. Needs `no_new_privs` (and sets it).
    ///
    /// # Errors
    /// [`Error::Install`].
    pub fn install(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(|program| seccompiler::apply_filter(program).map_err(Error::from))
    }
}

/// All of the conditions (argument, comparison, value); every argument that we look at is an `int`, of which the kernel
/// itself ignores the upper half.
fn rule(conditions: &[(u8, Is, u64)]) -> Result<SeccompRule, Error> {
    let condition =
        |(argument, is, value): &(u8, Is, u64)| SeccompCondition::new(*argument, Width::Dword, is.clone(), *value);
    let conditions = conditions.iter().map(condition).collect::<Result<_, _>>()?;
    SeccompRule::new(conditions).map_err(Error::from)
}

/// Rules that answer `errno`. A call of another architecture ends the process (`seccompiler`'s own check), and so does
/// one of the x32 table, whose numbers differ by one bit and would pass by every rule.
fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, Error> {
    let action = SeccompAction::Errno(errno.cast_unsigned());
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, action, ARCHITECTURE)?.try_into()?;
    Ok(foreign_table().into_iter().chain(filter).collect())
}

#[cfg(target_arch = "x86_64")]
fn foreign_table() -> Vec<sock_filter> {
    /// `__X32_SYSCALL_BIT` (asm/unistd.h).
    const X32: u32 = 0x4000_0000;
    let instruction = |code: u32, jf, k| {
        let code = u16::try_from(code).expect("BPF opcodes have 16 bits");
        sock_filter { code, jt: 0, jf, k }
    };
    vec![
        // The call's number, at offset 0 of `seccomp_data`; a smaller one jumps over the end of the process.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_table() -> Vec<sock_filter> {
    Vec::new()
}

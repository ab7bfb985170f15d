//! The system call filter of containers: what is not in its table does not reach the kernel.
//!
//! A list of what is allowed (`calls`), with the arguments that a filter can read looked at where it matters. What else a
//! container gets (`ptrace`, `io_uring`) is a need of its guest, signed, that the manifest permits. Three programs are
//! installed, as `seccompiler` gives one answer per program: `EPERM`; `ENOSYS`, on which programs do without; and
//! `EAFNOSUPPORT` for sockets, as a kernel says that does not have the family. Where two refuse, the one that was installed
//! last answers (seccomp(2)).

pub mod calls;

use std::collections::{BTreeMap, BTreeSet};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use syscalls::Sysno;

use calls::{CallAction, TABLE};

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

/// Flags of `clone` (argument 0 on both architectures) and `unshare` that make a namespace.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Families of sockets for everybody. Others reach past the network namespace (`AF_VSOCK`: the hypervisor) or into
/// little-used protocols.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// Protocols of netlink for everybody (linux/netlink.h): addresses and routes (`getifaddrs`), and what the kernel
/// announces about devices. The others' queues, which nobody counts, are of no use to a container.
const NETLINK: [u64; 2] = [0, 15];
/// The same for who administers its network: XFRM and generic (WireGuard). Not NETFILTER: one could ask for any number of
/// rules, and for an announcement of each, which the kernel takes from the memory of all; the agent sets what firewall there
/// is.
const NETLINK_OF_ADMINISTRATORS: [u64; 2] = [6, 16];
/// Protocols of the internet (linux/in.h): its own choice, ICMP, TCP, UDP, ICMPv6. Others, such as MPTCP, are large parts of
/// the kernel in little use. Who has NET_RAW makes any.
const INTERNET: [u64; 5] = [0, 1, 6, 17, 58];
/// linux/capability.h.
const CAP_NET_ADMIN: u8 = 12;
const CAP_NET_RAW: u8 = 13;

/// `SOL_PACKET`, and its rings: `PACKET_RX_RING`, `PACKET_TX_RING` (linux/if_packet.h).
const PACKETS: u64 = 263;
const RINGS: [u64; 2] = [5, 13];
/// `SOL_IPV6`, `IPV6_FLOWLABEL_MGR` (linux/in6.h).
const IPV6: u64 = 41;
const FLOW_LABELS: u64 = 32;
/// The most bytes of an extended attribute: capabilities and access lists are shorter.
const ATTRIBUTE: u64 = 256;

/// Personalities that stay: none, without address randomisation, and asking.
const PERSONALITIES: [u64; 3] = [0, 0x004_0000, 0xffff_ffff];

/// Pushing input to a terminal.
const TERMINAL_REQUESTS: [u64; 2] = [0x5412, 0x541c]; // TIOCSTI, TIOCLINUX (asm-generic/ioctls.h)

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

impl Filter {
    /// The filter of a container that holds `capabilities`, by number, and gets what its guest `needs`.
    ///
    /// # Errors
    /// [`Error::Build`].
    pub fn new(capabilities: &BTreeSet<u8>, needs: &BTreeSet<&str>) -> Result<Self, Error> {
        let mut allowed = Rules::new();
        let mut absent = Rules::new();
        for group in TABLE {
            let rules = match group.action {
                CallAction::Allowed | CallAction::Looked => &mut allowed,
                CallAction::Needs(need) if needs.contains(need) => &mut allowed,
                CallAction::Absent => &mut absent,
                CallAction::Needs(_) | CallAction::Denied => continue,
            };
            rules.extend(group.calls.iter().filter_map(|call| number(call)).map(|number| (number, Vec::new())));
        }
        if !needs.contains("namespaces") {
            let namespaces = u64::from(NAMESPACES.cast_unsigned());
            allowed.insert(libc::SYS_clone, vec![rule(&[(0, Is::MaskedEq(namespaces), 0)])?]);
            // In `clone` this bit is one of the exit signal's.
            let time = u64::from(libc::CLONE_NEWTIME.cast_unsigned());
            allowed.insert(libc::SYS_unshare, vec![rule(&[(0, Is::MaskedEq(namespaces | time), 0)])?]);
        }
        allowed.insert(libc::SYS_ioctl, vec![none_of(1, &TERMINAL_REQUESTS)?]);
        let [ring, other_ring] = RINGS.map(|ring| (2, Is::Ne, ring));
        let options = [
            rule(&[(1, Is::Ne, PACKETS), (1, Is::Ne, IPV6)])?,
            rule(&[(1, Is::Eq, PACKETS), ring, other_ring])?,
            rule(&[(1, Is::Eq, IPV6), (2, Is::Ne, FLOW_LABELS)])?,
        ];
        allowed.insert(libc::SYS_setsockopt, options.into());
        for call in [libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr] {
            // Of a length of 64 bits, both halves.
            let small = SeccompCondition::new(3, Width::Qword, Is::Le, ATTRIBUTE)?;
            allowed.insert(call, vec![SeccompRule::new(vec![small])?]);
        }
        let personas = PERSONALITIES.into_iter().map(|persona| rule(&[(0, Is::Eq, persona)]));
        allowed.insert(libc::SYS_personality, personas.collect::<Result<_, _>>()?);

        let family = |family: libc::c_int| u64::from(family.cast_unsigned());
        let raw = capabilities.contains(&CAP_NET_RAW).then_some(libc::AF_PACKET);
        let families: Vec<_> = FAMILIES.into_iter().chain(raw).map(family).collect();
        let administers = capabilities.contains(&CAP_NET_ADMIN);
        let more = NETLINK_OF_ADMINISTRATORS.into_iter().filter(|_| administers);
        let protocols = NETLINK.into_iter().chain(more).map(|protocol| (2, Is::Ne, protocol));
        let protocols: Vec<_> = [(0, Is::Eq, family(libc::AF_NETLINK))].into_iter().chain(protocols).collect();
        let mut no_family = Rules::new();
        let mut refused = vec![none_of(0, &families)?, rule(&protocols)?];
        if raw.is_none() {
            for inet in [libc::AF_INET, libc::AF_INET6] {
                let protocols = INTERNET.map(|protocol| (2, Is::Ne, protocol));
                let others: Vec<_> = [(0, Is::Eq, family(inet))].into_iter().chain(protocols).collect();
                refused.push(rule(&others)?);
            }
        }
        no_family.insert(libc::SYS_socket, refused);
        no_family.insert(libc::SYS_socketpair, vec![none_of(0, &[family(libc::AF_UNIX)])?]);

        let errno = |errno: libc::c_int| SeccompAction::Errno(errno.cast_unsigned());
        let pass = || SeccompAction::Allow;
        let absent = program(absent, pass(), errno(libc::ENOSYS))?;
        Ok(Self(vec![
            program(allowed, errno(libc::EPERM), pass())?,
            beyond_the_table().into_iter().chain(absent).collect(),
            program(no_family, pass(), errno(libc::EAFNOSUPPORT))?,
        ]))
    }

    /// Installs the filter for this process and all that it becomes. Needs `no_new_privs` (and sets it).
    ///
    /// # Errors
    /// [`Error::Install`].
    pub fn install(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(|program| seccompiler::apply_filter(program).map_err(Error::from))
    }
}

/// The number of a call on this processor, if it has it.
fn number(call: &str) -> Option<i64> {
    call.parse::<Sysno>().ok().map(|call| i64::from(call.id()))
}

/// All of the conditions (argument, comparison, value); every argument that we look at is an `int`, of which the kernel
/// itself ignores the upper half.
fn rule(conditions: &[(u8, Is, u64)]) -> Result<SeccompRule, Error> {
    let condition =
        |(argument, is, value): &(u8, Is, u64)| SeccompCondition::new(*argument, Width::Dword, is.clone(), *value);
    let conditions = conditions.iter().map(condition).collect::<Result<_, _>>()?;
    SeccompRule::new(conditions).map_err(Error::from)
}

fn none_of(argument: u8, values: &[u64]) -> Result<SeccompRule, Error> {
    rule(&values.iter().map(|value| (argument, Is::Ne, *value)).collect::<Vec<_>>())
}

/// Rules that answer `matched`, and `otherwise` for the rest. A call of another architecture ends the process
/// (`seccompiler`'s own check), and so does one of the x32 table, whose numbers differ by one bit.
fn program(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, Error> {
    let filter: BpfProgram = SeccompFilter::new(rules, otherwise, matched, ARCHITECTURE)?.try_into()?;
    Ok(foreign_table().into_iter().chain(filter).collect())
}

fn instruction(code: u32, jf: u8, k: u32) -> sock_filter {
    let code = u16::try_from(code).expect("BPF opcodes have 16 bits");
    sock_filter { code, jt: 0, jf, k }
}

/// Goes on with `answer` for calls from number `first` on: their number is at offset 0 of `seccomp_data`, and a smaller one
/// jumps over the answer.
fn from_number(first: u32, answer: u32) -> Vec<sock_filter> {
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, first),
        instruction(libc::BPF_RET | libc::BPF_K, 0, answer),
    ]
}

/// What a later kernel adds is absent until somebody decides about it.
fn beyond_the_table() -> Vec<sock_filter> {
    let last = Sysno::iter().map(|call| call.id().cast_unsigned()).max().unwrap_or_default();
    from_number(last + 1, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned())
}

#[cfg(target_arch = "x86_64")]
fn foreign_table() -> Vec<sock_filter> {
    /// `__X32_SYSCALL_BIT` (asm/unistd.h).
    const X32: u32 = 0x4000_0000;
    from_number(X32, libc::SECCOMP_RET_KILL_PROCESS)
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_table() -> Vec<sock_filter> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_table_of_the_kernel_has_one_verdict_and_a_reason() {
        for call in Sysno::iter() {
            let verdicts = TABLE.iter().filter(|group| group.calls.contains(&call.name()));
            assert_eq!(verdicts.count(), 1, "`{}`", call.name());
        }
        assert!(TABLE.iter().all(|group| !group.reason.is_empty()));
        // `fstatat` is how another processor calls `newfstatat`.
        let named = TABLE.iter().flat_map(|group| group.calls).filter(|call| **call != "fstatat");
        let unknown: Vec<_> = named.filter(|call| number(call).is_none()).collect();
        assert!(cfg!(not(target_arch = "x86_64")) || unknown.is_empty(), "{unknown:?}");
    }

    /// `AUDIT_ARCH_X86_64`, `AUDIT_ARCH_AARCH64` (linux/audit.h).
    const AUDIT_ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

    /// Runs a filter on a call as the kernel would: each program, and the strictest answer, of equals the last one's.
    fn answer(filter: &Filter, call: &str, arguments: [u64; 6]) -> u32 {
        let number = number(call).unwrap_or_else(|| panic!("`{call}`"));
        answer_to(filter, u32::try_from(number).unwrap(), arguments)
    }

    fn answer_to(filter: &Filter, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [number.to_ne_bytes(), AUDIT_ARCHITECTURE.to_ne_bytes()].concat();
        data.extend([0; 8]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        let strict = |answer: &u32| match answer & libc::SECCOMP_RET_ACTION_FULL {
            libc::SECCOMP_RET_KILL_PROCESS => 2,
            libc::SECCOMP_RET_ERRNO => 1,
            _ => 0,
        };
        filter.0.iter().map(|program| run(program, &data)).max_by_key(strict).unwrap()
    }

    /// The instructions that are in use (linux/filter.h).
    fn run(program: &[sock_filter], data: &[u8]) -> u32 {
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let jump = |yes: bool| usize::from(if yes { jt } else { jf });
            at += 1 + match code {
                0x20 => {
                    let place = usize::try_from(k).unwrap();
                    accumulator = u32::from_ne_bytes(data[place..place + 4].try_into().unwrap());
                    0
                }
                0x54 => {
                    accumulator &= k;
                    0
                }
                0x05 => usize::try_from(k).unwrap(),
                0x15 => jump(accumulator == k),
                0x25 => jump(accumulator > k),
                0x35 => jump(accumulator >= k),
                0x06 => return k,
                other => panic!("{other:#x}"),
            };
        }
    }

    const PASSES: u32 = libc::SECCOMP_RET_ALLOW;

    fn refused(errno: libc::c_int) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()
    }

    fn filter(capabilities: &[u8], needs: &[&'static str]) -> Filter {
        Filter::new(&capabilities.iter().copied().collect(), &needs.iter().copied().collect()).unwrap()
    }

    #[test]
    fn each_verdict_is_what_a_caller_gets() {
        let plain = filter(&[], &[]);
        for group in TABLE {
            let expected = match group.action {
                CallAction::Allowed => PASSES,
                CallAction::Needs(_) | CallAction::Denied => refused(libc::EPERM),
                CallAction::Absent => refused(libc::ENOSYS),
                CallAction::Looked => continue,
            };
            for call in group.calls.iter().filter(|call| number(call).is_some()) {
                assert_eq!(answer(&plain, call, [0; 6]), expected, "{call}");
            }
        }
        let needs: Vec<_> = calls::needs().collect();
        let all = filter(&[], &needs);
        let needed = TABLE.iter().filter(|group| matches!(group.action, CallAction::Needs(_)));
        for call in needed.flat_map(|group| group.calls).filter(|call| number(call).is_some()) {
            assert_eq!(answer(&all, call, [0; 6]), PASSES, "{call}");
        }
        assert_eq!(answer_to(&plain, 5000, [0; 6]), refused(libc::ENOSYS), "what a later kernel adds");
        assert!(
            cfg!(not(target_arch = "x86_64")) || answer_to(&plain, 1 << 30, [0; 6]) == libc::SECCOMP_RET_KILL_PROCESS
        );
    }

    #[test]
    fn arguments_decide_where_they_can_be_read() {
        let no_family = refused(libc::EAFNOSUPPORT);
        let denied = refused(libc::EPERM);
        let word = |value: libc::c_int| u64::from(value.cast_unsigned());
        type Row<'a> = (&'a str, [u64; 3], &'a [u8], &'a [&'static str], u32);
        let rows: &[Row<'_>] = &[
            ("socket", [word(libc::AF_UNIX), 1, 0], &[], &[], PASSES),
            ("socket", [word(libc::AF_INET6), 1, 0], &[], &[], PASSES),
            ("socket", [word(libc::AF_VSOCK), 1, 0], &[12, 13], &[], no_family),
            ("socket", [word(libc::AF_INET), 1, 6], &[], &[], PASSES),
            ("socket", [word(libc::AF_INET), 1, 262], &[], &[], no_family),
            ("socket", [word(libc::AF_INET6), 1, 132], &[], &[], no_family),
            ("socket", [word(libc::AF_INET), 3, 89], &[13], &[], PASSES),
            ("socket", [word(libc::AF_ALG), 5, 0], &[], &[], no_family),
            ("socket", [word(libc::AF_PACKET), 3, 0], &[], &[], no_family),
            ("socket", [word(libc::AF_PACKET), 3, 0], &[13], &[], PASSES),
            ("socket", [word(libc::AF_NETLINK), 3, 0], &[], &[], PASSES),
            ("socket", [word(libc::AF_NETLINK), 3, 2], &[12], &[], no_family),
            ("socket", [word(libc::AF_NETLINK), 3, 12], &[12], &[], no_family),
            ("socket", [word(libc::AF_NETLINK), 3, 16], &[], &[], no_family),
            ("socket", [word(libc::AF_NETLINK), 3, 16], &[12], &[], PASSES),
            // The kernel takes the lower half.
            ("socket", [1 << 32 | word(libc::AF_NETLINK), 3, 2], &[], &[], no_family),
            ("socketpair", [word(libc::AF_UNIX), 1, 0], &[], &[], PASSES),
            ("socketpair", [word(libc::AF_NETLINK), 1, 0], &[], &[], no_family),
            ("clone", [word(libc::SIGCHLD), 0, 0], &[], &[], PASSES),
            ("clone", [word(libc::CLONE_NEWUSER | libc::SIGCHLD), 0, 0], &[], &[], denied),
            ("clone", [word(libc::CLONE_NEWUSER | libc::SIGCHLD), 0, 0], &[], &["namespaces"], PASSES),
            ("unshare", [word(libc::CLONE_FILES), 0, 0], &[], &[], PASSES),
            ("unshare", [word(libc::CLONE_NEWNET), 0, 0], &[], &[], denied),
            ("unshare", [word(libc::CLONE_NEWTIME), 0, 0], &[], &[], denied),
            ("ioctl", [0, 0x5401, 0], &[], &[], PASSES),
            ("ioctl", [0, 0x5412, 0], &[], &[], denied),
            ("ioctl", [0, 0x541c, 0], &[], &[], denied),
            ("personality", [0, 0, 0], &[], &[], PASSES),
            ("personality", [8, 0, 0], &[], &[], denied),
            ("setsockopt", [0, 1, 5], &[], &[], PASSES),
            ("setsockopt", [0, PACKETS, 5], &[13], &[], denied),
            ("setsockopt", [0, PACKETS, 13], &[13], &[], denied),
            ("setsockopt", [0, PACKETS, 1], &[13], &[], PASSES),
            ("setsockopt", [0, IPV6, FLOW_LABELS], &[], &[], denied),
            ("setsockopt", [0, IPV6, 26], &[], &[], PASSES),
            ("sync", [0, 0, 0], &[], &[], denied),
            ("io_setup", [0, 0, 0], &[], &["aio"], PASSES),
        ];
        for (call, [a, b, c], capabilities, needs, expected) in rows {
            let got = answer(&filter(capabilities, needs), call, [*a, *b, *c, 0, 0, 0]);
            assert_eq!(got, *expected, "{call} {a} {b} {c} {capabilities:?} {needs:?}");
        }
        for (length, expected) in [(0, PASSES), (ATTRIBUTE, PASSES), (ATTRIBUTE + 1, denied), (1 << 32, denied)] {
            assert_eq!(answer(&filter(&[], &[]), "fsetxattr", [0, 0, 0, length, 0, 0]), expected, "{length}");
        }
    }
}

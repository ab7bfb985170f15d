//! The kernel itself: its log, its code, its clock, its end, and calls where its holes were found.

use std::fs::{self, File};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{apart, fd, read_some};
use crate::sys::{self, Arg, Ended, Refusal, call};
use crate::table::{Outcome, Row};

const LOCKDOWN: &str = "lockdown: integrity";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("read the kernel's log (syslog)", || {
            // SYSLOG_ACTION_READ_ALL.
            Outcome::of(call(libc::SYS_syslog, [3.into(), (&mut [0; 64][..]).into(), 64.into()]))
        }),
        Row::new("ask how much of the kernel's log is unread", || {
            // SYSLOG_ACTION_SIZE_UNREAD asks for the same right and clears nothing.
            Outcome::of(call(libc::SYS_syslog, [9.into(), 0.into(), 0.into()]))
        }),
        Row::new("read /proc/kmsg", || Outcome::of(fs::File::open("/proc/kmsg"))),
        Row::new("read addresses of the kernel (/proc/kallsyms)", || {
            let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
            let shown = symbols.lines().any(|line| !line.starts_with("0000000000000000"));
            if shown { Outcome::Reached("shown".to_owned()) } else { Outcome::Stopped("all are shown as 0".to_owned()) }
        })
        .nobody("kptr_restrict"),
        Row::new("read the layout of memory (/proc/iomem)", || {
            let map = fs::read_to_string("/proc/iomem").unwrap_or_default();
            let shown = map.lines().any(|line| !line.trim_start().starts_with("00000000-00000000"));
            if shown { Outcome::Reached("shown".to_owned()) } else { Outcome::Stopped("all are shown as 0".to_owned()) }
        }),
        Row::new("read page flags (/proc/kpageflags)", || read_some("/proc/kpageflags")),
        Row::new("read the kernel's allocations (/proc/slabinfo)", || read_some("/proc/slabinfo")),
        Row::new("load a module (init_module)", || {
            let loaded = call(libc::SYS_init_module, [(&mut [0x7f; 64][..]).into(), 64.into(), c"".into()]);
            Outcome::past(loaded, &[libc::ENOEXEC])
        })
        .nobody("only signed modules load"),
        Row::new("load a module (finit_module)", || {
            let Ok(file) = File::open("/proc/self/exe") else { return Outcome::Broken("ENOENT".to_owned()) };
            Outcome::past(call(libc::SYS_finit_module, [fd(&file), c"".into(), 0.into()]), &[libc::ENOEXEC])
        })
        .nobody("only signed modules load"),
        Row::new("unload a module", || {
            let gone = call(libc::SYS_delete_module, [c"catenoid_none".into(), i64::from(libc::O_NONBLOCK).into()]);
            Outcome::past(gone, &[libc::ENOENT])
        }),
        Row::new("have a module loaded by asking for what it does", autoload)
            .nobody("the image has the listed modules only, and all are loaded"),
        Row::new("replace the kernel (kexec_load)", || {
            // No segments: with the right to it, that unloads what is loaded.
            Outcome::of(call(libc::SYS_kexec_load, [0.into(), 0.into(), 0.into(), 0.into()]))
        })
        .nobody(LOCKDOWN),
        Row::new("replace the kernel (kexec_file_load)", || {
            let load = call(libc::SYS_kexec_file_load, [(-1).into(), (-1).into(), 0.into(), c"".into(), 0.into()]);
            Outcome::past(load, &[libc::EBADF])
        })
        .nobody("kexec_load_disabled"),
        Row::new("restart the device (reboot)", || {
            // LINUX_REBOOT_CMD_CAD_OFF: needs the same right as the others and ends nothing.
            Outcome::of(call(libc::SYS_reboot, [0xfee1_dead_i64.into(), 672_274_793.into(), 0.into(), 0.into()]))
        }),
        Row::new("load a bpf program", || {
            // BPF_PROG_LOAD of a socket filter that returns 0: mov64 r0, 0; exit.
            let mut code: Vec<u8> = [0xb7_u64, 0x95].iter().flat_map(|word| word.to_ne_bytes()).collect();
            let mut licence = *b"GPL\0";
            let mut attributes = [0_u64; 16];
            attributes[0] = 1 | (2 << 32);
            attributes[1] = code.as_mut_ptr() as u64;
            attributes[2] = licence.as_mut_ptr() as u64;
            bpf(5, &attributes)
        }),
        Row::new("make a bpf map", || {
            // BPF_MAP_CREATE: an array of one value of 8 bytes, by keys of 4.
            let mut attributes = [0_u64; 16];
            attributes[0] = 2 | (4 << 32);
            attributes[1] = 8 | (1 << 32);
            bpf(0, &attributes)
        }),
        Row::new("watch the processor (perf_event_open)", || {
            // `struct perf_event_attr`: type software, size 64, config task clock; of every process on the first processor.
            let mut attributes: Vec<u8> =
                [1 | (64 << 32), 1_u64, 0, 0, 0, 0, 0, 0].iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
            Outcome::of(call(
                libc::SYS_perf_event_open,
                [attributes.as_mut_slice().into(), (-1).into(), 0.into(), (-1).into(), 0.into()],
            ))
        }),
        Row::new("hold up the kernel's page faults (userfaultfd)", || {
            Outcome::of(call(libc::SYS_userfaultfd, [0.into()]))
        }),
        Row::new("set up io_uring", || {
            let mut parameters = [0; 120];
            Outcome::of(call(libc::SYS_io_uring_setup, [8.into(), Arg::Bytes(&mut parameters)]))
        }),
        Row::new("watch all file systems (fanotify_init)", || {
            Outcome::of(call(libc::SYS_fanotify_init, [0.into(), 0.into()]))
        }),
        Row::new("open a file by its handle", || {
            let mut handle = [0; 32];
            handle[..4].copy_from_slice(&8_u32.to_ne_bytes());
            handle[4..8].copy_from_slice(&1_i32.to_ne_bytes());
            let Ok(root) = File::open("/dev") else { return Outcome::Broken("ENOENT".to_owned()) };
            let opened = call(libc::SYS_open_by_handle_at, [fd(&root), Arg::Bytes(&mut handle), 0.into()]);
            Outcome::past(opened, &[libc::ESTALE, libc::EINVAL])
        }),
        Row::new("add a key", || {
            // KEY_SPEC_PROCESS_KEYRING.
            let added = call(
                libc::SYS_add_key,
                [c"user".into(), c"catenoid-probe".into(), (&mut [1][..]).into(), 1.into(), (-2).into()],
            );
            Outcome::of(added)
        }),
        Row::new("ask for a key", || {
            let asked = call(libc::SYS_request_key, [c"user".into(), c"catenoid-none".into(), 0.into(), (-2).into()]);
            Outcome::past(asked, &[libc::ENOKEY, libc::ENOENT])
        }),
        Row::new("read a keyring", || {
            // KEYCTL_GET_KEYRING_ID of KEY_SPEC_USER_KEYRING.
            Outcome::past(call(libc::SYS_keyctl, [0.into(), (-4).into(), 1.into()]), &[libc::ENOKEY])
        }),
        Row::new("set the clock (settimeofday)", || {
            let mut now = seconds_and(0);
            Outcome::of(call(libc::SYS_settimeofday, [now.as_mut_slice().into(), 0.into()]))
        }),
        Row::new("set the clock (clock_settime)", || {
            let mut now = seconds_and(0);
            Outcome::of(call(libc::SYS_clock_settime, [0.into(), now.as_mut_slice().into()]))
        }),
        Row::new("bend the clock (adjtimex)", || {
            // ADJ_TICK, to its usual 10 ms: `struct timex` has 208 bytes, `tick` at 88 (linux/timex.h).
            let mut timex = [0; 208];
            timex[..4].copy_from_slice(&0x4000_u32.to_ne_bytes());
            timex[88..96].copy_from_slice(&10_000_u64.to_ne_bytes());
            Outcome::of(call(libc::SYS_adjtimex, [Arg::Bytes(&mut timex)]))
        }),
        Row::new("swap to a file", || {
            Outcome::past(call(libc::SYS_swapon, [c"/tmp/none".into(), 0.into()]), &[libc::ENOENT])
        }),
        Row::new("switch swapping off", || {
            Outcome::past(call(libc::SYS_swapoff, [c"/tmp/none".into()]), &[libc::ENOENT, libc::EINVAL])
        }),
        Row::new("switch quotas on", || {
            // Q_QUOTAON for users, linux/quota.h.
            let set = call(libc::SYS_quotactl, [0x8000_0200_i64.into(), c"/dev/vda3".into(), 0.into(), c"/".into()]);
            Outcome::past(set, &[libc::ESRCH, libc::ENOSYS, libc::EINVAL, libc::ENOENT, libc::EACCES])
        }),
        Row::new("account all processes (acct)", || Outcome::of(call(libc::SYS_acct, [0.into()]))),
        Row::new("hang up a terminal (vhangup)", || apart(|| Outcome::of(call(libc::SYS_vhangup, [] as [Arg<'_>; 0]))))
            .not_by_root("it would hang up the serial port that the tests' root listens on"),
        Row::new("take another personality", || apart(|| Outcome::of(call(libc::SYS_personality, [8.into()])))),
        Row::new("start the kernel's watch of pressure (PSI)", || {
            let open = File::options().read(true).write(true).open("/proc/pressure/memory");
            Outcome::of(open)
        }),
        #[cfg(target_arch = "x86_64")]
        Row::new("reach I/O ports (iopl)", || Outcome::of(call(libc::SYS_iopl, [3.into()]))).nobody(LOCKDOWN),
        #[cfg(target_arch = "x86_64")]
        Row::new("reach I/O ports (ioperm)", || Outcome::of(call(libc::SYS_ioperm, [0x80.into(), 1.into(), 1.into()])))
            .nobody(LOCKDOWN),
        #[cfg(target_arch = "x86_64")]
        Row::new("change its segments (modify_ldt)", || {
            // Reads them: the same call.
            Outcome::of(call(libc::SYS_modify_ldt, [0.into(), (&mut [0; 16][..]).into(), 16.into()]))
        }),
        #[cfg(target_arch = "x86_64")]
        Row::new("call by the table of x32", || {
            foreign_table(|| i64::from(call(0x4000_0000 | libc::SYS_getpid, [] as [Arg<'_>; 0]).is_ok()) - 1)
        })
        .nobody("the kernel has x32 switched off"),
        #[cfg(target_arch = "x86_64")]
        Row::new("call by the table of 32 bit programs", || foreign_table(sys::call_i386)),
    ]
}

fn bpf(command: i64, attributes: &[u64; 16]) -> Outcome {
    let mut attributes: Vec<u8> = attributes.iter().flat_map(|word| word.to_ne_bytes()).collect();
    Outcome::of(call(libc::SYS_bpf, [command.into(), attributes.as_mut_slice().into(), 128.into()]))
}

/// A `timeval` or `timespec` of now.
fn seconds_and(rest: i64) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    [now.to_ne_bytes(), rest.to_ne_bytes()].concat()
}

/// Makes a call that no filter of numbers would know, in a child: it may end it. A negative result is a refusal.
#[cfg(target_arch = "x86_64")]
fn foreign_table(asked: fn() -> i64) -> Outcome {
    match sys::in_child(|| if asked() >= 0 { "+".to_owned() } else { "ENOSYS".to_owned() }) {
        Ended::Returned(text) if text == "+" => Outcome::Reached("done".to_owned()),
        Ended::Returned(by) => Outcome::Stopped(by),
        Ended::Signal(libc::SIGSYS) => Outcome::Stopped("system call filter: ended by SIGSYS".to_owned()),
        Ended::Signal(signal) => Outcome::Broken(format!("the child was ended by signal {signal}")),
        Ended::Unborn(errno) => Outcome::Broken(format!("no child: {}", sys::errno_name(errno))),
    }
}

/// Asks for protocols and kinds of sockets that only modules have, and looks whether one came.
fn autoload() -> Outcome {
    let count = || fs::read_to_string("/proc/modules").map_or(0, |modules| modules.lines().count());
    let before = count();
    // SCTP and DCCP over IP; AX.25, ATM, CAN, RDS, TIPC.
    let sockets =
        [(libc::AF_INET, 5, 132), (libc::AF_INET, 6, 33), (3, 5, 0), (8, 2, 0), (29, 3, 1), (21, 5, 0), (30, 4, 0)];
    let mut last = Refusal { errno: 0, filter: false };
    for (family, kind, protocol) in sockets {
        if let Err(refusal) = call(libc::SYS_socket, [family.into(), kind.into(), protocol.into()]) {
            last = refusal;
        }
    }
    match count().saturating_sub(before) {
        0 => Outcome::Stopped(format!("no module came; {last}")),
        more => Outcome::Reached(format!("{more} modules came")),
    }
}

//! Processes of others: seeing, ending, reading, steering them; and getting more of the processor than one may.

use std::fs;

use super::{apart, open_for_writing, read_some};
use crate::sys::{self, Arg, call};
use crate::table::{Outcome, Row};

pub(super) fn rows(victim: i32) -> Vec<Row> {
    let victim = stand_in(victim);
    vec![
        Row::new("see processes of others in /proc", || Outcome::found(&foreign())),
        Row::new("signal every number that a process can have", signal_all),
        Row::new("see the kernel's threads", || Outcome::found(&named("kthreadd"))),
        Row::new("read memory of another by /proc/PID/mem", move || read_some(format!("/proc/{victim}/auxv"))),
        Row::new("walk through /proc/PID/root of another", move || {
            Outcome::of(fs::metadata(format!("/proc/{victim}/root/proc")))
        }),
        Row::new("read the environment of another", move || Outcome::of(fs::read(format!("/proc/{victim}/environ")))),
        Row::new("list the descriptors of another", move || Outcome::of(fs::read_dir(format!("/proc/{victim}/fd")))),
        Row::new("ptrace another", move || {
            // PTRACE_SEIZE stops nobody; the tracer's end lets go.
            apart(|| Outcome::of(call(libc::SYS_ptrace, [0x4206.into(), victim.into(), 0.into(), 0.into()])))
        }),
        Row::new("process_vm_readv of another", move || memory_of(libc::SYS_process_vm_readv, victim)),
        Row::new("process_vm_writev to another", move || memory_of(libc::SYS_process_vm_writev, victim)),
        Row::new("pidfd_open of another", move || {
            pidfd(victim).map_or_else(|r| Outcome::Stopped(r.to_string()), |_| Outcome::Reached("done".to_owned()))
        }),
        Row::new("pidfd_getfd out of another", move || {
            let Ok(own) = pidfd(std::process::id().cast_signed()) else {
                return Outcome::Broken("no pidfd of itself".to_owned());
            };
            // Without one of the victim, out of itself: it is the call that is tried.
            let target = pidfd(victim).unwrap_or(own);
            Outcome::of(call(libc::SYS_pidfd_getfd, [target.into(), 0.into(), 0.into()]))
        }),
        Row::new("kcmp with another", move || {
            Outcome::of(call(
                libc::SYS_kcmp,
                [std::process::id().cast_signed().into(), victim.into(), 0.into(), 0.into(), 0.into()],
            ))
        }),
        Row::new("change limits of another", move || {
            Outcome::of(call(libc::SYS_prlimit64, [victim.into(), 7.into(), 0.into(), (&mut [0; 16][..]).into()]))
        }),
        Row::new("change the scheduling of another", move || {
            let mut policy = 0_i32.to_ne_bytes();
            Outcome::of(call(libc::SYS_sched_setscheduler, [victim.into(), 0.into(), Arg::Bytes(&mut policy)]))
        }),
        Row::new("move pages of another", move || {
            Outcome::of(call(
                libc::SYS_migrate_pages,
                [
                    victim.into(),
                    64.into(),
                    (&mut [1, 0, 0, 0, 0, 0, 0, 0][..]).into(),
                    (&mut [1, 0, 0, 0, 0, 0, 0, 0][..]).into(),
                ],
            ))
        }),
        Row::new("run before everybody (SCHED_FIFO)", || {
            let mut policy = 1_i32.to_ne_bytes();
            apart(|| Outcome::of(call(libc::SYS_sched_setscheduler, [0.into(), 1.into(), Arg::Bytes(&mut policy)])))
        }),
        Row::new("run before others (nice -20)", || {
            apart(|| Outcome::of(call(libc::SYS_setpriority, [0.into(), 0.into(), (-20).into()])))
        }),
        Row::new("use the disk before others (ioprio)", || {
            // Class 1 (real time), level 0: linux/ioprio.h.
            apart(|| Outcome::of(call(libc::SYS_ioprio_set, [1.into(), 0.into(), (1 << 13).into()])))
        }),
        Row::new("be spared when memory runs out", || {
            apart(|| Outcome::of(fs::write("/proc/self/oom_score_adj", "-1000")))
        }),
        Row::new("change the out-of-memory score of another", move || {
            Outcome::of(open_for_writing(format!("/proc/{victim}/oom_score_adj")))
        }),
    ]
}

/// A number that names nobody in here but may name the victim out there.
fn stand_in(victim: i32) -> i32 {
    let own = group("self");
    let taken = |pid: &i32| {
        let theirs = group(&pid.to_string());
        theirs.is_some() && theirs == own
    };
    (victim..).find(|pid| !taken(pid)).unwrap_or(victim)
}

/// The control group of a process as seen from here.
fn group(who: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{who}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// Processes that are not of the own control group, which all of a container are in.
fn foreign() -> Vec<String> {
    let own = group("self");
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let pids = names.filter(|name| name.parse::<u32>().is_ok());
    pids.filter(|pid| group(pid).is_some_and(|theirs| Some(theirs) != own))
        .map(|pid| format!("process {pid}"))
        .collect()
}

fn named(wanted: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let is = |folder: &std::path::Path| fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.trim() == wanted);
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|folder| is(folder))
        .map(|folder| folder.display().to_string())
        .collect()
}

/// Asks whether each number is somebody whom a signal would reach, and counts those who are not of the own group.
fn signal_all() -> Outcome {
    let own = group("self");
    let most = fs::read_to_string("/proc/sys/kernel/pid_max").ok().and_then(|text| text.trim().parse().ok());
    let most: i32 = most.unwrap_or(32_768).min(65_536);
    let answers =
        |pid: &i32| !call(libc::SYS_kill, [(*pid).into(), 0.into()]).is_err_and(|refusal| refusal.errno == libc::ESRCH);
    // A thread of the own group answers too, and has no group that can be read when it has just ended.
    let others =
        (1..most).filter(answers).filter(|pid| group(&pid.to_string()).is_some_and(|theirs| Some(theirs) != own));
    match others.count() {
        0 => Outcome::Stopped(format!("ESRCH for all of {most} numbers but its own")),
        count => Outcome::Reached(format!("{count} processes")),
    }
}

fn pidfd(pid: i32) -> Result<i64, sys::Refusal> {
    call(libc::SYS_pidfd_open, [pid.into(), 0.into()])
}

/// Copies between itself and an address that nobody has: allowed, it fails with EFAULT.
fn memory_of(number: libc::c_long, victim: i32) -> Outcome {
    let mut buffer = [0_u8; 8];
    let part = |address: u64| [address.to_ne_bytes(), 8_u64.to_ne_bytes()].concat();
    let (mut own, mut theirs) = (part(buffer.as_mut_ptr() as u64), part(8));
    let copied = call(
        number,
        [victim.into(), own.as_mut_slice().into(), 1.into(), theirs.as_mut_slice().into(), 1.into(), 0.into()],
    );
    Outcome::past(copied, &[libc::EFAULT])
}

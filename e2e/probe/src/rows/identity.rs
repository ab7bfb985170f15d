//! Who the prober is and what it may become.

use std::fs;

use super::{apart, status};
use crate::sys::{Arg, call};
use crate::table::{Outcome, Row};

/// The capabilities that a manifest can grant, by their numbers (`schema::manifest::Capability`).
const GRANTABLE: [u8; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 18, 23, 31];
/// Just past the ids of a container: the first of its neighbour's, if ids were not its own.
const BEYOND: i64 = 65_536;

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"]
        .into_iter()
        .map(|set| {
            let row =
                Row::new(format!("hold a capability that no manifest can grant ({set})"), move || capabilities(set));
            match set {
                "CapInh" | "CapAmb" => row.nobody("a process of root inherits none"),
                _ => row,
            }
        })
        .collect();
    rows.extend([
        Row::new("raise its capabilities (capset)", || {
            // Version 3, itself; effective, permitted, inheritable, twice 32 bits of each: all of the first 32.
            let mut header: Vec<u8> = [0x2008_0522_u32, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
            let mut sets: Vec<u8> = [u32::MAX, u32::MAX, 0, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
            apart(|| Outcome::of(call(libc::SYS_capset, [header.as_mut_slice().into(), sets.as_mut_slice().into()])))
        }),
        Row::new("be without no_new_privs", || flag(i64::from(libc::PR_GET_NO_NEW_PRIVS), 1)),
        Row::new("be without a filter of system calls", || match status("self", "Seccomp").as_deref() {
            Some("2") => Outcome::Stopped("mode 2".to_owned()),
            other => Outcome::Reached(format!("mode {}", other.unwrap_or("unknown"))),
        }),
        Row::new("keep capabilities over a change of user (securebits)", || {
            // SECBIT_NO_SETUID_FIXUP; CAP_SETPCAP allows it in its own namespace, over what it holds.
            apart(|| Outcome::of(call(libc::SYS_prctl, [i64::from(libc::PR_SET_SECUREBITS).into(), (1 << 2).into()])))
        })
        .service("SETPCAP, over the capabilities that it holds"),
        Row::new("become a user of another container", || {
            apart(|| Outcome::of(call(libc::SYS_setresuid, [BEYOND.into(), BEYOND.into(), BEYOND.into()])))
        }),
        Row::new("become a group of another container", || {
            let mut groups = 65_536_u32.to_ne_bytes();
            apart(|| Outcome::of(call(libc::SYS_setgroups, [1.into(), Arg::Bytes(&mut groups)])))
        }),
        Row::new("give a file to a user of another container", || {
            let path = "/tmp/given";
            let given = fs::write(path, "").and_then(|()| std::os::unix::fs::chown(path, Some(65_536), Some(65_536)));
            let _ = fs::remove_file(path);
            Outcome::of(given)
        }),
        Row::new("be root of the device", || {
            match fs::read_to_string("/proc/self/uid_map").unwrap_or_default().split_whitespace().collect::<Vec<_>>()[..] {
                [_, "0", _] => Outcome::Reached("id 0 is the device's".to_owned()),
                [inside, outside, count] => Outcome::Stopped(format!("ids {inside}.. are {outside}.. of the device, {count} of them")),
                _ => Outcome::Reached("no map of ids".to_owned()),
            }
        }),
        Row::new("change its host name", || {
            let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let mut name = name.trim().as_bytes().to_vec();
            let length = i64::try_from(name.len()).unwrap_or_default();
            Outcome::of(call(libc::SYS_sethostname, [name.as_mut_slice().into(), length.into()]))
        }),
        Row::new("allow itself core dumps", || limit(4, 1 << 20)),
        Row::new("allow itself more open files than the device gives", || limit(7, 600_000)),
        Row::new("find what the launcher's environment had", || Outcome::found(&environment()))
            .not_by_root("nothing launched it"),
    ]);
    rows
}

fn capabilities(set: &str) -> Outcome {
    let held = status("self", set).and_then(|text| u64::from_str_radix(&text, 16).ok()).unwrap_or(u64::MAX);
    let beyond = held & !GRANTABLE.iter().fold(0, |mask, number| mask | 1_u64 << number);
    if beyond == 0 {
        Outcome::Stopped(format!("holds {held:x}"))
    } else {
        Outcome::Reached(format!("{beyond:x} beyond"))
    }
}

fn flag(option: i64, set: i64) -> Outcome {
    match call(libc::SYS_prctl, [option.into(), 0.into(), 0.into(), 0.into(), 0.into()]) {
        Ok(value) if value == set => Outcome::Stopped("it is set".to_owned()),
        Ok(value) => Outcome::Reached(format!("it is {value}")),
        Err(refusal) => Outcome::Stopped(refusal.to_string()),
    }
}

/// Raises the hard limit of a resource.
fn limit(resource: i64, to: u64) -> Outcome {
    let mut limits = [to.to_ne_bytes(), to.to_ne_bytes()].concat();
    apart(|| {
        Outcome::of(call(libc::SYS_prlimit64, [0.into(), resource.into(), limits.as_mut_slice().into(), 0.into()]))
    })
}

/// Variables of the first process that neither the runtime nor a guest of these tests sets. A program may write its title
/// over them (sshd does): that is no variable.
fn environment() -> Vec<String> {
    let given = ["PATH", "HOME", "container", "SHLVL", "PWD", "TERM"];
    let all = fs::read("/proc/1/environ").unwrap_or_default();
    let names =
        all.split(|byte| *byte == 0).filter_map(|entry| Some(std::str::from_utf8(entry).ok()?.split_once('=')?.0));
    names.filter(|name| !given.contains(name)).map(str::to_owned).collect()
}

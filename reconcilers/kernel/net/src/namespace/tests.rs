//! Pairs, on the kernel.

#![allow(unsafe_code, reason = "fork")]

use std::{
    io::Read as _,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::{
    fcntl::OFlag,
    sched::setns,
    sys::{
        inotify::{InitFlags, Inotify},
        wait::waitpid,
    },
    unistd::{ForkResult, fork, pipe2},
};

use super::*;

fn instance() -> nix::Result<Inotify> {
    Inotify::init(InitFlags::IN_CLOEXEC)
}

/// As many users of `user` as there are numbers take what they get of inotify; `while_held` runs while they hold it.
fn exhaust<const USERS: usize>(user: BorrowedFd<'_>, while_held: impl FnOnce()) -> [u32; USERS] {
    let (answer, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let (held, hold) = pipe2(OFlag::O_CLOEXEC).unwrap();
    // SAFETY: the child makes system calls only.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let _ = nix::unistd::close(hold.as_raw_fd());
            let mut counts = [0_u32; USERS];
            let entered = setns(user, CloneFlags::CLONE_NEWUSER).is_ok();
            for (id, count) in counts.iter_mut().enumerate().filter(|_| entered) {
                // SAFETY: they take numbers only; back to 0 first, which may become anybody.
                unsafe {
                    libc::syscall(libc::SYS_setresuid, -1, 0, 0);
                    libc::syscall(libc::SYS_setresuid, -1, id, 0);
                }
                while let Ok(instance) = instance() {
                    std::mem::forget(instance);
                    *count += 1;
                }
            }
            let _ = nix::unistd::write(&writer, counts.map(u32::to_ne_bytes).as_flattened());
            let _ = nix::unistd::read(&held, &mut [0]);
            // SAFETY: _exit ends the process without running anything of ours.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop((held, writer));
            let mut bytes = [[0; 4]; USERS];
            File::from(answer).read_exact(bytes.as_flattened_mut()).unwrap();
            while_held();
            drop(hold);
            waitpid(child, None).unwrap();
            bytes.map(u32::from_ne_bytes)
        }
    }
}

/// The child of the second one has a copy of what the first one's child waits for.
#[test]
fn netns_pairs_end_in_the_order_in_which_they_were_made() {
    let [first, second] = [(); 2].map(|()| make(1 << 30, 65_536).unwrap());
    drop(first);
    drop(second);
}

// [req->TSF-ISOLATION]
#[test]
fn netns_what_a_container_takes_of_inotify_is_none_of_roots() {
    const BASE: u32 = 1 << 30;
    let fresh = make(BASE, 65_536).unwrap();
    let user = File::open(fresh.0.file("ns/user")).unwrap();
    assert_eq!(maker(user.as_fd()).unwrap(), BASE);
    let whole = || std::iter::repeat_with(instance).map_while(Result::ok).collect::<Vec<_>>().len();
    let before = whole();
    assert!(before > 0);
    let counts: [u32; 4] = exhaust(user.as_fd(), || assert_eq!(whole(), before, "of root"));
    assert_eq!(counts[0], 64, "one user's: {counts:?}");
    assert!(counts.iter().all(|count| *count <= 64), "{counts:?}");
    let watches = inside_user(user.as_fd(), "/proc/sys/user/max_inotify_watches");
    assert_eq!(watches.trim_end(), "16384");
}

fn inside_user(user: BorrowedFd<'_>, file: &str) -> String {
    let output = std::process::Command::new("nsenter")
        .arg(format!("--user=/proc/{}/fd/{}", std::process::id(), user.as_raw_fd()))
        .args(["cat", file])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn netns_a_fresh_pair_can_be_set_and_leaves_no_process() {
    const KEYS: [&str; 2] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
    let fresh = make(1 << 30, 65_536).unwrap();
    let set_and_read = inside(fresh.net().unwrap().as_fd(), || {
        for wanted in [[0, 0], [1, 0], [1, 1], [0, 1]] {
            KEYS.iter().zip(wanted).for_each(|(key, value)| set(key, &value.to_string()).unwrap());
            assert_eq!(settings(KEYS).unwrap(), wanted.map(|value| Some(value.to_string())));
            assert_eq!(crate::netlink::Netlink::open().unwrap().forwarding().unwrap(), wanted.map(Some));
        }
    });
    set_and_read.unwrap();
    let pid = fresh.0.pid;
    drop(fresh);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

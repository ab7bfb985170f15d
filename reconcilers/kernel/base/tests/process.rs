//! Processes that the kernel does not let go: with a file system (FUSE) that never answers.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use catenoid_kernel_base::process;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// linux/fuse.h: the requests that open a name below the root, and the length of the head of requests and answers.
const INIT: u32 = 26;
const LOOKUP: u32 = 1;
const REQUEST_HEAD: usize = 40;
const ANSWER_HEAD: usize = 16;

/// Mounts a file system on `at`; whoever asks for a name in it waits until what is given back is closed.
fn silent(at: &Path) -> File {
    let mut device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", std::os::fd::AsRawFd::as_raw_fd(&device));
    mount(Some("silent"), at, Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
    let (kind, unique, body) = request(&mut device);
    assert_eq!(kind, INIT);
    // `fuse_init_out`: version, then what it can; nothing but the longest write.
    let mut able = [0_u8; 64];
    able[..8].copy_from_slice(&body[..8]);
    able[20..24].copy_from_slice(&4096_u32.to_ne_bytes());
    let length = u32::try_from(ANSWER_HEAD + able.len()).unwrap();
    let answer = [&length.to_ne_bytes()[..], &[0; 4], &unique.to_ne_bytes(), &able].concat();
    device.write_all(&answer).unwrap();
    device
}

/// The next request: its kind, its number and what follows its head.
fn request(device: &mut File) -> (u32, u64, Vec<u8>) {
    let mut buffer = vec![0; 1 << 17];
    let length = device.read(&mut buffer).unwrap();
    let kind = u32::from_ne_bytes(buffer[4..8].try_into().unwrap());
    let unique = u64::from_ne_bytes(buffer[8..16].try_into().unwrap());
    (kind, unique, buffer[REQUEST_HEAD..length].to_vec())
}

#[test]
fn mountns_who_is_killed_is_known_while_it_cannot_end() {
    unshare(CloneFlags::CLONE_NEWNS).expect("tests on the kernel run as root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut device = silent(folder.path());
    let mut child = Command::new("cat").arg(folder.path().join("x")).spawn().unwrap();
    while request(&mut device).0 != LOOKUP {}
    assert!(!process::is_killed(child.id()).unwrap());
    child.kill().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !process::is_killed(child.id()).unwrap() {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(child.try_wait().unwrap(), None, "it cannot end");
    drop(device);
    assert!(!child.wait().unwrap().success());
    assert!(process::is_killed(child.id()).unwrap(), "who is gone is not waited for");
}

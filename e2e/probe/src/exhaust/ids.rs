//! What has a number or a name in the whole device.

use std::ffi::CString;
use std::io::{BufRead as _, BufReader};
use std::thread;

use super::hold_in_child;
use super::sockets::length;
use super::taking::{Stop, Taking};
use crate::sys::{self, Refusal, call};

/// The least stack that a thread can have.
const STACK: usize = 16 << 10;
const KEY: usize = 16 << 10;
/// The keyring of this process (linux/keyctl.h).
const PROCESS_KEYRING: i64 = -2;

pub(super) fn processes(taking: &mut Taking) -> Stop {
    taking.each(|_| hold_in_child(String::new).map(|_| 1).map_err(refused))
}

pub(super) fn threads(taking: &mut Taking) -> Stop {
    taking.each(|_| {
        let started = thread::Builder::new().stack_size(STACK).spawn(|| {
            loop {
                thread::park();
            }
        });
        Ok(started.map(|_| 1)?)
    })
}

/// Each is held by a process of its own.
pub(super) fn user_namespaces(taking: &mut Taking) -> Stop {
    taking.each(|_| {
        let reader = hold_in_child(|| match call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into()]) {
            Ok(_) => String::new(),
            Err(refusal) => refusal.errno.to_string(),
        });
        let mut line = String::new();
        BufReader::new(reader.map_err(refused)?).read_line(&mut line)?;
        line.trim().parse().map_or(Ok(1), |errno| Err(refused(errno)))
    })
}

pub(super) fn keys(taking: &mut Taking) -> Stop {
    let mut key = vec![0; KEY];
    let mut next = 0_u64;
    taking.each(|_| {
        next += 1;
        let name = CString::new(format!("exhaust-{next}")).expect("a number has no zero byte");
        let size = length(&key);
        let (name, key) = (name.as_c_str().into(), key.as_mut_slice().into());
        call(libc::SYS_add_key, [c"user".into(), name, key, size.into(), PROCESS_KEYRING.into()]).map(|_| 1)
    })
}

fn refused(errno: i32) -> Refusal {
    sys::Refusal { errno, filter: false }
}

//! System calls by number, children, and who refused: the only `unsafe` of this program.

#![allow(unsafe_code, reason = "an attacker makes system calls that no library offers")]

use std::ffi::CStr;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

/// An argument of a system call. Pointers are made of borrowed memory only.
pub(crate) enum Arg<'a> {
    Int(i64),
    Text(&'a CStr),
    Bytes(&'a mut [u8]),
}

impl From<i64> for Arg<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Arg<'_> {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl<'a> From<&'a CStr> for Arg<'a> {
    fn from(value: &'a CStr) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a mut [u8]> for Arg<'a> {
    fn from(value: &'a mut [u8]) -> Self {
        Self::Bytes(value)
    }
}

/// Why a call was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) errno: i32,
    /// Whether the filter of system calls answered, and the kernel never saw the call.
    pub(crate) filter: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.filter { "system call filter: " } else { "" };
        write!(f, "{by}{}", errno_name(self.errno))
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or_default(), filter: false }
    }
}

/// Makes the call; a call that is not permitted is made once more, to learn who refused it.
pub(crate) fn call<const N: usize>(number: libc::c_long, mut arguments: [Arg<'_>; N]) -> Result<i64, Refusal> {
    let mut words = [0; 6];
    for (word, argument) in words.iter_mut().zip(&mut arguments) {
        *word = match argument {
            Arg::Int(value) => *value,
            Arg::Text(text) => text.as_ptr() as i64,
            Arg::Bytes(bytes) => bytes.as_mut_ptr() as i64,
        };
    }
    raw(number, words).map_err(|errno| Refusal { errno, filter: errno == libc::EPERM && is_filtered(number, words) })
}

fn raw(number: libc::c_long, words: [i64; 6]) -> Result<i64, i32> {
    let [a, b, c, d, e, f] = words;
    // SAFETY: pointers among the words are of memory that the caller of `call` borrows over it; the calls of the tables
    // unmap and protect only what they mapped themselves, or end their own process with it.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or_default()
}

/// Whether a filter that this process already has answers the call. Another filter on top of it, in a child, lets the call
/// through to a tracer that is not there, which the kernel answers with `ENOSYS`; the strictest filter wins (seccomp(2),
/// "SECCOMP_RET_TRACE"), so `EPERM` is the older filter's. The call itself is never made.
fn is_filtered(number: libc::c_long, words: [i64; 6]) -> bool {
    let Ok(wanted) = u32::try_from(number) else { return false };
    let asked = in_child(|| {
        let instruction = |code: u32, jt, jf, k| libc::sock_filter {
            code: u16::try_from(code).expect("BPF opcodes have 16 bits"),
            jt,
            jf,
            k,
        };
        let mut program = [
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, wanted),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_TRACE),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        // SAFETY: `program` and what it points to live over the call.
        let installed = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
        let filtered = installed == 0 && raw(number, words) == Err(libc::EPERM);
        if filtered { "filtered".to_owned() } else { String::new() }
    });
    asked == Ended::Returned("filtered".to_owned())
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With what it had to report.
    Returned(String),
    /// By a signal.
    Signal(i32),
    /// There was no child.
    Unborn(i32),
}

/// Runs `work` in a child of its own, so that nothing of it stays, and waits for its end.
pub(crate) fn in_child(work: impl FnOnce() -> String) -> Ended {
    let (mut reader, mut writer) = match io::pipe() {
        Ok(pipe) => pipe,
        Err(error) => return Ended::Unborn(error.raw_os_error().unwrap_or_default()),
    };
    // SAFETY: this program has one thread wherever it makes children of this kind.
    match unsafe { libc::fork() } {
        -1 => Ended::Unborn(last_errno()),
        0 => {
            drop(reader);
            let text = work();
            let _ = writer.write_all(text.as_bytes());
            exit(0)
        }
        pid => {
            drop(writer);
            let mut text = String::new();
            let _ = reader.read_to_string(&mut text);
            let status = wait_for(pid);
            if libc::WIFSIGNALED(status) { Ended::Signal(libc::WTERMSIG(status)) } else { Ended::Returned(text) }
        }
    }
}

/// A child that is not waited for; none if there can be no more.
pub(crate) fn spawn(work: impl FnOnce()) -> Result<i32, i32> {
    // SAFETY: as in `in_child`.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => {
            work();
            exit(0)
        }
        pid => Ok(pid),
    }
}

/// Waits for the end of a child; its status as wait(2) has it.
pub(crate) fn wait_for(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` lives over the call.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    status
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process without running anything of ours.
    unsafe { libc::_exit(code) }
}

/// Waits until a signal ends this process.
pub(crate) fn pause() {
    // SAFETY: without arguments.
    unsafe { libc::pause() };
}

/// Whether a descriptor can be read before the time is up; without one, the time passes.
pub(crate) fn readable(fd: Option<i64>, patience: Duration) -> bool {
    const POLLIN: u32 = 1;
    // `struct pollfd`: descriptor, events and what came of them, 16 bits each; `struct timespec`.
    let mut asked = [i32::try_from(fd.unwrap_or(-1)).unwrap_or(-1).to_ne_bytes(), POLLIN.to_ne_bytes()].concat();
    let mut time = [patience.as_secs().to_ne_bytes(), u64::from(patience.subsec_nanos()).to_ne_bytes()].concat();
    let polled =
        call(libc::SYS_ppoll, [asked.as_mut_slice().into(), 1.into(), time.as_mut_slice().into(), 0.into(), 0.into()]);
    polled.is_ok_and(|ready| ready > 0)
}

/// A descriptor that a call gave.
pub(crate) fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the kernel gave it to us just now, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).expect("a descriptor is an int")) }
}

/// Asks for its own pid through the table of the 32 bit ABI: 0, or a signal if that ends the caller.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_i386() -> i64 {
    let result: i64;
    // SAFETY: getpid of the 32 bit table (20) touches no memory.
    unsafe {
        core::arch::asm!("int 0x80", inout("rax") 20_i64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    };
    result
}

/// The name of an error number.
pub(crate) fn errno_name(errno: i32) -> String {
    const NAMES: [(i32, &str); 52] = [
        (libc::E2BIG, "E2BIG"),
        (libc::EACCES, "EACCES"),
        (libc::EADDRINUSE, "EADDRINUSE"),
        (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::EBADF, "EBADF"),
        (libc::EBUSY, "EBUSY"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::ECONNRESET, "ECONNRESET"),
        (libc::EDQUOT, "EDQUOT"),
        (libc::EEXIST, "EEXIST"),
        (libc::EFAULT, "EFAULT"),
        (libc::EINPROGRESS, "EINPROGRESS"),
        (libc::EINTR, "EINTR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EIO, "EIO"),
        (libc::EISDIR, "EISDIR"),
        (libc::EKEYREJECTED, "EKEYREJECTED"),
        (libc::ELOOP, "ELOOP"),
        (libc::EMFILE, "EMFILE"),
        (libc::EMSGSIZE, "EMSGSIZE"),
        (libc::ENETUNREACH, "ENETUNREACH"),
        (libc::ENFILE, "ENFILE"),
        (libc::ENOBUFS, "ENOBUFS"),
        (libc::ENODATA, "ENODATA"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOENT, "ENOENT"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::ENOKEY, "ENOKEY"),
        (libc::ENOLCK, "ENOLCK"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOTBLK, "ENOTBLK"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ENXIO, "ENXIO"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::EPERM, "EPERM"),
        (libc::EPIPE, "EPIPE"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::EROFS, "EROFS"),
        (libc::ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
        (libc::ESRCH, "ESRCH"),
        (libc::ESTALE, "ESTALE"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
        (libc::ETOOMANYREFS, "ETOOMANYREFS"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::EUSERS, "EUSERS"),
        (libc::EXDEV, "EXDEV"),
    ];
    NAMES
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}

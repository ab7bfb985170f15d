//! Whether the device is short of memory, and who may have it: what no control group counts.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use catenoid_kernel_base::fault::look;

/// Reported when somebody waited for memory, the kernel's own cleaner included, for 10 ms of half a second
/// (Documentation/accounting/psi.rst). That begins before memory is used up: `vm/watermark_scale_factor` in
/// the settings of the device (`catenoid_kernel_boot::settings`).
const TRIGGER: &[u8] = b"some 10000 500000\0";
/// The most bytes of the list of locks that are looked at. It has the newest of each processor first, and its reader holds up
/// all that lock: who takes a million has most of the first hundreds, unless he hides them.
const LOCK_BYTES: u64 = 64 * 1024;
/// The same of a list of sockets, of which each namespace has its own: some thousands of lines.
const SOCKET_BYTES: u64 = 1024 * 1024;

/// Memory of the device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What could be had without taking it from anybody (`MemAvailable`): nothing, long before the last page is gone.
    pub available: u64,
    /// What is free, and what the kernel can free: files in memory, and what it remembers of names.
    pub free: u64,
}

impl Memory {
    /// As of now.
    ///
    /// # Errors
    /// If procfs does not say.
    pub fn read() -> io::Result<Self> {
        let text = look("shortage.memory", || std::fs::read_to_string("/proc/meminfo"))?;
        Self::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(text: &str) -> Option<Self> {
        let kibibytes = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix("kB"))?;
            line.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        let free = ["MemFree:", "Active(file):", "Inactive(file):", "SReclaimable:"];
        let free = free.into_iter().map(kibibytes).sum::<Option<u64>>()?;
        Some(Self { total: kibibytes("MemTotal:")?, available: kibibytes("MemAvailable:")?, free })
    }
}

/// Reports when memory becomes short.
#[derive(Debug)]
pub struct Pressure(File);

impl Pressure {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the kernel does not report it.
    pub fn listen() -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open("/proc/pressure/memory")?;
        file.write_all(TRIGGER)?;
        Ok(Self(file))
    }
}

/// An exceptional condition (`POLLPRI`) each time, at most twice a second.
impl AsFd for Pressure {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Locks of files, of those that the kernel lists first.
#[derive(Debug, Default)]
pub struct Locks {
    /// By the process that has them; some kinds name none.
    pub by_process: BTreeMap<u32, u64>,
    /// All that were looked at.
    pub listed: u64,
    /// Whether there are more than that.
    pub more: bool,
}

/// The locks of files that the kernel lists first.
///
/// # Errors
/// If procfs cannot be read.
pub fn locks() -> io::Result<Locks> {
    let lines = list(Path::new("/proc/locks"), LOCK_BYTES)?;
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    let mut locks = Locks { more: bytes as u64 >= LOCK_BYTES, ..Locks::default() };
    for line in lines {
        locks.listed += 1;
        // `1: POSIX  ADVISORY  WRITE 70 00:05:123 0 EOF`; one that waits has `->` behind its number.
        let mut words = line.split_whitespace().skip(1).skip_while(|word| *word == "->");
        if let Some(pid) = words.nth(3).and_then(|pid| pid.parse().ok()) {
            *locks.by_process.entry(pid).or_default() += 1;
        }
    }
    Ok(locks)
}

/// Bytes that wait in netlink, packet and raw sockets of the network namespace of the process `pid`, and in TCP connections
/// that nobody has accepted: what no control group counts. Its first thread may have ended, and shows nothing then: another one
/// does.
///
/// # Errors
/// If procfs cannot be read, as when the process is gone.
pub fn socket_queues(pid: u32) -> io::Result<u64> {
    let threads = look("shortage.threads", || std::fs::read_dir(format!("/proc/{pid}/task")))?;
    let mut last = Err(io::ErrorKind::NotFound.into());
    for thread in threads {
        last = queues(&thread?.path());
        if last.is_ok() {
            break;
        }
    }
    last
}

/// The same of a thread, by its folder.
fn queues(thread: &Path) -> io::Result<u64> {
    type Read = fn(&str) -> Option<u64>;
    let files: [(&str, Read); 6] = [
        ("netlink", |line| word(line, 4)?.parse().ok()),
        ("packet", |line| word(line, 6)?.parse().ok()),
        ("raw", received),
        ("raw6", received),
        ("tcp", not_accepted),
        ("tcp6", not_accepted),
    ];
    let mut bytes = 0_u64;
    for (file, read) in files {
        let lines = list(&thread.join("net").join(file), SOCKET_BYTES)?;
        bytes = lines.iter().filter_map(|line| read(line)).fold(bytes, u64::saturating_add);
    }
    Ok(bytes)
}

fn word(line: &str, column: usize) -> Option<&str> {
    line.split_whitespace().nth(column)
}

/// Columns from 0: `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`, the queues in
/// hexadecimal.
fn received(line: &str) -> Option<u64> {
    u64::from_str_radix(word(line, 4)?.split_once(':')?.1, 16).ok()
}

/// A connection gets its inode, and its group, when it is accepted.
fn not_accepted(line: &str) -> Option<u64> {
    if word(line, 9)? == "0" { received(line) } else { Some(0) }
}

fn list(path: &Path, bytes: u64) -> io::Result<Vec<String>> {
    look("shortage.list", || BufReader::new(File::open(path)?.take(bytes)).lines().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:        1003456 kB\nMemFree:          1 kB\nMemAvailable:     800000 kB\n\
                    Active(file):    2 kB\nInactive(file):   3 kB\nSReclaimable:    4 kB\n";
        let memory = Memory { total: 1_003_456 * 1024, available: 800_000 * 1024, free: 10 * 1024 };
        assert_eq!(Memory::parse(text), Some(memory));
        assert_eq!(Memory::parse("MemTotal: 1 kB"), None);
        assert!(Memory::read().unwrap().available > 0);
    }

    #[test]
    fn what_waits_for_nobody_is_not_taken_for_what_somebody_has() {
        let line = |inode| {
            format!(
                "  1: 0100007F:1F90 0100007F:C350 01 00000000:00008000 00:00000000 00000000     0        0 {inode} 1 0 20"
            )
        };
        assert_eq!(not_accepted(&line(0)), Some(32768));
        assert_eq!(not_accepted(&line(4711)), Some(0));
        assert_eq!(not_accepted("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt"), None);

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sender.write_all(&[0; 4096]).unwrap();
        assert!(socket_queues(std::process::id()).unwrap() >= 4096);
    }

    #[test]
    fn a_lock_is_found_under_the_process_that_has_it() {
        let file = tempfile::tempfile().unwrap();
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let locks = locks().unwrap();
        assert!(locks.by_process.get(&std::process::id()).is_some_and(|count| *count > 0));
        assert!(locks.listed > 0 && !locks.more);
        assert!(socket_queues(std::process::id()).is_ok());
    }
}

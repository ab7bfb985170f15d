//! Devices: nodes that are there, nodes that are made, and what can be asked of the harmless ones.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::time::Duration;

use super::{apart, fd, read_some};
use crate::sys::{self, Refusal, call};
use crate::table::{Outcome, Row};

/// What every container has.
const HARMLESS: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Name, whether it is a block device, numbers (Documentation/admin-guide/devices.txt; virtio's major is the first free).
const NODES: [(&str, bool, u32, u32); 11] = [
    ("memory", false, 1, 1),
    ("I/O ports", false, 1, 4),
    ("the kernel's log", false, 1, 11),
    ("the console", false, 5, 1),
    ("the serial port", false, 4, 64),
    ("a virtual terminal", false, 4, 1),
    ("the disk", true, 254, 0),
    ("a loop device", true, 7, 0),
    ("the control of loop devices", false, 10, 237),
    ("the control of the device mapper", false, 10, 236),
    ("the TPM", false, 10, 224),
];
/// How long somebody who opens a file all the time is listened for.
const LISTEN: Duration = Duration::from_secs(2);

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = NODES
        .into_iter()
        .map(|(name, block, major, minor)| {
            let row = Row::new(format!("make a node of {name} and open it"), move || make(block, major, minor));
            match major {
                1 if minor == 1 || minor == 4 => row.nobody("lockdown: integrity"),
                _ => row,
            }
        })
        .collect();
    rows.extend(["kmsg", "mem", "vda", "loop0", "loop-control", "mapper/control", "console", "ttyS0", "tpm0"].map(
        |name| {
            let row = Row::new(format!("open /dev/{name}"), move || Outcome::of(open(&format!("/dev/{name}"))));
            if name == "mem" { row.nobody("lockdown: integrity") } else { row }
        },
    ));
    rows.extend([
        Row::new("find another device in /dev", || Outcome::found(&others())),
        Row::new("forge the count of entropy", || {
            // RNDADDTOENTCNT of linux/random.h, by nothing.
            match open("/dev/urandom") {
                Ok(random) => {
                    Outcome::of(call(libc::SYS_ioctl, [fd(&random), 0x4004_5201_i64.into(), (&mut [0; 4][..]).into()]))
                }
                Err(error) => Outcome::of::<()>(Err(error)),
            }
        }),
        Row::new("push input to a terminal (TIOCSTI)", || {
            let terminal = open("/dev/ptmx").or_else(|_| open("/dev/null"));
            match terminal {
                Ok(terminal) => Outcome::past(
                    call(libc::SYS_ioctl, [fd(&terminal), 0x5412.into(), (&mut [b'x'][..]).into()]),
                    &[libc::ENOTTY, libc::EIO],
                ),
                Err(error) => Outcome::of::<()>(Err(error)),
            }
        }),
        Row::new("change the mode of a device's node", || {
            Outcome::of(fs::set_permissions("/dev/null", fs::Permissions::from_mode(0o666)))
        }),
        Row::new("give a device's node another owner", || {
            Outcome::of(std::os::unix::fs::chown("/dev/null", Some(0), Some(0)))
        }),
        Row::new("see others open the same device", || watch("/dev/full")),
        Row::new("see others open a file of the same guest", || watch("/usr/bin/catenoid-probe")),
        Row::new("see locks of others on a file of the same guest", || {
            let Ok(file) = File::open(crate::neighbour::LOCKED) else { return Outcome::Stopped("ENOENT".to_owned()) };
            apart(|| match call(libc::SYS_flock, [fd(&file), i64::from(libc::LOCK_EX | libc::LOCK_NB).into()]) {
                Err(refusal) if refusal.errno == libc::EAGAIN => {
                    Outcome::Reached("somebody holds a lock on it".to_owned())
                }
                Err(refusal) => Outcome::Stopped(refusal.to_string()),
                Ok(_) => Outcome::Stopped("nobody else locks this file".to_owned()),
            })
        }),
        Row::new("see leases of others on a file of the same guest", || {
            match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(crate::neighbour::LEASED) {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                    Outcome::Reached("opening it waits for somebody else".to_owned())
                }
                Err(error) => Outcome::Stopped(Refusal::from(error).to_string()),
                Ok(_) => Outcome::Stopped("nobody else has a lease on this file".to_owned()),
            }
        }),
        Row::new("read the serial number of the device", || read_some("/sys/class/dmi/id/product_serial")),
    ]);
    rows
}

fn open(path: &str) -> std::io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Makes a node and opens it, in `/dev`, where nodes can be opened if anywhere.
fn make(block: bool, major: u32, minor: u32) -> Outcome {
    let kind = if block { libc::S_IFBLK } else { libc::S_IFCHR };
    let number = i64::try_from(libc::makedev(major, minor)).expect("a device number has 32 bits");
    let made = call(libc::SYS_mknod, [c"/dev/probe".into(), i64::from(kind | 0o600).into(), number.into()]);
    if let Err(refusal) = made {
        return Outcome::Stopped(refusal.to_string());
    }
    let opened = open("/dev/probe");
    let _ = fs::remove_file("/dev/probe");
    Outcome::of(opened)
}

fn others() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/dev") else { return Vec::new() };
    let is_device = |entry: &fs::DirEntry| {
        fs::metadata(entry.path())
            .is_ok_and(|file| file.file_type().is_char_device() || file.file_type().is_block_device())
    };
    let known = |name: &str| HARMLESS.contains(&name) || ["ptmx", "stdin", "stdout", "stderr"].contains(&name);
    entries
        .flatten()
        .filter(is_device)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !known(name))
        .collect()
}

/// Listens whether somebody else opens `path`; the neighbour does all the time.
fn watch(path: &str) -> Outcome {
    let path = std::ffi::CString::new(path).expect("a path of ours");
    apart(|| {
        let listener = match call(libc::SYS_inotify_init1, [i64::from(libc::IN_NONBLOCK).into()]) {
            Ok(listener) => listener,
            Err(refusal) => return Outcome::Stopped(refusal.to_string()),
        };
        let mask = i64::from(libc::IN_OPEN | libc::IN_CLOSE);
        if let Err(refusal) = call(libc::SYS_inotify_add_watch, [listener.into(), path.as_c_str().into(), mask.into()])
        {
            return Outcome::Stopped(refusal.to_string());
        }
        if sys::readable(Some(listener), LISTEN) {
            return Outcome::Reached("somebody opened it".to_owned());
        }
        Outcome::Stopped("it is its own: nothing heard".to_owned())
    })
}

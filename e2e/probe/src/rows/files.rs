//! Files: programs that give rights, programs of the device, descriptors that were left open.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::{in_own_mounts, open_for_writing};
use crate::sys::{Arg, Refusal, call};
use crate::table::{Outcome, Row};

/// A user whom the prober becomes to win root back.
const NOBODY: u32 = 1000;
/// Places where something can be written, from the likeliest on to be allowed to execute from.
const WRITABLE: [&str; 4] = ["/tmp", "/root", "/run", "/dev/shm"];

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("overwrite its own program", || Outcome::of(open_for_writing("/proc/self/exe")))
            .nobody("a program that runs is not written to"),
        Row::new("overwrite the program of the first process", || Outcome::of(open_for_writing("/proc/1/exe")))
            .nobody("a program that runs is not written to"),
        Row::new("find the launcher's program", || {
            let Ok(entries) = fs::read_dir("/proc") else { return Outcome::Broken("ENOENT".to_owned()) };
            let programs = entries.flatten().filter_map(|entry| fs::read_link(entry.path().join("exe")).ok());
            let ours = programs
                .map(|path| path.display().to_string())
                .filter(|path| path.contains("launcher") || path == "/init");
            Outcome::found(&ours.collect::<Vec<_>>())
        }),
        Row::new("write to its root", || {
            let made = File::create("/probe-made");
            let _ = fs::remove_file("/probe-made");
            Outcome::of(made)
        })
        .core("a layer in memory of its own over the image")
        .nobody("the device's root is read-only"),
        Row::new("execute what it wrote to /tmp", || execute_from("/tmp")),
        Row::new("execute what it wrote to /dev/shm", || execute_from("/dev/shm")).nobody("the device has none"),
        Row::new("execute what it wrote to /run", || execute_from("/run")).nobody("nothing of it is executed"),
        Row::new("win root by a set-user-id program", || {
            in_own_mounts(|| {
                win(
                    |copy| fs::set_permissions(copy, fs::Permissions::from_mode(0o4755)).map_err(Refusal::from),
                    "euid",
                    "1000",
                )
            })
        }),
        Row::new("win capabilities by a program's own", || {
            in_own_mounts(|| win(capable, "capabilities", "0000000000000000"))
        }),
        Row::new("find a descriptor that the launcher left open", || Outcome::found(&descriptors("self"))),
        Row::new("find one in the first process", || Outcome::found(&descriptors("1")))
            .not_by_root("it is the device's own first process"),
        Row::new("reach the folder of its control socket's neighbours", || {
            Outcome::of(fs::read_dir("/run/catenoid/control/.."))
        }),
        Row::new("replace the control socket", || {
            let made = File::create_new("/run/catenoid/probe");
            let _ = fs::remove_file("/run/catenoid/probe");
            Outcome::of(made)
        }),
        Row::new("freeze a file system", || {
            // FIFREEZE, on one that has nothing to freeze: the right is asked for first.
            let Ok(root) = File::open("/proc") else { return Outcome::Broken("ENOENT".to_owned()) };
            let frozen = call(libc::SYS_ioctl, [super::fd(&root), 0xc004_5877_i64.into(), 0.into()]);
            Outcome::past(frozen, &[libc::EOPNOTSUPP])
        }),
    ]
}

/// Puts a copy of itself where it may be executed from; none if there is no such place.
fn copy() -> Result<String, Refusal> {
    let mut last = Refusal { errno: libc::ENOENT, filter: false };
    for folder in WRITABLE {
        let copy = format!("{folder}/probe-copy");
        let written = fs::copy("/proc/self/exe", &copy)
            .and_then(|_| fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)));
        let executed = written.and_then(|()| Command::new(&copy).arg("nothing").status());
        match executed {
            // Others must be able to search the folder.
            Ok(_) if fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).is_ok() => return Ok(copy),
            Ok(_) => {}
            Err(error) => last = error.into(),
        }
        let _ = fs::remove_file(&copy);
    }
    Err(last)
}

/// Gives a copy of itself a right, executes it as a plain user, and looks whether the right came with it: of `what` it then
/// has another than `nothing`.
fn win(give: impl FnOnce(&str) -> Result<(), Refusal>, what: &str, nothing: &str) -> Outcome {
    let copy = match copy() {
        Ok(copy) => copy,
        Err(refusal) => return Outcome::Stopped(format!("nothing that it writes can be executed: {refusal}")),
    };
    let won = give(&copy).and_then(|()| {
        let output = Command::new(&copy).arg(what).uid(NOBODY).gid(NOBODY).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    let _ = fs::remove_file(&copy);
    match won {
        Err(refusal) => Outcome::Stopped(refusal.to_string()),
        Ok(printed) if printed == nothing => Outcome::Stopped(format!("executed, and got nothing: {what} {printed}")),
        Ok(printed) => Outcome::Reached(format!("{what} {printed}")),
    }
}

/// Gives a program every capability (`struct vfs_ns_cap_data` of linux/capability.h, revision 2: for whoever executes it).
fn capable(copy: &str) -> Result<(), Refusal> {
    let path = CString::new(copy).expect("a path of ours");
    let mut value: Vec<u8> =
        [0x0200_0001_u32, u32::MAX, 0, 0x1ff, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let set = [path.as_c_str().into(), c"security.capability".into(), Arg::Bytes(&mut value), 20.into(), 0.into()];
    call(libc::SYS_setxattr, set).map(drop)
}

fn execute_from(folder: &str) -> Outcome {
    let copy = format!("{folder}/probe-copy");
    let written =
        fs::copy("/proc/self/exe", &copy).and_then(|_| fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)));
    let executed = written.and_then(|()| Command::new(&copy).arg("nothing").status());
    let _ = fs::remove_file(&copy);
    Outcome::of(executed)
}

/// Descriptors of files, folders and devices that are not to be found below its own root, and not `/dev/null`.
fn descriptors(who: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{who}/fd")) else { return Vec::new() };
    let foreign = |entry: &fs::DirEntry| {
        let link = entry.path();
        let (Ok(target), Ok(file)) = (fs::read_link(&link), fs::metadata(&link)) else { return false };
        let kind = file.file_type();
        if kind.is_fifo() || kind.is_socket() || target.to_string_lossy().starts_with("anon_inode:") {
            return false;
        }
        let same = |found: fs::Metadata| (found.dev(), found.ino()) == (file.dev(), file.ino());
        !target.starts_with("/proc") && !fs::metadata(&target).is_ok_and(same)
    };
    entries.flatten().filter(foreign).map(|entry| entry.path().display().to_string()).collect()
}

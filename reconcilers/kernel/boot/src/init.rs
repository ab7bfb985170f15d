//! What only PID 1 does: first mounts, leaving the initial ramfs, modules, signals, and the end of everything.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::{
    fcntl::OFlag,
    mount::{MsFlags, mount, umount2},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        reboot::{RebootMode, reboot},
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use catenoid_kernel_base::{
    mounts::{CLOSED, is_mounted},
    process::OPEN_FILES,
};

use crate::watchdog::Signs;

/// Why PID 1 could not go on. Each is for the administrator, on the console.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file system of the kernel's could not be mounted.
    #[error("failed to mount `{kind}` on `{target}`")]
    Mount {
        /// The file system.
        kind: &'static str,
        /// The folder that it was to be mounted on.
        target: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The initial ramfs could not be left.
    #[error("failed to move the root to memory at `{path}`")]
    SwitchRoot {
        /// What was at hand.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A tool could not be run, or failed.
    #[error("failed to load the kernel modules: {output}")]
    Modules {
        /// What it said.
        output: String,
        /// The cause, if it could not be run at all.
        source: Option<io::Error>,
    },
    /// Signals could not be received.
    #[error("failed to receive signals")]
    Signals(#[source] io::Error),
}

/// The kernel's file systems, in the order in which they are mounted.
const MOUNTS: [(&str, &str, MsFlags, Option<&str>); 6] = [
    ("proc", "/proc", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC), None),
    ("sysfs", "/sys", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC), None),
    ("devtmpfs", "/dev", MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC), Some("mode=0755")),
    ("tmpfs", "/run", CLOSED, Some("mode=0755,size=64m")),
    ("cgroup2", "/sys/fs/cgroup", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC), None),
    ("securityfs", "/sys/kernel/security", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC), None),
];

/// Mounts the kernel's file systems. What is mounted already stays.
///
/// # Errors
/// [`Error::Mount`].
pub fn mount_kernel_file_systems() -> Result<(), Error> {
    // None before `/proc` is there. A tmpfs would be mounted once more over itself, and hide what is in it.
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for (kind, target, flags, data) in MOUNTS.into_iter().filter(|(_, target, ..)| !is_mounted(&mounted, target)) {
        let error = |source| Error::Mount { kind, target, source };
        if !Path::new(target).exists() {
            fs::create_dir_all(target).map_err(error)?;
        }
        match mount(Some(kind), target, Some(kind), flags, data) {
            Ok(()) | Err(nix::Error::EBUSY) => {}
            Err(errno) => return Err(error(errno.into())),
        }
    }
    Ok(())
}

/// Whether `/` is the initial ramfs, below which nothing can be pivoted.
///
/// # Errors
/// [`Error::SwitchRoot`].
pub fn on_initial_ramfs() -> Result<bool, Error> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo");
    let mountinfo = mountinfo.map_err(|source| Error::SwitchRoot { path: "/".into(), source })?;
    Ok(mountinfo.lines().any(|line| line.split(' ').nth(4) == Some("/") && line.contains(" - rootfs ")))
}

/// What the image's root has, a path a line, a folder with a slash at its end and before what is in it: part of the signed
/// initramfs, which names itself.
const FILES: &str = "/etc/catenoid/files";
/// What systemd-stub adds from the signed boot image (systemd-stub(7)); anything else there came from the boot partition,
/// which nobody signed.
const FROM_BOOT_IMAGE: [&str; 2] = ["/.extra/tpm2-pcr-signature.json", "/.extra/tpm2-pcr-public-key.pem"];

/// Copies what the signed list names of the initial ramfs to a tmpfs, makes that the root, for good read-only, and frees the
/// old one; gives what else was there, which is nowhere any more. The caller then executes itself anew: its own text still
/// lies in what was freed.
///
/// # Errors
/// [`Error::SwitchRoot`].
pub fn move_root_to_memory() -> Result<Vec<String>, Error> {
    const NEW: &str = "/.root";
    let error = |path: &Path, source| Error::SwitchRoot { path: path.to_owned(), source };
    let new = Path::new(NEW);
    fs::create_dir_all(new).map_err(|e| error(new, e))?;
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(Some("tmpfs"), NEW, Some("tmpfs"), flags, Some("mode=0755,size=50%")).map_err(|e| error(new, e.into()))?;
    let files = fs::read_to_string(FILES).map_err(|e| error(Path::new(FILES), e))?;
    move_files(Path::new("/"), new, files.lines()).map_err(|(path, e)| error(&path, e))?;
    let extra = FROM_BOOT_IMAGE.into_iter().filter(|path| is_file(Path::new(path)));
    let extra: Vec<&str> = std::iter::once("/.extra/").chain(extra).collect();
    move_files(Path::new("/"), new, extra.into_iter()).map_err(|(path, e)| error(&path, e))?;
    let mut foreign = Vec::new();
    remove_tree(Path::new("/"), new, &mut foreign).map_err(|(path, e)| error(&path, e))?;
    for (_, target, ..) in MOUNTS.iter().filter(|(_, target, ..)| !target.starts_with("/sys/")) {
        let to = new.join(target.trim_start_matches('/'));
        mount(Some(*target), &to, None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(|e| error(&to, e.into()))?;
    }
    std::env::set_current_dir(new).map_err(|e| error(new, e))?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(|e| error(new, e.into()))?;
    std::os::unix::fs::chroot(".").map_err(|e| error(new, e))?;
    std::env::set_current_dir("/").map_err(|e| error(Path::new("/"), e))?;
    let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(|e| error(Path::new("/"), e.into()))?;
    Ok(foreign)
}

/// A regular file, which no link leads to.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Moves what is listed from below `from` to below `to`, one at a time so that memory holds one copy of one file at most.
fn move_files<'a>(from: &Path, to: &Path, list: impl Iterator<Item = &'a str>) -> Result<(), (PathBuf, io::Error)> {
    for line in list {
        let relative = line.trim_matches('/');
        let (path, target) = (from.join(relative), to.join(relative));
        let moved = if line.ends_with('/') {
            fs::create_dir(&target)
        } else if is_file(&path) {
            fs::copy(&path, &target).and_then(|_| fs::remove_file(&path))
        } else {
            Err(io::ErrorKind::NotFound.into())
        };
        moved.map_err(|e| (path, e))?;
    }
    Ok(())
}

/// Frees the memory of everything that is left but mount points and `new`; of what is no folder, it gives the paths.
fn remove_tree(folder: &Path, new: &Path, removed: &mut Vec<String>) -> Result<(), (PathBuf, io::Error)> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e: io::Error| (path, e)
    };
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let path = entry.path();
        if path == new || MOUNTS.iter().any(|(_, mounted, ..)| path == Path::new(mounted)) {
            continue;
        }
        if entry.file_type().map_err(failed(&path))?.is_dir() {
            remove_tree(&path, new, removed)?;
            fs::remove_dir(&path).map_err(failed(&path))?;
        } else {
            fs::remove_file(&path).map_err(failed(&path))?;
            removed.push(path.display().to_string());
        }
    }
    Ok(())
}

/// Those of the agent, which listens in the namespaces of all containers. The launcher puts it back.
const OPEN_FILES_OF_AGENT: u64 = 16_384;

/// Sets what everything on the device starts with: the limit on open files (the kernel's own is 4096), and that PID 1 and the
/// agent are the last to be killed for want of memory; the launcher puts this back for containers.
///
/// # Errors
/// The kernel's.
pub fn set_limits() -> io::Result<()> {
    let (soft, hard) = OPEN_FILES;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, soft, hard)?;
    fs::write("/proc/self/oom_score_adj", "-900")
}

/// Lets the calling process have as many open files as the agent needs.
///
/// # Errors
/// The kernel's.
pub fn raise_open_files() -> io::Result<()> {
    let (_, hard) = OPEN_FILES;
    Ok(nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, OPEN_FILES_OF_AGENT, hard)?)
}

/// Loads `modules` with what they depend on.
///
/// # Errors
/// [`Error::Modules`] with what `modprobe` said.
pub fn load_modules(modules: &[&str]) -> Result<(), Error> {
    let output = Command::new("/sbin/modprobe").arg("-a").args(modules).output();
    let output = output
        .map_err(|source| Error::Modules { output: "`modprobe` did not start".to_owned(), source: Some(source) })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Modules { output: String::from_utf8_lossy(&output.stderr).trim().to_owned(), source: None })
}

/// Shows what the firmware keeps, for reading; nothing where there is no such firmware.
///
/// # Errors
/// [`Error::Modules`], [`Error::Mount`].
pub fn show_firmware_variables() -> Result<(), Error> {
    let (kind, target) = ("efivarfs", "/sys/firmware/efi/efivars");
    if !Path::new(target).exists() {
        return Ok(());
    }
    load_modules(&[kind])?;
    match mount(Some(kind), target, Some(kind), CLOSED | MsFlags::MS_RDONLY, None::<&str>) {
        Ok(()) | Err(nix::Error::EBUSY) => Ok(()),
        Err(errno) => Err(Error::Mount { kind, target, source: errno.into() }),
    }
}

/// What PID 1 acts on: signals, and the power button.
pub struct InitSignals {
    signals: SignalFd,
    buttons: Vec<File>,
}

/// Bytes of a `struct input_event` (`linux/input.h`, 64 bit): time, type, code, value.
const INPUT_EVENT: usize = 24;
/// `EV_KEY`, `KEY_POWER`, pressed.
const POWER_PRESSED: [u8; 8] = [1, 0, 116, 0, 1, 0, 0, 0];

/// Lets every signal through to this thread and to those it makes: a child of PID 1 begins with the signals blocked that
/// PID 1 waits for, and would not hear that it is to end.
///
/// # Errors
/// [`Error::Signals`].
pub fn let_signals_through() -> Result<(), Error> {
    SigSet::empty().thread_set_mask().map_err(|e| Error::Signals(e.into()))
}

/// What a signal means to PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// A child ended.
    ChildEnded,
    /// Somebody asks for a restart (Ctrl-Alt-Del, SIGINT).
    Restart,
    /// Somebody asks for the end (SIGTERM, SIGPWR).
    PowerOff,
    /// The agent shows that it lives, or that it does not any more.
    Sign,
    /// The time was up before a signal came.
    TimeUp,
}

impl InitSignals {
    /// Blocks the signals for this thread and receives them from now on.
    ///
    /// # Errors
    /// [`Error::Signals`].
    pub fn receive() -> Result<Self, Error> {
        let set: SigSet = [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPWR].into_iter().collect();
        set.thread_block().map_err(|e| Error::Signals(e.into()))?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|e| Error::Signals(e.into()))?;
        Ok(Self { signals, buttons: Vec::new() })
    }

    /// Listens to every input device that is there now; the power button is one of them.
    ///
    /// # Errors
    /// [`Error::Signals`] if one is there and cannot be opened. A machine without any has no button.
    pub fn listen_to_buttons(&mut self) -> Result<(), Error> {
        let Ok(folder) = fs::read_dir("/dev/input") else { return Ok(()) };
        for entry in folder {
            let entry = entry.map_err(Error::Signals)?;
            if entry.file_name().to_string_lossy().starts_with("event") {
                let flags = OFlag::O_NONBLOCK.bits();
                let file = OpenOptions::new().read(true).custom_flags(flags).open(entry.path());
                self.buttons.push(file.map_err(Error::Signals)?);
            }
        }
        Ok(())
    }

    /// Waits for the next signal or for one of the agent's `signs`, for `timeout` at most.
    ///
    /// # Errors
    /// [`Error::Signals`].
    pub fn wait(&mut self, signs: Option<&Signs>, timeout: Duration) -> Result<Wakeup, Error> {
        // Rounded up: a millisecond early would be a turn for nothing.
        let timeout = (timeout + Duration::from_micros(999)).try_into().unwrap_or(PollTimeout::MAX);
        let signals = std::iter::once(self.signals.as_fd());
        let sources = signals.chain(self.buttons.iter().map(AsFd::as_fd)).chain(signs.map(AsFd::as_fd));
        let mut fds: Vec<_> = sources.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, timeout) {
            Ok(0) => return Ok(Wakeup::TimeUp),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(Error::Signals(errno.into())),
        }
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        if signs.is_some()
            && fds.split_last().is_some_and(|(signs, others)| is_ready(signs) && !others.iter().any(is_ready))
        {
            return Ok(Wakeup::Sign);
        }
        let mut pressed = false;
        // A device that was unplugged would be ready for ever.
        self.buttons.retain(|device| power_was_pressed(device).map(|power| pressed |= power).is_ok());
        if pressed {
            return Ok(Wakeup::PowerOff);
        }
        let signal = self.signals.read_signal().map_err(|e| Error::Signals(e.into()))?;
        Ok(match signal.and_then(|s| Signal::try_from(s.ssi_signo.cast_signed()).ok()) {
            Some(Signal::SIGINT) => Wakeup::Restart,
            Some(Signal::SIGTERM | Signal::SIGPWR) => Wakeup::PowerOff,
            _ => Wakeup::ChildEnded,
        })
    }
}

/// Reads all that an input device has to report; fails when it is gone.
fn power_was_pressed(mut device: &File) -> io::Result<bool> {
    let mut pressed = false;
    let mut events = [0; INPUT_EVENT * 16];
    loop {
        match device.read(&mut events) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                let mut events = events[..count].chunks_exact(INPUT_EVENT);
                pressed |= events.any(|event| event[16..] == POWER_PRESSED);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(pressed),
            Err(error) => return Err(error),
        }
    }
}

/// Ends every other process: SIGTERM, `grace` to end, SIGKILL. Returns as soon as nobody is left.
pub fn end_all_processes(signals: &mut InitSignals, grace: Duration) {
    let everyone = Pid::from_raw(-1);
    let start = std::time::Instant::now();
    // Both calls fail only when nobody is left.
    let _ = kill(everyone, Signal::SIGTERM);
    while is_anyone_left() && start.elapsed() < grace {
        let _ = signals.wait(None, grace.saturating_sub(start.elapsed()));
    }
    let _ = kill(everyone, Signal::SIGKILL);
}

/// Reaps who ended; whether anyone is left. Every process is PID 1's child once those above it are gone, and a kernel
/// thread never is: `kill(-1, 0)` would count those.
fn is_anyone_left() -> bool {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Writes everything to disk, lets go of `data`, and restarts or powers off the machine.
///
/// # Errors
/// Returns only if the kernel refuses.
pub fn end_machine(data: &Path, restart: bool) -> io::Error {
    nix::unistd::sync();
    let _ = umount2(data, nix::mount::MntFlags::MNT_DETACH);
    nix::unistd::sync();
    let mode = if restart { RebootMode::RB_AUTOBOOT } else { RebootMode::RB_POWER_OFF };
    match reboot(mode) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

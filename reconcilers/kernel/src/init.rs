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

/// Why PID 1 could not go on. Each is for the administrator, on the console.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file system of the kernel's could not be mounted.
    #[error("failed to mount `{kind}` on `{target}`")]
    Mount {
        /// The file system.
        kind: &'static str,
        /// Where.
        target: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The initial ramfs could not be left.
    #[error("failed to move the root to memory at `{path}`")]
    SwitchRoot {
        /// What was at hand.
        path: PathBuf,
        /// The cause.
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
    ("devtmpfs", "/dev", MsFlags::MS_NOSUID, Some("mode=0755")),
    ("tmpfs", "/run", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV), Some("mode=0755,size=64m")),
    ("cgroup2", "/sys/fs/cgroup", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC), None),
    ("securityfs", "/sys/kernel/security", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC), None),
];

/// Mounts the kernel's file systems. What is mounted already stays.
///
/// # Errors
/// [`Error::Mount`].
pub fn mount_kernel_file_systems() -> Result<(), Error> {
    for (kind, target, flags, data) in MOUNTS {
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

/// Copies the initial ramfs to a tmpfs, makes that the root, and frees the old one. The caller then executes itself
/// anew: its own text still lies in what was freed.
///
/// # Errors
/// [`Error::SwitchRoot`].
pub fn move_root_to_memory() -> Result<(), Error> {
    const NEW: &str = "/.root";
    let error = |path: &Path, source| Error::SwitchRoot { path: path.to_owned(), source };
    let new = Path::new(NEW);
    fs::create_dir_all(new).map_err(|e| error(new, e))?;
    mount(Some("tmpfs"), NEW, Some("tmpfs"), MsFlags::MS_NODEV | MsFlags::MS_NOSUID, Some("mode=0755,size=50%"))
        .map_err(|e| error(new, e.into()))?;
    move_tree(Path::new("/"), new).map_err(|(path, e)| error(&path, e))?;
    for (_, target, ..) in MOUNTS.iter().filter(|(_, target, ..)| !target.starts_with("/sys/")) {
        let to = new.join(target.trim_start_matches('/'));
        fs::create_dir_all(&to).map_err(|e| error(&to, e))?;
        mount(Some(*target), &to, None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(|e| error(&to, e.into()))?;
    }
    std::env::set_current_dir(new).map_err(|e| error(new, e))?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(|e| error(new, e.into()))?;
    std::os::unix::fs::chroot(".").map_err(|e| error(new, e))?;
    std::env::set_current_dir("/").map_err(|e| error(Path::new("/"), e))
}

/// Moves the files of `from` to `to`, one at a time so that memory holds one copy of one file at most. Mount points and
/// `to` itself stay behind.
fn move_tree(from: &Path, to: &Path) -> Result<(), (PathBuf, io::Error)> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e: io::Error| (path, e)
    };
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed(&path))?;
        let left_behind = path == to || MOUNTS.iter().any(|(_, mounted, ..)| path == Path::new(mounted));
        if left_behind {
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&target).map_err(failed(&target))?;
            move_tree(&path, &target)?;
            fs::remove_dir(&path).map_err(failed(&path))?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&path).map_err(failed(&path))?;
            std::os::unix::fs::symlink(link, &target).map_err(failed(&target))?;
            fs::remove_file(&path).map_err(failed(&path))?;
        } else if kind.is_file() {
            fs::copy(&path, &target).map_err(failed(&path))?;
            fs::remove_file(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// Open files that a process may raise its own limit to: what systemd gives, as programs expect. Each one starts with
/// 1024, the most that `select(2)` can take.
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// Settings of the device, beside those of its signed command line: files that containers and agent draw on together.
/// Each container's own share is bounded in its user namespace.
const SETTINGS: [(&str, &str); 4] = [
    // Without an end (the kernel's own is a tenth of the memory in KiB, for everybody): each open file is paid for with the
    // memory of the container that opens it.
    ("/proc/sys/fs/file-max", "9223372036854775807"),
    ("/proc/sys/fs/inotify/max_user_instances", "65536"),
    ("/proc/sys/fs/inotify/max_user_watches", "1048576"),
    // PID 1 and the agent are the last to be killed for want of memory; the launcher puts this back for containers.
    ("/proc/self/oom_score_adj", "-900"),
];

/// Sets what everything on the device starts with: the limit on open files (the kernel's own is 4096), shares, and who is
/// killed last.
///
/// # Errors
/// The kernel's.
pub fn set_limits() -> io::Result<()> {
    let (soft, hard) = OPEN_FILES;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, soft, hard)?;
    SETTINGS.iter().try_for_each(|(path, value)| fs::write(path, value))
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

/// Loads the module that shows the variables of the firmware, where that keeps any.
///
/// # Errors
/// [`Error::Modules`].
pub fn load_firmware_module() -> Result<(), Error> {
    if Path::new("/sys/firmware/efi").exists() { load_modules(&["efivarfs"]) } else { Ok(()) }
}

/// What PID 1 acts on: signals, and the power button.
pub struct Signals {
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

/// What a signal tells PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A child ended.
    ChildEnded,
    /// Somebody asks for a restart (Ctrl-Alt-Del, SIGINT).
    Restart,
    /// Somebody asks for the end (SIGTERM, SIGPWR).
    PowerOff,
    /// The time was up before a signal came.
    TimeUp,
}

impl Signals {
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

    /// Waits for the next signal, for `timeout` at most.
    ///
    /// # Errors
    /// [`Error::Signals`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Told, Error> {
        let timeout = timeout.map_or(PollTimeout::NONE, |t| t.try_into().unwrap_or(PollTimeout::MAX));
        let signals = std::iter::once(self.signals.as_fd());
        let sources = signals.chain(self.buttons.iter().map(AsFd::as_fd));
        let mut fds: Vec<_> = sources.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, timeout) {
            Ok(0) => return Ok(Told::TimeUp),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(Error::Signals(errno.into())),
        }
        let mut pressed = false;
        // A device that was unplugged would be ready for ever.
        self.buttons.retain(|device| power_was_pressed(device).map(|power| pressed |= power).is_ok());
        if pressed {
            return Ok(Told::PowerOff);
        }
        let signal = self.signals.read_signal().map_err(|e| Error::Signals(e.into()))?;
        Ok(match signal.and_then(|s| Signal::try_from(s.ssi_signo.cast_signed()).ok()) {
            Some(Signal::SIGINT) => Told::Restart,
            Some(Signal::SIGTERM | Signal::SIGPWR) => Told::PowerOff,
            _ => Told::ChildEnded,
        })
    }
}

/// Reads all that an input device has to tell; fails when it is gone.
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
pub fn end_all_processes(signals: &mut Signals, grace: Duration) {
    let everyone = Pid::from_raw(-1);
    let start = std::time::Instant::now();
    // Both calls fail only when nobody is left.
    let _ = kill(everyone, Signal::SIGTERM);
    while is_anyone_left() && start.elapsed() < grace {
        let _ = signals.wait(Some(grace.saturating_sub(start.elapsed())));
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

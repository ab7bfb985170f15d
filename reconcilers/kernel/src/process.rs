//! Processes: spawned tools, signals by pidfd, what `/proc` tells of one, and the reaping of orphans.

#![allow(unsafe_code, reason = "`waitid` as `rustix` does not offer it")]

use std::{
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl, inotify},
    io::Errno,
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, prlimit,
        waitid,
    },
};

use crate::{
    fault::{at, look},
    files,
};

/// The most bytes that are read of a file in `/proc/<pid>` or a record: those that we read have 2 KiB at most.
const FILE_LIMIT: u64 = 64 * 1024;
/// The most bytes that a spawned tool's output may have; nothing we spawn says more.
const OUTPUT_LIMIT: usize = 1024 * 1024;
/// How long a spawned tool may take: the launcher has made its container in a fraction of a second, on a busy device in
/// some.
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// Bytes that are read of a pipe at a time: what it holds.
const PIPE: usize = 64 * 1024;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record or a fifo could not be made, read or written.
    #[error(transparent)]
    Record(#[from] files::Error),
    /// A tool could not be started.
    #[error("failed to run `{}`", program.display())]
    Spawn {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A tool could not be spoken to.
    #[error("failed to speak to `{}`", program.display())]
    Speak {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file about a process could not be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of `/proc` has not the format of proc(5).
    #[error("`{}` has not its format", path.display())]
    Format {
        /// Which.
        path: PathBuf,
    },
    /// A process could not be signalled.
    #[error("failed to send {signal} to process {pid}")]
    Signal {
        /// Which.
        pid: u32,
        /// The signal's number.
        signal: i32,
        /// Why.
        source: io::Error,
    },
    /// Ended children could not be asked for.
    #[error("failed to wait for children")]
    Wait(#[source] io::Error),
    /// A folder could not be watched.
    #[error("failed to watch `{}`", path.display())]
    Watch {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a tool answered.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output, 1 MiB at most.
    pub stdout: Vec<u8>,
}

/// Runs `program` without arguments or environment, gives it `input`, and waits for its end, for a minute at most: then
/// it is killed. Blocks the calling thread.
///
/// # Errors
/// [`Error::Spawn`]; [`Error::Speak`]: `TimedOut` if it was killed. How the tool ended is the caller's to judge.
pub fn run(program: &Path, input: &[u8]) -> Result<Output, Error> {
    let mut command = Command::new(program);
    let command = command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child =
        at("process.run", || command.spawn()).map_err(|source| Error::Spawn { program: program.to_owned(), source })?;
    let until = Instant::now() + RUN_LIMIT;
    let spoken = speak(&mut child, input, [OUTPUT_LIMIT, 0], until);
    let spoken = spoken.map_err(|source| Error::Speak { program: program.to_owned(), source })?;
    Ok(Output { status: spoken.status, stdout: spoken.output })
}

/// What a child said, and how it ended.
pub(crate) struct Spoken {
    pub(crate) status: ExitStatus,
    /// What it wrote to standard output.
    pub(crate) output: Vec<u8>,
    /// What it wrote to standard error.
    pub(crate) complaint: Vec<u8>,
}

/// Gives a child `input`, reads its output and its complaint, of each no more than its limit, and reaps it. Those of the
/// three that are pipes are closed when there is no more to write, or nothing more is to be read. A child that refuses
/// its input early has said why. After `until`, or an error, it is killed.
///
/// # Errors
/// Those of the pipes; `TimedOut`.
pub(crate) fn speak(child: &mut Child, input: &[u8], limits: [usize; 2], until: Instant) -> io::Result<Spoken> {
    let spoken = at("process.speak", || converse(child, input, limits, until));
    if spoken.is_err() {
        // It fails only for a child that was reaped, and this one was not.
        let _ = child.kill();
    }
    let status = child.wait()?;
    spoken.map(|[output, complaint]| Spoken { status, output, complaint })
}

/// All but the reaping: the child has ended when this returns without an error.
fn converse(child: &mut Child, mut input: &[u8], limits: [usize; 2], until: Instant) -> io::Result<[Vec<u8>; 2]> {
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut stdin = child.stdin.take();
    let mut answers = [
        PipeOutput { pipe: child.stdout.take().map(OwnedFd::from), bytes: Vec::new(), limit: limits[0] },
        PipeOutput { pipe: child.stderr.take().map(OwnedFd::from), bytes: Vec::new(), limit: limits[1] },
    ];
    let pipes = answers.iter().filter_map(|answer| answer.pipe.as_ref()).map(AsFd::as_fd);
    for pipe in pipes.chain(stdin.as_ref().map(AsFd::as_fd)) {
        fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    }
    loop {
        // What is not ready says so at once: nobody needs to look which it was that woke us.
        if let Some(pipe) = &mut stdin {
            match pipe.write(input) {
                Ok(count) => input = &input[count..],
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => input = &[],
                Err(error) if again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if input.is_empty() {
            stdin = None;
        }
        for answer in &mut answers {
            answer.read()?;
        }
        let output = stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT));
        let inputs = answers.iter().filter_map(|answer| answer.pipe.as_ref());
        let mut pipes: Vec<_> = output.into_iter().chain(inputs.map(|pipe| PollFd::new(pipe, PollFlags::IN))).collect();
        let silent = pipes.is_empty();
        if silent {
            pipes.push(PollFd::new(&ended, PollFlags::IN));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match poll(&mut pipes, Timespec::try_from(left).ok().as_ref()) {
            Ok(1..) if silent => return Ok(answers.map(|answer| answer.bytes)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What is read of a pipe until it ends.
struct PipeOutput {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
    limit: usize,
}

impl PipeOutput {
    /// Reads some of what is there, and closes the pipe at its end or at the limit.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; PIPE];
        let Some(pipe) = &self.pipe else { return Ok(()) };
        match rustix::io::read(pipe, &mut buffer) {
            Ok(count) => {
                let count = count.min(self.limit - self.bytes.len());
                self.bytes.extend_from_slice(&buffer[..count]);
                if count == 0 || self.bytes.len() == self.limit {
                    self.pipe = None;
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// What tells a process apart, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its pid in our namespace, and in each one further in.
    pub pids: Vec<u32>,
    /// When it started, in clock ticks (1/100 s) after boot. With the pid this names one process for good.
    pub started: u64,
    /// Its cgroup, as `/proc/<pid>/cgroup` shows it: from our cgroup namespace's root.
    pub cgroup: String,
    /// Signals that it catches or blocks; bit 0 is signal 1. The first process of a pid namespace is never ended by
    /// another one (pid_namespaces(7)), but by SIGKILL.
    pub handled: u64,
}

/// What `/proc` reports of `pid`; `None` if there is no such process. A zombie still has all of it.
///
/// # Errors
/// [`Error::Read`], [`Error::Format`].
pub fn identity(pid: u32) -> Result<Option<Identity>, Error> {
    let (Some(status), Some((stat_path, stat)), Some((_, cgroups))) =
        (Status::read(pid)?, read_of(pid, "stat")?, read_of(pid, "cgroup")?)
    else {
        return Ok(None);
    };
    let pids = status.line("NSpid:")?.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    let pids = pids.map_err(|_| status.format())?;
    // The second field is the program's name in parentheses, which may hold anything; 20 fields on is the start time.
    let started = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok());
    let started = started.ok_or(Error::Format { path: stat_path })?;
    // Hierarchy 0 is version 2 (cgroups(7)).
    let cgroup = cgroups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned();
    Ok(Some(Identity { pids, started, cgroup, handled: status.mask("SigCgt:")? | status.mask("SigBlk:")? }))
}

/// Whether `pid` is gone, or was killed and is to end as soon as the kernel lets it: SIGKILL waits for it.
///
/// # Errors
/// [`Error::Read`], [`Error::Format`].
pub fn is_killed(pid: u32) -> Result<bool, Error> {
    let Some(status) = Status::read(pid)? else { return Ok(true) };
    Ok((status.mask("SigPnd:")? | status.mask("ShdPnd:")?) >> (libc::SIGKILL - 1) & 1 == 1)
}

/// The file `status` of a process.
struct Status {
    path: PathBuf,
    text: String,
}

impl Status {
    fn read(pid: u32) -> Result<Option<Self>, Error> {
        Ok(read_of(pid, "status")?.map(|(path, text)| Self { path, text }))
    }

    fn line(&self, key: &str) -> Result<&str, Error> {
        self.text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).ok_or_else(|| self.format())
    }

    /// Signals; bit 0 is signal 1.
    fn mask(&self, key: &str) -> Result<u64, Error> {
        u64::from_str_radix(self.line(key)?, 16).map_err(|_| self.format())
    }

    fn format(&self) -> Error {
        Error::Format { path: self.path.clone() }
    }
}

/// A file of `/proc/<pid>`, and where it is; `None` if there is no such process.
fn read_of(pid: u32, name: &str) -> Result<Option<(PathBuf, String)>, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/{name}"));
    match look("process.look", || read_bounded(&path)) {
        Err(source) if gone(&source) => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
        Ok(text) => Ok(Some((path, text))),
    }
}

fn gone(error: &io::Error) -> bool {
    // ESRCH: the process went away between open and read.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// A program's name, which is any bytes that it likes, is in some of these files: what is not UTF-8 is replaced.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The unit of [`Identity::started`] in milliseconds: `USER_HZ` is 100 on every architecture that we run on (time(7)).
pub const TICK_MILLISECONDS: u64 = 10;

/// The time since boot, including sleep, in the unit of [`Identity::started`].
#[must_use]
pub fn ticks_since_boot() -> u64 {
    let now = nix::time::ClockId::CLOCK_BOOTTIME.now().map_or(std::time::Duration::ZERO, Into::into);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / TICK_MILLISECONDS
}

/// The inode of a folder; of a cgroup, the id by which no later cgroup of this boot is called. `None` if it is not there.
///
/// # Errors
/// [`Error::Read`].
pub fn folder_id(path: &Path) -> Result<Option<u64>, Error> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(std::os::unix::fs::MetadataExt::ino(&metadata))),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// Sends `signal` to the process `pid` that started at `started`. Another process that has the pid by now is left alone;
/// one that is gone needs no signal.
///
/// # Errors
/// [`Error::Signal`], [`Error::Read`], [`Error::Format`].
pub fn signal(pid: u32, started: u64, signal: i32) -> Result<(), Error> {
    let error = |source: Errno| Error::Signal { pid, signal, source: source.into() };
    let (Some(raw), Some(named)) = (Pid::from_raw(pid.cast_signed()), Signal::from_named_raw(signal)) else {
        return Err(error(Errno::INVAL));
    };
    let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(()),
        Err(source) => return Err(error(source)),
    };
    // Looked at once the pidfd holds it: what it says is of the process that gets the signal.
    if identity(pid)?.is_none_or(|found| found.started != started) {
        return Ok(());
    }
    match at("process.signal", || pidfd_send_signal(&pidfd, named)) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(source) => Err(error(source)),
    }
}

/// Lets `child` take no more than `bytes` of address space; what it asks for beyond that it does not get. That it has ended
/// already is as good.
pub(crate) fn limit_memory(child: &Child, bytes: u64) {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let _ = prlimit(Some(pid), Resource::As, limit);
    }
}

/// What tells a program from every other one: 16 hex digits of the SHA-256 of its file; nothing where there is none.
#[must_use]
pub fn program(path: &Path) -> String {
    use sha2::Digest as _;
    let digest =
        |bytes: Vec<u8>| sha2::Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    look("process.program", || std::fs::read(path)).map(digest).unwrap_or_default()
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By a signal of this number.
    Signal(i32),
}

/// A child that ended and waits to be reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zombie {
    /// Its pid.
    pub pid: u32,
    /// How it ended.
    pub end: End,
}

/// The next child that ended, if one did; it stays until [`reap`]. Orphans are PID 1's children.
///
/// # Errors
/// [`Error::Wait`].
pub fn ended_child() -> Result<Option<Zombie>, Error> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // By `libc`: `rustix` does not tell the pid of who ended.
    // SAFETY: all zeros is a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = i32::try_from(options.bits()).expect("flags of waitid are small");
    loop {
        // SAFETY: `info` lives over the call; P_ALL takes no id.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
        if result == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(Error::Wait(error)),
        }
    }
    // SAFETY: waitid filled in the fields of SIGCHLD, or left the pid zero when nobody ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let end = if info.si_code == libc::CLD_EXITED { End::Code(status) } else { End::Signal(status) };
    Ok(u32::try_from(pid).ok().filter(|pid| *pid != 0).map(|pid| Zombie { pid, end }))
}

/// Lets go of an ended child.
///
/// # Errors
/// [`Error::Wait`].
pub fn reap(zombie: Zombie) -> Result<(), Error> {
    let Some(pid) = Pid::from_raw(zombie.pid.cast_signed()) else { return Ok(()) };
    match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(_) | Err(Errno::CHILD) => Ok(()),
        Err(source) => Err(Error::Wait(source.into())),
    }
}

/// Makes orphans of this process's descendants its own children, as they are PID 1's on the device. For tests.
///
/// # Errors
/// [`Error::Wait`].
pub fn adopt_orphans() -> Result<(), Error> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|e| Error::Wait(e.into()))
}

/// Makes a fifo for a container's output, and the folder that it is in.
///
/// # Errors
/// [`Error::Record`].
pub fn make_fifo(path: &Path) -> Result<(), Error> {
    Ok(files::make_pipe(path)?)
}

/// Opens a fifo for reading without blocking; it never ends, as we hold its other end too. `None` if there is none.
///
/// # Errors
/// [`Error::Record`].
pub fn open_fifo(path: &Path) -> Result<Option<OwnedFd>, Error> {
    Ok(files::open_pipe(path)?)
}

/// Reads a record; `None` if there is none.
///
/// # Errors
/// [`Error::Record`].
pub fn read_record(path: &Path) -> Result<Option<String>, Error> {
    Ok(files::read_bounded(path, FILE_LIMIT)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes a record, and the folder that it is in; a reader sees the old one or the new one, never a part. It lies in
/// memory: nothing is forced to a disk.
///
/// # Errors
/// [`Error::Record`].
pub fn write_record(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        files::make_folders(folder)?;
    }
    Ok(files::replace(path, text.as_bytes(), false)?)
}

/// Takes a record away.
///
/// # Errors
/// [`Error::Record`].
pub fn remove_record(path: &Path) -> Result<(), Error> {
    Ok(files::remove(path)?)
}

/// Tells when a record is written in a folder, from the moment it was made.
#[derive(Debug)]
pub struct Watch {
    fd: OwnedFd,
    path: PathBuf,
}

impl Watch {
    /// Watches `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::Watch`].
    pub fn new(folder: &Path) -> Result<Self, Error> {
        let error = |source: io::Error| Error::Watch { path: folder.to_owned(), source };
        files::make_folders(folder)?;
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let fd = inotify::init(flags).map_err(|e| error(e.into()))?;
        inotify::add_watch(&fd, folder, inotify::WatchFlags::MOVED_TO).map_err(|e| error(e.into()))?;
        Ok(Self { fd, path: folder.to_owned() })
    }

    /// Waits for the next record, at most `timeout`. Blocks the calling thread.
    ///
    /// # Errors
    /// [`Error::Watch`].
    pub fn wait(&self, timeout: Duration) -> Result<(), Error> {
        let error = |source: Errno| Error::Watch { path: self.path.clone(), source: source.into() };
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(source) => return Err(error(source)),
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.fd, &mut buffer) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(source) => Err(error(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is reaped by the door under test")]
    fn a_zombie_keeps_its_identity_until_it_is_reaped() {
        let child = Command::new("/bin/false").spawn().unwrap();
        let zombie = loop {
            if let Some(zombie) = ended_child().unwrap() {
                break zombie;
            }
        };
        assert_eq!(zombie, Zombie { pid: child.id(), end: End::Code(1) });
        let identity = identity_of(zombie.pid).expect("a zombie is in /proc");
        assert_eq!(identity.pids.first(), Some(&zombie.pid));
        let own = identity_of(std::process::id()).expect("we are there");
        assert_eq!(identity.cgroup, own.cgroup);
        assert!(identity.started >= own.started);
        reap(zombie).unwrap();
        assert_eq!(identity_of(zombie.pid), None);
    }

    fn identity_of(pid: u32) -> Option<Identity> {
        identity(pid).unwrap()
    }

    #[test]
    fn another_process_with_the_same_pid_is_left_alone() {
        let mut child = Command::new("/bin/sleep").arg("100").spawn().unwrap();
        let started = identity_of(child.id()).unwrap().started;
        signal(child.id(), started + 1, libc::SIGKILL).unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        signal(child.id(), started, libc::SIGKILL).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(libc::SIGKILL));
    }

    #[test]
    fn a_tool_gets_its_input_and_gives_its_output() {
        let output = run(Path::new("/bin/cat"), b"order").unwrap();
        assert_eq!((output.status.success(), output.stdout.as_slice()), (true, b"order".as_slice()));
        // More than pipes hold, both ways.
        let long = vec![b'x'; OUTPUT_LIMIT - 1];
        assert_eq!(run(Path::new("/bin/cat"), &long).unwrap().stdout, long);
        // And one that reads nothing.
        assert!(run(Path::new("/bin/true"), &long).unwrap().status.success());
    }

    #[test]
    fn a_tool_that_does_not_end_is_killed_at_its_deadline() {
        let begin = Instant::now();
        let spawn = |script: &str| {
            let piped = Stdio::piped;
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", script]).stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap()
        };
        let until = || Instant::now() + Duration::from_millis(50);
        // Silent, with its pipes closed, busy, and with another process that holds its pipes.
        for script in ["exec sleep 100", "exec sleep 100 <&- >&- 2>&-", "while :; do echo x >&2; done", "sleep 2 & :"] {
            let mut child = spawn(script);
            let error = speak(&mut child, &[b'x'; 2 * PIPE], [usize::MAX; 2], until()).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{script}");
            assert!(child.try_wait().unwrap().is_some(), "{script}: reaped");
        }
        assert!(begin.elapsed() < Duration::from_secs(50));
        let mut child = spawn("echo told; echo why >&2; exit 3");
        let spoken = speak(&mut child, b"", [3, 100], Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!((spoken.status.code(), &*spoken.output, &*spoken.complaint), (Some(3), &b"tol"[..], &b"why\n"[..]));
    }

    #[test]
    fn a_record_that_is_written_wakes_who_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::new(folder.path()).unwrap();
        write_record(&folder.path().join("web"), "{}").unwrap();
        let begin = std::time::Instant::now();
        watch.wait(Duration::from_secs(60)).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(60));
        assert_eq!(read_record(&folder.path().join("web")).unwrap().as_deref(), Some("{}"));
    }
}

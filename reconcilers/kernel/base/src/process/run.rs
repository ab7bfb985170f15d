//! Spawned tools: what they are given, what they say, and how long they may take.

use std::{
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    process::{Pid, PidfdFlags, Resource, Rlimit, pidfd_open, prlimit},
};

use super::Error;
use crate::fault::at;

/// The most bytes that a spawned tool's output may have; nothing we spawn says more.
const OUTPUT_LIMIT: usize = 1024 * 1024;
/// How long a spawned tool may take: the launcher has made its container in a fraction of a second, on a busy device in
/// some.
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// Bytes that are read of a pipe at a time: what it holds.
const PIPE: usize = 64 * 1024;

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
#[derive(Debug)]
pub struct Spoken {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub output: Vec<u8>,
    /// What it wrote to standard error.
    pub complaint: Vec<u8>,
}

/// Gives a child `input`, reads its output and its complaint, of each no more than its limit, and reaps it. Those of the
/// three that are pipes are closed when there is no more to write, or nothing more is to be read. A child that refuses
/// its input early has said why. After `until`, or an error, it is killed.
///
/// # Errors
/// Those of the pipes; `TimedOut`.
pub fn speak(child: &mut Child, input: &[u8], limits: [usize; 2], until: Instant) -> io::Result<Spoken> {
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

/// Lets `child` take no more than `bytes` of address space; what it asks for beyond that it does not get. That it has ended
/// already is as good.
pub fn limit_memory(child: &Child, bytes: u64) {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let _ = prlimit(Some(pid), Resource::As, limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut child = spawn("echo said; echo why >&2; exit 3");
        let spoken = speak(&mut child, b"", [3, 100], Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!((spoken.status.code(), &*spoken.output, &*spoken.complaint), (Some(3), &b"sai"[..], &b"why\n"[..]));
    }
}

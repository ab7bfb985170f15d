//! One virtual machine: its directory, its processes, its console.
//!
//! The directory holds what outlives a power cut (`vars.fd`, `tpm/`, `disk.img`) beside what a run leaves (`console.log`,
//! sockets, `qemu.log`). Starting the same directory again is the same device switched on again. A machine can also be
//! [saved](Vm::save) and go on from that moment as often as is wanted: [`crate::snapshot`]. What a scenario's machine leaves
//! is small, since its disk goes with it: see [`Builder::disposable`].

mod builder;
mod error;
mod files;
mod running;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

pub use builder::{Builder, MAC, SERIAL};
pub(crate) use builder::{CPU, FIRMWARE_WITHOUT_KEYS};
pub use error::VmError;
pub use files::{copy_sparse, through};
pub use running::{Down, Running};

use crate::console::{Console, Seen};
use crate::qmp::Qmp;
use crate::root_shell::RootShell;
use crate::tpm_log::TpmLog;

const QEMU: &str = "qemu-system-x86_64";
/// Where [`Vm::save`] writes, in a machine's directory.
pub(crate) const MEMORY: &str = "memory";
/// QEMU makes its sockets before it runs anything: more than this is a QEMU that does not start.
const START: Duration = Duration::from_secs(20);
/// From the power button to the end: containers get their time to stop, and TCG is slow.
const SHUTDOWN: Duration = Duration::from_secs(90);

/// A machine that is on. Dropping it is a power cut, unless it was [detached](Vm::detach).
#[derive(Debug)]
pub struct Vm {
    machine: Builder,
    qemu: Option<Child>,
    tpm: Option<Child>,
    tpm_log: Option<TpmLog>,
    console: Option<Console>,
    root: Option<RootShell>,
    qmp: Option<Qmp>,
    ssh_port: u16,
    started: Instant,
    keeps_disk: bool,
}

impl Vm {
    /// A machine whose state lies in `dir`.
    #[must_use]
    pub fn builder(dir: impl Into<PathBuf>) -> Builder {
        Builder::new(dir.into())
    }

    /// Where the machine's state lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.machine.dir
    }

    /// The port of 127.0.0.1 behind which c0's sshd is.
    #[must_use]
    pub fn ssh_port(&self) -> u16 {
        self.ssh_port
    }

    /// Time since power-on.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The console.
    #[must_use]
    pub fn console(&self) -> &Console {
        self.console.as_ref().expect("a started machine's console is connected")
    }

    /// The machine protocol, for hot-plug and anything else QEMU can do.
    pub fn qmp(&mut self) -> &mut Qmp {
        self.qmp.as_mut().expect("a started machine's QMP is connected")
    }

    /// What the TPM held at each moment of the log of writes: of a machine that logs its writes.
    #[must_use]
    pub fn tpm_log(&self) -> Option<&TpmLog> {
        self.tpm_log.as_ref()
    }

    /// Waits until `pattern` was printed, from power-on.
    pub fn wait_console(&self, pattern: &str, patience: Duration) -> Result<usize, VmError> {
        self.wait_console_from(0, pattern, patience)
    }

    /// Waits until `pattern` was printed behind `mark`; see [`Console::mark`]. Gives the offset behind it.
    pub fn wait_console_from(&self, mark: usize, pattern: &str, patience: Duration) -> Result<usize, VmError> {
        let pattern_owned = || pattern.to_owned();
        match self.console().wait(pattern, mark, Instant::now() + patience) {
            Seen::At(offset) => Ok(offset),
            Seen::NotInTime => Err(VmError::Console {
                pattern: pattern_owned(),
                seconds: patience.as_secs(),
                tail: self.console().tail(),
            }),
            Seen::Ended => Err(VmError::Ended { pattern: pattern_owned(), tail: self.console().tail() }),
        }
    }

    /// Runs a shell script as root in the device's root namespace. Test image only.
    pub fn root(&mut self, script: &str) -> Result<crate::root_shell::Output, VmError> {
        let tail = self.console().tail();
        let shell = self.root.as_mut().expect("the machine was built with `root_shell`");
        shell.run(script).map_err(|source| VmError::Root { source, tail })
    }

    /// Presses the power button and waits for the end.
    pub fn shutdown(mut self) -> Result<(), VmError> {
        self.qmp().call("system_powerdown", &json!({}))?;
        let mark = self.console().mark();
        match self.console().wait("\u{0}", mark, Instant::now() + SHUTDOWN) {
            Seen::Ended => Ok(()),
            Seen::At(_) | Seen::NotInTime => Err(VmError::Console {
                pattern: "the end".to_owned(),
                seconds: SHUTDOWN.as_secs(),
                tail: self.console().tail(),
            }),
        }
    }

    /// Cuts the power.
    pub fn kill(self) {
        drop(self);
    }

    /// Cuts the power; what switches the same machine on again.
    #[must_use]
    pub fn off(mut self) -> Builder {
        self.keeps_disk = true;
        let mut machine = self.machine.clone();
        machine.memory = None;
        machine
    }

    /// Stops the machine for good and writes what is needed to go on to `memory` in its directory, beside the disk of the same
    /// moment: see [`Builder::memory`].
    pub fn save(mut self) -> Result<(), VmError> {
        self.keeps_disk = true;
        let mut qmp = self.qmp.take().expect("a started machine's QMP is connected");
        // First, and not with the last of its pages: nothing changes any more while it is saved. One that had run meanwhile was
        // seen whose kernel ended with an oops as soon as it was restored.
        qmp.call("stop", &json!({}))?;
        self.migrate(&mut qmp, "migrate", &format!("exec:cat >{MEMORY}"))
    }

    /// Reads or writes all that the machine holds, and waits for the end.
    fn migrate(&self, qmp: &mut Qmp, command: &str, uri: &str) -> Result<(), VmError> {
        let events = json!({ "capabilities": [{ "capability": "events", "state": true }] });
        qmp.call("migrate-set-capabilities", &events)?;
        qmp.call(command, &json!({ "uri": uri }))?;
        loop {
            match qmp.wait_event("MIGRATION")?["data"]["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed") => {
                    let log = fs::read_to_string(self.dir().join("qemu.log")).unwrap_or_default();
                    return Err(VmError::Failed { program: QEMU.to_owned(), output: log });
                }
                _ => {}
            }
        }
    }

    /// Lets the machine run on behind this process; `vm down` ends it by QMP.
    pub fn detach(mut self) {
        self.keeps_disk = true;
        self.qemu = None;
        self.tpm = None;
    }

    /// QEMU's monitors are the last that it makes: one that greets means that every socket listens.
    fn wait_greeting(&self, output: ChildStdout) -> Result<(), VmError> {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(output).read_line(&mut line);
            // Nobody listens any more when the time is up.
            let _ = sender.send(read.is_ok_and(|bytes| bytes > 0));
        });
        match receiver.recv_timeout(START) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(self.failed_to_start()),
        }
    }

    fn connect(&self, socket: &Path) -> Result<UnixStream, VmError> {
        UnixStream::connect(socket).map_err(|_| self.failed_to_start())
    }

    fn failed_to_start(&self) -> VmError {
        VmError::Start { log: fs::read_to_string(self.dir().join("qemu.log")).unwrap_or_default() }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        for child in [&mut self.qemu, &mut self.tpm].into_iter().flatten() {
            // Both fail only when the process has ended, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.machine.disposable && !self.keeps_disk {
            // What stays takes room and does nothing else; the next run of the scenario removes the whole folder.
            let _ = fs::remove_file(self.machine.dir.join("disk.img"));
        }
    }
}

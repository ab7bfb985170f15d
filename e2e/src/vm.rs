//! One virtual machine: its directory, its processes, its console.
//!
//! The directory holds what outlives a power cut (`vars.fd`, `tpm/`, `disk.img`) beside what a run leaves (`console.log`,
//! sockets, `qemu.log`). Starting the same directory again is the same device switched on again. A machine can also be
//! [saved](Vm::save) and go on from that moment as often as is wanted: [`crate::snapshot`]. What a scenario's machine leaves
//! is small, since its disk goes with it: see [`Builder::disposable`].

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use thiserror::Error;

use crate::console::{Console, Seen};
use crate::firmware::{self, FirmwareError, PlatformKeys};
use crate::qmp::{Qmp, QmpError};
use crate::root_shell::{RootShell, RootShellError};
use crate::tpm_log::{STATE, TpmLog};

const QEMU: &str = "qemu-system-x86_64";
/// Where swtpm listens when [`TpmLog`] stands between QEMU and it.
const SWTPM_SOCKET: &str = "swtpm.sock";
/// Where [`Vm::save`] writes, in a machine's directory.
pub(crate) const MEMORY: &str = "memory";
/// How [`Vm::save`] does it: what was saved in another way is another machine.
const SAVED: &str = "saved standing still";
/// Debian's OVMF with Secure Boot and SMM (package `ovmf`).
const FIRMWARE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
/// The empty variable store that belongs to it.
const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// Firmware that does nothing but start the kernel that QEMU hands over (package `qemu-system-data`).
pub(crate) const FIRMWARE_WITHOUT_KEYS: &str = "/usr/share/qemu/qboot.rom";
/// All that QEMU translates, but for what makes a translated kernel slow: with `erms` and `fsrm` it clears and copies its pages
/// byte by byte, and with `la57` it looks up each address in five tables instead of four. Measured on crash points with one seed:
/// 77 s with neither, 96 s with `la57`, 115 s with all.
pub(crate) const CPU: &str = "max,-erms,-fsrm,-la57";
/// The address of the device's only network card; manifests name it.
pub const MAC: &str = "52:54:00:12:34:56";
/// The serial number in SMBIOS; manifests target it.
pub const SERIAL: &str = "QEMU-0001";
/// QEMU makes its sockets before it runs anything: more than this is a QEMU that does not start.
const START: Duration = Duration::from_secs(20);
/// From the power button to the end: containers get their time to stop, and TCG is slow.
const SHUTDOWN: Duration = Duration::from_secs(90);

/// What went wrong with a VM; the tail of its console is in the message where it explains.
#[derive(Debug, Error)]
pub enum VmError {
    /// A file of the VM's directory.
    #[error("failed to {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that should be there.
    #[error("failed to run `{program}` (hint: `cargo xtask setup` installs what is needed)")]
    Program {
        /// Its name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program that ran and failed.
    #[error("`{program}` failed: {output}")]
    Failed {
        /// Its name.
        program: String,
        /// What it printed.
        output: String,
    },
    /// The firmware's variables could not be prepared.
    #[error("failed to enrol the platform keys")]
    Firmware(#[from] FirmwareError),
    /// The machine protocol.
    #[error("failed to steer QEMU")]
    Qmp(#[from] QmpError),
    /// The console did not say what was waited for.
    #[error("no `{pattern}` on the console within {seconds} s; its end:\n{tail}")]
    Console {
        /// What was waited for.
        pattern: String,
        /// How long.
        seconds: u64,
        /// The last lines.
        tail: String,
    },
    /// QEMU ended while something was waited for.
    #[error("the machine went off before `{pattern}` stood on the console; its end:\n{tail}")]
    Ended {
        /// What was waited for.
        pattern: String,
        /// The last lines.
        tail: String,
    },
    /// QEMU did not get to its sockets.
    #[error("QEMU did not start: {log}")]
    Start {
        /// What it printed.
        log: String,
    },
    /// Root in the device, test image only.
    #[error("failed to reach root in the device; the console's end:\n{tail}")]
    Root {
        /// Which part.
        source: RootShellError,
        /// The last lines.
        tail: String,
    },
}

/// How to make and start a machine. Made by [`Vm::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    dir: PathBuf,
    disk: Option<PathBuf>,
    keys: Option<PlatformKeys>,
    memory_mib: u32,
    processors: u32,
    root_shell: bool,
    detached: bool,
    forwards: Vec<(u16, u16)>,
    writes: Writes,
    kernel: Option<Kernel>,
    memory: Option<PathBuf>,
    strange_disk: Option<PathBuf>,
    disposable: bool,
}

/// What becomes of the guest's writes to its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// They reach the file as the guest makes them; the guest sees a disk without a cache.
    Through,
    /// The guest sees a disk with a cache, and every write and flush is also logged: see [`crate::write_log`].
    Logged,
    /// They reach the file some time: for a machine whose disk nobody looks at afterwards.
    Whenever,
}

/// What QEMU boots by itself, without firmware.
#[derive(Debug, Clone)]
struct Kernel {
    image: PathBuf,
    initramfs: PathBuf,
    command_line: String,
}

impl Builder {
    /// Boots from a sparse copy of `disk`, made once: an existing `disk.img` of the directory stays.
    #[must_use]
    pub fn disk(mut self, disk: impl Into<PathBuf>) -> Self {
        self.disk = Some(disk.into());
        self
    }

    /// Has this disk as well, which the kernel finds before its own.
    #[must_use]
    pub fn strange_disk(mut self, disk: impl Into<PathBuf>) -> Self {
        self.strange_disk = Some(disk.into());
        self
    }

    /// Enrols these keys, once: an existing `vars.fd` of the directory stays.
    #[must_use]
    pub fn keys(mut self, keys: PlatformKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Has so many processors; two unless told.
    #[must_use]
    pub fn processors(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// Memory of the device; 1024 MiB unless told.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// The second serial port is wired to [`Vm::root`]. Only the test image listens there.
    #[must_use]
    pub fn root_shell(mut self) -> Self {
        self.root_shell = true;
        self
    }

    /// The machine outlives this process and does not hear its Ctrl-C.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    /// Forwards `127.0.0.1:host` to `guest` on c0's address, besides ssh.
    #[must_use]
    pub fn forward(mut self, host: u16, guest: u16) -> Self {
        self.forwards.push((host, guest));
        self
    }

    /// Logs every write and flush of the disk to `writes.log` in the machine's directory: see [`crate::write_log`]. What its TPM
    /// holds is kept for every moment of that log: see [`Vm::tpm_log`].
    #[must_use]
    pub fn log_writes(mut self) -> Self {
        self.writes = Writes::Logged;
        self
    }

    /// Nobody looks at the disk after the machine was switched off.
    #[must_use]
    pub fn disk_is_thrown_away(mut self) -> Self {
        self.writes = Writes::Whenever;
        self.disposable()
    }

    /// The disk is removed when the machine goes off, unless it goes [off to be switched on again](Vm::off) or is
    /// [saved](Vm::save): some forty scenarios would keep 100 MiB each.
    #[must_use]
    pub fn disposable(mut self) -> Self {
        self.disposable = true;
        self
    }

    /// QEMU loads this kernel itself: seconds faster, and nothing is verified on the way. For what happens after the boot.
    #[must_use]
    pub fn kernel(mut self, image: PathBuf, initramfs: PathBuf, command_line: String) -> Self {
        self.kernel = Some(Kernel { image, initramfs, command_line });
        self
    }

    /// Does not boot: goes on from the moment at which [`Vm::save`] wrote this file, with the [disk](Self::disk) of that moment.
    /// All else has to be as it was, but for the port of ssh.
    #[must_use]
    pub fn memory(mut self, memory: impl Into<PathBuf>) -> Self {
        self.memory = Some(memory.into());
        self
    }

    /// Whatever a saved machine depends on, as text: QEMU, its arguments, which files they name, and which `others` are. A
    /// file that was written again is another file, whatever is in it.
    pub fn identity(&self, others: &[PathBuf]) -> Result<String, VmError> {
        let mut version = Command::new(QEMU);
        let mut lines = vec![run(version.arg("--version"))?, SAVED.to_owned(), self.qemu_arguments(0).join(" ")];
        let firmware = [FIRMWARE_WITHOUT_KEYS, FIRMWARE_CODE].map(PathBuf::from);
        let loaded = self.kernel.as_ref().map(|kernel| [&kernel.image, &kernel.initramfs]);
        for path in self.disk.iter().chain(loaded.into_iter().flatten()).chain(&firmware).chain(others) {
            let is = fs::metadata(path).map_err(file("look at", path))?;
            let changed = format!("{}.{:09}", is.ctime(), is.ctime_nsec());
            lines.push(format!("{} {} {} {changed} {}", is.dev(), is.ino(), is.size(), path.display()));
        }
        Ok(lines.join("\n"))
    }

    /// Makes what the directory lacks and gives the disk, for a test that changes it before the machine is on.
    pub fn prepare(&self) -> Result<PathBuf, VmError> {
        fs::create_dir_all(&self.dir).map_err(file("make", &self.dir))?;
        let variables = self.dir.join("vars.fd");
        if self.kernel.is_none() && !variables.exists() {
            let template = Path::new(FIRMWARE_VARIABLES);
            let mut store = fs::read(template).map_err(file("read", template))?;
            if let Some(keys) = &self.keys {
                store = firmware::enrol(&store, keys)?;
            }
            fs::write(&variables, store).map_err(file("write", &variables))?;
        }
        let disk = self.dir.join("disk.img");
        if let Some(from) = self.disk.as_ref().filter(|_| !disk.exists()) {
            copy_sparse(from, &disk)?;
        }
        if let Some(memory) = &self.memory {
            let here = self.dir.join(MEMORY);
            fs::hard_link(memory, &here).map_err(file("make", &here))?;
            // What swtpm holds is in the memory as well; this is for when the machine is switched on again.
            let (from, to) = (memory.with_file_name("tpm"), self.dir.join("tpm"));
            fs::create_dir(&to).map_err(file("make", &to))?;
            fs::copy(from.join(STATE), to.join(STATE)).map_err(file("copy", &from))?;
        }
        if self.writes == Writes::Logged {
            let log = self.dir.join("writes.log");
            File::create(&log).map_err(file("make", &log))?;
        }
        Ok(disk)
    }

    /// Switches the machine on and gives it once its console is being read.
    pub fn start(self) -> Result<Vm, VmError> {
        self.prepare()?;
        let handle = File::open(&self.dir).map_err(file("open", &self.dir))?;
        let socket = |name: &str| through(&handle, name);
        for stale in ["tpm.sock", SWTPM_SOCKET, "qmp.sock", "console.sock", "root.sock"] {
            match fs::remove_file(socket(stale)) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(VmError::File { action: "remove", path: self.dir.join(stale), source });
                }
                _ => {}
            }
        }
        // Dropping `vm` ends what was started, so it takes each process as soon as there is one.
        let mut vm = Vm {
            machine: self.clone(),
            qemu: None,
            tpm: None,
            tpm_log: None,
            console: None,
            root: None,
            qmp: None,
            ssh_port: free_port()?,
            started: Instant::now(),
            keeps_disk: false,
        };
        if self.writes == Writes::Logged {
            vm.tpm = Some(self.start_tpm(&socket(SWTPM_SOCKET))?);
            vm.tpm_log = Some(self.log_tpm(&socket(SWTPM_SOCKET), &socket("tpm.sock"))?);
        } else {
            vm.tpm = Some(self.start_tpm(&socket("tpm.sock"))?);
        }
        let (qemu, greeting) = self.start_qemu(vm.ssh_port)?;
        vm.qemu = Some(qemu);
        vm.wait_greeting(greeting)?;
        let console = socket("console.sock");
        vm.console = Some(Console::new(vm.connect(&console)?).map_err(file("keep open", &console))?);
        if self.root_shell {
            let stream = vm.connect(&socket("root.sock"))?;
            vm.root = Some(if self.memory.is_some() { RootShell::greeted(stream) } else { RootShell::new(stream) });
        }
        let mut qmp = Qmp::connect(&socket("qmp.sock"))?;
        if self.memory.is_some() {
            // What the serial ports are given until then is lost.
            vm.migrate(&mut qmp, "migrate-incoming", &format!("exec:cat {MEMORY}"))?;
            let here = self.dir.join(MEMORY);
            fs::remove_file(&here).map_err(file("remove", &here))?;
        }
        qmp.call("cont", &json!({}))?;
        vm.qmp = Some(qmp);
        let note = json!({ "ssh_port": vm.ssh_port }).to_string();
        let path = self.dir.join("vm.json");
        fs::write(&path, note).map_err(file("write", &path))?;
        Ok(vm)
    }

    /// Stands between the two sockets from now on.
    fn log_tpm(&self, swtpm: &Path, qemu: &Path) -> Result<TpmLog, VmError> {
        let control = UnixStream::connect(swtpm).map_err(file("connect to", swtpm))?;
        let listener = UnixListener::bind(qemu).map_err(file("listen on", qemu))?;
        let folder = self.dir.join("tpm");
        let log =
            TpmLog::new(&folder, &self.dir.join("writes.log")).map_err(file("read what swtpm wrote to", &folder))?;
        log.stand_between(listener, control);
        Ok(log)
    }

    /// The control socket listens before swtpm runs, so that QEMU can connect at once: swtpm takes it as standard input.
    fn start_tpm(&self, socket: &Path) -> Result<Child, VmError> {
        let state = self.dir.join("tpm");
        if !state.exists() {
            fs::create_dir(&state).map_err(file("make", &state))?;
            let state = fs::canonicalize(&state).map_err(file("find", &state))?;
            run(Command::new("swtpm_setup")
                .args(["--tpm2", "--create-ek-cert", "--pcr-banks", "sha256", "--tpmstate"])
                .arg(&state))?;
        }
        let control = UnixListener::bind(socket).map_err(file("listen on", socket))?;
        let log = self.log("swtpm.log")?;
        let mut command = Command::new("swtpm");
        command
            .args(["socket", "--tpm2", "--terminate", "--tpmstate", "dir=tpm", "--ctrl", "type=unixio,fd=0"])
            .stdin(OwnedFd::from(control))
            .stdout(log.try_clone().map_err(file("open", &self.dir))?)
            .stderr(log);
        self.spawn("swtpm", command)
    }

    /// QEMU, and the standard output on which it greets once all its sockets are there.
    fn start_qemu(&self, ssh_port: u16) -> Result<(Child, ChildStdout), VmError> {
        let mut command = Command::new(QEMU);
        command
            .args(self.qemu_arguments(ssh_port))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.log("qemu.log")?);
        let mut qemu = self.spawn(QEMU, command)?;
        let greeting = qemu.stdout.take().expect("stdout is piped");
        Ok((qemu, greeting))
    }

    fn qemu_arguments(&self, ssh_port: u16) -> Vec<String> {
        let mut network = format!("user,id=uplink,hostfwd=tcp:127.0.0.1:{ssh_port}-:22");
        for (host, guest) in &self.forwards {
            network.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
        }
        let memory = self.memory_mib.to_string();
        let card = format!("virtio-net-pci,netdev=uplink,mac={MAC},romfile=");
        let smbios = format!("type=1,serial={SERIAL}");
        let mut arguments = vec![
            // Nothing that is not named here; paused until the console is being read.
            "-nodefaults -no-user-config -display none -S",
            "-M q35,smm=on,accel=tcg -cpu",
            CPU,
            "-smp",
            &self.processors.to_string(),
            "-m",
            &memory,
            &self.strange_disk.as_ref().map_or(String::new(), |disk| {
                format!(
                    "-drive if=none,id=strange,format=raw,snapshot=on,file={} -device virtio-blk-pci,drive=strange",
                    disk.display()
                )
            }),
            self.writes.arguments(),
            "-device i6300esb -action watchdog=reset -device virtio-rng-pci -device qemu-xhci,id=usb",
            "-netdev",
            &network,
            "-device",
            &card,
            "-smbios",
            &smbios,
            "-chardev socket,id=tpm,path=tpm.sock -tpmdev emulator,id=tpm,chardev=tpm -device tpm-crb,tpmdev=tpm",
            "-chardev socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log",
            "-serial chardev:console",
            "-qmp unix:qmp.sock,server=on,wait=off -qmp stdio",
        ]
        .join(" ")
        .split_whitespace()
        .map(str::to_owned)
        .collect::<Vec<_>>();
        match &self.kernel {
            None => {
                let firmware = format!(
                    "-set device.disk0.bootindex=0 -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1 \
                     -drive if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE_CODE} \
                     -drive if=pflash,unit=1,format=raw,file=vars.fd"
                );
                arguments.extend(firmware.split(' ').map(str::to_owned));
            }
            Some(kernel) => arguments.extend([
                "-bios".to_owned(),
                FIRMWARE_WITHOUT_KEYS.to_owned(),
                "-kernel".to_owned(),
                kernel.image.display().to_string(),
                "-initrd".to_owned(),
                kernel.initramfs.display().to_string(),
                "-append".to_owned(),
                kernel.command_line.clone(),
            ]),
        }
        if self.root_shell {
            let port = "-chardev socket,id=root,path=root.sock,server=on,wait=off -serial chardev:root";
            arguments.extend(port.split(' ').map(str::to_owned));
        }
        if self.memory.is_some() {
            arguments.extend(["-incoming", "defer"].map(str::to_owned));
        }
        arguments
    }

    fn spawn(&self, program: &str, mut command: Command) -> Result<Child, VmError> {
        command.current_dir(&self.dir);
        if self.detached {
            command.process_group(0);
        }
        command.spawn().map_err(|source| VmError::Program { program: program.to_owned(), source })
    }

    fn log(&self, name: &str) -> Result<File, VmError> {
        let path = self.dir.join(name);
        File::create(&path).map_err(file("make", &path))
    }
}

impl Writes {
    /// The disk, for QEMU.
    fn arguments(self) -> &'static str {
        match self {
            // A killed QEMU is a power cut then, not a time machine.
            Self::Through => {
                "-drive if=none,id=disk,format=raw,file=disk.img,cache=writethrough,discard=unmap \
                 -device virtio-blk-pci,id=disk0,drive=disk"
            }
            Self::Logged => {
                "-blockdev driver=file,node-name=image,filename=disk.img,discard=unmap \
                 -blockdev driver=file,node-name=log,filename=writes.log \
                 -blockdev driver=blklogwrites,node-name=disk,file=image,log=log,discard=unmap \
                 -device virtio-blk-pci,id=disk0,drive=disk,write-cache=on"
            }
            Self::Whenever => {
                "-drive if=none,id=disk,format=raw,file=disk.img,cache=unsafe,discard=unmap \
                 -device virtio-blk-pci,id=disk0,drive=disk"
            }
        }
    }
}

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
        Builder {
            dir: dir.into(),
            disk: None,
            keys: None,
            memory_mib: 1024,
            processors: 2,
            root_shell: false,
            detached: false,
            forwards: Vec::new(),
            writes: Writes::Through,
            kernel: None,
            memory: None,
            strange_disk: None,
            disposable: false,
        }
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
        Builder { memory: None, ..self.machine.clone() }
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
        let told = json!({ "capabilities": [{ "capability": "events", "state": true }] });
        qmp.call("migrate-set-capabilities", &told)?;
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

/// A machine started by another process with [`Builder::detached`].
#[derive(Debug)]
pub struct Running {
    /// The port of 127.0.0.1 behind which c0's sshd is.
    pub ssh_port: u16,
    qmp: Qmp,
}

impl Running {
    /// The machine of `dir`, or `None` when it is off.
    pub fn find(dir: &Path) -> Result<Option<Self>, VmError> {
        let Ok(handle) = File::open(dir) else { return Ok(None) };
        let Ok(qmp) = Qmp::connect(&through(&handle, "qmp.sock")) else { return Ok(None) };
        let path = dir.join("vm.json");
        let note = fs::read_to_string(&path).map_err(file("read", &path))?;
        let port = serde_json::from_str::<serde_json::Value>(&note)
            .ok()
            .and_then(|note| note["ssh_port"].as_u64())
            .and_then(|port| u16::try_from(port).ok());
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no ssh_port in it");
        let ssh_port = port.ok_or_else(invalid).map_err(file("read", &path))?;
        Ok(Some(Self { ssh_port, qmp }))
    }

    /// Presses the power button, waits, and cuts the power when the device does not end by itself. Says which.
    pub fn down(mut self) -> Result<Down, VmError> {
        self.qmp.call("system_powerdown", &json!({}))?;
        let deadline = Instant::now() + SHUTDOWN;
        while Instant::now() < deadline {
            match self.qmp.wait_event("SHUTDOWN") {
                Ok(_) | Err(QmpError::Gone { .. }) => return Ok(Down::ByItself),
                Err(QmpError::Talk { source, .. })
                    if matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.qmp.call("quit", &json!({})) {
            Ok(_) | Err(QmpError::Gone { .. }) => Ok(Down::PowerCut),
            Err(error) => Err(error.into()),
        }
    }
}

/// How a detached machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// The device followed its power button.
    ByItself,
    /// It did not, and the power was cut.
    PowerCut,
}

/// Copies a disk image and keeps its holes.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<(), VmError> {
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto", "--"]).arg(from).arg(to)).map(drop)
}

/// A path to `name` in an open directory: short enough for a socket address whatever the checkout's path is.
pub fn through(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

fn free_port() -> Result<u16, VmError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| VmError::File { action: "find a free port on", path: PathBuf::from("127.0.0.1"), source })
}

/// Runs a program that must succeed; what it printed.
fn run(command: &mut Command) -> Result<String, VmError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| VmError::Program { program: program.clone(), source })?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(VmError::Failed { program, output: text })
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VmError {
    let path = path.to_owned();
    move |source| VmError::File { action, path, source }
}

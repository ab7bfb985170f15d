//! How a machine is made and switched on: its files, its processes, and what QEMU is given.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde_json::json;

use super::error::VmError;
use super::files::{copy_sparse, file, free_port, run, through};
use super::{MEMORY, QEMU, Vm};
use crate::console::Console;
use crate::firmware::{self, PlatformKeys};
use crate::qmp::Qmp;
use crate::root_shell::RootShell;
use crate::tpm_log::{STATE, TpmLog};

/// Where swtpm listens when [`TpmLog`] stands between QEMU and it.
const SWTPM_SOCKET: &str = "swtpm.sock";
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

/// How to make and start a machine. Made by [`Vm::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) dir: PathBuf,
    disk: Option<PathBuf>,
    keys: Option<PlatformKeys>,
    memory_mib: u32,
    processors: u32,
    root_shell: bool,
    detached: bool,
    forwards: Vec<(u16, u16)>,
    writes: Writes,
    kernel: Option<Kernel>,
    pub(super) memory: Option<PathBuf>,
    strange_disk: Option<PathBuf>,
    pub(super) disposable: bool,
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
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
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

    /// Has so many processors; two by default.
    #[must_use]
    pub fn processors(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// Memory of the device; 1024 MiB by default.
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

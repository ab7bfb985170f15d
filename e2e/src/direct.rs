//! A kernel that QEMU loads itself, with an initramfs and nothing else: no firmware, disk, network or TPM. For what needs
//! the device's kernel and nothing else of the device.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::console::{Console, Seen};
use crate::vm::{CPU, FIRMWARE_WITHOUT_KEYS, VmError};

/// What to boot.
#[derive(Debug)]
pub struct Boot<'a> {
    /// A `vmlinux`.
    pub kernel: &'a Path,
    /// Its first root, with `/init`.
    pub initramfs: &'a Path,
    /// Memory of the machine.
    pub memory_mib: u32,
}

/// Messages of the kernel would stand in the middle of lines that are read by programs; a panic still speaks.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=1 panic=-1";

impl Boot<'_> {
    /// Runs the machine until `last` stands on its console, and gives everything that does. The machine is off afterwards.
    pub fn run_until(&self, last: &str, patience: Duration) -> Result<String, VmError> {
        let program = "qemu-system-x86_64";
        let failed = |source| VmError::Program { program: program.to_owned(), source };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args("-nodefaults -no-user-config -display none -no-reboot -serial stdio".split(' '))
            .args(["-M", "q35,accel=tcg", "-cpu", CPU, "-smp", "2", "-bios"])
            .arg(FIRMWARE_WITHOUT_KEYS)
            .args(["-m", &self.memory_mib.to_string(), "-append", COMMAND_LINE])
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initramfs)
            .stdin(Stdio::null())
            .stdout(OwnedFd::from(theirs));
        let _machine = Machine(command.spawn().map_err(failed)?);
        // It holds our copy of the machine's end of the console, which would keep the console open behind the machine.
        drop(command);
        let console = Console::new(ours).map_err(failed)?;
        match console.wait(last, 0, Instant::now() + patience) {
            Seen::At(_) => Ok(console.text()),
            Seen::NotInTime => {
                Err(VmError::Console { pattern: last.to_owned(), seconds: patience.as_secs(), tail: console.tail() })
            }
            Seen::Ended => Err(VmError::Ended { pattern: last.to_owned(), tail: console.tail() }),
        }
    }
}

/// Off when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only when the process has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! The device, booted in QEMU: firmware with platform keys of its own, TPM, disk, serial console, hot-plug and ssh into
//! c0. It needs QEMU, OVMF and swtpm from Debian (`cargo xtask setup`) and the artefacts that `cargo xtask image` makes. It
//! gives [`Vm`] to the demo, `vm up` and the scenario tests under `tests/`. Start reading at [`vm`].

pub mod artefacts;
pub mod chance;
pub mod console;
pub mod device;
pub mod direct;
pub mod firmware;
pub mod progress;
pub mod qmp;
pub mod root_shell;
pub mod snapshot;
pub mod ssh;
pub mod tpm;
pub mod tpm_log;
pub mod vm;
pub mod write_log;

pub use artefacts::Artefacts;
pub use device::Device;
pub use vm::{Vm, VmError};

//! A number in the device's TPM: the device writes it.

use anyhow::{Result, ensure};
use catenoid_e2e::{Vm, tpm};

/// Makes a place for the number.
pub(crate) fn define(vm: &mut Vm) -> Result<()> {
    on_device(vm, &tpm::define())
}

/// Writes the number.
pub(crate) fn write(vm: &mut Vm, number: u64) -> Result<()> {
    on_device(vm, &tpm::write(number))
}

/// Gives a command to the device's TPM; it has to succeed.
fn on_device(vm: &mut Vm, command: &[u8]) -> Result<()> {
    let bytes: String = command.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let script =
        format!("exec 3<>/dev/tpm0; printf '{bytes}' >&3; dd bs=4096 count=1 <&3 2>/dev/null | od -An -v -tx1");
    let answer = vm.root(&script)?;
    let code: Vec<&str> = answer.text.split_whitespace().skip(6).take(4).collect();
    ensure!(code == ["00"; 4], "the TPM refuses: {answer:?}");
    Ok(())
}

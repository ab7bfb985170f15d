//! A number in the TPM: the device writes it, and of any state of its TPM it can be said which number is in it.
//!
//! Commands are those of the TPM 2.0 library specification, part 3, section 31 (non-volatile storage).

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Vm;
use catenoid_e2e::tpm_log::STATE;

const DEFINE: u32 = 0x12a;
const WRITE: u32 = 0x137;
const READ: u32 = 0x14e;
/// `TPM_RH_OWNER`, whose password is empty.
const OWNER: &[u8] = &[0x40, 0, 0, 1];
/// The first index that is the owner's.
const INDEX: &[u8] = &[0x01, 0x80, 0, 1];
/// One session: `TPM_RS_PW` without nonce, attributes and password.
const PASSWORD: &[u8] = &[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
/// `TPM_ST_SESSIONS`, the tag of a command with a session and of its answer.
const TAG: &[u8] = &[0x80, 0x02];
/// Bytes of an answer before its number: tag, size, code, size of parameters, size of the number.
const HEAD: usize = 16;

/// Makes a place for the number.
pub(crate) fn define(vm: &mut Vm) -> Result<()> {
    // No password; SHA-256, read and written by the owner, no policy, eight bytes.
    let public = [&[0, 0, 0, 14], INDEX, &[0, 0x0b], &[0, 0x02, 0, 0x02], &[0, 0, 0, 8]].concat();
    on_device(vm, &command(DEFINE, &[OWNER], &public))
}

/// Writes the number.
pub(crate) fn write(vm: &mut Vm, number: u64) -> Result<()> {
    on_device(vm, &command(WRITE, &[OWNER, INDEX], &[&[0, 8], &number.to_be_bytes()[..], &[0, 0]].concat()))
}

/// The number in a state of a TPM; none before it was first written. `folder` is made for it.
pub(crate) fn read(folder: &Path, state: &[u8]) -> Result<Option<u64>> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    fs::write(folder.join(STATE), state).context("failed to write the state of a TPM")?;
    let socket = Path::new("/tmp").join(format!("catenoid-tpm-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&socket).context("failed to listen for swtpm")?;
    let stream = UnixStream::connect(&socket);
    fs::remove_file(&socket)?;
    let mut stream = stream?;
    let mut swtpm = Command::new("swtpm")
        .args(["socket", "--tpm2", "--terminate", "--flags", "not-need-init,startup-clear"])
        .args(["--tpmstate", "dir=.", "--server", "type=unixio,fd=0"])
        .current_dir(folder)
        .stdin(OwnedFd::from(listener))
        .stderr(Stdio::null())
        .spawn()
        .context("failed to run `swtpm`")?;
    stream.write_all(&command(READ, &[OWNER, INDEX], &[0, 8, 0, 0]))?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer)?;
    drop(stream);
    swtpm.wait()?;
    let answer = &answer[..length];
    ensure!(length >= 10, "swtpm has no answer");
    Ok(answer.get(HEAD..HEAD + 8).map(|number| u64::from_be_bytes(number.try_into().expect("eight bytes"))))
}

fn command(code: u32, handles: &[&[u8]], parameters: &[u8]) -> Vec<u8> {
    let body = [&code.to_be_bytes()[..], &handles.concat(), PASSWORD, parameters].concat();
    let length = u32::try_from(TAG.len() + 4 + body.len()).expect("a command is short");
    [TAG, &length.to_be_bytes(), &body].concat()
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

//! A number in a TPM: the commands that make its place, write it and read it, and an swtpm without a machine to give them to.
//!
//! Commands are those of the TPM 2.0 library specification, part 3, section 31 (non-volatile storage).

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::tpm_log::STATE;

const DEFINE: u32 = 0x12a;
const WRITE: u32 = 0x137;
const READ: u32 = 0x14e;
/// `TPM_RH_OWNER`, whose password is empty.
const OWNER: &[u8] = &[0x40, 0, 0, 1];
/// The first index that is the owner's.
pub const INDEX: u32 = 0x0180_0001;
/// One session: `TPM_RS_PW` without nonce, attributes and password.
const PASSWORD: &[u8] = &[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
/// `TPM_ST_SESSIONS`, the tag of a command with a session and of its answer.
const TAG: &[u8] = &[0x80, 0x02];
/// Bytes of an answer before its parameters' size: tag, size, code.
const CODE_END: usize = 10;
/// Bytes of an answer before its number: those, size of parameters, size of the number.
const HEAD: usize = CODE_END + 6;

/// The command that makes a place for the number.
#[must_use]
pub fn define() -> Vec<u8> {
    // No password; SHA-256, read and written by the owner, no policy, eight bytes.
    let public = [&[0, 0, 0, 14], &INDEX.to_be_bytes()[..], &[0, 0x0b], &[0, 0x02, 0, 0x02], &[0, 0, 0, 8]].concat();
    command(DEFINE, &[OWNER], &public)
}

/// The command that writes the number.
#[must_use]
pub fn write(number: u64) -> Vec<u8> {
    let parameters = [&[0, 8], &number.to_be_bytes()[..], &[0, 0]].concat();
    command(WRITE, &[OWNER, &INDEX.to_be_bytes()], &parameters)
}

/// The number in a state of a TPM; none before it was first written. `folder` is made for it.
///
/// # Errors
/// swtpm's, and those of the folder.
pub fn number_in(folder: &Path, state: &[u8]) -> Result<Option<u64>> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    fs::write(folder.join(STATE), state).context("failed to write the state of a TPM")?;
    let answer = ask(folder, &command(READ, &[OWNER, &INDEX.to_be_bytes()], &[0, 8, 0, 0]))?;
    Ok(answer.get(HEAD..HEAD + 8).map(|number| u64::from_be_bytes(number.try_into().expect("eight bytes"))))
}

/// Gives one command to the TPM whose state is in `folder`, as after a power cut. What the command changed is in the folder.
///
/// # Errors
/// swtpm's; not that the TPM refuses.
pub fn ask(folder: &Path, command: &[u8]) -> Result<Vec<u8>> {
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
    stream.write_all(command)?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer)?;
    drop(stream);
    swtpm.wait()?;
    answer.truncate(length);
    ensure!(length >= CODE_END, "swtpm has no answer");
    Ok(answer)
}

fn command(code: u32, handles: &[&[u8]], parameters: &[u8]) -> Vec<u8> {
    let body = [&code.to_be_bytes()[..], &handles.concat(), PASSWORD, parameters].concat();
    let length = u32::try_from(TAG.len() + 4 + body.len()).expect("a command is short");
    [TAG, &length.to_be_bytes(), &body].concat()
}

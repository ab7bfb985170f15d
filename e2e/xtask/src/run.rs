//! Running other programs: what they print is shown when they fail.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Runs to the end and gives standard output; a failure carries everything printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = describe(command);
    let output = command.output().with_context(|| format!("failed to run `{name}`"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(stdout.into_owned());
    }
    bail!("`{name}` failed ({}):\n{stdout}{}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// Runs to the end with our own terminal.
pub(crate) fn visibly(command: &mut Command) -> Result<()> {
    let name = describe(command);
    let status = command.status().with_context(|| format!("failed to run `{name}`"))?;
    if status.success() { Ok(()) } else { bail!("`{name}` failed ({status})") }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

//! Running other programs: what they print is shown when they fail.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use catenoid_e2e::Artefacts;
use catenoid_e2e::artefacts::STATIC_TARGET;

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

/// `cargo build` of programs for the device and its guests that need no library and ask no loader: see
/// [`Artefacts::static_binary`].
pub(crate) fn cargo_static(artefacts: &Artefacts) -> Result<Command> {
    cargo_static_for(artefacts, "build")
}

/// The same with another command than `build`.
pub(crate) fn cargo_static_for(artefacts: &Artefacts, command: &str) -> Result<Command> {
    // `devicemapper-sys` asks for libdevmapper and uses nothing of it; Debian has no static one. An empty one fails to link as
    // soon as anything of it is used.
    let folder = artefacts.state().join("static");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    output(Command::new("ar").arg("rcsD").arg(folder.join("libdevmapper.a")))?;
    let mut cargo = cargo();
    cargo.args([command, "--quiet", "--profile", "device", "--target", STATIC_TARGET]);
    cargo.env("RUSTFLAGS", format!("-C target-feature=+crt-static -L native={}", folder.display()));
    cargo.current_dir(artefacts.workspace());
    Ok(cargo)
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

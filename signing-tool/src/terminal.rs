//! The only way to a terminal: what is printed is made harmless here, whoever wrote it.

use std::io::{self, Write as _};
use std::process::ExitCode;

use catenoid_schema::foreign;
use serde::Serialize;

use crate::{failure::Failure, files};

/// Prints lines to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_own(&foreign::lines(text))
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("what the tool prints is JSON");
    print_own(&format!("{}\n", foreign::json(&text)))
}

/// Prints what nobody else had a part in, as it is. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print_own(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(files::Error::Write { path: "standard output".into(), source }.into())
        }
        _ => Ok(()),
    }
}

/// Says something that is not the answer itself, on standard error. That nobody reads it is no failure.
pub(crate) fn note(text: &str) {
    let _ = io::stderr().lock().write_all(foreign::lines(text).as_bytes());
}

/// A text that may have several lines, the later ones set in, so that none of them passes for one of ours.
fn set_in(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n  ")
}

/// Prints `error: ...`, one `because: ...` for each cause and `hint: ...` to standard error.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    if !failure.shown {
        note(&format!("error: {}", set_in(&failure.error.to_string())));
        let mut cause = failure.error.source();
        while let Some(error) = cause {
            note(&format!("  because: {}", set_in(&error.to_string())));
            cause = error.source();
        }
        if let Some(hint) = &failure.hint {
            note(&format!("hint: {}", set_in(hint)));
        }
    }
    ExitCode::from(failure.exit as u8)
}

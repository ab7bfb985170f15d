//! Root in the device's root namespace over the second serial port. Only the test image has someone listening there
//! (`xtask/src/image/probe/`); the production image has no shell at all.
//!
//! One line each way: base64 of a script goes in, `= <exit code> <base64 of its output>` comes back.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// The longest script of a scenario: reading a whole disk under TCG.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a script left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// Standard output and error, in the order they were written, the last newline dropped.
    pub text: String,
}

/// Why root's answer did not arrive.
#[derive(Debug, Error)]
pub enum RootShellError {
    /// The serial port.
    #[error("failed to talk over the second serial port")]
    Talk(#[from] io::Error),
    /// An answer that does not follow the framing.
    #[error("unexpected answer `{line}`")]
    Framing {
        /// The line as it came.
        line: String,
    },
}

#[derive(Debug)]
pub(crate) struct RootShell {
    reader: BufReader<UnixStream>,
    ready: bool,
}

impl RootShell {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { reader: BufReader::new(stream), ready: false }
    }

    /// The shell of a machine that goes on from a moment after its shell had said that it is ready.
    pub(crate) fn greeted(stream: UnixStream) -> Self {
        Self { ready: true, ..Self::new(stream) }
    }

    pub(crate) fn run(&mut self, script: &str) -> Result<Output, RootShellError> {
        self.reader.get_ref().set_read_timeout(Some(PATIENCE))?;
        while !self.ready {
            // Some firmware clears the screen of every serial port, without a line feed.
            self.ready = self.line()?.ends_with("ready");
        }
        let line = format!("{}\n", STANDARD.encode(script));
        self.reader.get_mut().write_all(line.as_bytes())?;
        parse(&self.line()?)
    }

    fn line(&mut self) -> Result<String, RootShellError> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(line.trim().to_owned())
    }
}

fn parse(line: &str) -> Result<Output, RootShellError> {
    let framing = || RootShellError::Framing { line: line.to_owned() };
    let rest = line.strip_prefix("= ").ok_or_else(framing)?;
    let (code, encoded) = rest.split_once(' ').unwrap_or((rest, ""));
    let code = code.parse().map_err(|_| framing())?;
    let bytes = STANDARD.decode(encoded).map_err(|_| framing())?;
    let text = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
    Ok(Output { code, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_framed() {
        let output = |code, text: &str| Output { code, text: text.to_owned() };
        assert_eq!(parse("= 0 aGkK").expect("framed"), output(0, "hi"));
        assert_eq!(parse("= 127").expect("framed"), output(127, ""));
        for line in ["", "hi", "= x aGkK", "= 0 a"] {
            assert!(parse(line).is_err(), "`{line}` is no answer");
        }
    }
}

//! Runs a tool of the build host: its messages become progress, its last ones the error.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    process::{Command, ExitStatus, Stdio},
};

use super::progress::Progress;

/// Lines of a failed tool that are shown.
const LINES_SHOWN: usize = 12;
/// Longest line that is kept, in bytes; a tool that writes no line end must not fill the memory.
const LINE_LIMIT: u64 = 4096;

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It could not be started.
    #[error("failed to start `{tool}`")]
    Start {
        /// Its name.
        tool: &'static str,
        /// The Debian package that has it.
        package: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// What it writes could not be read.
    #[error("failed to follow `{tool}`")]
    Follow {
        /// Its name.
        tool: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// It ended without success. A signal is no success either.
    #[error("`{tool}` ended with {status}: {}", messages.join("\n  "))]
    Failed {
        /// Its name.
        tool: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its last messages.
        messages: Vec<String>,
    },
}

impl Error {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Start { package, source, .. } if source.kind() == io::ErrorKind::NotFound => Some(format!(
                "install the Debian package `{package}` (`cargo xtask setup` installs all that is needed)"
            )),
            _ => None,
        }
    }
}

/// A tool and the Debian package that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    /// The program.
    pub(crate) name: &'static str,
    /// The package.
    pub(crate) package: &'static str,
}

impl Tool {
    /// Starts to describe a run. Messages come in English and times are fixed, whatever the caller's environment says.
    pub(crate) fn command(self) -> Command {
        let mut command = Command::new(self.name);
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("SOURCE_DATE_EPOCH", super::fixed::TIMESTAMP.to_string());
        command
    }

    /// Runs a command of this tool to its end, showing each line it writes to standard error as progress.
    pub(crate) fn run(self, command: &mut Command, progress: &Progress) -> Result<(), Error> {
        let follow = |source| Error::Follow { tool: self.name, source };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Start { tool: self.name, package: self.package, source })?;
        let mut output = BufReader::new(child.stderr.take().expect("standard error was asked to be piped"));

        let mut messages = VecDeque::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            if output.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line).map_err(follow)? == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            progress.say(&text);
            if messages.len() == LINES_SHOWN {
                messages.pop_front();
            }
            messages.push_back(text);
        }
        let status = child.wait().map_err(follow)?;
        if status.success() {
            Ok(())
        } else {
            Err(Error::Failed { tool: self.name, status, messages: messages.into() })
        }
    }

    /// Runs a command of this tool to its end and returns what it wrote, if it succeeded.
    pub(crate) fn ask(self, command: &mut Command) -> Result<String, Error> {
        let output = command.stdin(Stdio::null()).output().map_err(|source| Error::Start {
            tool: self.name,
            package: self.package,
            source,
        })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            let messages = text(&output.stderr).lines().take(LINES_SHOWN).map(str::to_owned).collect();
            Err(Error::Failed { tool: self.name, status: output.status, messages })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: Tool = Tool { name: "sh", package: "dash" };

    fn run(script: &str) -> Result<(), Error> {
        SHELL.run(SHELL.command().args(["-c", script]), &Progress::quiet())
    }

    #[test]
    fn a_failure_has_the_last_lines() {
        let error = run("for i in $(seq 20); do echo line $i >&2; done; exit 3").unwrap_err().to_string();
        assert!(error.starts_with("`sh` ended with exit status: 3: line 9\n"), "{error}");
        assert!(error.ends_with("  line 20"), "{error}");
    }

    #[test]
    fn a_signal_is_no_success() {
        assert!(run("true").is_ok());
        assert!(matches!(run("kill -KILL $$"), Err(Error::Failed { .. })));
    }

    #[test]
    fn a_missing_tool_names_its_package() {
        let tool = Tool { name: "catenoid-no-such-tool", package: "no-such-package" };
        let error = tool.ask(&mut tool.command()).unwrap_err();
        assert_eq!(
            error.hint().unwrap(),
            "install the Debian package `no-such-package` (`cargo xtask setup` installs all that is needed)"
        );
    }
}

//! ssh into c0, with the key of the development core guest.

use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::console::Console;

/// QEMU's network answers at once and a refused guest port closes at once: between two tries this long at most.
const RETRY: Duration = Duration::from_millis(250);

/// Why a command in c0 has no result.
#[derive(Debug, Error)]
pub enum SshError {
    /// Nobody greets on the port.
    #[error("no sshd in c0 within {seconds} s; the console's end:\n{tail}")]
    NoGreeting {
        /// How long was waited.
        seconds: u64,
        /// The last lines of the console.
        tail: String,
    },
    /// The ssh client.
    #[error("failed to run `ssh`")]
    Client(#[from] io::Error),
}

/// What a command in c0 left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 255 is also what `ssh` itself fails with, -1 a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A way into c0.
#[derive(Debug, Clone)]
pub struct Ssh {
    port: u16,
    key: PathBuf,
}

impl Ssh {
    /// Through `127.0.0.1:port`, as root with `key`.
    #[must_use]
    pub fn new(port: u16, key: impl Into<PathBuf>) -> Self {
        Self { port, key: key.into() }
    }

    /// Waits until sshd greets.
    pub fn wait(&self, console: &Console, patience: Duration) -> Result<(), SshError> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.greets() {
                return Ok(());
            }
            console.wait_any(RETRY);
        }
        Err(SshError::NoGreeting { seconds: patience.as_secs(), tail: console.tail() })
    }

    /// The ssh command line a person could type, up to the remote command.
    #[must_use]
    pub fn command_line(&self) -> Vec<String> {
        let mut line = vec!["ssh".to_owned(), "-p".to_owned(), self.port.to_string()];
        line.extend(["-i".to_owned(), self.key.display().to_string()]);
        // The host key is the device's, made at its first boot: a development VM is recognised by its port alone.
        for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"] {
            line.extend(["-o".to_owned(), option.to_owned()]);
        }
        line.push("root@127.0.0.1".to_owned());
        line
    }

    /// Runs one remote command (words are quoted for the remote shell) and gives what it left.
    pub fn run<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Result<Output, SshError> {
        self.run_with_stdin(words, b"")
    }

    /// The same with bytes on standard input.
    pub fn run_with_stdin<S: AsRef<str>>(
        &self,
        words: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Result<Output, SshError> {
        let remote = words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ");
        let mut child =
            self.client().arg(remote).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        std::thread::scope(|scope| {
            // A remote command may end without reading: what it then says matters, not the broken pipe.
            scope.spawn(move || drop(stdin.write_all(input)));
            let output = child.wait_with_output()?;
            Ok(Output {
                code: output.status.code().unwrap_or(-1),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            })
        })
    }

    /// Copies a local file to `path` in c0, streamed.
    pub fn copy(&self, local: &Path, path: &str) -> Result<Output, SshError> {
        let file = std::fs::File::open(local)?;
        let output = self.client().arg(format!("cat >{}", quote(path))).stdin(file).output()?;
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// An `ssh` to add words to, for streams. All share one connection, as each new one costs TCG seconds of arithmetic.
    #[must_use]
    pub fn client(&self) -> Command {
        let line = self.command_line();
        let mut command = Command::new(&line[0]);
        // A socket's path has 108 bytes at most, so not below the scenario's folder. No two machines have one port.
        command.arg("-o").arg(format!("ControlPath={}/catenoid-ssh-{}", env::temp_dir().display(), self.port));
        for option in ["ControlMaster=auto", "ControlPersist=20", "ServerAliveInterval=5", "ServerAliveCountMax=3"] {
            command.arg("-o").arg(option);
        }
        command.args(&line[1..]);
        command
    }

    fn greets(&self) -> bool {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let greeting = || -> io::Result<[u8; 4]> {
            let mut stream = TcpStream::connect_timeout(&address, RETRY)?;
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            let mut start = [0; 4];
            stream.read_exact(&mut start)?;
            Ok(start)
        };
        greeting().is_ok_and(|start| start == *b"SSH-")
    }
}

/// A word as a POSIX shell reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_remote_shell() {
        for (word, quoted) in [("a-b", "a-b"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$x", "'$x'")] {
            assert_eq!(quote(word), quoted);
        }
    }
}

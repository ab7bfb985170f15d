//! QEMU's machine protocol: JSON lines over a unix socket (QEMU's document `interop/qmp-spec`).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;

/// QEMU answers at once; a device that takes longer to unplug is waited for by its event.
const ANSWER: Duration = Duration::from_secs(20);

/// What went wrong with a QMP call.
#[derive(Debug, Error)]
pub enum QmpError {
    /// QEMU is not there (any more).
    #[error("failed to talk to QEMU about `{command}`")]
    Talk {
        /// The command, or `connect`.
        command: String,
        /// What the socket said.
        source: std::io::Error,
    },
    /// QEMU closed the connection.
    #[error("QEMU went away during `{command}`")]
    Gone {
        /// The command that had no answer.
        command: String,
    },
    /// An answer that is not JSON.
    #[error("QEMU's answer to `{command}` is not JSON")]
    Json {
        /// The command.
        command: String,
        /// Where it is broken.
        source: serde_json::Error,
    },
    /// QEMU understood and said no.
    #[error("QEMU refused `{command}`: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// `desc` of QEMU's error.
        reason: String,
    },
}

/// A connection in command mode.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Qmp {
    /// Connects and leaves negotiation mode.
    pub fn connect(socket: &Path) -> Result<Self, QmpError> {
        let talk = |source| QmpError::Talk { command: "connect".to_owned(), source };
        let stream = UnixStream::connect(socket).map_err(talk)?;
        Self::over(stream)
    }

    fn over(stream: UnixStream) -> Result<Self, QmpError> {
        stream
            .set_read_timeout(Some(ANSWER))
            .map_err(|source| QmpError::Talk { command: "connect".to_owned(), source })?;
        let mut qmp = Self { reader: BufReader::new(stream), events: Vec::new() };
        qmp.read("connect")?; // the greeting
        qmp.call("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and gives its `return`. Events that arrive meanwhile are kept for [`Self::wait_event`].
    pub fn call(&mut self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        let talk = |source| QmpError::Talk { command: command.to_owned(), source };
        self.reader.get_mut().write_all(line.as_bytes()).map_err(talk)?;
        loop {
            let mut answer = self.read(command)?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                let reason = error["desc"].as_str().unwrap_or("no reason given").to_owned();
                return Err(QmpError::Refused { command: command.to_owned(), reason });
            }
            self.events.push(answer);
        }
    }

    /// Plugs a device in (`device_add`); the properties include `driver` and `id`.
    pub fn plug(&mut self, properties: &Value) -> Result<(), QmpError> {
        self.call("device_add", properties).map(drop)
    }

    /// Pulls a device out and waits until the guest let go of it.
    pub fn unplug(&mut self, id: &str) -> Result<(), QmpError> {
        self.call("device_del", &json!({ "id": id }))?;
        self.wait_event("DEVICE_DELETED").map(drop)
    }

    /// The next event of that name, arrived or to come.
    pub fn wait_event(&mut self, name: &str) -> Result<Value, QmpError> {
        loop {
            if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
                return Ok(self.events.remove(at));
            }
            let event = self.read(name)?;
            self.events.push(event);
        }
    }

    fn read(&mut self, command: &str) -> Result<Value, QmpError> {
        let mut line = String::new();
        let read = self
            .reader
            .read_line(&mut line)
            .map_err(|source| QmpError::Talk { command: command.to_owned(), source })?;
        if read == 0 {
            return Err(QmpError::Gone { command: command.to_owned() });
        }
        serde_json::from_str(&line).map_err(|source| QmpError::Json { command: command.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// QEMU's side of a short conversation: what it says before and after each line it reads.
    fn scripted(answers: &'static [&'static str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        thread::spawn(move || {
            let mut reader = BufReader::new(theirs);
            for answer in answers {
                reader.get_mut().write_all(answer.as_bytes()).expect("the client lives");
                reader.read_line(&mut String::new()).expect("the client lives");
            }
        });
        ours
    }

    #[test]
    fn events_between_command_and_answer_are_kept() {
        let stream = scripted(&[
            "{\"QMP\":{}}\n",
            "{\"return\":{}}\n",
            "{\"event\":\"RESUME\"}\n{\"return\":{\"running\":true}}\n",
        ]);
        let mut qmp = Qmp::over(stream).expect("the greeting is good");
        assert_eq!(qmp.call("query-status", &json!({})).expect("an answer"), json!({"running": true}));
        assert_eq!(qmp.wait_event("RESUME").expect("kept"), json!({"event": "RESUME"}));
    }

    #[test]
    fn refusal_carries_the_reason() {
        let stream = scripted(&["{\"QMP\":{}}\n", "{\"return\":{}}\n", "{\"error\":{\"desc\":\"no such bus\"}}\n"]);
        let mut qmp = Qmp::over(stream).expect("the greeting is good");
        let error = qmp.plug(&json!({"driver": "usb-serial", "id": "one"})).expect_err("refused");
        assert_eq!(error.to_string(), "QEMU refused `device_add`: no such bus");
    }
}

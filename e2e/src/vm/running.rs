//! A machine that another process has switched on.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::SHUTDOWN;
use super::error::VmError;
use super::files::{file, through};
use crate::qmp::{Qmp, QmpError};

/// A machine started by another process with [`Builder::detached`](crate::vm::Builder::detached).
#[derive(Debug)]
pub struct Running {
    /// The port of 127.0.0.1 behind which c0's sshd is.
    pub ssh_port: u16,
    qmp: Qmp,
}

impl Running {
    /// The machine of `dir`, or `None` when it is off.
    pub fn find(dir: &Path) -> Result<Option<Self>, VmError> {
        let Ok(handle) = File::open(dir) else { return Ok(None) };
        let Ok(qmp) = Qmp::connect(&through(&handle, "qmp.sock")) else { return Ok(None) };
        let path = dir.join("vm.json");
        let note = fs::read_to_string(&path).map_err(file("read", &path))?;
        let port = serde_json::from_str::<serde_json::Value>(&note)
            .ok()
            .and_then(|note| note["ssh_port"].as_u64())
            .and_then(|port| u16::try_from(port).ok());
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no ssh_port in it");
        let ssh_port = port.ok_or_else(invalid).map_err(file("read", &path))?;
        Ok(Some(Self { ssh_port, qmp }))
    }

    /// Presses the power button, waits, and cuts the power when the device does not end by itself. Says which.
    pub fn down(mut self) -> Result<Down, VmError> {
        self.qmp.call("system_powerdown", &json!({}))?;
        let deadline = Instant::now() + SHUTDOWN;
        while Instant::now() < deadline {
            match self.qmp.wait_event("SHUTDOWN") {
                Ok(_) | Err(QmpError::Gone { .. }) => return Ok(Down::ByItself),
                Err(QmpError::Talk { source, .. })
                    if matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.qmp.call("quit", &json!({})) {
            Ok(_) | Err(QmpError::Gone { .. }) => Ok(Down::PowerCut),
            Err(error) => Err(error.into()),
        }
    }
}

/// How a detached machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// The device followed its power button.
    ByItself,
    /// It did not, and the power was cut.
    PowerCut,
}

//! Why a call failed.

use std::{error::Error, path::PathBuf, time::Duration};

use catenoid_schema::control::Problem;

/// What broke underneath, said by the innermost cause: the layers above it only say that sending a request failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Transport(String);

impl From<reqwest::Error> for Transport {
    fn from(error: reqwest::Error) -> Self {
        let mut cause: &dyn Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self(cause.to_string())
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client itself cannot be made.
    #[error("failed to prepare the connection to `{}`", socket.display())]
    Prepare {
        /// The agent's socket.
        socket: PathBuf,
        /// What broke.
        source: Transport,
    },
    /// Nobody takes a connection.
    #[error("failed to reach the device at `{}`", socket.display())]
    Unreachable {
        /// The agent's socket.
        socket: PathBuf,
        /// What broke.
        source: Transport,
    },
    /// The connection ended in the middle.
    #[error("the connection broke during `{call}`")]
    Broken {
        /// Method and path.
        call: String,
        /// What broke.
        source: Transport,
    },
    /// Nothing came for too long.
    #[error("the device did not answer `{call}` within {} s", limit.as_secs())]
    Silent {
        /// Method and path.
        call: String,
        /// How long was waited.
        limit: Duration,
    },
    /// A stream ended that the device ends when it goes away.
    #[error("the device ended the stream of `{call}`")]
    Ended {
        /// Method and path.
        call: String,
    },
    /// An answer without end.
    #[error("the answer to `{call}` is larger than {limit} bytes")]
    TooLarge {
        /// Method and path.
        call: String,
        /// The most bytes that are read.
        limit: usize,
    },
    /// An answer in another form.
    #[error("failed to understand the answer to `{call}`")]
    Understand {
        /// Method and path.
        call: String,
        /// What the decoder says.
        source: serde_json::Error,
    },
    /// An answer that lacks what is asked for.
    #[error("the answer to `{call}` lacks a usable header `{header}`")]
    Header {
        /// Method and path.
        call: String,
        /// The header that is missing, or cannot be read.
        header: &'static str,
    },
    /// An answer that is neither success nor a reason.
    #[error("the device answered `{call}` with status {status}: `{excerpt}`")]
    Unexpected {
        /// Method and path.
        call: String,
        /// The status of HTTP.
        status: u16,
        /// What its body begins with.
        excerpt: String,
    },
    /// The device says why it does not do what was asked.
    #[error("{}", problem.title)]
    Refused {
        /// What the device says.
        problem: Box<Problem>,
    },
}

impl ClientError {
    /// Whether the device is away, so that the same call may work later.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Prepare { .. }
                | Self::Unreachable { .. }
                | Self::Broken { .. }
                | Self::Silent { .. }
                | Self::Ended { .. }
        )
    }

    /// What the device said, if it answered with a reason.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem } => Some(problem),
            _ => None,
        }
    }
}

//! How the program ends when it does not end well: what it says, and its exit code.

use std::{error::Error, fmt::Write as _, path::PathBuf, process::ExitCode};

use catenoid_client::{ClientError, delivery::DeliveryError, follow::WaitError, push::PushError};
use catenoid_schema::{
    control::{MANIFEST_LIMIT, Problem},
    status::Subject,
};

use crate::show::{BAD, FAINT, HEADING, clean, duty, painted};

/// Why a command ended without what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("failed to start")]
    Start { source: std::io::Error },
    #[error("failed to read `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` is larger than {} bytes: it is no manifest", path.display(), MANIFEST_LIMIT.bytes())]
    TooLarge { path: PathBuf },
    #[error("failed to write to `{}`", path.display())]
    WritePage { path: PathBuf, source: std::io::Error },
    #[error("failed to write the answer")]
    Write { source: std::io::Error },
    #[error("failed to write the answer as json")]
    Encode { source: serde_json::Error },
    #[error("nothing on the device is called `{name}`")]
    Unknown { name: String },
    #[error("`{name}` is the name of {}", list(subjects))]
    Ambiguous { name: String, subjects: Vec<Subject> },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Push(#[from] PushError),
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error(transparent)]
    Wait(#[from] WaitError),
}

fn list(subjects: &[Subject]) -> String {
    subjects.iter().map(|subject| format!("`{}`", clean(subject.as_str()))).collect::<Vec<_>>().join(" and ")
}

/// The exit codes, as `--help` documents them. 2 is clap's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Unreachable = 3,
    NotConverged = 4,
    Degraded = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Failure {
    /// The call underneath that failed, if one did.
    fn call(&self) -> Option<&ClientError> {
        match self {
            Self::Client(source)
            | Self::Push(PushError::Push { source, .. })
            | Self::Delivery(DeliveryError::Ask { source })
            | Self::Wait(WaitError::Follow { source }) => Some(source),
            _ => None,
        }
    }

    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Wait(WaitError::Late { degraded: false, .. } | WaitError::Superseded { .. }) => Exit::NotConverged,
            Self::Wait(WaitError::Late { degraded: true, .. } | WaitError::Stuck { .. }) => Exit::Degraded,
            _ if self.call().is_some_and(ClientError::is_absence) => Exit::Unreachable,
            _ => Exit::Failed,
        }
    }

    /// What a person sees: the error, its causes, who must act, and what to do.
    pub(crate) fn report(&self) -> String {
        let mut out = format!("{} {}\n", painted(BAD, "error:"), clean(&self.to_string()));
        let mut add = |label: &str, text: &str| {
            writeln!(out, "  {}{text}", painted(FAINT, label)).expect("a String takes every text");
        };
        let mut cause = self.source();
        while let Some(source) = cause {
            add("caused by: ", &clean(&source.to_string()));
            cause = source.source();
        }
        let problem = self.call().and_then(ClientError::problem);
        if let Some(problem) = problem {
            if !problem.detail.is_empty() && problem.detail != problem.title {
                add("detail: ", &clean(&problem.detail));
            }
            add("", &format!("{} ({})", duty(problem.blame), clean(&problem.kind)));
        }
        let details = match self {
            Self::Wait(WaitError::Late { waiting, .. }) => waiting.as_slice(),
            Self::Wait(WaitError::Stuck { reasons }) => reasons.as_slice(),
            _ => &[],
        };
        let label = if matches!(self, Self::Wait(WaitError::Late { .. })) { "waiting for " } else { "" };
        for detail in details {
            add(label, detail);
        }
        if let Some(hint) = self.hint(problem) {
            writeln!(out, "{} {}", painted(HEADING, "hint:"), clean(&hint)).expect("a String takes every text");
        }
        out
    }

    fn hint(&self, problem: Option<&Problem>) -> Option<String> {
        if let Some(problem) = problem {
            return problem.hint.clone();
        }
        let hint = match self {
            Self::Unknown { .. } => "`catenoid status` lists what there is",
            Self::Ambiguous { .. } => "say which: `catenoid why KIND/NAME`",
            Self::Delivery(DeliveryError::GuestMissing { .. }) => {
                "put its `*.guest.cose` and its `*.image` into the folder; both come from `catenoid-sign guest`"
            }
            Self::Delivery(DeliveryError::ImageMissing { .. }) => {
                "its `*.image` must be the one that was signed: a rebuilt image has another digest"
            }
            Self::Push(PushError::Push { source, .. }) if source.is_absence() => {
                "run the same command again: the push goes on where it ended"
            }
            Self::Wait(WaitError::Late { .. } | WaitError::Stuck { .. }) => {
                "`catenoid why SUBJECT` says more; the device goes on by itself"
            }
            Self::Wait(WaitError::Superseded { .. }) => "`catenoid status` shows where the device stands",
            _ => match self.call()? {
                ClientError::Unreachable { .. } => {
                    "run this in the core container, or name the agent's socket with `--socket` or `CATENOID_SOCKET`"
                }
                ClientError::Understand { .. } | ClientError::Unexpected { .. } | ClientError::Header { .. } => {
                    "`catenoid version` shows whether program and agent are of the same version"
                }
                _ => return None,
            },
        };
        Some(hint.to_owned())
    }
}

//! Why a blob is not on the device, as far as that is known: the device says of no blob that nobody pushed it which it had,
//! and let go.

use std::fmt;

use catenoid_core::{Planner as _, Step as _};
use catenoid_guests::{GuestsPlanner, Step};
use catenoid_schema::{control::Event, digest::Digest, units::Timestamp};

use crate::record::{
    audit::Audit,
    event::{self, NewEvent},
};

/// The kind of the event that reports a push. Its message begins with the blob's digest.
pub(crate) const PUSHED: &str = "BlobPushed";

/// Why a blob is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// The last events do not report it.
    Unknown,
    /// What was accepted did not need it when the device made room.
    LetGo(Timestamp),
    /// It was altered on the disk, and removed.
    Altered,
    /// It was there, and the disk has it no more.
    Lost(Timestamp),
}

impl Absence {
    /// What the events in memory report of `blob`, which is not there.
    pub(crate) fn of(blob: Digest, audit: &Audit) -> Self {
        let done = step_done(&Step::RemoveBlob { blob });
        let let_go =
            |event: &Event| event.kind == done.kind && event.subject == done.subject && event.message == done.message;
        let named = blob.to_string();
        let pushed = |event: &Event| event.kind == PUSHED && event.message.starts_with(&named);
        match audit.find_last(|event| let_go(event) || pushed(event)) {
            None => Self::Unknown,
            Some(event) if pushed(&event) => Self::Lost(event.at),
            Some(event) => Self::LetGo(event.at),
        }
    }

    /// What to do about it.
    pub(crate) const fn hint(self) -> &'static str {
        match self {
            Self::Unknown => "push it first: `catenoid apply --guests FOLDER` does both",
            _ => "push it again: `catenoid apply --guests FOLDER` does both",
        }
    }
}

/// What is reported once `step` was done.
fn step_done(step: &Step) -> NewEvent {
    event::step_done(GuestsPlanner::NAME, step.subject(), &step.to_string())
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("is not on this device"),
            Self::LetGo(at) => write!(f, "was let go at {at}, when no accepted manifest needed it"),
            Self::Altered => f.write_str("was altered on the disk and is removed"),
            Self::Lost(at) => write!(f, "was pushed at {at} and is lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use catenoid_kernel_base::wait::Notify;

    use super::*;

    #[test]
    fn a_blob_that_was_let_go_was_pushed_once() {
        let blob = Digest::of(b"image");
        let pushed = |digest: Digest| NewEvent {
            kind: PUSHED,
            subject: None,
            actor: "container/core0 user 0".to_owned(),
            message: format!("{digest}, 9 bytes"),
        };
        let done = |step| step_done(&step);
        let other = Digest::of(b"other");
        let (push, let_go) = (pushed(blob), done(Step::RemoveBlob { blob }));
        let aside = [pushed(other), done(Step::RemoveBlob { blob: other }), done(Step::RemovePartial { blob })];
        for (index, (events, expected)) in [
            (vec![], "is not on this device"),
            (aside.to_vec(), "is not on this device"),
            (vec![push.clone(), let_go.clone()], "was let go at T, when no accepted manifest needed it"),
            (vec![let_go.clone(), push.clone()], "was pushed at T and is lost"),
            (
                vec![let_go.clone(), push.clone(), let_go.clone()],
                "was let go at T, when no accepted manifest needed it",
            ),
            // The disk lost a part of it: nobody let it go.
            (vec![push.clone(), done(Step::RemoveCut { image: blob })], "was pushed at T and is lost"),
        ]
        .into_iter()
        .enumerate()
        {
            let folder = tempfile::tempdir().unwrap();
            let audit = Audit::open(folder.path(), "boot", Notify::new().unwrap()).unwrap();
            events.into_iter().for_each(|event| audit.note(event));
            let absence = Absence::of(blob, &audit);
            let reported = match absence {
                Absence::LetGo(at) | Absence::Lost(at) => absence.to_string().replace(&at.to_string(), "T"),
                Absence::Unknown | Absence::Altered => absence.to_string(),
            };
            assert_eq!(reported, expected, "row {index}");
        }
    }
}

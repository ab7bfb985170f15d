//! An event as whoever reports it makes it: the audit log gives it its number and its time.

use catenoid_schema::status::Subject;

/// The actor of what the device does by itself.
pub(crate) const DEVICE: &str = "device";

/// What happened, before it has a number: see [`catenoid_schema::control::Event`].
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    /// Its stable name, for programs.
    pub kind: &'static str,
    /// The part of the device that it is about.
    pub subject: Option<Subject>,
    /// Who caused it: [`DEVICE`], or a user in a container.
    pub actor: String,
    /// All of it, for people.
    pub message: String,
}

impl NewEvent {
    /// Something the device did by itself.
    pub(crate) fn by_device(kind: &'static str, subject: Option<Subject>, message: impl Into<String>) -> Self {
        Self { kind, subject, actor: DEVICE.to_owned(), message: message.into() }
    }
}

/// Leaves so many bytes of `message`, and says so.
pub(crate) fn cut(message: &mut String, most: usize) {
    if message.len() > most {
        message.truncate(message.floor_char_boundary(most));
        message.push_str(" ...");
    }
}

/// What is reported of a step that was done.
pub(crate) fn step_done(room: &str, subject: Subject, description: &str) -> NewEvent {
    NewEvent::by_device("StepDone", Some(subject), format!("{room}: {description}"))
}

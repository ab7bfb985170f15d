//! What PID 1 wrote down for the agent.

use std::path::PathBuf;

use catenoid_containers::exit::RunEnd;
use catenoid_kernel_base::process;

use super::pid1::AgentEnd;
use crate::{
    paths::{AGENT_END, FOREIGN, RESET},
    record::event::NewEvent,
};

/// The records, each reported once. What cannot be read, or taken away then, is tried again in each pass.
pub(crate) struct Records(Vec<Record>);

struct Record {
    path: PathBuf,
    /// What is reported of it; nothing once that was done.
    event_of: Option<EventOf>,
}

type EventOf = fn(&str) -> Option<NewEvent>;

impl Records {
    pub(crate) fn of_pid_1() -> Self {
        let all: [(_, EventOf); 3] = [(AGENT_END, how_the_last_ended), (FOREIGN, left_out), (RESET, was_reset)];
        Self(all.into_iter().map(|(path, event_of)| Record { path: path.into(), event_of: Some(event_of) }).collect())
    }

    /// What is to be reported now.
    pub(crate) fn look(&mut self) -> Vec<NewEvent> {
        let mut happened = Vec::new();
        self.0.retain_mut(|Record { path, event_of }| match process::read_record(path) {
            Ok(Some(text)) => {
                happened.extend(event_of.take().and_then(|event_of| event_of(&text)));
                process::remove_record(path).is_err()
            }
            Ok(None) => false,
            Err(_) => true,
        });
        happened
    }
}

fn how_the_last_ended(record: &str) -> Option<NewEvent> {
    let end: AgentEnd = serde_json::from_str(record).ok()?;
    let kind = if end.end == RunEnd::OutOfMemory { "AgentOutOfMemory" } else { "AgentEnded" };
    Some(NewEvent::by_device(kind, None, format!("the agent before this one {end}")))
}

/// What lay beside the boot image and is nowhere now.
fn left_out(files: &str) -> Option<NewEvent> {
    let message = format!("files that nobody signed lay beside the boot image and were left out: {files}");
    Some(NewEvent::by_device("BootFilesForeign", None, message))
}

/// That the watchdog ended the boot before this one.
fn was_reset(record: &str) -> Option<NewEvent> {
    Some(NewEvent::by_device("WatchdogReset", None, record.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_at_the_start_is_recorded_later_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let record = |name: &str| Record { path: folder.path().join(name), event_of: Some(was_reset) };
        let mut records = Records(vec![record("late"), record("there"), record("none")]);
        std::fs::write(folder.path().join("there"), "it was reset").unwrap();
        std::fs::create_dir(folder.path().join("late")).unwrap();
        let messages =
            |records: &mut Records| records.look().into_iter().map(|messages| messages.message).collect::<Vec<_>>();
        assert_eq!(messages(&mut records), ["it was reset"]);
        assert!(!folder.path().join("there").exists());
        std::fs::remove_dir(folder.path().join("late")).unwrap();
        std::fs::write(folder.path().join("late"), "and late").unwrap();
        assert_eq!(messages(&mut records), ["and late"]);
        assert_eq!((messages(&mut records).len(), records.0.len()), (0, 0));
    }
}

//! Following a device: across restarts of its agent, and until it converged.

use std::time::Duration;

use catenoid_schema::{
    control::Event,
    status::{Health, Heartbeat, ManifestState},
};

use crate::{
    client::Client,
    error::ClientError,
    events::{Events, Extent, Message},
    judge::{Progress, has_looked, progress},
    words,
};

/// A stream of events that outlives the agent.
#[derive(Debug)]
pub struct Follower<'a> {
    client: &'a Client,
    since: u64,
    events: Option<Events>,
    /// Whether a manifest was accepted, which an event says before the status shows it.
    accepted: bool,
}

/// What a follower comes to know.
#[derive(Debug)]
pub enum News {
    /// Something happened.
    Event(Event),
    /// No event, but the device may have changed: the agent shows that it lives, or is back.
    Look,
    /// The agent went away. The next call waits for it.
    Lost(ClientError),
}

impl<'a> Follower<'a> {
    /// Follows the events after number `since`.
    #[must_use]
    pub fn new(client: &'a Client, since: u64) -> Self {
        Self { client, since, events: None, accepted: false }
    }

    /// Waits for the next news.
    ///
    /// # Errors
    /// When the agent stays away, or says what cannot be understood.
    pub async fn next(&mut self) -> Result<News, ClientError> {
        let Some(events) = &mut self.events else {
            self.client.await_return().await?;
            self.events = Some(self.client.events(self.since, Extent::Open).await?);
            return Ok(News::Look);
        };
        match events.next().await {
            Ok(Some(Message::Event(event))) => {
                self.came(&event);
                Ok(News::Event(event))
            }
            Ok(Some(Message::Alive)) => Ok(News::Look),
            Ok(None) => {
                self.events = None;
                Ok(News::Lost(ClientError::Ended { call: "GET /v1/events".to_owned() }))
            }
            Err(error) if error.is_absence() => {
                self.events = None;
                Ok(News::Lost(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Leaves out what arrived already: for who reads the whole status after each of many events.
    pub fn catch_up(&mut self) {
        let ready: Vec<_> = self.events.iter_mut().flat_map(Events::take_ready).collect();
        for message in ready {
            if let Message::Event(event) = message {
                self.came(&event);
            }
        }
    }

    fn came(&mut self, event: &Event) {
        self.since = self.since.max(event.number);
        self.accepted |= event.kind == "ManifestAccepted";
    }

    /// Whether the status is as it was before `event`: that of the last pass that ended, of which none did.
    fn changes_nothing(&mut self, event: &Event) -> bool {
        event.kind == "StepDone" && !std::mem::take(&mut self.accepted)
    }
}

/// Why waiting ended without convergence.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// Time ran out.
    #[error("the device did not converge within {} s", limit.as_secs_f64())]
    Late {
        /// How long was waited.
        limit: Duration,
        /// What it waited for last, for people.
        waiting: Vec<String>,
        /// Whether something did not work then.
        degraded: bool,
    },
    /// It will not get there by itself.
    #[error("the device cannot converge")]
    Stuck {
        /// What stands in the way, for people.
        reasons: Vec<String>,
    },
    /// Somebody else gave it another one.
    #[error("the device was given a newer manifest meanwhile: {}", words::manifest(newer))]
    Superseded {
        /// The manifest that it has now.
        newer: ManifestState,
    },
    /// A call failed.
    #[error("failed to follow the device")]
    Follow {
        /// Why it failed.
        source: ClientError,
    },
}

/// Waits until the device converged to `wanted`, which it took at the sign of life `since`. Calls `say` with what it waits for,
/// whenever that changes.
///
/// # Errors
/// [`WaitError`] when it does not converge within `limit`.
pub async fn wait(
    client: &Client,
    wanted: &ManifestState,
    since: &Heartbeat,
    limit: Duration,
    mut say: impl FnMut(&[String]),
) -> Result<(), WaitError> {
    let mut last = Last::default();
    let waiting = follow(client, wanted, since, &mut last, &mut say);
    match tokio::time::timeout(limit, waiting).await {
        Ok(result) => result,
        Err(_) => Err(WaitError::Late { limit, waiting: last.waiting, degraded: last.degraded }),
    }
}

/// What was seen last, for the case that time runs out.
#[derive(Debug, Default)]
struct Last {
    waiting: Vec<String>,
    degraded: bool,
}

async fn follow(
    client: &Client,
    wanted: &ManifestState,
    since: &Heartbeat,
    last: &mut Last,
    say: &mut impl FnMut(&[String]),
) -> Result<(), WaitError> {
    let error = |source| WaitError::Follow { source };
    let mut status = client.status().await.map_err(error)?;
    let mut follower = Follower::new(client, status.value.last_event);
    loop {
        last.degraded = status.value.subjects.iter().any(|subject| subject.health == Health::Degraded);
        let waiting = match progress(&status.value, status.at, wanted) {
            Progress::Converged => return Ok(()),
            Progress::Stuck(reasons) if has_looked(since, &status.value.heartbeat) => {
                return Err(WaitError::Stuck { reasons });
            }
            Progress::Stuck(reasons) => reasons,
            Progress::Superseded(newer) => return Err(WaitError::Superseded { newer }),
            Progress::Waiting(waiting) => waiting,
        };
        if waiting != last.waiting {
            say(&waiting);
            last.waiting = waiting;
        }
        status = loop {
            match follower.next().await.map_err(error)? {
                News::Lost(absence) => {
                    let waiting = vec![format!("the agent to come back ({absence})")];
                    say(&waiting);
                    last.waiting = waiting;
                    continue;
                }
                News::Event(event) if follower.changes_nothing(&event) => continue,
                News::Event(_) | News::Look => {}
            }
            follower.catch_up();
            match client.status().await {
                Ok(status) => break status,
                // The stream ends as well, and the follower waits for the agent.
                Err(absence) if absence.is_absence() => {}
                Err(other) => return Err(error(other)),
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use catenoid_schema::units::Timestamp;

    use super::*;

    #[test]
    fn a_step_is_looked_at_only_after_a_manifest_was_accepted() {
        let client = Client::new(Path::new("/nowhere")).unwrap();
        let mut follower = Follower::new(&client, 0);
        let event = |number, kind: &str| {
            let (at, actor) = (Timestamp::from_seconds(0).unwrap(), "device".to_owned());
            Event { number, at, kind: kind.to_owned(), subject: None, actor, message: String::new() }
        };
        assert!(follower.changes_nothing(&event(1, "StepDone")));
        follower.came(&event(2, "ManifestAccepted"));
        assert!(!follower.changes_nothing(&event(3, "StepDone")), "the status may show it by now, and did not before");
        assert!(follower.changes_nothing(&event(4, "StepDone")));
        assert!(!follower.changes_nothing(&event(5, "Converged")));
    }
}

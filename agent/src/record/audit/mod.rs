//! Everything that happened: an append-only log of events, and the line from which others watch them.
//!
//! A thread of its own writes ([`log`]): whoever only reports or reads never waits for the disk, and several that wait are
//! forced to it together. What cannot be written (a full disk) waits in memory, is reported all the same, and is written when
//! it can be. A log that was removed begins anew; its first record still names the last line of the old one.

#[cfg(all(test, feature = "testing"))]
pub(crate) mod held;
mod log;

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use catenoid_kernel_base::wait::Notify;
use catenoid_schema::{control::Event, status::Subject};
use tokio::sync::broadcast;

use super::{
    budget::Budget,
    event::{NewEvent, cut},
    rounds::Rounds,
};
use crate::clock;
use log::{BACKLOG, Force, Log, Past, PendingEvent};

/// A message's most bytes; it is cut there.
const MESSAGE_LIMIT: usize = 4096;

/// The log, shared by everyone in the agent. Once it is let go of, all that waits was tried to be written.
#[derive(Debug)]
pub(crate) struct Audit {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Held for moments, and never while somebody waits for the disk. In each round the writer tries to write all that waits.
    state: Rounds<State>,
    live: broadcast::Sender<Arc<Event>>,
    /// Wakes the pass when the log can no longer be written, or can be again.
    notify: Notify,
}

#[derive(Debug)]
struct State {
    /// Events that are not in the file yet, each with the milliseconds from boot to it.
    pending: VecDeque<PendingEvent>,
    /// Events that there was no room for in memory either.
    lost: u64,
    /// Why the file cannot be written.
    fault: Option<String>,
    next: u64,
    backlog: Past,
    budget: Budget,
}

impl Audit {
    /// Goes on with the log in `folder`, which is made if it is not there. What cannot be read or written is no reason not to
    /// begin: events wait until it can. `notify` wakes the pass when that begins or ends.
    ///
    /// # Errors
    /// If there is no thread for the writer.
    pub(crate) fn open(folder: &Path, boot_id: &str, notify: Notify) -> io::Result<Self> {
        Self::forced_by(File::sync_data, folder, boot_id, notify)
    }

    pub(crate) fn forced_by(force: Force, folder: &Path, boot_id: &str, notify: Notify) -> io::Result<Self> {
        let mut log = Log::new(folder, boot_id, force);
        let read = log.read();
        let unreadable = read.as_ref().err().map(|error| format!("what happened before is not known: {error}"));
        let backlog = read.unwrap_or_default();
        // Past the last number, which only somebody else's record can have, it stays: the device goes on.
        let next = backlog.events.back().map_or(1, |event| event.number.saturating_add(1));
        let (pending, budget) = (VecDeque::new(), Budget::default());
        let state = State { pending, lost: 0, fault: None, next, backlog, budget };
        let (state, live) = (Rounds::new(state), broadcast::channel(BACKLOG).0);
        let shared = Arc::new(Shared { state, live, notify });
        let writer = thread::Builder::new().name("audit".to_owned()).spawn({
            let shared = shared.clone();
            move || shared.state.work(|| shared.write(&mut log))
        })?;
        let audit = Self { shared, writer: Some(writer) };
        if let Some(message) = unreadable {
            audit.note(NewEvent::by_device("AuditLogUnreadable", None, message));
        }
        Ok(audit)
    }

    /// Reports an event to everyone who watches, and has it written. That it could not be written is itself an event, reported
    /// and kept in memory; the device goes on.
    /// Of a source that causes more than its share ([`Budget`]), several are reported as one.
    pub(crate) fn note(&self, new_event: NewEvent) {
        let mut state = self.shared.state.hold();
        let Some(new_event) = state.budget.admit(new_event, clock::since_boot_ms()) else { return };
        let event = self.shared.publish(&mut state, new_event);
        self.shared.state.ask(&mut state);
        drop(state);
        show_on_console(&event);
    }

    /// The same for what is answered as done: it is on the disk when this returns, or cannot be written for now. Waits for
    /// the disk.
    pub(crate) fn record(&self, new_event: NewEvent) {
        self.note(new_event);
        self.settle();
    }

    /// Waits until all that was noted is on the disk, or cannot be written for now; why not, if so.
    pub(crate) fn settle(&self) -> Option<String> {
        self.shared.state.settle().fault.clone()
    }

    /// Has written what waits for it or was only counted, and has looked whether the log is still there; why it could not be
    /// written when that was tried last, if so.
    pub(crate) fn look_after(&self) -> Option<String> {
        let mut state = self.shared.state.hold();
        let counted = state.budget.settle(clock::since_boot_ms());
        let events: Vec<_> = counted.into_iter().map(|new_event| self.shared.publish(&mut state, new_event)).collect();
        self.shared.state.ask(&mut state);
        let fault = state.fault.clone();
        drop(state);
        events.iter().for_each(|event| show_on_console(event));
        fault
    }

    /// The last event still in memory that is `wanted`: one of the last, or the last of its kind.
    pub(crate) fn find_last(&self, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let state = self.shared.state.hold();
        let Past { events, of_kinds } = &state.backlog;
        let long_ago = || of_kinds.values().filter(|event| wanted(event)).max_by_key(|event| event.number);
        events.iter().rfind(|event| wanted(event)).or_else(long_ago).map(|event| Event::clone(event))
    }

    /// The number of the last event; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.shared.state.hold().next.saturating_sub(1)
    }

    /// The events after number `since` that are still in memory, and all that come.
    pub(crate) fn watch(&self, since: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let state = self.shared.state.hold();
        let past = state.backlog.events.iter().filter(|event| event.number > since).cloned().collect();
        (past, self.shared.live.subscribe())
    }

    /// The last `count` events about `subject`, oldest first.
    pub(crate) fn about(&self, subject: &Subject, count: usize) -> Vec<Event> {
        let state = self.shared.state.hold();
        let about = state.backlog.events.iter().rev().filter(|event| event.subject.as_ref() == Some(subject));
        let mut events: Vec<_> = about.take(count).map(|event| Event::clone(event)).collect();
        events.reverse();
        events
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.shared.state.close();
        // One that panicked has said so.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}

impl Shared {
    /// Gives an event its number, and sends it to all but the console, for which nobody else has to wait.
    #[must_use]
    fn publish(&self, state: &mut State, new_event: NewEvent) -> Arc<Event> {
        let event = Arc::new(state.event(new_event));
        state.backlog.push(event.clone());
        state.pending.push_back((event.clone(), clock::since_boot_ms()));
        state.let_go_of_the_oldest();
        // Nobody may be watching.
        let _ = self.live.send(event.clone());
        event
    }

    /// Writes all that waits; that this begins to fail, or succeeds again, is an event too.
    fn write(&self, log: &mut Log) {
        if log.is_removed() {
            log.begin_anew();
            let mut state = self.state.hold();
            let message = format!("the audit log was removed, with all before event {}", state.next);
            let event = self.publish(&mut state, NewEvent::by_device("AuditLogLost", None, message));
            drop(state);
            show_on_console(&event);
        }
        let waiting = self.state.hold().pending.len();
        let fault = self.write_pending(log);
        let mut state = self.state.hold();
        let before = std::mem::replace(&mut state.fault, fault.clone());
        if before.is_some() == fault.is_some() {
            return;
        }
        let new_event = if let Some(fault) = &fault {
            let message = format!("events wait in memory until they can be written: {fault}");
            NewEvent::by_device("AuditLogUnwritable", None, message)
        } else {
            let lost = std::mem::take(&mut state.lost);
            let message = format!("{waiting} events were written late, {lost} were lost");
            NewEvent::by_device("AuditLogWritten", None, message)
        };
        let event = self.publish(&mut state, new_event);
        drop(state);
        show_on_console(&event);
        if fault.is_none() {
            let fault = self.write_pending(log);
            self.state.hold().fault = fault;
        }
        self.notify.notify();
    }

    /// Writes until nothing waits any more; why it cannot, if so.
    fn write_pending(&self, log: &mut Log) -> Option<String> {
        loop {
            let mut taken = std::mem::take(&mut self.state.hold().pending);
            if taken.is_empty() {
                return None;
            }
            let written = log.append_all(&mut taken);
            let Err(error) = written else { continue };
            let mut state = self.state.hold();
            taken.append(&mut state.pending);
            state.pending = taken;
            state.let_go_of_the_oldest();
            return Some(error.to_string());
        }
    }
}

/// The console may be slow, as the disk may.
fn show_on_console(event: &Event) {
    tracing::info!(kind = event.kind, subject = event.subject.as_ref().map(Subject::as_str), "{}", event.message);
}

impl State {
    fn event(&mut self, new_event: NewEvent) -> Event {
        let NewEvent { kind, subject, actor, mut message } = new_event;
        cut(&mut message, MESSAGE_LIMIT);
        let number = self.next;
        self.next = self.next.saturating_add(1);
        Event { number, at: clock::now(), kind: kind.to_owned(), subject, actor, message }
    }

    /// What waits takes no more memory than what is reported.
    fn let_go_of_the_oldest(&mut self) {
        while self.pending.len() > BACKLOG {
            self.pending.pop_front();
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests;

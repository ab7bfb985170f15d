//! How many events one source may have written: the log holds so much, and whoever can cause events without end would wash
//! those of others out of it.
//!
//! Each source has a purse for each kind of event. What comes while it is empty is counted, and reported as one event when it
//! has something again: nothing is reported twice, and the counts add up. What was counted and not reported yet ends with the
//! agent.

use std::collections::BTreeMap;

use super::event::{DEVICE, NewEvent};

/// Never counted instead of reported: it changes what the device does, and nobody can cause it without a signature.
const ALWAYS: &str = "ManifestAccepted";
/// For who speaks to the control interface: as many at once as blobs can be held, so that pushing all guests of a manifest
/// is reported in full.
const PEER: Share = Share { most: 256, every_ms: 60_000 };
/// For what a part of the device does, which containers can cause too (a core container that takes its own interfaces
/// down again and again): the busiest day of an honest device.
const SUBJECT: Share = Share { most: 1024, every_ms: 60_000 };

/// What a purse holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    /// Events at once.
    most: u64,
    /// Until there may be one more.
    every_ms: u64,
}

/// Who caused it, on which part of the device, and what kind of event it is.
type Source = (String, Option<String>, &'static str);

/// The purses of all sources that have spent something.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    purses: BTreeMap<Source, Purse>,
}

#[derive(Debug)]
struct Purse {
    share: Share,
    left: u64,
    /// Since when nothing was put in.
    filled_ms: u64,
    counted: Option<Counted>,
}

/// Events that were not reported.
#[derive(Debug)]
struct Counted {
    count: u64,
    since_ms: u64,
    last: NewEvent,
}

impl Budget {
    /// What is to be reported now that this happened: it, or with it all that was counted before, or nothing.
    pub(crate) fn admit(&mut self, new_event: NewEvent, now_ms: u64) -> Option<NewEvent> {
        if new_event.kind == ALWAYS {
            return Some(new_event);
        }
        let share = if new_event.actor == DEVICE { SUBJECT } else { PEER };
        let subject = new_event.subject.as_ref().map(|subject| subject.as_str().to_owned());
        let source = (new_event.actor.clone(), subject, new_event.kind);
        let full = Purse { share, left: share.most, filled_ms: now_ms, counted: None };
        let purse = self.purses.entry(source).or_insert(full);
        purse.fill(now_ms);
        match &mut purse.counted {
            Some(counted) => {
                counted.count += 1;
                counted.last = new_event;
                purse.take_counted(now_ms)
            }
            None if purse.left > 0 => {
                purse.left -= 1;
                Some(new_event)
            }
            None => {
                purse.counted = Some(Counted { count: 1, since_ms: now_ms, last: new_event });
                None
            }
        }
    }

    /// What was counted and may be reported by now, though nothing happened since. Purses that are full are forgotten.
    pub(crate) fn settle(&mut self, now_ms: u64) -> Vec<NewEvent> {
        let mut due = Vec::new();
        self.purses.retain(|_, purse| {
            purse.fill(now_ms);
            due.extend(purse.take_counted(now_ms));
            purse.left < purse.share.most
        });
        due
    }
}

impl Purse {
    fn fill(&mut self, now_ms: u64) {
        let coins = now_ms.saturating_sub(self.filled_ms) / self.share.every_ms;
        self.left = self.left.saturating_add(coins).min(self.share.most);
        self.filled_ms += coins * self.share.every_ms;
    }

    fn take_counted(&mut self, now_ms: u64) -> Option<NewEvent> {
        if self.left == 0 {
            return None;
        }
        let Counted { count, since_ms, last } = self.counted.take()?;
        self.left -= 1;
        if count == 1 {
            return Some(last);
        }
        let (more, seconds) = (count - 1, now_ms.saturating_sub(since_ms) / 1000);
        let message = format!("{} (and {more} more of these in {seconds} s, which are not recorded)", last.message);
        Some(NewEvent { message, ..last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catenoid_schema::status::{Kind, Subject};

    fn refused(number: u64) -> NewEvent {
        let actor = "container/core0 user 0".to_owned();
        NewEvent { kind: "ManifestRefused", subject: None, actor, message: format!("number {number}") }
    }

    /// The events that a message stands for.
    fn stands_for(event: &NewEvent) -> u64 {
        let more = event.message.split_once("(and ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        1 + more.unwrap_or(0)
    }

    #[test]
    fn a_flood_is_recorded_once_a_minute_and_every_event_of_it_is_counted() {
        let mut budget = Budget::default();
        // An hour of a thousand a second.
        let admitted: Vec<_> = (0..3_600_000).filter_map(|number| budget.admit(refused(number), number)).collect();
        assert_eq!(admitted.len() as u64, PEER.most + 59);
        assert_eq!(admitted[0].message, "number 0");
        let shown = "number 60000 (and 59744 more of these in 59 s, which are not recorded)";
        assert_eq!(admitted[usize::try_from(PEER.most).unwrap()].message, shown);
        let rest = budget.settle(3_600_000 + PEER.every_ms);
        assert_eq!(rest.len(), 1);
        assert_eq!(admitted.iter().chain(&rest).map(stands_for).sum::<u64>(), 3_600_000);
    }

    #[test]
    fn what_was_counted_is_recorded_though_nothing_happens_any_more() {
        let mut budget = Budget::default();
        let admitted = (0..PEER.most + 3).filter(|number| budget.admit(refused(*number), 5).is_some()).count();
        assert_eq!(admitted as u64, PEER.most);
        assert!(budget.settle(PEER.every_ms).is_empty(), "not before there is something in the purse");
        let rest = budget.settle(PEER.every_ms + 5);
        assert_eq!(
            rest.iter().map(|event| event.message.as_str()).collect::<Vec<_>>(),
            ["number 258 (and 2 more of these in 60 s, which are not recorded)"]
        );
        assert!(budget.settle(PEER.every_ms * 2).is_empty());
    }

    #[test]
    fn who_floods_takes_nothing_from_others() {
        let mut budget = Budget::default();
        while budget.admit(refused(0), 0).is_some() {}
        let device =
            |subject: &str| NewEvent::by_device("StepDone", Some(Subject::new(Kind::Container, subject)), "done");
        assert!(budget.admit(device("web"), 0).is_some());
        while budget.admit(device("web"), 0).is_some() {}
        assert!(budget.admit(device("db"), 0).is_some());
        let other = NewEvent { actor: "container/other user 0".to_owned(), ..refused(0) };
        assert!(budget.admit(other, 0).is_some());
        let accepted = NewEvent { kind: ALWAYS, ..refused(0) };
        assert!((0..=PEER.most).all(|_| budget.admit(accepted.clone(), 0).is_some()), "always reported");
    }

    #[test]
    fn a_source_that_is_quiet_again_costs_no_memory() {
        let mut budget = Budget::default();
        budget.admit(refused(0), 0);
        budget.settle(PEER.every_ms - 1);
        assert_eq!(budget.purses.len(), 1);
        budget.settle(PEER.every_ms);
        assert_eq!(budget.purses.len(), 0);
    }
}

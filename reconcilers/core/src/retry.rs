//! When a failed subject is tried again: full-jitter back-off from 0.5 s to 300 s, never given up, reset by any change
//! of its inputs. What failed by itself ([`Setback`]) says how long it is paused for.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use catenoid_schema::status::Subject;

/// The first pause is drawn from zero to this.
const FIRST: Duration = Duration::from_millis(500);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(300);

/// The subjects that failed, and when each is tried again.
#[derive(Debug, Default)]
pub struct Retries {
    subjects: BTreeMap<Subject, Waiting>,
    /// The setbacks that were taken in, so that each is paused for once.
    set_back: BTreeMap<Subject, u64>,
}

/// Something that a room set up and that failed by itself: a container that ended. Its next step waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// What failed.
    pub subject: Subject,
    /// Distinguishes this time from every other of the subject.
    pub id: u64,
    /// How long its steps wait: nothing, where it worked well before.
    pub pause: Duration,
    /// What happened, for people.
    pub message: String,
}

/// A subject that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again.
    pub until: Instant,
}

impl Retries {
    /// Notes a failure of `subject` at `now`; answers when it is tried again.
    pub fn failed(&mut self, subject: Subject, now: Instant) -> Instant {
        let failures = self.subjects.get(&subject).map_or(0, |w| w.failures).saturating_add(1);
        let most = FIRST.saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX)).min(LONGEST);
        let until = now + most.mul_f64(fastrand::f64());
        self.subjects.insert(subject, Waiting { failures, until });
        until
    }

    /// Forgets the failures of `subject`: a step of it worked, or its inputs changed.
    pub fn reset(&mut self, subject: &Subject) {
        self.subjects.remove(subject);
    }

    /// Takes in all that is set back at `now`; gives what was not known yet. A restart of the agent knows none, and pauses
    /// anew for what it finds.
    pub fn set_back(&mut self, all: Vec<Setback>, now: Instant) -> Vec<Setback> {
        let known: BTreeMap<_, _> = all.iter().map(|setback| (setback.subject.clone(), setback.id)).collect();
        let before = std::mem::replace(&mut self.set_back, known);
        let new: Vec<_> = all.into_iter().filter(|s| before.get(&s.subject) != Some(&s.id)).collect();
        for setback in &new {
            let failures = self.subjects.get(&setback.subject).map_or(0, |waiting| waiting.failures);
            let waiting = Waiting { failures, until: now + setback.pause };
            self.subjects.insert(setback.subject.clone(), waiting);
        }
        new
    }

    /// Forgets what `stays` does not say to keep.
    pub fn retain(&mut self, stays: impl Fn(&Subject) -> bool) {
        self.subjects.retain(|subject, _| stays(subject));
    }

    /// When each of them is tried again.
    pub fn all(&self) -> impl Iterator<Item = (&Subject, Instant)> {
        self.subjects.iter().map(|(subject, waiting)| (subject, waiting.until))
    }

    /// Forgets all failures: a new manifest pre-empts every wait.
    pub fn reset_all(&mut self) {
        self.subjects.clear();
    }

    /// Whether `subject` waits at `now`, and until when.
    #[must_use]
    pub fn waiting(&self, subject: &Subject, now: Instant) -> Option<Waiting> {
        self.subjects.get(subject).copied().filter(|w| w.until > now)
    }
}

#[cfg(test)]
mod tests {
    use catenoid_schema::status::Kind;

    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_never_end() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        let subject = Subject::new(Kind::Container, "web");
        for failures in 1..100u32 {
            let until = retries.failed(subject.clone(), now);
            let most = Duration::from_secs_f64(0.5 * 2f64.powi(failures.min(20) as i32 - 1)).min(LONGEST);
            assert!(until <= now + most, "pause {failures} is longer than {most:?}");
        }
        assert_eq!(retries.subjects[&subject].failures, 99);
    }

    #[test]
    fn a_setback_is_paused_for_once_and_a_new_manifest_ends_that() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        let subject = Subject::new(Kind::Container, "web");
        let pause = Duration::from_secs(8);
        let setback = |id| Setback { subject: subject.clone(), id, pause, message: "it ended".to_owned() };
        assert_eq!(retries.set_back(vec![setback(7)], now), [setback(7)]);
        assert_eq!(retries.waiting(&subject, now).map(|waiting| waiting.until), Some(now + pause));
        let later = now + pause;
        assert_eq!((retries.set_back(vec![setback(7)], later), retries.waiting(&subject, later)), (vec![], None));
        assert_eq!(retries.set_back(vec![setback(8)], later), [setback(8)]);
        retries.reset_all();
        assert_eq!((retries.set_back(vec![setback(8)], later), retries.waiting(&subject, later)), (vec![], None));
        // It was gone in between: the kernel gives a number twice.
        retries.set_back(vec![], later);
        assert_eq!(retries.set_back(vec![setback(8)], later), [setback(8)]);
    }

    #[test]
    fn a_subject_waits_alone_and_only_until_its_time() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        let (web, db) = (Subject::new(Kind::Container, "web"), Subject::new(Kind::Container, "db"));
        let until = retries.failed(web.clone(), now);
        assert_eq!(retries.waiting(&db, now), None);
        assert_eq!(retries.waiting(&web, until), None);
        retries.reset(&web);
        assert_eq!(retries.waiting(&web, now), None);
    }
}

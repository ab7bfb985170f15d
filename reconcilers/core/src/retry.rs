//! When a failed subject is tried again: full-jitter back-off from 0.5 s to 300 s, never given up, reset by any change
//! of its inputs.

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
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_never_end() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        let subject = Subject::new("container", "web");
        for failures in 1..100u32 {
            let until = retries.failed(subject.clone(), now);
            let most = Duration::from_secs_f64(0.5 * 2f64.powi(failures.min(20) as i32 - 1)).min(LONGEST);
            assert!(until <= now + most, "pause {failures} is longer than {most:?}");
        }
        assert_eq!(retries.subjects[&subject].failures, 99);
    }

    #[test]
    fn a_subject_waits_alone_and_only_until_its_time() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        let (web, db) = (Subject::new("container", "web"), Subject::new("container", "db"));
        let until = retries.failed(web.clone(), now);
        assert_eq!(retries.waiting(&db, now), None);
        assert_eq!(retries.waiting(&web, until), None);
        retries.reset(&web);
        assert_eq!(retries.waiting(&web, now), None);
    }
}

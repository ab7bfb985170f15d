//! A row: one attempt, and what must become of it where it is made.

use serde_json::json;

use crate::sys::Refusal;

/// Where an attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptPlace {
    /// As root of the core container.
    Core,
    /// As root of a service container with every capability that a manifest can grant one.
    Service,
    /// As root of the device, where nothing confines: what is not reached here says nothing elsewhere.
    Root,
}

impl AttemptPlace {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [("core", Self::Core), ("service", Self::Service), ("root", Self::Root)]
            .into_iter()
            .find_map(|(name, place)| (name == text).then_some(place))
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It reached what it is after.
    Reached(String),
    /// It did not, because of this.
    Stopped(String),
    /// It was not made as it should have been: that says nothing, and is never as it must be.
    Broken(String),
}

impl Outcome {
    /// Every answer but a refusal is success.
    pub(crate) fn of<T>(result: Result<T, impl Into<Refusal>>) -> Self {
        match result {
            Ok(_) => Self::Reached("done".to_owned()),
            Err(refusal) => Self::Stopped(refusal.into().to_string()),
        }
    }

    /// The same for a call that is asked for nothing real: an answer among `past` comes after the permission was given.
    pub(crate) fn past(result: Result<i64, Refusal>, past: &[i32]) -> Self {
        match result {
            Err(refusal) if !refusal.filter && past.contains(&refusal.errno) => {
                Self::Reached(format!("permitted; then {refusal}"))
            }
            result => Self::of(result),
        }
    }

    /// Reached if something was found.
    pub(crate) fn found(found: &[String]) -> Self {
        match found {
            [] => Self::Stopped("not visible".to_owned()),
            [first] => Self::Reached(first.clone()),
            [first, ..] => Self::Reached(format!("{first} and {} more", found.len() - 1)),
        }
    }
}

/// What must become of an attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Must {
    /// It is stopped. Where that needs saying, why also in the root namespace.
    Stop,
    /// It reaches what it is after, and why it may.
    Reach(&'static str),
    /// It is stopped by the device itself, whoever tries.
    StopAlways(&'static str),
    /// It is not made, and why.
    Skip(&'static str),
}

/// One attempt.
pub(crate) struct Row {
    name: String,
    core: Must,
    service: Must,
    root: Must,
    attempt: Box<dyn Fn() -> Outcome>,
}

impl Row {
    /// Stopped in every container; reached in the root namespace.
    pub(crate) fn new(name: impl Into<String>, attempt: impl Fn() -> Outcome + 'static) -> Self {
        let root = Must::Reach("nothing confines the root namespace");
        Self { name: name.into(), core: Must::Stop, service: Must::Stop, root, attempt: Box::new(attempt) }
    }

    /// The core container reaches it.
    pub(crate) fn core(mut self, why: &'static str) -> Self {
        self.core = Must::Reach(why);
        self
    }

    /// A service container reaches it.
    pub(crate) fn service(mut self, why: &'static str) -> Self {
        self.service = Must::Reach(why);
        self
    }

    /// The device does not let its root do it either.
    pub(crate) fn nobody(mut self, why: &'static str) -> Self {
        self.root = Must::StopAlways(why);
        self
    }

    /// Not made in the root namespace.
    pub(crate) fn not_by_root(mut self, why: &'static str) -> Self {
        self.root = Must::Skip(why);
        self
    }

    /// Makes the attempt and prints a line of JSON about it; whether it came as it must.
    pub(crate) fn run(&self, area: &str, place: AttemptPlace) -> bool {
        let must = match place {
            AttemptPlace::Core => self.core,
            AttemptPlace::Service => self.service,
            AttemptPlace::Root => self.root,
        };
        let (outcome, by, note) = match must {
            Must::Skip(why) => ("skipped", String::new(), why),
            Must::Stop => row_of((self.attempt)(), ""),
            Must::Reach(why) | Must::StopAlways(why) => row_of((self.attempt)(), why),
        };
        let wanted = match must {
            Must::Skip(_) => "skipped",
            Must::Stop | Must::StopAlways(_) => "stopped",
            Must::Reach(_) => "reached",
        };
        let mut line =
            json!({"name": self.name, "area": area, "outcome": outcome, "by": by, "asItMust": outcome == wanted});
        if !note.is_empty() {
            line["note"] = note.into();
        }
        crate::say(&line.to_string());
        outcome == wanted
    }
}

fn row_of(outcome: Outcome, note: &'static str) -> (&'static str, String, &'static str) {
    match outcome {
        Outcome::Reached(what) => ("reached", what, note),
        Outcome::Stopped(by) => ("stopped", by, note),
        Outcome::Broken(how) => ("broken", how, note),
    }
}

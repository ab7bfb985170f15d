//! The violations that are found, and what several sections have in common.

use crate::{
    foreign::listed,
    limits::VIOLATIONS_LIMIT,
    manifest::{CORE, ROOT},
    name::Name,
    violation::Violation,
};

/// The most names in one hint: whoever mends them sees the next ones.
const NAMED: usize = 8;

/// Words of ours that stand where the names of one kind stand: a kind, a word, and what it stands for. None of that kind is
/// called so. All else that is named after something of a manifest has a place of its own: a control group (the kernel's
/// files beside it have a dot), a folder for each container, a chain (`zone-...`), an interface (with a prefix or a number).
const RESERVED: [(&str, &str, &str); 2] = [
    ("zone", CORE, "the core container in flows"),
    ("container", ROOT, "the device's own network namespace in a status"),
];

/// The first [`VIOLATIONS_LIMIT`] of them.
#[derive(Default)]
pub(super) struct Found(pub(super) Vec<Violation>);

impl Found {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Violation { path: path.into(), message: message.into(), hint: None });
    }

    pub(super) fn hint(&mut self, path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Violation { path: path.into(), message: message.into(), hint: Some(hint.into()) });
    }

    fn push(&mut self, violation: Violation) {
        if self.0.len() < VIOLATIONS_LIMIT {
            self.0.push(violation);
        }
    }

    pub(super) fn reserved(&mut self, kind: &str, name: &Name) {
        let word = RESERVED.iter().find(|(of, word, _)| *of == kind && *word == name.as_str());
        if let Some((_, word, what)) = word {
            self.add(format!("{kind}s.{name}"), format!("`{word}` stands for {what} and cannot name a {kind}"));
        }
    }
}

pub(super) fn known<'a>(what: &str, names: impl ExactSizeIterator<Item = &'a Name>) -> String {
    format!("{what} {}", listed(names, NAMED).unwrap_or_else(|| "none".to_owned()))
}

//! A rule that a document breaks.

use std::fmt;

/// One rule broken at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where: the keys from the top, as in `containers.web.zones`.
    pub path: String,
    /// What is wrong there.
    pub message: String,
    /// What to do about it, if there is one thing.
    pub hint: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

//! What a person sees while a guest is built. Nothing, when standard error is not a terminal.

use std::time::Duration;

use catenoid_schema::foreign::clean;
use indicatif::{ProgressBar, ProgressStyle};

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// One piece of long work.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Work of unknown length.
    pub(crate) fn spinner(what: &str) -> Self {
        let bar = ProgressBar::new_spinner().with_prefix(what.to_owned());
        bar.set_style(style("{spinner} {prefix} {wide_msg:.dim}"));
        bar.enable_steady_tick(TURN);
        Self(bar)
    }

    /// Work on a number of bytes.
    pub(crate) fn bytes(what: &str, bytes: u64) -> Self {
        let bar = ProgressBar::new(bytes).with_prefix(what.to_owned());
        bar.set_style(style("{prefix:20} [{wide_bar}] {bytes}/{total_bytes} {eta}"));
        Self(bar)
    }

    /// Work nobody looks at.
    #[cfg(test)]
    pub(crate) fn quiet() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Shows what the work is at.
    pub(crate) fn say(&self, text: &str) {
        self.0.set_message(clean(text));
    }

    /// Moves on by a number of bytes.
    pub(crate) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this module are well-formed; each is used in a test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_can_be_shown() {
        Progress::spinner("packages").say("unpacking");
        Progress::bytes("hash tree", 10).advance(10);
    }
}

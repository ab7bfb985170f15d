//! Progress of long work, on the error stream: bars on a terminal, one line per finished thing elsewhere.

use std::time::{Duration, Instant};

use catenoid_client::{ClientError, push::Moved};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    show::{clean, size},
    terminal::note,
};

/// Shows what happens to one file after the other.
#[derive(Debug, Default)]
pub(crate) struct Shown(Option<FileProgress>);

impl Shown {
    /// Shows what happened next.
    pub(crate) fn show(&mut self, moved: Moved<'_>) {
        match moved {
            Moved::Reading { name, bytes } => self.0 = Some(FileProgress::start("reading", name, bytes)),
            Moved::Pushing { name, bytes } => self.0 = Some(FileProgress::start("pushing", name, bytes)),
            Moved::Held { name } => note(&format!("held   {}: the device has it already", clean(name))),
            Moved::Read { bytes } | Moved::Sent { bytes } => self.with_bar(|bar| bar.inc(bytes)),
            Moved::From { byte } => self.with_bar(|bar| {
                bar.set_position(byte);
                bar.reset_eta();
            }),
            Moved::Broke { failure, byte } => {
                self.with_bar(|bar| bar.suspend(|| note(&going_on(failure, byte))));
            }
            Moved::WasRead => drop(self.0.take().map(FileProgress::abandon)),
            Moved::Pushed { bytes } => drop(self.0.take().map(|progress| progress.finish("pushed", bytes))),
        }
    }

    fn with_bar(&self, change: impl FnOnce(&ProgressBar)) {
        if let Some(progress) = &self.0 {
            change(&progress.bar);
        }
    }
}

/// What is said of a push that broke and goes on at a byte.
fn going_on(failure: &ClientError, byte: u64) -> String {
    format!("note: {}; going on at byte {byte}", clean(&failure.to_string()))
}

/// The progress of one file.
#[derive(Debug)]
struct FileProgress {
    bar: ProgressBar,
    name: String,
    started: Instant,
}

impl FileProgress {
    /// Starts to show work on `name`, of `total` bytes.
    fn start(verb: &str, name: &str, total: u64) -> Self {
        let name = clean(name);
        let template = "{prefix} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is well formed").progress_chars("=> ");
        let bar = ProgressBar::new(total).with_style(style).with_prefix(format!("{verb} {name}"));
        Self { bar, name, started: Instant::now() }
    }

    /// Ends the bar and says what was done with `bytes`.
    fn finish(self, verb: &str, bytes: u64) {
        self.bar.finish_and_clear();
        let elapsed = self.started.elapsed();
        note(&format!(
            "{verb} {}: {} in {:.1} s ({}/s)",
            self.name,
            size(bytes),
            elapsed.as_secs_f64(),
            size(rate(bytes, elapsed))
        ));
    }

    /// Ends the bar without a word.
    fn abandon(self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes per second.
fn rate(bytes: u64, elapsed: Duration) -> u64 {
    let per_second = u128::from(bytes) * 1000 / elapsed.as_millis().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use catenoid_schema::{control::Problem, status::Blame};

    use super::*;

    #[test]
    fn what_broke_a_push_is_said_on_one_line() {
        let problem = Problem {
            kind: "urn:catenoid:error:blob-offset".to_owned(),
            title: "other\nerror: done\u{1b}[31m".to_owned(),
            status: 409,
            detail: String::new(),
            blame: Blame::Administrator,
            hint: None,
        };
        let failure = ClientError::Refused { problem: Box::new(problem) };
        assert_eq!(going_on(&failure, 7), "note: other\\nerror: done\\u{1b}[31m; going on at byte 7");
    }
}

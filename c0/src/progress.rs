//! Progress of long work, on the error stream: bars on a terminal, one line per finished thing elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    show::{clean, size},
    terminal::note,
};

/// The progress of one file.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    name: String,
    started: Instant,
}

impl Progress {
    /// Starts to show work on `name`, of `total` bytes.
    pub(crate) fn start(verb: &str, name: &str, total: u64) -> Self {
        let name = clean(name);
        let template = "{prefix} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is well formed").progress_chars("=> ");
        let bar = ProgressBar::new(total).with_style(style).with_prefix(format!("{verb} {name}"));
        Self { bar, name, started: Instant::now() }
    }

    /// The bar, to be moved by whoever does the work.
    pub(crate) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Ends the bar and says what was done with `bytes`.
    pub(crate) fn finish(self, verb: &str, bytes: u64) {
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
    pub(crate) fn abandon(self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes per second.
fn rate(bytes: u64, elapsed: Duration) -> u64 {
    let per_second = u128::from(bytes) * 1000 / elapsed.as_millis().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

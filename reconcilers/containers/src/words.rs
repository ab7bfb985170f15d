//! How ends, checks and failures are put into words, in a status and in a step.

use catenoid_schema::units::Span;

use crate::{
    Checked,
    exit::{Exit, RunEnd},
};

/// `its health check failed 3 times in a row: it exited with code 1`.
pub(crate) fn unhealthy(checked: Option<&Checked>) -> String {
    let (failures, said) = checked.map_or((0, ""), |checked| (checked.failures, checked.said.as_str()));
    let times = if failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") };
    format!("its health check failed {times}: {said}")
}

/// How a run ended, as a sentence.
pub(crate) fn words(exit: Option<&Exit>) -> String {
    exit.map_or_else(|| "it ended, and nobody saw how".to_owned(), |exit| format!("it {}", ran(exit)))
}

/// `exited with code 1 after 3s`, `was killed by SIGSEGV after 2m`.
pub(crate) fn ran(exit: &Exit) -> String {
    let seconds = Span::from_milliseconds(exit.ran.milliseconds() / 1000 * 1000);
    let time = if seconds.milliseconds() == 0 { exit.ran } else { seconds };
    let was = if matches!(exit.end, RunEnd::Code(_)) { "" } else { "was " };
    format!("{was}{} after {time}", exit.end)
}

/// `1 failure in a row`, `3 failures in a row`.
pub(crate) fn counted(failures: u32) -> String {
    format!("{failures} failure{} in a row", if failures == 1 { "" } else { "s" })
}

//! The only way to the console and the log: what is written is made harmless here. Names of files, of programs and of what
//! documents hold are not ours.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use catenoid_kernel_boot::console::{self, Line};
use catenoid_schema::foreign::clean;

/// What PID 1 and the agent say. One that takes nothing for so long is not waited for: a terminal may hold it for ever.
static CONSOLE: Line = Line::new(Duration::from_secs(2));

/// Nobody waits for the console from now on: not this process, nor those that it starts.
pub(crate) fn never_wait() {
    // It fails only where there is none.
    let _ = console::never_wait(io::stdout());
    let _ = console::never_wait(io::stderr());
}

/// Says something on the console, as PID 1.
pub(crate) fn say(text: &str) {
    CONSOLE.say(io::stdout(), format!("catenoid: {}\n", clean(text)).as_bytes());
}

/// Says why this program ends.
pub(crate) fn end(why: &str) {
    CONSOLE.say(io::stderr(), format!("catenoid-agent: error: {}\n", clean(why)).as_bytes());
}

/// The log of this process, an event at once. It takes every event: what the console does not take is lost.
#[derive(Debug)]
pub(crate) struct ConsoleLog;

/// The log of this process.
pub(crate) fn log() -> ConsoleLog {
    ConsoleLog
}

impl io::Write for ConsoleLog {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        CONSOLE.say(io::stderr(), line(event).as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event of the log, made harmless.
fn line(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    clean(text.strip_suffix('\n').unwrap_or(&text)) + "\n"
}

/// Prints what nobody else had a part in, as it is.
pub(crate) fn print_own(text: &str) {
    // Who closed the pipe has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
}

/// The same, where it is no answer but a complaint.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_the_log_is_one_line_and_acts_on_no_terminal() {
        let line = line("INFO x\nINFO y \u{1b}[2J\u{202e}\u{200b}\u{9b}\n".as_bytes());
        assert_eq!(line, "INFO x\\nINFO y \\u{1b}[2J\\u{202e}\\u{200b}\\u{9b}\n");
    }
}

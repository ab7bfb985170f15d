//! The only way to the console and the log: what is written is made harmless here. Names of files, of programs and of what
//! documents hold are not ours.

use std::io::{self, Write as _};

use catenoid_schema::foreign::clean;

/// Says something on the console, as PID 1.
pub(crate) fn say(text: &str) {
    println!("catenoid: {}", clean(text));
}

/// Says why this program ends.
pub(crate) fn end(why: &str) {
    eprintln!("catenoid-agent: error: {}", clean(why));
}

/// Where the log is written to, an event at once.
#[derive(Debug)]
pub(crate) struct Log<W>(pub(crate) W);

impl<W: io::Write> io::Write for Log<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = clean(text.strip_suffix('\n').unwrap_or(&text)) + "\n";
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The log of this process.
pub(crate) fn log() -> Log<io::Stderr> {
    Log(io::stderr())
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
    use std::io::Write as _;

    use super::*;

    #[test]
    fn an_event_of_the_log_is_one_line_and_acts_on_no_terminal() {
        let mut log = Log(Vec::new());
        log.write_all("INFO x\nINFO y \u{1b}[2J\u{202e}\u{200b}\u{9b}\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(log.0).unwrap(), "INFO x\\nINFO y \\u{1b}[2J\\u{202e}\\u{200b}\\u{9b}\n");
    }
}

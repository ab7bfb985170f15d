//! Events, one a line.

use anstyle::Style;
use catenoid_schema::control::Event;

use super::{BAD, FAINT, GOOD, PLAIN, clean, line, painted};

/// One event. The line begins with its number, from which `events --since` goes on.
pub(crate) fn event(event: &Event) -> String {
    let mut out = String::new();
    let subject = event.subject.as_ref().map_or("-".to_owned(), |subject| clean(subject.as_str()));
    let kind = format!("{:<16}", clean(&event.kind));
    let line_text = format!(
        "{:>6}  {}  {}  {subject:<16}  {}  {}",
        event.number,
        event.at,
        painted(style(&event.kind), kind),
        clean(&event.message),
        painted(FAINT, format!("[{}]", clean(&event.actor)))
    );
    line(&mut out, line_text);
    out
}

/// By the last word of the kind, as new kinds may come.
fn style(kind: &str) -> Style {
    match kind {
        _ if ["Refused", "Failed", "Degraded", "Corrupt"].iter().any(|end| kind.ends_with(end)) => BAD,
        _ if ["Accepted", "Converged"].iter().any(|end| kind.ends_with(end)) => GOOD,
        _ => PLAIN,
    }
}

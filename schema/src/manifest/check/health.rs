//! The rules of a container's `health`.

use super::found::Found;
use crate::{
    limits::{EVERY, FAILURES_MOST, START_LIMIT, TIMEOUT},
    manifest::HealthCheck,
    units::Span,
};

pub(super) fn health(path: &str, check: &HealthCheck, found: &mut Found) {
    let ways = [check.exec.is_some(), check.tcp.is_some(), check.http.is_some()];
    if ways.into_iter().filter(|way| *way).count() != 1 {
        found.hint(
            path,
            "has not exactly one of `exec`, `tcp` and `http`",
            "a container is checked in one way; `exec` can do several things",
        );
    }
    if let Some(command) = &check.exec {
        if !command.first().is_some_and(|program| program.starts_with('/')) {
            found.add(format!("{path}.exec"), "does not begin with an absolute path");
        }
        if command.iter().any(|text| text.contains('\0')) {
            found.add(format!("{path}.exec"), "has a NUL");
        }
    }
    if let Some(http) = &check.http {
        let fits =
            http.path.len() <= 1024 && http.path.starts_with('/') && http.path.bytes().all(|b| b.is_ascii_graphic());
        if !fits {
            let path = format!("{path}.http.path");
            found.hint(path, "is no path of HTTP", "it begins with `/`, and has 1024 printed ASCII characters at most");
        }
    }
    for (name, span, range) in
        [("every", check.every, EVERY), ("timeout", check.timeout, TIMEOUT), ("start", check.start, 0..=START_LIMIT)]
    {
        if !range.contains(&span.milliseconds()) {
            let [least, most] = [*range.start(), *range.end()].map(Span::from_milliseconds);
            found.add(format!("{path}.{name}"), format!("`{span}` is not from {least} to {most}"));
        }
    }
    if check.failures == 0 || check.failures > FAILURES_MOST {
        found.add(format!("{path}.failures"), format!("`{}` is not from 1 to {FAILURES_MOST}", check.failures));
    }
}

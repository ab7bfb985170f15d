//! Asks a container that runs whether it works, from within it.
//!
//! The same way in as a start's, with the same order: what needs the device's privileges first, then the container's
//! namespaces, and its control group; then everything is given up that the container has not. A program of the guest is
//! executed then; a connection and a question by HTTP are ours, and hold no capability at all.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use catenoid_containers::{
    exit,
    order::{CheckOrder, LaunchAnswer, LaunchFailure, LaunchOrder, LaunchStage, Request},
};
use catenoid_kernel_base::{
    launch::{self, Inmate, Side},
    process,
    tcp::Connection,
};
use catenoid_names::objects;
use catenoid_schema::{
    foreign,
    manifest::{HealthCheck, HttpCheck},
};

use crate::{
    confine,
    report::{execute, failure},
};

/// The last bytes of what a program writes that are reported.
const SAID_LIMIT: usize = 192;
/// The most bytes of an answer by HTTP that are read: its first line stands at their beginning.
const HEAD_LIMIT: usize = 4096;
/// What we ask ourselves gives up later than the launcher does, who says so.
const LATER: Duration = Duration::from_secs(1);
/// The headers of an answer that are looked at.
const HEADERS: usize = 32;

/// Asks; what it said.
pub(crate) fn check(request: &Request, check: &CheckOrder) -> Result<LaunchAnswer, LaunchFailure> {
    let at = |stage| move |error: launch::Error| failure(stage, &error);
    let failed_with =
        |message: &str| LaunchFailure { stage: LaunchStage::Join, message: message.to_owned(), errno: None };
    let order = &request.order;
    launch::forget_parent(launch::OomScore::Usual).map_err(at(LaunchStage::Prepare))?;
    launch::hide().map_err(at(LaunchStage::Prepare))?;
    let leaf = launch::MountTarget::of_host(&order.group.join(objects::leaf(&request.launch)))
        .map_err(at(LaunchStage::Prepare))?;
    let inmate = Inmate::open(check.pid, check.started).map_err(at(LaunchStage::Join))?;
    let inmate = inmate.ok_or_else(|| failed_with("its first process is gone"))?;
    let (output, input) = io::pipe().map_err(|error| failed_with(&format!("failed to make a pipe: {error}")))?;
    let (user, group) = order.host_ids();
    launch::give(&input, user, group).map_err(at(LaunchStage::Prepare))?;
    inmate.approach().map_err(at(LaunchStage::Join))?;
    // By the container's clock, as all that follows.
    let until = Instant::now() + check.health.timeout.duration();
    match launch::clone_beside(&leaf).map_err(at(LaunchStage::Clone))? {
        Side::Container => {
            drop(output);
            std::process::exit(be_inside(order, &check.health, (&inmate, OwnedFd::from(input)), until))
        }
        Side::Launcher { pid } => {
            drop(input);
            let deed =
                launch::observe_child(pid, output.into(), SAID_LIMIT, until).map_err(at(LaunchStage::Execute))?;
            Ok(judge(&check.health, deed.end, &deed.output))
        }
    }
}

/// What the end of a check says.
fn judge(health: &HealthCheck, end: Option<process::End>, output: &[u8]) -> LaunchAnswer {
    let output = foreign::clean(String::from_utf8_lossy(output).trim());
    let end = end.map(|end| match end {
        process::End::Code(code) => exit::RunEnd::Code(code),
        process::End::Signal(number) => exit::RunEnd::Signal(number),
    });
    let ended = match end {
        None => format!("it took longer than {}", health.timeout),
        Some(end @ exit::RunEnd::Code(_)) => format!("it {end}"),
        Some(end) => format!("it was {end}"),
    };
    let said = match end {
        Some(_) if health.exec.is_none() && !output.is_empty() => output,
        Some(_) if !output.is_empty() => format!("{ended}: {output}"),
        _ => ended,
    };
    LaunchAnswer::Checked { passed: end == Some(exit::RunEnd::Code(0)), said }
}

/// Runs in the child; the exit code.
fn be_inside(order: &LaunchOrder, health: &HealthCheck, (inmate, output): (&Inmate, OwnedFd), until: Instant) -> i32 {
    let order = match health.exec {
        Some(_) => order.clone(),
        None => LaunchOrder { capabilities: [].into(), working_directory: "/".to_owned(), ..order.clone() },
    };
    let ready = || {
        inmate.join()?;
        launch::set_ids(0, 0)?;
        launch::own_session()?;
        confine::confine(&order, &output)?;
        launch::end_with_parent()
    };
    let outcome = match (ready(), &health.exec) {
        (Err(error), _) => Err(failure(LaunchStage::Join, &error).message),
        (Ok(()), Some(command)) => Err(execute(&order, command, output.as_fd()).message),
        (Ok(()), None) => ask(health, until + LATER).map_err(|error| error.to_string()),
    };
    let Err(message) = outcome else { return 0 };
    // Whoever reads it is the launcher; without it the exit code is left.
    let _ = File::from(output).write_all(message.as_bytes());
    1
}

fn ask(health: &HealthCheck, until: Instant) -> io::Result<()> {
    match (&health.tcp, &health.http) {
        (Some(port), _) => Connection::to(port.get(), until).map(drop),
        (None, Some(http)) => get(http, until),
        (None, None) => Err(io::Error::other("it is to be asked nothing")),
    }
}

fn get(http: &HttpCheck, until: Instant) -> io::Result<()> {
    let mut connection = Connection::to(http.port.get(), until)?;
    let agent = concat!("catenoid/", env!("CARGO_PKG_VERSION"));
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        http.path
    );
    connection.write_all(request.as_bytes())?;
    let (mut head, mut buffer) = (Vec::new(), [0; 512]);
    while head.len() < HEAD_LIMIT {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        head.extend_from_slice(&buffer[..count]);
        if let Some(status) = status(&head)? {
            return match status {
                200..=399 => Ok(()),
                status => Err(io::Error::other(format!("it answered `GET {}` with {status}", http.path))),
            };
        }
    }
    Err(io::Error::other("it answered no HTTP"))
}

/// The status of an answer, once it was read that far.
fn status(head: &[u8]) -> io::Result<Option<u16>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    match answer.parse(head) {
        // Whatever follows it.
        _ if answer.code.is_some() => Ok(answer.code),
        Ok(_) => Ok(None),
        Err(error) => Err(io::Error::other(format!("it answered no HTTP: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_an_answer_is_enough() {
        let status = |text: &str| status(text.as_bytes()).ok().flatten();
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\nbody", Some(503)),
            ("HTTP/1.1 204\r\n\r\n", Some(204)),
            ("HTTP/1.1 20", None),
            ("SSH-2.0-OpenSSH_9.2\r\n", None),
            ("", None),
            (&format!("HTTP/1.1 301 Moved\r\n{}", "A: b\r\n".repeat(1000)), Some(301)),
        ] {
            assert_eq!(status(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_end_says_what_was_wrong() {
        let exec = HealthCheck { exec: Some(vec!["/bin/check".to_owned()]), ..health() };
        let said = |health: &HealthCheck, end, output: &[u8]| match judge(health, end, output) {
            LaunchAnswer::Checked { passed, said } => (passed, said),
            other => panic!("{other:?}"),
        };
        let code = |code| Some(process::End::Code(code));
        for (health, end, output, expected) in [
            (&exec, code(0), &b"all is well\n"[..], (true, "it exited with code 0: all is well")),
            (&exec, code(1), b"no route\x1b[2J\n", (false, "it exited with code 1: no route\\u{1b}[2J")),
            (&exec, Some(process::End::Signal(11)), b"", (false, "it was killed by SIGSEGV")),
            (&exec, None, b"still at it", (false, "it took longer than 5s")),
            (&health(), code(1), b"port 80: refused", (false, "port 80: refused")),
        ] {
            assert_eq!(said(health, end, output), (expected.0, expected.1.to_owned()));
        }
    }

    fn health() -> HealthCheck {
        serde_json::from_str(r#"{"tcp": 80}"#).expect("it is a check")
    }
}

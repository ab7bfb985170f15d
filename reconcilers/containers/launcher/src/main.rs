//! Starts one container: reads one finished order on standard input, clones, mounts, pivots, drops, executes. Or asks one that
//! runs whether it works ([`check`]).
//!
//! Runs as root of the device, with a single thread, once for each start, so that nothing of the agent (its memory, its
//! descriptors, its threads) is near when a container is made. Everything that needs the device's privileges is done
//! first ([`prepare`]); then the container's user namespace is entered, from which there is no way back. The child
//! ([`inside`]) reports by a pipe that closes on `exec` how far it came. Answers with one line of JSON and the exit code:
//! 0 when the program runs, 1 when nothing does.

mod check;
mod confine;
mod inside;
mod prepare;
mod report;

use std::{
    io::{self, Read as _, Write as _},
    os::fd::AsFd as _,
    process::ExitCode,
};

use catenoid_containers::order::{LaunchAnswer, LaunchFailure, LaunchOrder, LaunchStage, REQUEST_LIMIT, Request};
use catenoid_kernel_base::launch::{self, NamespaceKind, OomScore, Side};
use catenoid_names::objects;

use crate::report::{READY, execute, failure, heard};

fn main() -> ExitCode {
    let answered = read_request().and_then(|request| match &request.check {
        None => start(&request).map(|pid| LaunchAnswer::Started { pid }),
        Some(check) => check::check(&request, check),
    });
    let answer = answered.unwrap_or_else(LaunchAnswer::Failed);
    let line = serde_json::to_string(&answer).expect("an answer has only text keys");
    // An agent that is gone asks the kernel what runs when it is back.
    let _ = writeln!(io::stdout(), "{line}");
    match answer {
        LaunchAnswer::Started { .. } | LaunchAnswer::Checked { .. } => ExitCode::SUCCESS,
        LaunchAnswer::Failed(_) => ExitCode::FAILURE,
    }
}

fn read_request() -> Result<Request, LaunchFailure> {
    let failed = |message: String| LaunchFailure { stage: LaunchStage::Order, message, errno: None };
    let mut text = Vec::new();
    io::stdin()
        .lock()
        .take(REQUEST_LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(|error| failed(format!("failed to read the order: {error}")))?;
    if text.len() as u64 > REQUEST_LIMIT {
        return Err(failed(format!("the order has more than {REQUEST_LIMIT} bytes")));
    }
    let request: Request =
        serde_json::from_slice(&text).map_err(|error| failed(format!("the order is not one: {error}")))?;
    if objects::leaf_launch(&objects::leaf(&request.launch)).is_none() {
        return Err(failed("the launch is not named by 16 hex digits".to_owned()));
    }
    Ok(request)
}

// [req->SF-1] [req->OS-01]
fn start(request: &Request) -> Result<u32, LaunchFailure> {
    let order = &request.order;
    let at = |stage| move |error: launch::Error| failure(stage, &error);
    // Who speaks for the device to the outside is spared.
    let score = if order.control.is_some() { OomScore::Spared } else { OomScore::Usual };
    launch::forget_parent(score).map_err(at(LaunchStage::Prepare))?;
    let leaf = launch::MountTarget::of_host(&order.group.join(objects::leaf(&request.launch)))
        .map_err(at(LaunchStage::Prepare))?;
    let prepared = prepare::prepare(order).map_err(at(LaunchStage::Prepare))?;
    let (report, status) = io::pipe().map_err(|error| LaunchFailure {
        stage: LaunchStage::Prepare,
        message: format!("failed to make a pipe: {error}"),
        errno: error.raw_os_error(),
    })?;

    let clone = || {
        prepared.user.enter(NamespaceKind::User)?;
        prepared.network.enter(NamespaceKind::Network)?;
        launch::own_time()?;
        launch::clone_into(&leaf)
    };
    match clone().map_err(at(LaunchStage::Clone))? {
        Side::Container => {
            drop(report);
            let failure = become_container(order, &prepared, &status);
            let text = serde_json::to_string(&failure).expect("a failure has only text keys");
            let mut status = status;
            // Where nobody reads it, the exit code is left.
            let _ = status.write_all(text.as_bytes());
            std::process::exit(1)
        }
        Side::Launcher { pid } => {
            drop(status);
            heard(report).map(|()| pid).inspect_err(|_| {
                // The child ends by itself; it is ours to reap. What else could be done failed already.
                let _ = launch::wait_for(pid);
            })
        }
    }
}

/// Runs in the child. Returns only if the program could not be executed.
fn become_container(order: &LaunchOrder, prepared: &prepare::Prepared, status: &io::PipeWriter) -> LaunchFailure {
    let at = |stage| move |error: launch::Error| failure(stage, &error);
    let ready = || {
        inside::mount(order, prepared).map_err(at(LaunchStage::Mount))?;
        confine::confine(order, &prepared.log).map_err(at(LaunchStage::Confine))
    };
    if let Err(failure) = ready() {
        return failure;
    }
    let mut writer = status;
    if let Err(error) = writer.write_all(&[READY]) {
        let message = format!("failed to report: {error}");
        return LaunchFailure { stage: LaunchStage::Execute, message, errno: error.raw_os_error() };
    }
    execute(order, &order.command, status.as_fd())
}

//! What the child reports by its pipe, and how what went wrong is put.

use std::{
    io::{self, Read as _},
    os::fd::BorrowedFd,
};

use catenoid_containers::order::{LaunchFailure, LaunchOrder, LaunchStage};
use catenoid_kernel_base::launch;

/// What the child writes right before it executes the program: silence after it means success, silence without it that
/// the child was ended before it came so far.
pub(crate) const READY: u8 = b'+';
/// The most bytes of a child's report: one error chain.
const REPORT_LIMIT: u64 = 16 * 1024;

/// Executes a program of the container with its environment. Returns only if that fails.
pub(crate) fn execute(order: &LaunchOrder, command: &[String], report: BorrowedFd<'_>) -> LaunchFailure {
    let environment: Vec<_> = order.environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
    failure(LaunchStage::Execute, &launch::execute(command, &environment, report))
}

/// Waits until the child executed its program, or reported why it could not.
pub(crate) fn heard(report: io::PipeReader) -> Result<(), LaunchFailure> {
    let failed = |message: String| LaunchFailure { stage: LaunchStage::Clone, message, errno: None };
    let mut text = Vec::new();
    report
        .take(REPORT_LIMIT)
        .read_to_end(&mut text)
        .map_err(|error| failed(format!("failed to read the child's report: {error}")))?;
    match text.strip_prefix(&[READY]).unwrap_or(&text) {
        [] if text.is_empty() => {
            Err(failed("the container's first process was ended before it could execute its program".to_owned()))
        }
        [] => Ok(()),
        reported => Err(serde_json::from_slice(reported).unwrap_or_else(|_| {
            failed(format!("the child's report is broken: {}", String::from_utf8_lossy(reported)))
        })),
    }
}

pub(crate) fn failure(stage: LaunchStage, error: &launch::Error) -> LaunchFailure {
    LaunchFailure::new(stage, error, error.errno())
}

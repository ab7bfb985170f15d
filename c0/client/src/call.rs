//! One call, and what comes back of it.

use std::time::{Duration, SystemTime};

use catenoid_schema::{control::PROBLEM_TYPE, units::Timestamp};
use reqwest::{
    Method, Response,
    header::{CONTENT_TYPE, DATE, HeaderMap},
};

use crate::error::ClientError;

/// How long a call may take. Accepting a manifest verifies signatures and writes the ledger: milliseconds, on a slow
/// disk under load seconds.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(60);
/// The most bytes of an answer that is no success.
const PROBLEM_LIMIT: usize = 256 * 1024;
/// How much of an answer that makes no sense is shown.
const EXCERPT_LIMIT: usize = 200;

/// A call as it is named in errors.
#[derive(Debug, Clone)]
pub(crate) struct Call(pub(crate) String);

impl Call {
    pub(crate) fn new(method: &Method, path: &str) -> Self {
        Self(format!("{method} {path}"))
    }

    pub(crate) fn broken(&self, error: reqwest::Error) -> ClientError {
        let call = self.0.clone();
        if error.is_timeout() {
            ClientError::Silent { call, limit: CALL_LIMIT }
        } else {
            ClientError::Broken { call, source: error.into() }
        }
    }
}

/// The body, if it has at most `limit` bytes.
pub(crate) async fn body(call: &Call, mut response: Response, limit: usize) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| call.broken(e))? {
        if bytes.len() + chunk.len() > limit {
            return Err(ClientError::TooLarge { call: call.0.clone(), limit });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What an answer says that is no success.
pub(crate) async fn refusal(call: &Call, response: Response) -> ClientError {
    let status = response.status().as_u16();
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|value| value == PROBLEM_TYPE);
    let read = tokio::time::timeout(CALL_LIMIT, body(call, response, PROBLEM_LIMIT)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return error,
        Err(_) => return ClientError::Silent { call: call.0.clone(), limit: CALL_LIMIT },
    };
    match serde_json::from_slice(&bytes) {
        Ok(problem) if is_problem => ClientError::Refused { problem: Box::new(problem) },
        Err(source) if is_problem => ClientError::Understand { call: call.0.clone(), source },
        _ => {
            let excerpt = String::from_utf8_lossy(&bytes).trim().chars().take(EXCERPT_LIMIT).collect();
            ClientError::Unexpected { call: call.0.clone(), status, excerpt }
        }
    }
}

/// The time at which the device answered. Its own clock, as far as it says: the age of what it reports must not depend
/// on the clock of the machine that asks.
pub(crate) fn device_time(headers: &HeaderMap) -> Timestamp {
    let stated = headers.get(DATE).and_then(|value| value.to_str().ok());
    let stated = stated.and_then(|text| jiff::fmt::rfc2822::parse(text).ok()).map(|time| time.timestamp());
    stated.map_or_else(SystemTime::now, SystemTime::from).into()
}

//! Events, as they come.

use std::{collections::VecDeque, time::Duration};

use catenoid_schema::control::Event;
use reqwest::Response;

use crate::{
    call::Call,
    error::ClientError,
    stream::{Item, MESSAGE_LIMIT, Parser},
};

/// How long a stream of events may be silent: the agent shows every 15 seconds that it lives.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// How far a stream of events reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What happened.
    Backlog,
    /// What happened and what will.
    Open,
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    call: Call,
    response: Response,
    parser: Parser,
    ready: VecDeque<Message>,
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Something happened.
    Event(Event),
    /// Nothing happened; the agent lives.
    Alive,
}

impl Events {
    pub(crate) fn new(call: Call, response: Response) -> Self {
        Self { call, response, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// The next message; `None` when the device ended the stream.
    ///
    /// # Errors
    /// [`ClientError`] when the connection breaks, nothing comes for too long, or it cannot be understood.
    pub async fn next(&mut self) -> Result<Option<Message>, ClientError> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            let chunk = tokio::time::timeout(SILENCE_LIMIT, self.response.chunk()).await;
            let chunk = chunk
                .map_err(|_| ClientError::Silent { call: self.call.0.clone(), limit: SILENCE_LIMIT })?
                .map_err(|e| self.call.broken(e))?;
            let Some(chunk) = chunk else { return Ok(None) };
            let items = self
                .parser
                .take(&chunk)
                .map_err(|_| ClientError::TooLarge { call: self.call.0.clone(), limit: MESSAGE_LIMIT })?;
            for item in items {
                self.ready.push_back(match item {
                    Item::Comment => Message::Alive,
                    Item::Data(data) => Message::Event(
                        serde_json::from_slice(&data)
                            .map_err(|source| ClientError::Understand { call: self.call.0.clone(), source })?,
                    ),
                });
            }
        }
    }

    /// What arrived already.
    pub(crate) fn take_ready(&mut self) -> impl Iterator<Item = Message> + '_ {
        self.ready.drain(..)
    }
}

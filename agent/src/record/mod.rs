//! What happened: events, the audit log that keeps them, and the conditions of the agent's own state.
//!
//! Everything else in the agent reports here. This folder knows none of the others: it writes one file, and sends events to
//! who watches.

pub(crate) mod audit;
mod budget;
pub(crate) mod condition;
pub(crate) mod event;
mod rounds;
mod sync;

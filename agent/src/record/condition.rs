//! Conditions that the agent reports of itself.

use catenoid_schema::status::{Blame, Condition};

/// What is wrong with the agent's own state: whoever runs the device must act.
pub(crate) fn condition(reason: &str, message: String) -> Condition {
    Condition::new(reason, message, Some(Blame::Administrator))
}

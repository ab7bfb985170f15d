//! A plan: what is to be done, and in which order.

use catenoid_schema::control::Phase;
use serde::Serialize;

/// The steps of one room, by phase. In each phase they are done in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan<S> {
    /// Adds what can stand beside the running thing.
    pub prepare: Vec<S>,
    /// Takes away what is not wanted.
    pub retire: Vec<S>,
    /// Sets up what is wanted.
    pub establish: Vec<S>,
}

impl<S> Default for Plan<S> {
    fn default() -> Self {
        Self { prepare: Vec::new(), retire: Vec::new(), establish: Vec::new() }
    }
}

impl<S> Plan<S> {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prepare.is_empty() && self.retire.is_empty() && self.establish.is_empty()
    }

    /// Every step in the order of a pass.
    pub fn steps(&self) -> impl Iterator<Item = (Phase, &S)> {
        let prepare = self.prepare.iter().map(|s| (Phase::Prepare, s));
        let retire = self.retire.iter().map(|s| (Phase::Retire, s));
        let establish = self.establish.iter().map(|s| (Phase::Establish, s));
        prepare.chain(retire).chain(establish)
    }
}

//! The half of a room with effects, behind one type for the device's and the fake kernel's.

use std::pin::Pin;

use catenoid_schema::status::Blame;

use crate::{Applied, Planner, Reconciler, RoomError, Signals};

/// A future of a trait that has values of many types.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Why a room could not look or act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomFault {
    /// What went wrong, with all its causes.
    pub message: String,
    /// Who must act.
    pub blame: Blame,
}

/// Whoever does the steps of the room `P`: every [`Reconciler`] with that planner.
pub trait Door<P: Planner> {
    /// As [`Reconciler::observe`], after [`Reconciler::look_for`].
    fn observe<'a>(&'a self, desired: &'a P::Desired) -> Boxed<'a, Result<P::Observed, RoomFault>>;

    /// As [`Reconciler::signals`].
    fn signals(&self, desired: &P::Desired, observed: &P::Observed) -> Signals;

    /// As [`Reconciler::apply`].
    fn apply<'a>(&'a self, step: &'a P::Step) -> Boxed<'a, Result<Applied, RoomFault>>;
}

impl<P: Planner, R: Reconciler<Planner = P>> Door<P> for R {
    fn observe<'a>(&'a self, desired: &'a P::Desired) -> Boxed<'a, Result<P::Observed, RoomFault>> {
        Box::pin(async move {
            self.look_for(desired);
            Reconciler::observe(self).await.map_err(|error| fault(&error))
        })
    }

    fn signals(&self, desired: &P::Desired, observed: &P::Observed) -> Signals {
        Reconciler::signals(self, desired, observed)
    }

    fn apply<'a>(&'a self, step: &'a P::Step) -> Boxed<'a, Result<Applied, RoomFault>> {
        Box::pin(async move { Reconciler::apply(self, step).await.map_err(|error| fault(&error)) })
    }
}

fn fault<E: RoomError>(error: &E) -> RoomFault {
    RoomFault { message: chain(error), blame: error.blame() }
}

/// An error with all its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

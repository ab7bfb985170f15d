//! What a pass would do, by the models of the rooms' steps.

use std::convert::Infallible;

use catenoid_core::Room;
use catenoid_schema::control::{Phase, PlannedStep};
use futures::FutureExt as _;

use crate::{
    House, Observed, Wanted,
    order::{Hands, go_through},
};

/// The steps of a pass that finds what was `observed` and leads to what is `wanted`, in their order.
#[must_use]
pub fn forecast(wanted: &Wanted, observed: &Observed) -> Vec<PlannedStep> {
    imagine(wanted, observed).0
}

/// The same steps, and what is there after them.
#[must_use]
pub fn imagine(wanted: &Wanted, observed: &Observed) -> (Vec<PlannedStep>, Observed) {
    let (mut house, mut imagined) = (wanted.house(observed), Imagined(Vec::new()));
    house.plan();
    let done = go_through(&mut house, &mut imagined).now_or_never();
    let Ok(()) = done.expect("what is imagined waits for nothing");
    (imagined.0, house.into_observed())
}

/// Hands that do nothing and write down what.
struct Imagined(Vec<PlannedStep>);

impl Hands for Imagined {
    type Halt = Infallible;

    async fn act(&mut self, room: &mut dyn Room, phase: Phase) -> bool {
        let steps = room.described(phase);
        let any = !steps.is_empty();
        if any {
            self.0.extend(steps);
            room.imagine(phase);
        }
        any
    }

    async fn look(&mut self, room: &mut dyn Room) -> Result<(), Infallible> {
        // It has no door: nothing can go wrong.
        let _ = room.look().await;
        Ok(())
    }

    fn prepared(&mut self, _: &House<'_>) {}

    async fn may_let_go(&mut self) -> bool {
        true
    }
}

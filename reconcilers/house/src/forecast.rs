//! What a pass would do, by the models of the rooms' steps.

use std::convert::Infallible;

use catenoid_core::{Room, Whose};
use catenoid_schema::control::{Phase, PlannedStep};
use futures::FutureExt as _;

use crate::{
    DesiredState, House, Observed,
    order::{Hands, go_through},
};

/// The steps of a pass that finds what was `observed` and leads to what is `wanted`, in their order.
#[must_use]
pub fn forecast(wanted: &DesiredState, observed: &Observed) -> Vec<PlannedStep> {
    imagine(wanted, observed).0
}

/// The same steps, and what is there after them.
#[must_use]
pub fn imagine(wanted: &DesiredState, observed: &Observed) -> (Vec<PlannedStep>, Observed) {
    let mut house = wanted.house(observed);
    house.plan();
    let steps = imagine_in(&mut house);
    (steps, house.into_observed())
}

/// The steps of a pass through `house`, in which all is planned and which has no doors; it is left as they leave it.
pub fn imagine_in(house: &mut House<'_>) -> Vec<PlannedStep> {
    let mut imagined = Imagined(Vec::new());
    let done = go_through(house, &mut imagined).now_or_never();
    let Ok(()) = done.expect("what is imagined waits for nothing");
    imagined.0
}

/// Hands that do nothing and write down what.
struct Imagined(Vec<PlannedStep>);

impl Hands for Imagined {
    type Halt = Infallible;

    async fn act(&mut self, room: &mut dyn Room, phase: Phase, whose: Whose<'_>) -> bool {
        let steps = room.described(phase, whose);
        let any = !steps.is_empty();
        if any {
            self.0.extend(steps);
            room.imagine(phase, whose);
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

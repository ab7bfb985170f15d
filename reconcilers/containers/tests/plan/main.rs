//! The planner: golden folders, the two properties, and what is reported of it.

mod history;
mod properties;
mod states;
mod status;
mod steps;

use std::path::Path;

use catenoid_containers::ContainersPlanner;
use catenoid_core::testing;

#[test]
fn golden_plans() {
    testing::golden::<ContainersPlanner>(Path::new("tests/plans"), 8);
}

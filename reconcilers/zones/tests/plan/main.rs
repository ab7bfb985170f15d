//! The planner: golden folders, the two properties, and what is reported of it.

mod names;
mod properties;
mod rules;
mod states;
mod status;
mod steps;
mod uplinks;

use std::path::Path;

use catenoid_core::testing;
use catenoid_zones::ZonesPlanner;

#[test]
fn golden_plans() {
    testing::golden::<ZonesPlanner>(Path::new("tests/plans"), 8);
}

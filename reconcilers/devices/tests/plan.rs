//! The planner's two properties.

use catenoid_core::testing;
use catenoid_devices::{Desired, Observed, Planning};
use catenoid_schema::name::Name;
use proptest::{collection, prelude::*, sample};

fn name() -> impl Strategy<Value = Name> {
    sample::select(&["core0", "web", "db"]).prop_map(|name| name.parse().expect("each is a name"))
}

proptest! {
    #[test]
    fn the_plan_leads_to_what_is_wanted_and_is_empty_only_there(
        wanted in collection::btree_map(name(), collection::btree_set(name(), 1..3), 0..3),
        there in collection::btree_map(name(), collection::btree_set(name(), 0..3), 0..3),
    ) {
        let (desired, observed) = (Desired { containers: wanted }, Observed { containers: there });
        testing::properties::<Planning>(&desired, &observed).map_err(TestCaseError::fail)?;
    }
}

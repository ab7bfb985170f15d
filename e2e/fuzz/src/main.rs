//! The target that the environment names, under libFuzzer. `cargo xtask fuzz` builds and runs it.
#![no_main]

use std::sync::LazyLock;

use catenoid_fuzz::{TARGET_VARIABLE, TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var(TARGET_VARIABLE).unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| panic!("`{TARGET_VARIABLE}` names no target: `{name}`"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));

//! The target that the environment names, under libFuzzer. `cargo xtask fuzz` builds and runs it.
#![no_main]

use std::sync::LazyLock;

use catenoid_fuzz::{FuzzTarget, TARGET_VARIABLE, TARGETS};
use tokio::signal::unix::{SignalKind, signal};

static TARGET: LazyLock<FuzzTarget> = LazyLock::new(|| {
    let name = std::env::var(TARGET_VARIABLE).unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| panic!("`{TARGET_VARIABLE}` names no target: `{name}`"))
});

libfuzzer_sys::fuzz_target!(init: outlive_broken_pipes(), |bytes: &[u8]| (TARGET.run)(bytes));

/// As Rust's own start does, in whose place libFuzzer's is. The handler stays when nobody listens any more.
fn outlive_broken_pipes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let _inside = runtime.enter();
    let _ = signal(SignalKind::pipe()).expect("a signal can be handled");
}

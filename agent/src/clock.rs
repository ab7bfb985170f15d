//! The two clocks: the wall's, which may jump, and the one since boot, which does not.

use std::time::SystemTime;

use catenoid_schema::units::Timestamp;

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Seconds by which the wall clock is ahead of the other one: they change when somebody sets it.
pub(crate) fn ahead_of_boot() -> i64 {
    now().seconds().saturating_sub_unsigned(since_boot_ms() / 1000)
}

/// Milliseconds since boot, including suspension.
pub(crate) fn since_boot_ms() -> u64 {
    catenoid_kernel_base::machine::since_boot().as_millis().try_into().unwrap_or(u64::MAX)
}

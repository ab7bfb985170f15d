//! The two clocks: the wall's, which may jump, and the one since boot, which does not.

use std::time::{SystemTime, UNIX_EPOCH};

use catenoid_schema::units::Timestamp;

/// The wall clock. A clock before 1970 reads as 1970: no document is valid then, so it fails closed.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).ok().and_then(Timestamp::from_seconds).unwrap_or_else(epoch)
}

/// Seconds by which the wall clock is ahead of the other one: they change when somebody sets it.
pub(crate) fn ahead_of_boot() -> i64 {
    now().seconds().saturating_sub_unsigned(since_boot_ms() / 1000)
}

/// Milliseconds since boot, including suspension.
pub(crate) fn since_boot_ms() -> u64 {
    catenoid_kernel_base::machine::since_boot().as_millis().try_into().unwrap_or(u64::MAX)
}

fn epoch() -> Timestamp {
    Timestamp::from_seconds(0).expect("1970 can be written")
}

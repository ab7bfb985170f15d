//! What a document may have at most, each with its reason. Part of the JSON Schemas, and of what a device refuses.

/// The most containers in one manifest: what `allocate` has id ranges for with room, and what the pass is measured at.
pub const CONTAINERS_LIMIT: usize = 1000;
/// The most zones: a bridge and a rule set each.
pub const ZONES_LIMIT: usize = 64;
/// The most bytes of command and environment together: below the kernel's 128 KiB for one argument and far below its
/// limit for all.
pub const PROCESS_LIMIT: usize = 64 * 1024;
/// The most entries of a command, an environment, a flow's ports, a zone's flows.
pub const ENTRIES_LIMIT: usize = 256;
/// The most violations that are reported at once: whoever mends them sees the next ones.
pub const VIOLATIONS_LIMIT: usize = 256;
/// The least memory a container can be started in.
pub const MEMORY_LEAST: u64 = 4 * 1024 * 1024;
/// The most memory, 16 TiB: more than any device has, and far below where `memory.max` turns into `max`.
pub const MEMORY_MOST: u64 = SIZE_MOST;
/// The largest size of anything, 16 TiB: far below where the kernel's arithmetic in pages and sectors wraps.
pub const SIZE_MOST: u64 = 16 << 40;
/// The most thousandths of processors: more than any device has, and five digits to read.
pub const CPU_MOST: u32 = 99_999_999;
/// The highest sequence and epoch, 2^53: what every reader of JSON keeps exactly, and far below the end, behind which a device
/// could take no manifest ever again.
pub const COUNT_MOST: u64 = 1 << 53;
/// The most processes: the kernel's `PID_MAX_LIMIT`, past which `pids.max` takes no number.
pub const PIDS_MOST: u32 = 4 * 1024 * 1024;
/// The least and the most bytes that a container may read or write in a second. All containers of a guest share one
/// loop device, which has 128 requests at a time. One that reads ahead widely can hold them all while it waits, and the
/// others of its guest wait behind it: the less it may have, the longer. The most is more than any disk has, and far
/// below where `io.max` turns into `max`.
pub const IO_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 40;
/// The least and the most reads or writes in a second: the same, and `io.max` has 32 bits for them.
pub const IO_OPERATIONS: std::ops::RangeInclusive<u32> = 100..=100_000_000;
/// The least and the most weight: what the scheduler BFQ takes (`block/bfq-iosched.h`).
pub const IO_WEIGHT: std::ops::RangeInclusive<u32> = 1..=1000;
/// The longest grace in milliseconds: what takes the place of a container waits for its end.
pub const GRACE_LIMIT: u64 = 10 * 60 * 1000;

/// From one check of health to the next, in milliseconds: less is work without end, more is no check.
pub const EVERY: std::ops::RangeInclusive<u64> = 1000..=60 * 60 * 1000;
/// How long a check may take, in milliseconds.
pub const TIMEOUT: std::ops::RangeInclusive<u64> = 100..=30 * 1000;
/// For how long after a start failures may not count, in milliseconds.
pub const START_LIMIT: u64 = 60 * 60 * 1000;
/// The most failures in a row of a container that works.
pub const FAILURES_MOST: u32 = 100;
/// What is asked for by HTTP: nothing that could end the line it stands in.
pub const HTTP_PATH: &str = "^/[!-~]{0,1023}$";
/// The most features that a document can require: far over what there will be.
pub const REQUIRES_LIMIT: usize = 64;

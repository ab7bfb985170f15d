//! Processes: spawned tools, signals by pidfd, what `/proc` says of one, and the reaping of orphans.

mod error;
mod identity;
mod reap;
mod record;
mod run;

pub use error::Error;
pub use identity::{Identity, TICK_MILLISECONDS, folder_id, identity, is_killed, program, signal, ticks_since_boot};
pub use reap::{End, Zombie, ended_child, reap};
pub use record::{RecordWatch, make_fifo, open_fifo, read_record, remove_record, write_record};
pub use run::{Output, Spoken, limit_memory, run, speak};

/// The most bytes that are read of a file in `/proc/<pid>` or a record: those that we read have 2 KiB at most.
const FILE_LIMIT: u64 = 64 * 1024;
/// Open files that a process may raise its own limit to: what systemd gives, as programs expect. Each one starts with
/// 1024, the most that `select(2)` can take.
pub const OPEN_FILES: (u64, u64) = (1024, 524_288);

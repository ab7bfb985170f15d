//! The doors to the machine as a whole, for PID 1 and the agent: first mounts, signals, settings, watchdogs, the console.
//!
//! Start reading at [`init`].

pub mod console;
pub mod init;
pub mod settings;
pub mod watchdog;

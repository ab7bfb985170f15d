//! The doors of PID 1: what is done once a boot, or for the machine as a whole.
//!
//! Start reading at [`init`].

pub mod console;
pub mod init;
pub mod settings;
pub mod watchdog;

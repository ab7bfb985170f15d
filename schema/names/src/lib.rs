//! The names that we give: pure, so that planners and doors both see them.
//!
//! Start reading at [`objects`]: what we own in the kernel is known by its name.

mod control;
pub mod objects;

pub use control::ControlFile;

//! The names that we give: pure, so that planners and doors both see them.
//!
//! Start reading at [`objects`]: what we own in the kernel is known by its name.

pub mod objects;

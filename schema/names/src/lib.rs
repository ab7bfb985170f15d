//! The names that we give: pure, so that planners and doors both see them.
//!
//! Start reading at [`objects`]: what we own in the kernel is known by its name.
//!
//! ```
//! use catenoid_names::objects;
//!
//! let leaf = objects::leaf("0123456789abcdef");
//! assert_eq!(objects::leaf_launch(&leaf), Some("0123456789abcdef"));
//! assert_eq!(objects::leaf_launch("somebody-elses"), None);
//! ```

mod control;
pub mod objects;

pub use control::{ControlFile, Disk};

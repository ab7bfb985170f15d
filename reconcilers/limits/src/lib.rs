//! Room: what each container can use up of the device, by control groups.
//!
//! Owns one group for each container below `catenoid/` in the cgroup v2 hierarchy, and the limits on it; the leaves in
//! the groups, in which processes live, belong to the room of containers. Needs the hierarchy to be mounted. Gives the
//! assurance that a container that is started is limited. Start reading at [`LimitsPlanner`]; a limit is a file in
//! `control/`.
//!
//! The pure half is always there; the half with effects needs the feature `kernel`.

#[cfg(feature = "kernel")]
mod apply;
mod control;
mod desired;
#[cfg(feature = "kernel")]
mod error;
mod model;
#[cfg(feature = "kernel")]
mod observe;
mod plan;
mod status;
mod step;

#[cfg(feature = "kernel")]
pub use apply::Limits;
pub use control::{Bounds, Control, Value};
pub use desired::{Desired, desired};
#[cfg(feature = "kernel")]
pub use error::Error;
pub use model::{Group, Observed};
pub use plan::LimitsPlanner;
pub use step::Step;

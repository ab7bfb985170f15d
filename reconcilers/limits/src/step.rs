//! One effect of this room, and what is there once it is done.

use std::fmt;

use catenoid_schema::status::Subject;
use serde::Serialize;

use crate::{
    Control, Observed, Value,
    model::{new_group, subject},
};

/// One effect of this room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Step {
    /// Makes the group of a container.
    MakeGroup {
        /// The container that is to have it.
        container: String,
    },
    /// Sets one control.
    SetLimit {
        /// The container that is limited.
        container: String,
        /// What is limited.
        control: Control,
        /// To what.
        value: Value,
        /// What it was before; nothing if the group has no such control.
        was: Option<Value>,
    },
    /// Removes a group. Fails while a process lives in it.
    RemoveGroup {
        /// The container that had it.
        container: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeGroup { container } => write!(f, "make the control group of `{container}`"),
            Self::SetLimit { container, control, value, was } => {
                write!(f, "set {control} of `{container}` to {}", control.show(value))?;
                match was {
                    Some(was) => write!(f, " (was {})", control.show(was)),
                    None => f.write_str(" (was not there)"),
                }
            }
            Self::RemoveGroup { container } => write!(f, "remove the control group of `{container}`"),
        }
    }
}

impl catenoid_core::Step for Step {
    type Observed = Observed;

    fn subject(&self) -> Subject {
        match self {
            Self::MakeGroup { container } | Self::SetLimit { container, .. } | Self::RemoveGroup { container } => {
                subject(container)
            }
        }
    }

    fn effect_on(&self, observed: &mut Observed) {
        match self {
            Self::MakeGroup { container } => {
                let Observed { offered, groups } = observed;
                groups.entry(container.clone()).or_insert_with(|| new_group(offered));
            }
            Self::SetLimit { container, control, value, .. } => {
                if control.scheduler().is_some() && observed.offered.insert(*control) {
                    for group in observed.groups.values_mut() {
                        group.entry(*control).or_insert_with(|| control.new_value());
                    }
                }
                if let Some(group) = observed.groups.get_mut(container) {
                    group.insert(*control, value.clone());
                }
            }
            Self::RemoveGroup { container } => {
                observed.groups.remove(container);
            }
        }
    }
}

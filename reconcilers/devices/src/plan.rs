//! From the devices that containers have to those that they are to have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use catenoid_core::{Asked, Plan, Planner};
use catenoid_schema::{
    name::Name,
    status::{Subject, SubjectStatus},
};
use serde::{Deserialize, Serialize};

use crate::{
    Desired,
    desired::desired,
    status::{status, subject},
};

/// What each container has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Observed {
    /// By container.
    pub containers: BTreeMap<Name, BTreeSet<Name>>,
}

/// One effect of this room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Step {
    /// Takes all devices from a container.
    Withdraw {
        /// Whose.
        container: Name,
    },
    /// Gives a container these devices, and no others.
    Grant {
        /// Whose.
        container: Name,
        /// Which.
        devices: BTreeSet<Name>,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withdraw { container } => write!(f, "take the devices of `{container}`"),
            Self::Grant { container, devices } => write!(f, "give `{container}` {} devices", devices.len()),
        }
    }
}

impl catenoid_core::Step for Step {
    type Observed = Observed;

    fn subject(&self) -> Subject {
        match self {
            Self::Withdraw { container } | Self::Grant { container, .. } => subject(container),
        }
    }

    fn effect_on(&self, observed: &mut Observed) {
        match self {
            Self::Withdraw { container } => {
                observed.containers.remove(container);
            }
            Self::Grant { container, devices } => {
                observed.containers.insert(container.clone(), devices.clone());
            }
        }
    }
}

/// The pure half of this room.
#[derive(Debug)]
pub enum Planning {}

impl Planner for Planning {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    const NAME: &'static str = "devices";

    fn desired(asked: &Asked<'_>) -> Desired {
        desired(asked.manifest)
    }

    fn satisfied(desired: &Desired, observed: &Observed) -> bool {
        desired.containers == observed.containers
    }

    fn plan(desired: &Desired, observed: &Observed) -> Plan<Step> {
        let unwanted = observed.containers.keys().filter(|container| !desired.containers.contains_key(*container));
        let lacking =
            desired.containers.iter().filter(|(name, devices)| observed.containers.get(*name) != Some(devices));
        Plan {
            prepare: Vec::new(),
            retire: unwanted.map(|container| Step::Withdraw { container: container.clone() }).collect(),
            establish: lacking
                .map(|(container, devices)| Step::Grant { container: container.clone(), devices: devices.clone() })
                .collect(),
        }
    }

    fn status(desired: &Desired, observed: &Observed) -> Vec<SubjectStatus> {
        status(desired, observed)
    }
}

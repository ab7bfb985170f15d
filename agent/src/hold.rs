//! What is held back for the sake of the device, and why: all services after boots that went wrong in a row.

use std::{
    borrow::Cow,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use catenoid_forecast::Wanted;
use catenoid_kernel::{machine, wait::Bell};
use catenoid_schema::{manifest::ContainerRole, status::Condition};

use crate::{
    boots::{Boots, Level},
    intake::{Target, condition},
};

/// The condition of what is held back.
pub(crate) const HELD_BACK: &str = "HeldBack";

/// Everything that is held back.
#[derive(Debug)]
pub(crate) struct Holds {
    boots: Mutex<Boots>,
    /// Wakes the pass when it is over.
    bell: Bell,
}

impl Holds {
    /// With the records in the folders `data` and `run`.
    pub(crate) fn open(data: &Path, run: &Path, bell: Bell) -> Self {
        Self { boots: Mutex::new(Boots::open(data, run)), bell }
    }

    /// What is started in this boot.
    pub(crate) fn level(&self) -> Level {
        self.boots().level()
    }

    /// What `target` asks of the rooms, without what is held back; whether anything is.
    pub(crate) fn apply<'a>(&self, target: &'a Target) -> (Cow<'a, Wanted>, bool) {
        let Some(reason) = self.level().reason() else { return (Cow::Borrowed(&target.wanted), false) };
        let mut wanted = target.wanted.clone();
        for (name, container) in &target.manifest.containers {
            if container.role == ContainerRole::Service {
                wanted.hold_back(name, &reason);
            }
        }
        (Cow::Owned(wanted), true)
    }

    /// To be called after each pass, with whether it left the device as it is to be.
    pub(crate) fn look(&self, as_it_is_to_be: bool) {
        self.boots().look(as_it_is_to_be, machine::since_boot());
    }

    /// What is told of the device as a whole.
    pub(crate) fn told(&self) -> Option<Condition> {
        self.level().reason().map(|reason| condition(HELD_BACK, reason))
    }

    /// Holds nothing back any more; why what was held back.
    pub(crate) fn resume(&self) -> Vec<String> {
        let mut boots = self.boots();
        let was = boots.level().reason();
        boots.resume();
        self.bell.ring();
        was.into_iter().collect()
    }

    fn boots(&self) -> MutexGuard<'_, Boots> {
        self.boots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
